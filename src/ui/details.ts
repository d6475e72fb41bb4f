/** Gathers what the page of one sync shows: its facts, its streams' destinations and its last events. */
import type { HighwaterClient } from '../client.js';
import { destinationKind, planNamed, plansFrom } from '../config/index.js';
import { webUiLink } from '../connection.js';
import { HighwaterError, messageOf } from '../errors.js';
import type { StreamPlan } from '../protocol.js';
import { readDestination, type Ask } from './destination.js';
import type { DestinationFacts, Event, Part } from './facts.js';
import type { StreamFacts, SyncDetails, SyncFacts, SyncFamily } from './facts.js';
import type { Watch } from './watch.js';

/** Reads events of a history as lines; from the CLI, which shows the same. */
export type ReadEvents = (client: HighwaterClient, id: string, runId: string) => Promise<Event[]>;

/** The means by which details are read. */
export interface Means {
  ask: Ask;
  events: ReadEvents;
  /** Returns the address at which a plan's destination is reached from here. */
  addressOf: (plan: StreamPlan, reported: string | null) => string;
  /** Returns why a destination is not read; null if it may be. */
  refusalOf: (address: string) => string | null;
}

const REFRESH_MILLISECONDS = 5000;
/** A page shows the parts that are ready; slower parts appear at the next refresh. */
const PATIENCE_MILLISECONDS = 2500;
const WHOLE_MILLISECONDS = 20_000;
const STREAMS_READ = 100;

/** The page does not read this destination. */
class NotReadError extends HighwaterError {
  override readonly name = 'NotReadError';
}

type Parts = Pick<StreamFacts, 'destination' | 'events'>;

/** Reads the parts of one stream, and keeps them for some seconds: a slow destination does not hold a page up. */
export class Details {
  private readonly kept = new Map<
    string,
    { parts: Parts | null; reading: Promise<Parts> | null; at: number }
  >();
  private readonly plans = new Map<string, StreamPlan>();

  constructor(
    private readonly watch: Watch,
    private readonly means: Means,
  ) {}

  /**
   * Returns the details of a sync; null if there is none with that id.
   * @param options.isWhole reads every stream of a sync of several, and waits for it.
   */
  async of(id: string, options: { isWhole?: boolean } = {}): Promise<SyncDetails | null> {
    const isWhole = options.isWhole === true;
    const { families, webUi, namespace, problem, asOf } = await this.watch.overview({ isWhole });
    const found = families.find(({ sync, children }) => [sync, ...children].some((one) => one.id === id));
    if (found === undefined) return null;
    const sync = found.children.find((one) => one.id === id) ?? found.sync;
    const family = sync === found.sync ? found : { sync, children: [] };
    const several = streamsOf(family);
    const read = several.length === 0 ? [sync] : isWhole ? several.slice(0, STREAMS_READ) : [];
    const patience = isWhole ? WHOLE_MILLISECONDS : PATIENCE_MILLISECONDS;
    return {
      family,
      parent: sync === found.sync ? null : found.sync.id,
      streams: await Promise.all(read.map((one) => this.streamFacts(one, patience))),
      webUi: webUiLink(webUi, namespace ?? 'default', sync.id, sync.runId),
      problem,
      asOf,
    };
  }

  private async streamFacts(sync: SyncFacts, patience: number): Promise<StreamFacts> {
    const kept = this.kept.get(sync.id) ?? { parts: null, reading: null, at: 0 };
    this.kept.set(sync.id, kept);
    if (kept.reading === null && Date.now() - kept.at > REFRESH_MILLISECONDS)
      kept.reading = this.read(sync).then((parts) => {
        Object.assign(kept, { parts, reading: null, at: Date.now() });
        return parts;
      });
    if (kept.reading !== null && (kept.parts === null || patience === WHOLE_MILLISECONDS)) {
      const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), patience).unref());
      const parts = await Promise.race([kept.reading, late]);
      if (parts !== null) return { sync, ...parts };
    }
    const still = { problem: 'It has not answered yet. The page asks again.' };
    return { sync, ...(kept.parts ?? { destination: still, events: still }) };
  }

  private async read(sync: SyncFacts): Promise<Parts> {
    const [destination, events] = await Promise.all([
      asPart(() => this.destination(sync)),
      asPart(async () => {
        const { client } = await this.watch.connected();
        return this.means.events(client, sync.id, sync.runId);
      }),
    ]);
    return { destination, events };
  }

  private async destination(sync: SyncFacts): Promise<DestinationFacts> {
    const plan = await this.planOf(sync);
    const reported = sync.progress?.destination || null;
    const address = this.means.addressOf(plan, reported);
    const refusal = this.means.refusalOf(address);
    if (refusal !== null) throw new NotReadError(refusal);
    const name =
      reported ?? (destinationKind(address) === 'duckdb' ? address : (plan.destination ?? address));
    return readDestination(this.means.ask, address, withoutPassword(name), plan.table);
  }

  private async planOf({ id, runId }: SyncFacts): Promise<StreamPlan> {
    const known = this.plans.get(runId);
    if (known !== undefined) return known;
    const { client } = await this.watch.connected();
    const { configuration, stream } = await client.inputOf(id);
    const plan = planNamed(plansFrom(configuration, undefined, false, client.extensions), stream);
    this.plans.set(runId, plan);
    return plan;
  }
}

/** Returns the streams of a sync of several; empty for any other. */
export const streamsOf = ({ children }: SyncFamily): SyncFacts[] =>
  children.filter(({ range }) => range === null);

async function asPart<T>(read: () => Promise<T>): Promise<Part<T>> {
  try {
    return { value: await read() };
  } catch (thrown) {
    return { problem: messageOf(thrown) };
  }
}

/** Removes a password from an address. */
export const withoutPassword = (address: string): string =>
  address
    .replace(/^([a-z0-9+]+:\/\/[^/@:]*):[^/]*@/i, '$1@')
    .replace(/([?&](?:password|[^=&]*secret[^=&]*)=)[^&]*/gi, '$1…');

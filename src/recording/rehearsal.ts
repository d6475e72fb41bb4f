/** Runs a sync in this process: the activities of a worker, into a temporary DuckDB file. */
import { randomUUID } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import { createActivities, type Activities } from '../activities/index.js';
import { SearchAttributeRegistry } from '../activities/search-attributes.js';
import { WriteTurns } from '../activities/write-turns.js';
import { DestinationHost } from '../destinations/host.js';
import { HighwaterError, messageOf } from '../errors.js';
import { ruleFor } from '../failures.js';
import type {
  Checkpoint,
  FetchedPages,
  Json,
  Note,
  OpenedStream,
  StagedBatch,
  StreamPlan,
} from '../protocol.js';
import { KeptRequests } from '../sources/in-flight.js';
import type { Surroundings } from '../surroundings.js';
import { StreamNotReadError } from './errors.js';
import { runActivity } from './activity-context.js';

/** Ends a call after one page. */
const ONE_PAGE = { rows: 1, bytes: 1, seconds: 0 };
/** Attempts for a failure that may pass. */
const ATTEMPTS = 5;
/** Calls in a row that read no page, because the source asks to wait each time. */
const WAITS_LIMIT = 20;

export interface RehearsalOptions extends Surroundings {
  configuration: Json;
  /** The temporary DuckDB file. */
  database: string;
  /** The time at which passes begin. */
  now: Date;
  /** Waits that a source asks for, and pauses between attempts. */
  pause: (seconds: number, reason: string) => Promise<void>;
  signal: AbortSignal;
}

export interface ReadOptions {
  /** Maximum pages; null: all. */
  pages: number | null;
  /** Changes the plan by which pages are requested. */
  change?: (plan: StreamPlan) => StreamPlan;
  onPage?: (records: number) => void;
}

/** What came of the reading of a stream. */
export interface StreamRead {
  pages: number;
  records: number;
  rejected: number;
  /** Whether the pass ended by itself. */
  isComplete: boolean;
  notes: Note[];
}

/** One run of a sync. Streams are read one after the other. */
export class Rehearsal {
  private readonly id = `rehearsal-${randomUUID()}`;
  private readonly host: DestinationHost;
  private readonly kept = new KeptRequests();
  private readonly activities: Activities;

  constructor(private readonly options: RehearsalOptions) {
    const { now, environment, trust, network, secrets, budgets, extensions, hooks } = options;
    this.host = new DestinationHost({
      taskQueue: this.id,
      address: '',
      namespace: 'local',
      environment,
      trust,
      secrets,
      poll: () => Promise.resolve(() => Promise.resolve()),
    });
    this.activities = createActivities({
      host: this.host,
      ...{ environment, trust, network, secrets, budgets, extensions, hooks },
      defaultDestination: options.database,
      server: { address: '', isPlain: false },
      searchAttributes: new SearchAttributeRegistry(),
      kept: this.kept,
      turns: new WriteTurns(),
      now: () => now,
    });
  }

  /** @throws {StreamNotReadError} that says why. */
  async read(stream: string, options: ReadOptions): Promise<StreamRead> {
    const { pages: limit, change = (plan) => plan, onPage } = options;
    const opened = await this.open(stream);
    const { plan, destination } = opened;
    const asked = { ...change(plan), inFlight: 1 };
    const read: StreamRead = { pages: 0, records: 0, rejected: 0, isComplete: false, notes: opened.notes };
    let from = opened.checkpoint;
    let waits = 0;
    let isResumed = false;
    while (from.cursor === null || from.cursor.ended === null) {
      if (limit !== null && read.pages >= limit) {
        await this.write(stream, opened, cutShort(from));
        return { ...read, notes: [...read.notes, ...(from.cursor?.notes ?? [])] };
      }
      const budget = limit === null ? plan.batch : ONE_PAGE;
      const input = { plan: asked, destination, base: from, budget, begin: read.pages === 0 };
      const fetched = await this.run(stream, () =>
        this.activities.fetchPages(isResumed ? { ...input, resumed: true } : input),
      );
      for (const batch of fetched.batches) {
        read.pages += batch.pages;
        read.records += batch.records;
        onPage?.(read.records);
        read.rejected += (await this.write(stream, opened, batch)).rejected ?? 0;
      }
      from = { id: fetched.batches.at(-1)?.next ?? from.id, cursor: fetched.cursor };
      isResumed = fetched.wait !== null;
      waits = fetched.batches.length > 0 ? 0 : waits + 1;
      if (isResumed) await this.wait(stream, fetched, waits);
    }
    return { ...read, isComplete: true, notes: [...read.notes, ...from.cursor.notes] };
  }

  async close(): Promise<void> {
    this.kept.close();
    await this.host.close();
  }

  private async open(stream: string): Promise<OpenedStream> {
    const { configuration } = this.options;
    const opened = await this.run(stream, () =>
      this.activities.openStream({
        configuration,
        stream,
        full: false,
        takeOver: false,
        firstRunId: this.id,
        expectDatabase: null,
      }),
    );
    if ('plan' in opened) return opened;
    throw new StreamNotReadError(`stream ${stream}: another worker owns ${this.options.database}`);
  }

  private write(stream: string, { plan, destination }: OpenedStream, batch: StagedBatch) {
    return this.run(stream, () => this.activities.writeBatch({ plan, destination, batch }));
  }

  private async wait(stream: string, { wait }: FetchedPages, waits: number): Promise<void> {
    if (wait === null) return;
    if (waits > WAITS_LIMIT || wait.for === 'parent')
      throw new StreamNotReadError(`stream ${stream}: ${wait.reason}`);
    await this.options.pause(wait.seconds ?? 1, wait.reason);
  }

  /** Runs an activity as a worker does: failures that may pass are retried. */
  private async run<T>(stream: string, work: () => Promise<T>): Promise<T> {
    const { signal, pause } = this.options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await runActivity({ workflowId: this.id, attempt, signal }, work);
      } catch (thrown) {
        signal.throwIfAborted();
        const failure = thrown instanceof ApplicationFailure ? thrown : null;
        const mayPass = failure !== null && failure.nonRetryable !== true && isTransient(failure.type);
        if (!mayPass || attempt === ATTEMPTS) throw ofStream(stream, thrown);
        await pause(2 ** (attempt - 1), messageOf(thrown));
      }
    }
  }
}

/** Errors of the sync that may pass; what is not known to is a defect or a decision of the caller. */
const isTransient = (type: string | null | undefined): boolean =>
  type != null && /Error$/.test(type) && type !== 'Error' && ruleFor(type).sync === 'retry';

const ofStream = (stream: string, thrown: unknown): HighwaterError =>
  thrown instanceof HighwaterError
    ? thrown
    : new StreamNotReadError(`stream ${stream}: ${messageOf(thrown)}`, { cause: thrown });

/**
 * Returns an empty batch that ends a pass before its end, so that its rows show and its children can be read. A note says
 * that it has not read everything: nothing is deleted for it.
 */
function cutShort({ id, cursor }: Checkpoint): StagedBatch {
  const note: Note = { code: 'answer_cut', message: 'the recording ends here' };
  const { pass = 1, mark = null, notes = [] } = cursor ?? {};
  return {
    base: id,
    next: randomUUID(),
    cursor: { pass, mark, position: null, ended: 'range_end', notes: [...notes, note] },
    files: [],
    pages: 0,
    records: 0,
    bytes: 0,
    longest: 0,
  };
}

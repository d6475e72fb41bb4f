/** Records the answers of a source: requests are sent as a worker sends them. */
import { mkdtemp, mkdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asOnePass, type Plans } from '../config/index.js';
import { messageOf } from '../errors.js';
import { extensionsOf, type LoadedExtensions, loadExtensions } from '../extensions.js';
import { readPackageJson } from '../package-json.js';
import { allItems, type Json, type StreamPlan } from '../protocol.js';
import { ownSurroundings, type Surroundings } from '../surroundings.js';
import { RecordingWriter, type Manifest } from './folder.js';
import { ofOwnDestination, withParents } from './plans.js';
import { RecordingNetwork } from './recording-network.js';
import { Rehearsal, type StreamRead } from './rehearsal.js';
import { requestKey } from './request-key.js';
import { nothingRemoved, Scrubber, type Removed } from './scrubber.js';

export interface RecordOptions {
  configuration: Json;
  plans: Plans;
  /** The folder to write. */
  folder: string;
  /** Only this stream, and those that it reads per record of. Default: all. */
  stream?: string;
  /** Maximum pages of each stream. */
  pages: number;
  environment: NodeJS.ProcessEnv;
  /** Where refresh tokens are stored: beside the destination of the sync. Null: they are not. */
  credentialsBeside: string | null;
  signal: AbortSignal;
  onPage?: (stream: string, records: number) => void;
  onWait?: (seconds: number, reason: string) => void;
}

/** What was recorded. */
export interface RecordedSync {
  streams: (StreamRead & { stream: string; exchanges: number })[];
  removed: Removed;
}

/** @throws {RecordingError | StreamNotReadError | ConfigurationError} */
export async function recordSync(options: RecordOptions): Promise<RecordedSync> {
  const { configuration, plans, folder, stream, pages, environment, signal } = options;
  const chosen = withParents(plans.plans, stream);
  const writer = await RecordingWriter.begin(folder);
  const scratch = await mkdtemp(join(tmpdir(), 'highwater-record-'));
  const extensions = await loadExtensions(extensionsOf(environment));
  const surroundings = recordingSurroundings(environment, extensions);
  const { network } = surroundings;
  const database = join(scratch, 'recording.duckdb');
  const now = new Date();
  const rehearsal = new Rehearsal({
    ...surroundings,
    configuration: ofOwnDestination(asOnePass(configuration), database),
    database,
    now,
    signal,
    pause: async (seconds, reason) => {
      options.onWait?.(seconds, reason);
      await paused(seconds, signal);
    },
  });
  const removed = nothingRemoved();
  const recorded: RecordedSync['streams'] = [];
  try {
    if (options.credentialsBeside !== null && chosen.some(keepsRefreshToken))
      await shareCredentials(options.credentialsBeside, database);
    for (const plan of chosen) {
      let exchanges = 0;
      network.begin({
        stream: plan.stream,
        scrubber: await Scrubber.of(plan, surroundings, removed),
        take: async (exchange) => {
          await writer.add(exchange, requestKey(exchange.request));
          exchanges++;
        },
      });
      const read = await rehearsal.read(plan.stream, {
        pages,
        onPage: (records) => options.onPage?.(plan.stream, records),
      });
      recorded.push({ ...read, stream: plan.stream, exchanges });
    }
    await writer.finish(manifestOf(now, recorded));
    return { streams: recorded, removed };
  } catch (thrown) {
    await writer.abandon();
    throw thrown;
  } finally {
    await rehearsal.close();
    network.close();
    surroundings.secrets.close();
    surroundings.hooks.close();
    await rm(scratch, { recursive: true, force: true });
  }
}

function recordingSurroundings(
  environment: NodeJS.ProcessEnv,
  extensions: LoadedExtensions,
): Surroundings & { network: RecordingNetwork } {
  const own = ownSurroundings(environment, extensions);
  return { ...own, network: new RecordingNetwork(own.trust) };
}

/** Returns members that the table holds hashed, masked or not at all: answers are recorded as they came. */
export const plainMembers = ({ request: { shape } }: StreamPlan): string[] => [
  ...Object.entries(shape?.made ?? {}).flatMap(([column, made]) =>
    'from' in made && (made.hash !== undefined || made.mask !== undefined)
      ? [made.from.length === 0 ? column : made.from.join('.')]
      : [],
  ),
  ...allItems(shape?.items).flatMap(({ table, made }) =>
    Object.entries(made).flatMap(([column, one]) =>
      'from' in one && (one.hash !== undefined || one.mask !== undefined)
        ? [`${table}.${one.from.length === 0 ? column : one.from.join('.')}`]
        : [],
    ),
  ),
  ...(shape?.exclude ?? []).map((path) => path.map((name) => name ?? '*').join('.')),
];

const manifestOf = (now: Date, streams: RecordedSync['streams']): Manifest => ({
  highwater: readPackageJson().version,
  recorded_at: now.toISOString(),
  streams: streams.map(({ stream, pages, isComplete }) => ({ name: stream, pages, complete: isComplete })),
});

const keepsRefreshToken = ({ request: { auth } }: StreamPlan) =>
  auth.type === 'oauth2' && auth.refreshToken !== null;

/** A server may replace the refresh token: the new one must be found by the sync itself. */
async function shareCredentials(beside: string, database: string): Promise<void> {
  await mkdir(`${beside}.credentials`, { recursive: true, mode: 0o700 });
  await symlink(`${beside}.credentials`, `${database}.credentials`, 'dir');
}

function paused(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(end, seconds * 1000);
    function end() {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      if (signal.aborted) reject(new Error(messageOf(signal.reason)));
      else resolve();
    }
    signal.addEventListener('abort', end, { once: true });
  });
}

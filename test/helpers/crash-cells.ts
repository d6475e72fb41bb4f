/**
 * The cells of the crash matrix: one fault, one strategy, one destination. A real worker process dies by SIGKILL, the
 * next one goes on, and in the end the destination holds what an undisturbed run leaves: every row, every commit once,
 * the same cursor.
 */
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { query, readDestination } from '../../src/cli/query.js';
import type { HighwaterClient, SyncHandle } from '../../src/client.js';
import { planFromFlat } from '../../src/config/index.js';
import { duckDbType } from '../../src/destinations/duckdb/columns.js';
import { DemoClient, DemoServer, type DemoSettingsPatch, type FaultInput } from '../../src/dev/demo-api.js';
import { processExists } from '../../src/dev/lock.js';
import { freePorts } from '../../src/dev/ports.js';
import { startLocalServer, type LocalServer } from '../../src/dev/temporal-server.js';
import { FAULT_POINTS, type FaultPoint } from '../../src/faults.js';
import { REFERENCE_STRATEGIES, type Cursor, type Json, type ReferenceStrategy } from '../../src/protocol.js';
import { configurationFor, connect, difference, startWorker, uniqueName, until } from './harness.js';
import type { Difference, WorkerProcess } from './harness.js';
import { killAmongChildren } from './crash-children.js';
import { envWithoutTemporal } from './temporal.js';

/** States in which the worker is killed as they are seen from outside. */
const STATES = ['continue_as_new', 'pause', 'wait'] as const;
/** What the API does while nobody is killed, except in `api.long_wait`. */
const API_POINTS = [
  'api.killed',
  'api.hung',
  'api.slow',
  'api.500',
  'api.long_wait',
  'api.reset',
  'api.gzip',
  'api.shape',
  'api.repeat',
  'api.changing',
] as const;

/** Every row of the matrix. */
export const POINTS = [...FAULT_POINTS, ...STATES, 'server', ...API_POINTS] as const;
/** One row of the matrix. */
export type Point = (typeof POINTS)[number];

/** Rows that the demo API has; one answer holds them all under `timestamp` and `replay`, in two parts. */
const SIZES: Record<ReferenceStrategy, { rows: number; whole: boolean }> = {
  keyset: { rows: 2000, whole: false },
  offset: { rows: 2000, whole: false },
  step_size: { rows: 2000, whole: false },
  timestamp: { rows: 20_000, whole: true },
  replay: { rows: 20_000, whole: true },
};

/** Where rows go, as far as the matrix must know it. */
export interface DestinationUnderTest {
  name: string;
  /** What the worker's `--destination` names, in a folder of the cell's own. */
  at: (folder: string) => string;
  /** Puts records into the table before the first sync. */
  fill: (at: string, records: Record<string, Json>[]) => Promise<void>;
  read: (at: string, sql: string) => Promise<Json[][]>;
  difference: (api: DemoClient, at: string, view: 'list' | 'step') => Promise<Difference>;
  /** What a worker that has stopped leaves in the folder. */
  remains: string[];
  /** What a second pass meets again is written, and counted, once more. */
  countsVersions?: true;
}

const duckdb: DestinationUnderTest = {
  name: 'duckdb',
  at: (folder) => join(folder, 'highwater.duckdb'),
  fill: async (at, records) => {
    const file = `${at}.ndjson`;
    await writeFile(file, records.map((record) => JSON.stringify(record)).join('\n'));
    const { columns } = planFromFlat({}).table;
    const names = Object.keys(columns).map((name) => `"${name}"`);
    const types = Object.entries(columns).map(([name, type]) => `"${name}": '${duckDbType(type)}'`);
    const instance = await DuckDBInstance.create(at);
    const connection = await instance.connect();
    await connection.run(
      `SET TimeZone = 'UTC'; CREATE TABLE "user" AS SELECT ${names.join(', ')} FROM read_json('${file}',
         columns = {${types.join(', ')}}, format = 'newline_delimited')`,
    );
    connection.closeSync();
    instance.closeSync();
    await rm(file);
  },
  read: async (at, sql) => (await readDestination(at, sql)).rows,
  difference: (api, at, view) => difference(api, at, { view }),
  remains: ['highwater.duckdb'],
};

/** The destinations of the matrix, by name. */
const files: DestinationUnderTest = {
  name: 'files',
  at: (folder) => `files:${join(folder, 'lake')}`,
  // There is nothing to be changed in place.
  fill: () => Promise.resolve(),
  read: async (at, sql) => (await query(at, sql)).rows,
  difference: (api, at, view) => difference(api, at, { view }),
  remains: ['lake'],
  countsVersions: true,
};

export const DESTINATIONS: Record<string, DestinationUnderTest> = { duckdb, files };

/** Columns of the matrix: the strategies, and a stream with child tables. */
export const MATRIX_STREAMS = [...REFERENCE_STRATEGIES, 'child_tables'] as const;
export type MatrixStream = (typeof MATRIX_STREAMS)[number];

/** One cell. */
export interface Cell {
  point: Point;
  strategy: MatrixStream;
  destination: string;
}

/** A cell whose source is the demo API. */
type DemoCell = Cell & { strategy: ReferenceStrategy };

/** What came of a cell. */
export interface CellOutcome extends Cell {
  /** Null where everything was as it must be. */
  failure: string | null;
  /**
   * Seconds from the moment that nothing stood in the way any more (the next worker ready, the server healthy, the wait
   * over) to the next commit, of child tables to the end of the pass; null where nobody was killed.
   */
  recovery: number | null;
  /** Seconds of the whole cell. */
  seconds: number;
}

/** What the cells of one run share. */
export interface MatrixOptions {
  address: string;
  /** The Temporal CLI, for the cells that kill a server of their own. */
  cli: string;
  /** Seconds of `api.long_wait`. */
  longWait: number;
}

const isFaultPoint = (point: Point): point is FaultPoint =>
  (FAULT_POINTS as readonly string[]).includes(point);
const isWhole = (strategy: ReferenceStrategy) => SIZES[strategy].whole;

/** At which passage of a fault point the worker dies: in the middle of a pass. */
function passage(point: FaultPoint, whole: boolean): number {
  if (point === 'open.after') return 1;
  if (point.startsWith('page.')) return whole ? 1 : 10;
  return whole ? 2 : 3;
}

function settingsFor({ point, strategy }: DemoCell, longWait: number): DemoSettingsPatch {
  const { rows, whole } = SIZES[strategy];
  // Past the first pages; a whole answer has only one.
  const once = (fault: FaultInput): DemoSettingsPatch => ({ fail: [{ ...fault, after: whole ? 0 : 12 }] });
  const slow = { latency_ms: whole ? 1500 : 25 };
  const more = (): DemoSettingsPatch => {
    switch (point) {
      case 'continue_as_new':
      case 'pause':
      case 'server':
        return slow;
      case 'api.killed':
        return { latency_ms: whole ? 1500 : 60 };
      case 'api.slow':
        return { latency_ms: whole ? 5000 : 120 };
      case 'wait':
        return once({ kind: 'status', status: 429, retry_after: 5 });
      case 'api.long_wait':
        return once({ kind: 'status', status: 429, retry_after: longWait });
      case 'api.hung':
        return once({ kind: 'hang' });
      case 'api.500':
        return once({ kind: 'status', status: 500, times: 4 });
      case 'api.reset':
        return once({ kind: 'truncate' });
      case 'api.gzip':
        return once({ kind: 'truncated_gzip' });
      case 'api.shape':
        return once({ kind: 'wrong_shape' });
      case 'api.repeat':
        return once({ kind: 'repeat_page' });
      case 'api.changing':
        return { mutate_every: { requests: whole ? 1 : 3, insert: 3, update: 5, times: 10 } };
      default:
        return {};
    }
  };
  return { rows, max_page: 50, keyset_page: 50, ...more() };
}

function configurationOf({ point, strategy }: DemoCell, url: string): { [key: string]: Json } {
  const { rows, whole } = SIZES[strategy];
  const more: { [key: string]: Json } = { step_size: 50, max_id: rows, batch_rows: whole ? 5000 : 300 };
  if (point === 'continue_as_new') {
    more['history_limit'] = 20;
    // A whole answer ends its pass before the history is full.
    if (whole) more['interval'] = '1s';
  }
  if (point === 'api.hung') more['timeout'] = '1s';
  if (point === 'api.changing') {
    // What these two cannot see otherwise: updates behind them.
    if (strategy === 'offset') more['full_rescan'] = 1;
    if (strategy === 'step_size') Object.assign(more, { max_id: rows + 100, id_lookback: rows + 100 });
  }
  return configurationFor(strategy, url, more);
}

/**
 * Whether a cell means anything: a repeated page of ids is a loss that is announced (hostile.test.ts holds that). Child tables
 * are committed with their records: only kills at the points in the code can tear them apart, and files have none.
 */
export function applies({ point, strategy, destination }: Cell): boolean {
  if (strategy === 'child_tables') return isFaultPoint(point) && destination === 'duckdb';
  return point !== 'api.repeat' || !(isWhole(strategy) || strategy === 'step_size');
}

/** Runs cells against one Temporal server. */
export class CrashMatrix {
  /** The cursor and the rows written of an undisturbed run, by strategy and destination. */
  private readonly undisturbed = new Map<string, Promise<Json>>();

  private constructor(
    private readonly options: MatrixOptions,
    private readonly client: HighwaterClient,
  ) {}

  static async create(options: MatrixOptions): Promise<CrashMatrix> {
    return new CrashMatrix(options, await connect(options.address));
  }

  close(): Promise<void> {
    return this.client.close();
  }

  /** Runs one cell; whatever goes wrong is in the outcome. */
  async run(cell: Cell): Promise<CellOutcome> {
    const started = Date.now();
    const result = (failure: string | null, recovery: number | null): CellOutcome => ({
      ...cell,
      failure,
      recovery,
      seconds: (Date.now() - started) / 1000,
    });
    try {
      const { point, strategy } = cell;
      if (strategy === 'child_tables') {
        if (!isFaultPoint(point)) throw new Error(`there is no cell for child tables at ${point}`);
        const { address } = this.options;
        return result(null, await killAmongChildren(point, { address, client: this.client }));
      }
      const demo: DemoCell = { ...cell, strategy };
      const wanted = await this.cursorOfUndisturbed(demo);
      const run = await CellRun.start(demo, this.options, this.client);
      try {
        return result(null, await run.make(wanted));
      } catch (thrown) {
        throw new Error(`${String(thrown)}\n${run.said()}`, { cause: thrown });
      } finally {
        await run.end();
      }
    } catch (thrown) {
      return result(String(thrown), null);
    }
  }

  private async cursorOfUndisturbed({ strategy, destination }: DemoCell): Promise<Json> {
    const name = `${strategy} ${destination}`;
    let cursor = this.undisturbed.get(name);
    if (cursor === undefined) {
      // A point whose settings are at rest, with nobody to kill.
      const cell: DemoCell = { point: 'open.after', strategy, destination };
      cursor = CellRun.start(cell, this.options, this.client).then(async (run) => {
        try {
          return await run.makeUndisturbed();
        } finally {
          await run.end();
        }
      });
      this.undisturbed.set(name, cursor);
    }
    return cursor;
  }
}

/** One cell in progress. */
class CellRun {
  private worker: WorkerProcess | null = null;
  private ownServer: LocalServer | null = null;
  private ownClient: HighwaterClient | null = null;
  private workersSaid = '';
  private readonly taskQueue = uniqueName('cell');

  private constructor(
    private readonly cell: DemoCell,
    private readonly options: MatrixOptions,
    private readonly sharedClient: HighwaterClient,
    private readonly folder: string,
    private readonly home: string,
    private readonly api: DemoServer,
    private readonly port: number,
  ) {}

  static async start(cell: DemoCell, options: MatrixOptions, client: HighwaterClient): Promise<CellRun> {
    const folder = await mkdtemp(join(tmpdir(), 'highwater-cell-'));
    const home = await mkdtemp(join(tmpdir(), 'highwater-cell-server-'));
    const api = new DemoServer(settingsFor(cell, options.longWait));
    const run = new CellRun(cell, options, client, folder, home, api, await api.listen());
    await run.fillHalf();
    return run;
  }

  private get destination(): DestinationUnderTest {
    const found = DESTINATIONS[this.cell.destination];
    if (found === undefined) throw new Error(`there is no destination ${this.cell.destination}`);
    return found;
  }
  private get at(): string {
    return this.destination.at(this.folder);
  }
  private get view(): 'list' | 'step' {
    return this.cell.strategy === 'step_size' ? 'step' : 'list';
  }
  private get demo(): DemoClient {
    return new DemoClient(`http://127.0.0.1:${this.port}`);
  }
  private get client(): HighwaterClient {
    return this.ownClient ?? this.sharedClient;
  }

  said(): string {
    return `${this.workersSaid}${this.worker?.said() ?? ''}`.slice(-3000);
  }

  async end(): Promise<void> {
    await this.worker?.end('SIGKILL');
    await this.ownClient?.close();
    await this.ownServer?.stop();
    await this.api.close().catch(() => undefined);
    for (const folder of [this.folder, this.home]) await rm(folder, { recursive: true, force: true });
  }

  /** Every second record is there, out of date: each batch then changes rows by UPDATE and by INSERT. */
  private async fillHalf(): Promise<void> {
    const records = await this.demo.records(this.view);
    const old = records.filter((_, i) => i % 2 === 0).map((record) => ({ ...record, name: 'out of date' }));
    await this.destination.fill(this.at, old);
  }

  /** Runs without a fault. @returns the cursor at the end. */
  async makeUndisturbed(): Promise<Json> {
    await this.startWorker();
    const handle = await this.startSync();
    await handle.result();
    return this.verify(null);
  }

  /** Runs the cell. @returns the seconds of recovery, or null. */
  async make(wanted: Json): Promise<number | null> {
    const { point } = this.cell;
    let freeSince: number | null = null;
    let handle: SyncHandle;
    if (isFaultPoint(point)) {
      const worker = await this.startWorker(`${point}:${passage(point, isWhole(this.cell.strategy))}`);
      const killed = once(worker.child, 'exit').then(() => undefined);
      handle = await this.startSync();
      await within(30, killed, `the worker to pass ${point}`);
      if (worker.child.signalCode !== 'SIGKILL') throw new Error('the worker ended by itself');
      freeSince = await this.nextWorker();
    } else if (point === 'continue_as_new') {
      await this.startWorker();
      handle = await this.startSync();
      const first = await handle.runId();
      await soon(async () => (await handle.runId()) !== first, 'the first continue-as-new');
      freeSince = await this.nextWorker();
    } else if (point === 'pause') {
      handle = await this.startPaused();
      const { batches } = await handle.progress();
      await this.nextWorker();
      const now = await handle.progress();
      if (now.status !== 'paused' || now.batches !== batches) {
        throw new Error(`the sync was paused and is ${now.status} under the next worker`);
      }
      freeSince = Date.now();
      await handle.resume();
    } else if (point === 'wait' || point === 'api.long_wait') {
      await this.startWorker();
      handle = await this.startSync();
      await until(async () => (await handle.progress()).status === 'waiting', 30, 'the wait');
      const waitEnds = Date.parse((await handle.progress()).waiting?.until ?? '');
      const asked = (await this.demo.stats()).requests;
      await this.worker?.end('SIGKILL');
      // The wait is the server's: no process is needed for it.
      if (point === 'api.long_wait') await delay(Math.max(0, waitEnds - Date.now() - 1500));
      freeSince = await this.nextWorker();
      if (Date.now() < waitEnds - 500 && (await this.demo.stats()).requests !== asked) {
        throw new Error('the source was asked before the wait was over');
      }
      freeSince = Math.max(freeSince, waitEnds);
    } else if (point === 'server') {
      await this.startServer();
      await this.startWorker();
      handle = await this.startSync();
      await this.reach(isWhole(this.cell.strategy) ? 1 : 14);
      await killServer(this.ownServer);
      await this.startServer();
      freeSince = Date.now();
    } else if (point === 'api.killed') {
      await this.startWorker();
      handle = await this.startSync();
      await this.reach(isWhole(this.cell.strategy) ? 1 : 14);
      await this.api.close();
      await delay(1500);
      await this.api.listen(this.port);
      freeSince = Date.now();
    } else {
      await this.startWorker();
      handle = await this.startSync();
    }
    return this.finish(handle, freeSince, wanted);
  }

  /** Waits for the end and looks at everything. */
  private async finish(handle: SyncHandle, freeSince: number | null, wanted: Json): Promise<number | null> {
    const { point, strategy } = this.cell;
    if (point === 'continue_as_new' && isWhole(strategy)) {
      // It goes on for ever: one more whole pass is enough.
      const { totals } = await eventually(() => handle.progress());
      await until(
        async () => (await eventually(() => handle.progress())).totals.passes > totals.passes,
        60,
        'a pass',
      );
      await handle.cancel();
      await handle.result().catch(() => undefined);
    } else await within(90, handle.result(), 'the end of the sync');
    const ended = Date.now();
    if (point === 'api.changing') {
      // The source rests, and one more pass meets what the first could not.
      await this.demo.set({ mutate_every: null });
      await within(60, (await this.startSync()).result(), 'the end of the second sync');
    }
    await this.verify(wanted);
    await this.expectTidy();
    if (freeSince === null) return null;
    const next = (await this.commits()).map(({ at }) => at).find((at) => at >= freeSince - 50) ?? ended;
    const recovery = Math.max(0, (next - freeSince) / 1000);
    if (recovery > 15) throw new Error(`it took ${recovery} s to go on`);
    return recovery;
  }

  private async startWorker(fault?: string): Promise<WorkerProcess> {
    const address = this.ownServer?.address ?? this.options.address;
    const env = fault === undefined ? {} : { HIGHWATER_FAULT: fault };
    this.worker = await startWorker({ address, taskQueue: this.taskQueue, destination: this.at, env });
    return this.worker;
  }

  /** Kills the worker where that has not happened yet, and starts the next one. @returns when that was ready. */
  private async nextWorker(): Promise<number> {
    await this.worker?.end('SIGKILL');
    this.workersSaid += `${this.worker?.said() ?? ''}\n── killed\n`;
    await this.startWorker();
    return Date.now();
  }

  private startSync(): Promise<SyncHandle> {
    const configuration = configurationOf(this.cell, `http://127.0.0.1:${this.port}`);
    return this.client.start(configuration, { taskQueue: this.taskQueue, workflowId: uniqueName('cell') });
  }

  private async startPaused(): Promise<SyncHandle> {
    let handle: SyncHandle;
    if (isWhole(this.cell.strategy)) {
      // One request is all there is: it is told to pause before a worker is there to begin.
      handle = await this.startSync();
      await handle.pause();
      await this.startWorker();
    } else {
      await this.startWorker();
      handle = await this.startSync();
      await until(async () => (await handle.progress()).batches > 0, 30, 'the first batch');
      await handle.pause();
    }
    await until(async () => (await handle.progress()).status === 'paused', 30, 'the pause');
    return handle;
  }

  private async startServer(): Promise<void> {
    const [grpc = 0, ui = 0] = this.ownServer === null ? await freePorts([0, 0]) : [];
    const port = this.ownServer === null ? grpc : Number(this.ownServer.address.split(':')[1]);
    const options = { cli: this.options.cli, stateDir: this.home, env: envWithoutTemporal() };
    this.ownServer = await startLocalServer({ ...options, ports: { grpc: port, ui } });
    this.ownClient ??= await connect(this.ownServer.address);
  }

  private reach(requests: number): Promise<void> {
    return soon(async () => (await this.demo.stats()).requests >= requests, `${requests} requests`);
  }

  /** The log of commits, in order. */
  private async commits(): Promise<{ id: string; base: string; rows: number; at: number }[]> {
    const rows = await this.destination.read(
      this.at,
      `SELECT id, base, "rows"::INT, epoch_ms(committed_at AT TIME ZONE 'UTC')::DOUBLE FROM _highwater_batches ORDER BY committed_at`,
    );
    return rows.map(([id, base, count, at]) => ({
      id: String(id),
      base: String(base),
      rows: Number(count),
      at: Number(at),
    }));
  }

  /** Rows, commits and checkpoint. @returns the cursor. */
  private async verify(wanted: Json): Promise<Json> {
    const { point, strategy } = this.cell;
    const { missing, stale, extra } = await this.destination.difference(this.demo, this.at, this.view);
    if (missing.length + stale.length + extra.length > 0) {
      const some = [...missing, ...stale, ...extra].slice(0, 3).join(', ');
      throw new Error(
        `the destination differs: ${missing.length} missing, ${stale.length} stale, ${extra.length} too many (${some})`,
      );
    }
    const commits = await this.commits();
    if (new Set(commits.map(({ id }) => id)).size !== commits.length) {
      throw new Error('a batch was applied twice');
    }
    const [stored] = await this.destination.read(this.at, 'SELECT id, cursor FROM _highwater_checkpoints');
    const changing = point === 'api.changing';
    const broken = commits.slice(1).filter(({ base }, i) => base !== commits[i]?.id).length;
    // A second sync takes the stream over with a checkpoint of its own.
    if (broken > (changing ? 1 : 0)) throw new Error('the chain of commits is broken');
    if (stored?.[0] !== commits.at(-1)?.id) throw new Error('the checkpoint is not that of the last commit');
    const written = commits.reduce((sum, { rows }) => sum + rows, 0);
    const { rows } = SIZES[strategy];
    const isMore = this.destination.countsVersions === true && written > rows;
    if (!changing && written !== rows && !isMore)
      throw new Error(`${written} rows were written, not ${rows}`);
    const cursor = comparable(JSON.parse(String(stored?.[1])) as Cursor, this.cell);
    // A page that came twice, or rows that moved, are told in notes, and other rows in another mark.
    if (
      wanted !== null &&
      !changing &&
      point !== 'api.repeat' &&
      !isDeepStrictEqual(cursor, comparable(wanted as unknown as Cursor, this.cell))
    ) {
      throw new Error(
        `the cursor is ${JSON.stringify(cursor)}, not ${JSON.stringify(comparable(wanted as unknown as Cursor, this.cell))}`,
      );
    }
    return cursor;
  }

  private async expectTidy(): Promise<void> {
    await this.worker?.end();
    const left = (await readdir(this.folder)).filter((name) => !this.destination.remains.includes(name));
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
  }
}

/**
 * A cursor without what depends on the way: the number of passes where there may be one more (under an interval, and
 * where the last commit of a pass was never reported, so that the sync opens the stream anew), and the places at which
 * offset remembers a record, which are those where batches happened to end.
 */
function comparable(cursor: Cursor, { point, strategy }: DemoCell): Json {
  const plain = { ...cursor };
  const unreported = point === 'commit.after' || point === 'report.before';
  if (point === 'continue_as_new' || (unreported && isWhole(strategy))) {
    plain.pass = 1;
    // The second pass finds out that the filter includes the requested value, and asks for less.
    if (isWhole(strategy)) {
      plain.mark = { ...(cursor.mark as { [name: string]: Json }), inclusive: true };
      delete plain.since;
    }
  }
  if (strategy === 'offset') plain.mark = { offset: (cursor.mark as { offset: number }).offset };
  return plain;
}

async function killServer(server: LocalServer | null): Promise<void> {
  const pid = server?.pid ?? null;
  if (pid === null) throw new Error('the server has no process');
  process.kill(pid, 'SIGKILL');
  await until(() => !processExists(pid), 5, 'the server to be gone');
}

/** As `until`, looked at much more often: what is waited for lasts milliseconds. */
async function soon(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await delay(3);
  }
}

/** Asks again while a worker is on its way. */
async function eventually<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (thrown) {
      if (attempt === 5) throw thrown;
      await delay(500);
    }
  }
}

async function within<T>(seconds: number, work: Promise<T>, what: string): Promise<T> {
  const timer = new AbortController();
  const late = delay(seconds * 1000, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`waited ${seconds} s in vain for ${what}`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
  }
}

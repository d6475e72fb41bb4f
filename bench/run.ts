/**
 * Compares Highwater with the minimum work that any program must do, and with its peers: the same API process, the same
 * rows, alternating runs. `npm run bench -- --help` lists the options.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Command, Option } from 'commander';
import { table } from '../src/cli/output.js';
import { HighwaterClient } from '../src/client.js';
import { REFERENCE_COLUMNS } from '../src/config/reference-source.js';
import { target } from '../src/connection.js';
import { startDemoApi } from '../src/dev/demo-api.js';
import { startLocalServer } from '../src/dev/temporal-server.js';
import type { Json } from '../src/protocol.js';
import { cpuSecondsOf, cpuSecondsOfChildren } from './cpu.js';
import { startBenchWorker, TASK_QUEUE } from './worker.js';
import { installPostgres, startPostgres } from '../test/helpers/postgres.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const execute = promisify(execFile);

interface Measure {
  seconds: number;
  /** CPU time of all processes except the API and PostgreSQL; absent if unknown. */
  cpuSeconds?: number;
  rows: number;
  peakRssMb: number;
  events?: number;
  historyBytes?: number;
  /** PostgreSQL: log and table with its index, per row. */
  walBytes?: number;
  tableBytes?: number;
  /** CPU time of the PostgreSQL server. */
  serverSeconds?: number;
}

const options = new Command('bench')
  .option('--rows <list>', 'comma-separated row counts of the source', '1000000')
  .option('--page-size <list>', 'records a page', '1000')
  .option('--latency <list>', 'milliseconds that the API waits before each answer', '0')
  .option('--runs <n>', 'measured runs of each program', '3')
  .option('--warm-up <n>', 'runs before the measured ones', '1')
  .option('--strategy <name>', 'offset, keyset or timestamp', 'offset')
  .option('--api-seconds <n>', 'instead of --rows: as many rows as the API alone delivers in this time')
  .addOption(
    new Option('--destination <kind>', 'kind of destination; the peers write DuckDB only')
      .choices(['duckdb', 'postgres', 'parquet', 'ndjson'])
      .default('duckdb'),
  )
  .option(
    '--no-stamps',
    'omit the columns with time and batch of the last write, in Highwater and in the limit',
  )
  .option(
    '--only <list>',
    'limit, read (the API alone), highwater, made, transform (with an expression and a hash), and peers by name',
    'limit,highwater',
  )
  .option('--out <file>', 'file for the figures as JSON', 'bench/results.json')
  .parse()
  .opts<{
    rows: string;
    pageSize: string;
    latency: string;
    runs: string;
    warmUp: string;
    strategy: 'offset' | 'keyset' | 'timestamp';
    only: string;
    apiSeconds?: string;
    destination: 'duckdb' | 'postgres' | 'parquet' | 'ndjson';
    stamps: boolean;
    out: string;
  }>();

const numbers = (list: string) => list.split(',').map(Number);
const names = options.only.split(',');
/** The measure that others are compared with. */
const base = ['limit', 'read', 'highwater'].find((name) => names.includes(name)) ?? 'read';
const PATHS = {
  offset: '/pagination/offset',
  keyset: '/pagination/keyset',
  timestamp: '/incremental/timestamp',
} as const;

const folder = await mkdtemp(join(tmpdir(), 'highwater-bench-'));
const home = join(folder, 'state');
await mkdir(home);
const server = await startLocalServer({ stateDir: home, ports: { grpc: 0, ui: 0 }, log: console.error });
const client = await HighwaterClient.connect(target(server.address));
const postgres = options.destination === 'postgres' ? await startPostgresHere() : null;
const results: object[] = [];
const lines: (string | number)[][] = [];
let databases = 0;

try {
  for (const rows of numbers(options.rows)) {
    for (const pageSize of numbers(options.pageSize)) {
      for (const latency of numbers(options.latency)) await cell(rows, pageSize, latency);
    }
  }
  const header = [
    'rows',
    'page',
    'latency',
    'program',
    'rows/s',
    'min',
    'max',
    `of ${base}`,
    'CPU s',
    'peak RSS MB',
    'events',
    'history KB',
    ...(postgres === null ? [] : ['PostgreSQL CPU s', 'WAL B/row', 'table B/row']),
  ];
  console.log(`\n${machine()}\n`);
  console.log(table(header, lines));
  await writeFile(
    resolve(root, options.out),
    `${JSON.stringify({ machine: machine(), when: new Date().toISOString(), results }, null, 2)}\n`,
  );
  console.log(`\nFigures: ${options.out}`);
} finally {
  await client.close();
  await server.stop();
  await postgres?.stop();
  await rm(folder, { recursive: true, force: true });
}

async function cell(asked: number, pageSize: number, latency: number): Promise<void> {
  const settings = { max_page: Math.max(50, pageSize), keyset_page: pageSize, latency_ms: latency };
  const rows =
    options.apiSeconds === undefined
      ? asked
      : await rowsIn(Number(options.apiSeconds), settings, asked, pageSize);
  const api = await startDemoApi({ settings: { rows, ...settings } });
  const measures = new Map<string, Measure[]>(names.map((name) => [name, []]));
  try {
    for (let run = -Number(options.warmUp); run < Number(options.runs); run++) {
      for (const name of names) {
        const file = await destinationOf(name, run);
        const logged = await walPosition();
        const worked = postgresSeconds();
        const measure = await program(name, api.url + PATHS[options.strategy], rows, pageSize, file);
        if (postgres !== null && file.startsWith('postgresql:'))
          Object.assign(measure, await bytesPerRow(file, rows, logged), {
            serverSeconds: postgresSeconds() - worked,
          });
        await rm(file.replace(/^files:|\?.*$/g, ''), { recursive: true, force: true });
        if (measure.rows !== rows) console.error(`${name} wrote ${measure.rows} of ${rows} rows`);
        console.error(`${name}: ${Math.round(rows / measure.seconds)} rows/s${run < 0 ? ' (warm-up)' : ''}`);
        if (run >= 0) measures.get(name)?.push(measure);
      }
    }
  } finally {
    await api.stop();
  }
  const rate = (name: string) => median((measures.get(name) ?? []).map((m) => rows / m.seconds));
  for (const name of names) {
    const all = measures.get(name) ?? [];
    const rates = all.map((m) => rows / m.seconds);
    const ratios = all.map((m, i) => (measures.get(base)?.[i]?.seconds ?? NaN) / m.seconds);
    const last = all.at(-1);
    lines.push([
      rows,
      pageSize,
      latency,
      name,
      Math.round(rate(name)),
      Math.round(Math.min(...rates)),
      Math.round(Math.max(...rates)),
      Number.isNaN(median(ratios)) ? '' : median(ratios).toFixed(2),
      median(all.map((m) => m.cpuSeconds ?? NaN))
        .toFixed(1)
        .replace('NaN', ''),
      Math.round(Math.max(...all.map((m) => m.peakRssMb))),
      last?.events ?? '',
      last?.historyBytes === undefined ? '' : Math.round(last.historyBytes / 1024),
      ...(postgres === null
        ? []
        : [
            median(all.map((m) => m.serverSeconds ?? NaN)).toFixed(1),
            Math.round(last?.walBytes ?? NaN),
            Math.round(last?.tableBytes ?? NaN),
          ]),
    ]);
    results.push({
      rows,
      pageSize,
      latency,
      strategy: options.strategy,
      program: name,
      runs: all,
      ratiosToLimit: ratios,
    });
  }
}

/** Creates a new file, a new folder of files, or a new database on the server. */
async function destinationOf(name: string, run: number): Promise<string> {
  const { destination } = options;
  if (destination === 'parquet' || destination === 'ndjson')
    return `files:${join(folder, `${name}-${run}`)}?format=${destination}`;
  if (postgres === null) return join(folder, `${name}-${run}.duckdb`);
  const database = `bench${databases++}`;
  await postgres.query(`CREATE DATABASE ${database}`);
  return postgres.url.replace(/[^/]*$/, database);
}

function postgresSeconds(): number {
  return postgres === null ? NaN : cpuSecondsOfChildren(postgres.pid());
}

/** The end of the server's log. */
async function walPosition(): Promise<string> {
  const [row] = (await postgres?.query('SELECT pg_current_wal_insert_lsn()::text AS at')) ?? [];
  return String(row?.['at'] ?? '');
}

async function bytesPerRow(url: string, rows: number, logged: string): Promise<Partial<Measure>> {
  const database = new URL(url).pathname.slice(1);
  const [row] =
    (await postgres?.queryIn(
      database,
      `SELECT pg_current_wal_insert_lsn() - '${logged}'::pg_lsn AS wal, pg_total_relation_size('"user"') AS size`,
    )) ?? [];
  return { walBytes: Number(row?.['wal']) / rows, tableBytes: Number(row?.['size']) / rows };
}

async function startPostgresHere() {
  const install = await installPostgres();
  if (!install.available) throw new Error(install.reason);
  return startPostgres(install.bin);
}

async function program(
  name: string,
  url: string,
  rows: number,
  pageSize: number,
  file: string,
): Promise<Measure> {
  if (name === 'highwater') return highwater(plainStream(url, pageSize), file);
  if (name === 'made') return highwater(madeStream(url, pageSize), file);
  if (name === 'transform') return highwater(transformedStream(url, pageSize), file);
  if (name === 'limit') return bare(url, rows, pageSize, file);
  if (name === 'limit:json') return bare(url, rows, pageSize, file, ['json']);
  if (name === 'read') return bare(url, rows, pageSize, '-');
  return peer(name, url, rows, pageSize, file);
}

async function bare(
  url: string,
  rows: number,
  pageSize: number,
  file: string,
  more: readonly string[] = [],
): Promise<Measure> {
  const script = postgres === null || file === '-' ? 'bench/limit.ts' : 'bench/limit-postgres.ts';
  const args = [join(root, 'node_modules/tsx/dist/cli.mjs'), join(root, script)];
  const stamps = options.stamps && postgres === null && file !== '-' ? ['stamps'] : [];
  const { stdout } = await execute(process.execPath, [
    ...[...args, url, String(rows), String(pageSize), file],
    ...stamps,
    ...more,
  ]);
  return JSON.parse(stdout) as Measure;
}

/** Returns the number of rows that the API alone delivers in this time, measured for about two seconds. */
async function rowsIn(seconds: number, settings: object, most: number, pageSize: number): Promise<number> {
  const api = await startDemoApi({ settings: { rows: most, ...settings } });
  try {
    let rows = 8 * pageSize;
    for (;;) {
      const measure = await bare(api.url + PATHS[options.strategy], rows, pageSize, '-');
      if (measure.seconds >= 1 || rows >= most) {
        return Math.min(most, Math.ceil(((rows / measure.seconds) * seconds) / pageSize) * pageSize);
      }
      rows = Math.min(most, Math.ceil((2 * rows) / Math.max(measure.seconds, 0.2)));
    }
  } finally {
    await api.stop();
  }
}

function plainStream(url: string, pageSize: number): { [key: string]: Json } {
  return {
    strategy: options.strategy,
    base_url: url,
    page_size: pageSize,
    ...(!options.stamps && { stamps: false }),
  };
}

/** The same rows with a column from an expression more, and one hashed with a key. */
function madeStream(url: string, pageSize: number): { [key: string]: Json } {
  const columns = {
    ...REFERENCE_COLUMNS,
    email: { hash: 'sha256', key: '${env:BENCH_KEY}' },
    label: { expression: "name + ' (' + job + ')'", type: 'STRING' },
  };
  return fullStream(url, pageSize, { columns });
}

/** The same rows with a column more, which the hook of a transform adds. */
function transformedStream(url: string, pageSize: number): { [key: string]: Json } {
  return fullStream(url, pageSize, {
    columns: { ...REFERENCE_COLUMNS, label: 'STRING' },
    transform: 'label',
  });
}

function fullStream(url: string, pageSize: number, keys: { [key: string]: Json }): { [key: string]: Json } {
  const stream = {
    name: 'user',
    strategy: options.strategy,
    page_size: pageSize,
    primary_key: 'id',
    ...(options.strategy !== 'offset' && { cursor_field: 'updatedAt' }),
    ...keys,
    total: 'total',
    ...(!options.stamps && { stamps: false }),
  };
  return { source: { base_url: url }, streams: [stream] };
}

/** Starts a worker, and measures the time from the start of the workflow to its result. */
async function highwater(configuration: { [key: string]: Json }, file: string): Promise<Measure> {
  const worker = await startBenchWorker(server.address);
  const cpu = () => cpuSecondsOf(worker.pid) + cpuSecondsOf(server.pid ?? 0);
  const before = cpu();
  const started = performance.now();
  const handle = await client.start({ ...configuration, destination: file }, { taskQueue: TASK_QUEUE });
  const result = await handle.result();
  const seconds = (performance.now() - started) / 1000;
  const cpuSeconds = cpu() - before;
  const description = await client.temporal.workflow.getHandle(handle.workflowId).describe();
  const status = await readFile(`/proc/${worker.pid}/status`, 'utf8').catch(() => '');
  worker.kill('SIGTERM');
  await once(worker, 'exit');
  return {
    seconds,
    ...(!Number.isNaN(cpuSeconds) && { cpuSeconds }),
    rows: result.streams[0]?.rows ?? 0,
    peakRssMb: Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024,
    events: description.historyLength,
    ...(description.historySize !== undefined && { historyBytes: description.historySize }),
  };
}

async function peer(
  name: string,
  url: string,
  rows: number,
  pageSize: number,
  file: string,
): Promise<Measure> {
  const [kind = '', ...flags] = name.split(':');
  const venvs = join(root, 'node_modules/.cache/highwater/peers');
  await execute('python3', [join(root, 'bench/peers/install.py'), kind, venvs]);
  const python = join(venvs, kind, 'bin', 'python');
  if (!existsSync(python)) throw new Error(`${kind} could not be installed`);
  const script = join(root, 'bench/peers', kind, 'run.py');
  const { stdout } = await execute(
    python,
    [script, url, String(rows), String(pageSize), file, ...flags.map((f) => `--${f}`)],
    {
      maxBuffer: 1 << 28,
    },
  );
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Measure;
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} cores (${cpu?.model ?? ''}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}, ${process.platform}`;
}

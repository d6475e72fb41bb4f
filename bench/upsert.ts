/**
 * Measures the cost of a batch by the size of its table: new rows, unchanged rows, rows changed among the last ones,
 * and rows changed anywhere. `npm run bench:upsert -- --rows 10000000`.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { Pool } from 'pg';
import { table as shown } from '../src/cli/output.js';
import { REFERENCE_COLUMNS } from '../src/config/reference-source.js';
import type { Destination } from '../src/destinations/destination.js';
import { DuckDbDestination } from '../src/destinations/duckdb/duckdb.js';
import { DuckDbFile } from '../src/destinations/duckdb/file.js';
import { PostgresDestination } from '../src/destinations/postgres/postgres.js';
import type { StreamKey, TableSpec } from '../src/protocol.js';
import { installPostgres, startPostgres } from '../test/helpers/postgres.js';

const options = new Command('bench:upsert')
  .option('--rows <list>', 'rows that the table has', '100000,1000000,5000000,10000000')
  .option('--batch <n>', 'rows of a batch', '50000')
  .option('--runs <n>', 'batches of each kind', '5')
  .addOption(
    new Option('--destination <kind>', 'what is written').choices(['duckdb', 'postgres']).default('duckdb'),
  )
  .parse()
  .opts<{ rows: string; batch: string; runs: string; destination: 'duckdb' | 'postgres' }>();
const size = Number(options.batch);

const spec: TableSpec = {
  schema: options.destination === 'duckdb' ? 'main' : 'public',
  table: 'user',
  primaryKey: ['id'],
  columns: REFERENCE_COLUMNS,
  stamps: true,
};
const key: StreamKey = {
  schema: spec.schema,
  table: spec.table,
  strategy: 'offset',
  source: 'bench',
  range: '',
};

const md5 = (text: string) => createHash('md5').update(text).digest('hex');
/** Returns record `i` in a version, equal to the SQL of `fill`. */
function record(i: number, version: number): string {
  const id = md5(String(i)).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  const text = (n: number) => md5(String(i * n));
  const time = new Date(Date.UTC(2020, 0, 1) + i * 1000).toISOString();
  const name = `name ${i}${version === 0 ? '' : ` v${version}`}`;
  const rest = {
    email: `${text(3)}@example.com`,
    address: text(5) + text(7),
    company: text(11),
    job: text(13),
  };
  return JSON.stringify({ id, name, ...rest, updatedAt: time, createdAt: time });
}
const fill = (from: number, to: number) => {
  const text = options.destination === 'duckdb' ? 'VARCHAR' : 'text';
  const hash = (n: number) => `md5(CAST(i * ${n} AS ${text}))`;
  const series = options.destination === 'duckdb' ? 'range' : 'generate_series';
  const last = options.destination === 'duckdb' ? to : to - 1;
  const time = `TIMESTAMPTZ '2020-01-01 00:00:00Z' + i * INTERVAL '1 second'`;
  return `INSERT INTO "user" (id, name, email, address, company, job, "updatedAt", "createdAt")
    SELECT CAST(CAST(md5(CAST(i AS ${text})) AS UUID) AS ${text}), 'name ' || i, ${hash(3)} || '@example.com', ${hash(5)} || ${hash(7)},
      ${hash(11)}, ${hash(13)}, ${time}, ${time} FROM ${series}(${from}, ${last}) AS r(i)`;
};

const folder = await mkdtemp(join(tmpdir(), 'highwater-upsert-'));
interface Target {
  destination: Destination;
  run: (sql: string) => Promise<unknown>;
  close: () => Promise<void>;
}
async function duckDb(): Promise<Target> {
  // The worker's settings.
  const file = new DuckDbFile(join(folder, 'x.duckdb'), {
    memoryLimit: '128MiB',
    longRecordsMemory: '192MiB',
    threads: 1,
    idleMilliseconds: 60_000,
    folders: [folder],
  });
  const destination = new DuckDbDestination(file);
  return {
    destination,
    run: (sql) => file.read((_, connection) => connection.run(sql)),
    close: () => destination.close(),
  };
}
async function postgres(): Promise<Target> {
  const install = await installPostgres();
  if (!install.available) throw new Error(install.reason);
  const server = await startPostgres(install.bin);
  const pool = new Pool({ connectionString: server.url, max: 2 });
  const destination = new PostgresDestination(pool, server.url);
  return {
    destination,
    run: (sql) => pool.query(sql),
    close: async () => {
      await destination.close();
      await server.stop();
    },
  };
}

const { destination, run, close } = await (options.destination === 'duckdb' ? duckDb() : postgres());
let base: string;
let batches = 0;
const open = async () => {
  const workflowId = `bench-${batches++}`;
  const holder = { workflowId, firstRunId: workflowId, runId: '', namespace: '', cluster: '' };
  const isRunning = () => Promise.resolve(false);
  base = (await destination.openStream({ key, table: spec, holder, full: false, takeOver: false, isRunning }))
    .checkpoint.id;
};
/** Writes a batch. @returns milliseconds, including the commit. */
async function write(records: number[], version: number): Promise<number> {
  const path = join(folder, 'batch.ndjson');
  await writeFile(path, records.map((i) => `${record(i, version)}\n`).join(''));
  const next = `batch-${batches++}`;
  const cursor = { pass: 1, mark: null, position: {}, ended: null, notes: [] };
  const request = {
    key,
    table: spec,
    base,
    next,
    cursor,
    records: records.length,
    pages: 50,
    workflowId: '',
  };
  const { size: bytes } = await stat(path);
  const started = performance.now();
  await destination.write({ ...request, bytes, longest: 400, files: () => Promise.resolve([path]) });
  const took = performance.now() - started;
  base = next;
  return took;
}

const lines: string[][] = [];
let count = 0;
const last = (n: number) => Array.from({ length: n }, (_, i) => count - n + i);
await open();
for (const rows of options.rows.split(',').map(Number)) {
  for (; count < rows; count = Math.min(rows, count + 1_000_000))
    await run(fill(count, Math.min(rows, count + 1_000_000)));
  await open();
  const kinds: Record<string, (n: number) => Promise<number>> = {
    new: async () => {
      count += size;
      return write(last(size), 0);
    },
    'read again': () => write(last(size), 0),
    'changed, recent': (n) => write(last(size), n),
    'changed, anywhere': (n) =>
      write([...new Set(Array.from({ length: size }, () => Math.floor(Math.random() * count)))], n),
  };
  const line = [rows.toLocaleString('en-US')];
  for (const [kind, one] of Object.entries(kinds)) {
    const times: number[] = [];
    for (let n = 1; n <= Number(options.runs); n++) times.push(await one(rows * 10 + n));
    times.sort((a, b) => a - b);
    line.push(`${Math.round(times[Math.floor(times.length / 2)] ?? 0)} (${Math.round(times.at(-1) ?? 0)})`);
    console.error(`${rows} rows, ${kind}: ${times.map(Math.round).join(' ')} ms`);
  }
  lines.push(line);
}
await close();
await rm(folder, { recursive: true, force: true });
console.log(
  shown(
    ['rows there', 'new', 'read again', 'changed, recent', 'changed, anywhere'].map((name) => name),
    lines,
  ),
);
console.log(
  `milliseconds per batch of ${size} rows into ${options.destination}: median (longest of ${options.runs})`,
);

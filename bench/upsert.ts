/**
 * Measures the cost of a batch by the size of its table: new rows, unchanged rows, rows changed among the last ones,
 * and rows changed anywhere. `npm run bench:upsert -- --rows 10000000`.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { Client, Pool } from 'pg';
import { table as shown } from '../src/cli/output.js';
import { REFERENCE_COLUMNS } from '../src/config/reference-source.js';
import type { Destination } from '../src/destinations/destination.js';
import { DuckDbDestination } from '../src/destinations/duckdb/duckdb.js';
import { DuckDbFile } from '../src/destinations/duckdb/file.js';
import { PostgresDestination } from '../src/destinations/postgres/postgres.js';
import type { StreamKey, TableSpec } from '../src/protocol.js';
import { installPostgres, startPostgres } from '../test/helpers/postgres.js';
import { copyRecords, DEFINITION } from './postgres-rows.js';

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
  /** Writes a file of records without anything else; see {@link bareLoader}. */
  bare?: (path: string) => Promise<void>;
  /** The end of the server's log. */
  logged?: () => Promise<number>;
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
  const client = new Client({ connectionString: server.url });
  await client.connect();
  return {
    destination,
    run: (sql) => pool.query(sql),
    bare: bareLoader(client),
    logged: async () => {
      const { rows } = await client.query<{ at: string }>(
        "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS at",
      );
      return Number(rows[0]?.at);
    },
    close: async () => {
      await client.end();
      await destination.close();
      await server.stop();
    },
  };
}

/**
 * The fastest that was found to get records into a table that has some of them: COPY, in the order of their keys, into a temporary
 * table, and INSERT … ON CONFLICT. It leaves unchanged rows as they are, and knows no batch and no time of a write.
 */
function bareLoader(client: Client): (path: string) => Promise<void> {
  const names = Object.keys(REFERENCE_COLUMNS).filter((name) => name !== 'id');
  const set = names.map((name) => `"${name}" = excluded."${name}"`).join(', ');
  const isOther = names.map((name) => `t."${name}" IS DISTINCT FROM excluded."${name}"`).join(' OR ');
  const all = ['id', ...names].map((name) => `"${name}"`).join(', ');
  return async (path) => {
    await client.query(`BEGIN; CREATE TEMP TABLE batch (${DEFINITION}) ON COMMIT DROP`);
    await copyRecords(client, 'batch', await readFile(path));
    await client.query(
      `INSERT INTO "user" AS t (${all}) SELECT ${all} FROM batch
         ON CONFLICT (id) DO UPDATE SET ${set} WHERE ${isOther}; COMMIT`,
    );
  };
}

const { destination, run, close, bare, logged } = await (options.destination === 'duckdb'
  ? duckDb()
  : postgres());
let base: string;
let batches = 0;
const open = async () => {
  const workflowId = `bench-${batches++}`;
  const holder = { workflowId, firstRunId: workflowId, runId: '', namespace: '', cluster: '' };
  const isRunning = () => Promise.resolve(false);
  base = (await destination.openStream({ key, table: spec, holder, full: false, takeOver: false, isRunning }))
    .checkpoint.id;
};
/** One write: milliseconds, including the commit, and bytes of the server's log. */
interface Took {
  milliseconds: number;
  walBytes: number;
}

const path = join(folder, 'batch.ndjson');
const writeRecords = (records: number[], version: number) =>
  writeFile(path, records.map((i) => `${record(i, version)}\n`).join(''));

async function timed(work: () => Promise<unknown>): Promise<Took> {
  const before = (await logged?.()) ?? 0;
  const started = performance.now();
  await work();
  const milliseconds = performance.now() - started;
  return { milliseconds, walBytes: ((await logged?.()) ?? 0) - before };
}

/** Writes a batch with Highwater. */
async function write(records: number[], version: number): Promise<Took> {
  await writeRecords(records, version);
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
  const took = await timed(() =>
    destination.write({ ...request, bytes, longest: 400, files: () => Promise.resolve([path]) }),
  );
  base = next;
  return took;
}

/** Writes a batch with the bare loader. */
async function writeBare(records: number[], version: number): Promise<Took> {
  await writeRecords(records, version);
  return timed(() => bare?.(path) ?? Promise.resolve());
}

type Writer = (records: number[], version: number) => Promise<Took>;
const writers: [name: string, writer: Writer][] = [
  ['Highwater', write],
  ...(bare === undefined ? [] : [['bare', writeBare] as [string, Writer]]),
];
const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

const lines: string[][] = [];
let count = 0;
const last = (n: number) => Array.from({ length: n }, (_, i) => count - n + i);
await open();
for (const rows of options.rows.split(',').map(Number)) {
  for (; count < rows; count = Math.min(rows, count + 1_000_000))
    await run(fill(count, Math.min(rows, count + 1_000_000)));
  await open();
  const kinds: Record<string, (writer: Writer, n: number) => Promise<Took>> = {
    new: (writer) => {
      count += size;
      return writer(last(size), 0);
    },
    'read again': (writer) => writer(last(size), 0),
    'changed, recent': (writer, n) => writer(last(size), n),
    'changed, anywhere': (writer, n) =>
      writer([...new Set(Array.from({ length: size }, () => Math.floor(Math.random() * count)))], n),
  };
  const rowLines = writers.map(([name]) => [rows.toLocaleString('en-US'), name]);
  for (const [kind, one] of Object.entries(kinds)) {
    const took = writers.map((): Took[] => []);
    for (let n = 1; n <= Number(options.runs); n++) {
      for (const [i, [, writer]] of writers.entries())
        took[i]?.push(await one(writer, (rows * 10 + n) * 10 + i));
    }
    for (const [i, [name]] of writers.entries()) {
      const all = took[i] ?? [];
      const milliseconds = median(all.map((each) => each.milliseconds));
      const ratio = median(all.map((each, n) => (took.at(-1)?.[n]?.milliseconds ?? NaN) / each.milliseconds));
      const wal = median(all.map(({ walBytes }) => walBytes)) / size;
      const bytes = logged === undefined ? '' : ` · ${ratio.toFixed(2)} · ${Math.round(wal)} B`;
      rowLines[i]?.push(`${Math.round(milliseconds)}${bytes}`);
      console.error(
        `${rows} rows, ${kind}, ${name}: ${all.map((each) => Math.round(each.milliseconds)).join(' ')} ms`,
      );
    }
  }
  lines.push(...rowLines);
}
await close();
await rm(folder, { recursive: true, force: true });
console.log(
  shown(['rows there', 'program', 'new', 'read again', 'changed, recent', 'changed, anywhere'], lines),
);
console.log(
  `milliseconds per batch of ${size} rows into ${options.destination}, median of ${options.runs}` +
    (logged === undefined ? '' : "; ratio to the bare loader; bytes of the server's log a row"),
);

/**
 * The limit: the minimum work to get the same pages into the same DuckDB table. No workflow, no checkpoint, no checks,
 * no JavaScript per row: the list in each body is cut out by its brackets and appended to a file, one list per batch.
 * DuckDB reads the file while the next batch is fetched. Keys are found by an 8-byte hash and buffers of bodies are
 * reused, as in Highwater: each made it faster.
 *
 * Run by `npm run bench`; alone: `tsx bench/limit.ts URL ROWS PAGE_SIZE FILE.duckdb [stamps]`. With `stamps` rows have
 * Highwater's two default columns, time and batch of the last write. With `-` as the file it only reads, which measures
 * the API. With `files:FOLDER` or `files:FOLDER?format=ndjson` each batch becomes a file.
 */
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { Agent } from 'node:http';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import fetch from 'node-fetch';
import { PageBuffer } from '../src/sources/page-buffer.js';

const [url = '', rowsText = '', pageSizeText = '', file = '', stamps] = process.argv.slice(2);
const rows = Number(rowsText);
const pageSize = Number(pageSizeText);
const IN_FLIGHT = 4;
const BATCH_ROWS = 100_000;
const [OPEN, COMMA, CLOSE] = [Buffer.from('['), Buffer.from(','), Buffer.from(']')];

if (file === '-') {
  await readOnly();
  process.exit(0);
}

const COLUMNS = {
  id: 'VARCHAR',
  name: 'VARCHAR',
  email: 'VARCHAR',
  address: 'VARCHAR',
  company: 'VARCHAR',
  job: 'VARCHAR',
  updatedAt: 'TIMESTAMPTZ',
  createdAt: 'TIMESTAMPTZ',
};
const columns = Object.entries(COLUMNS);
const struct = columns.map(([name, type]) => `"${name}" ${type}`).join(', ');
const own = [
  'h UBIGINT',
  ...(stamps === undefined ? [] : ['_highwater_synced_at TIMESTAMPTZ', '_highwater_batch VARCHAR']),
];
const ownValues = (batch: number) =>
  stamps === undefined ? '' : `, now(), 'batch${String(batch).padStart(7, '0')}'`;

const folder = await mkdtemp(join(tmpdir(), 'highwater-limit-'));
const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
const [, lake, format = 'parquet'] = /^files:([^?]*)(?:\?format=(.*))?$/.exec(file) ?? [];
if (lake !== undefined) await mkdir(lake, { recursive: true });
const instance = await DuckDBInstance.create(lake === undefined ? file : ':memory:', {
  // Faster here than two: the other core fetches.
  threads: String(Math.max(availableParallelism() - 1, 1)),
  memory_limit: '192MiB',
  checkpoint_threshold: '256MB',
});
const connection = await instance.connect();
await connection.run("SET TimeZone = 'UTC'");
await connection.run(`CREATE TABLE "user" (${[struct, ...own].join(', ')})`);

const started = performance.now();
const pages = Math.ceil(rows / pageSize);
const pagesPerBatch = Math.max(1, Math.floor(BATCH_ROWS / pageSize));

async function readOnly(): Promise<void> {
  const reading = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
  const start = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < rows) {
      const offset = next;
      next += pageSize;
      const response = await fetch(`${url}?offset=${offset}&limit=${pageSize}`, { agent: reading });
      if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
      await response.arrayBuffer();
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  const seconds = (performance.now() - start) / 1000;
  console.log(JSON.stringify({ rows, seconds, peakRssMb: process.resourceUsage().maxRSS / 1024 }));
}

/** Passes on the records of a page as received, without the enclosing brackets. */
async function fetchPage(page: number, take: (records: Buffer) => Promise<void>): Promise<void> {
  const response = await fetch(`${url}?offset=${page * pageSize}&limit=${pageSize}`, { agent });
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  const gathered = new PageBuffer();
  for await (const chunk of response.body) gathered.add(chunk as Buffer);
  const body = gathered.take();
  await take(body.subarray(body.indexOf('[') + 1, body.lastIndexOf(']')));
  gathered.release();
}

/** Fetches a batch into a file that contains one list. */
async function fetchBatch(first: number): Promise<string> {
  const last = Math.min(first + pagesPerBatch, pages);
  const path = join(folder, `${first}.json`);
  const file = await open(path, 'w');
  let next = first;
  let length = 0;
  const append = async (...parts: Buffer[]) => {
    const at = length;
    for (const part of parts) length += part.length;
    await file.writev(parts, at);
  };
  const lane = async () => {
    while (next < last) await fetchPage(next++, (records) => append(length === 0 ? OPEN : COMMA, records));
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  await append(CLOSE);
  await file.close();
  return path;
}

async function writeBatch(path: string): Promise<void> {
  if (lake !== undefined) {
    const options = format === 'ndjson' ? 'FORMAT json' : 'FORMAT parquet, COMPRESSION zstd';
    const copied = await connection.run(
      `COPY (SELECT * FROM read_json('${path}', columns = {${columns.map(([n, t]) => `'${n}':'${t}'`).join(',')}}, format = 'array', maximum_object_size = 1048576))
         TO '${join(lake, `${copiedRows}.${format}`)}' (${options})`,
    );
    copiedRows += copied.rowsChanged;
    await rm(path);
    return;
  }
  await connection.run('BEGIN TRANSACTION');
  await connection.run(
    `CREATE OR REPLACE TEMP TABLE batch AS SELECT *, hash(id) AS h FROM read_json('${path}', columns = {${columns.map(([n, t]) => `'${n}':'${t}'`).join(',')}}, format = 'array', maximum_object_size = 1048576)`,
  );
  const known = await connection.runAndReadAll(
    'SELECT count(*) FROM "user" AS t JOIN (SELECT h FROM batch) AS s ON t.h = s.h',
  );
  if (Number(known.getRowsJson()[0]?.[0]) === 0)
    await connection.run(`INSERT INTO "user" SELECT *${ownValues(batches)} FROM batch`);
  else {
    const names = columns.map(([name]) => `"${name}"`);
    await connection.run(
      `MERGE INTO "user" AS t USING batch AS s ON t.id = s.id
         WHEN MATCHED THEN UPDATE SET ${names.map((name) => `${name} = s.${name}`).join(', ')}
         WHEN NOT MATCHED THEN INSERT VALUES (${names.map((name) => `s.${name}`).join(', ')}${ownValues(batches)})`,
    );
  }
  await connection.run('COMMIT');
  batches++;
  await rm(path);
}

let copiedRows = 0;
let batches = 0;
let ahead = fetchBatch(0);
for (let page = 0; page < pages; page += pagesPerBatch) {
  const file = await ahead;
  if (page + pagesPerBatch < pages) ahead = fetchBatch(page + pagesPerBatch);
  await writeBatch(file);
}
const seconds = (performance.now() - started) / 1000;

const [[count]] = (await connection.runAndReadAll('SELECT count(*)::INTEGER FROM "user"')).getRowsJson() as [
  [number],
];
connection.closeSync();
instance.closeSync();
await rm(folder, { recursive: true });
const written = lake === undefined ? count : copiedRows;
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
const cpuSeconds = (userCPUTime + systemCPUTime) / 1e6;
console.log(JSON.stringify({ rows: written, seconds, cpuSeconds, peakRssMb: maxRSS / 1024 }));
process.exit(0);

/**
 * The minimum work to get the same pages into the same new PostgreSQL table: COPY straight into it, with its key, while
 * the next batch is fetched. No workflow, no checkpoint, no checks; a key that comes twice would be an error.
 *
 * Run by `npm run bench -- --destination postgres`; alone: `tsx bench/limit-postgres.ts URL ROWS PAGE_SIZE
 * postgresql://… [json]`. With `json` it parses pages with JSON.parse and copies text, as programs do that are not written for
 * speed at any price: without, it finds values in the bytes as Highwater does, encodes them in binary format and copies rows in
 * the order of their keys.
 */
import { Agent } from 'node:http';
import { once } from 'node:events';
import fetch from 'node-fetch';
import { Client } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { PageBuffer } from '../src/sources/page-buffer.js';
import { copyRecords, DEFINITION } from './postgres-rows.js';

const [url = '', rowsText = '', pageSizeText = '', server = '', variant] = process.argv.slice(2);
const rows = Number(rowsText);
const pageSize = Number(pageSizeText);
const IN_FLIGHT = 4;
const BATCH_ROWS = 50_000;
const COLUMNS = ['id', 'name', 'email', 'address', 'company', 'job', 'updatedAt', 'createdAt'];

const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
const client = new Client({ connectionString: server });
await client.connect();
await client.query(`CREATE TABLE "user" (${DEFINITION}, PRIMARY KEY (id))`);

const started = performance.now();
const began = process.cpuUsage();
const pages = Math.ceil(rows / pageSize);
const pagesPerBatch = Math.max(1, Math.floor(BATCH_ROWS / pageSize));
const address = (page: number) => `${url}?offset=${page * pageSize}&limit=${pageSize}`;

/** Returns the records of a page, as they stand in its list. */
async function fetchBytes(page: number): Promise<Buffer> {
  const response = await fetch(address(page), { agent });
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  const gathered = new PageBuffer();
  for await (const chunk of response.body) gathered.add(chunk as Buffer);
  const body = gathered.take();
  const records = Buffer.from(body.subarray(body.indexOf('[') + 1, body.lastIndexOf(']')));
  gathered.release();
  return records;
}

const SPECIAL: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
const escaped = (value: string) => value.replace(/[\\\n\r\t]/g, (c) => SPECIAL[c] ?? c);

/** Returns the records of a page as lines for COPY. */
async function fetchText(page: number): Promise<string> {
  const response = await fetch(address(page), { agent });
  const body = await response.text();
  const { data } = JSON.parse(body) as { data: Record<string, string>[] };
  // Characters that COPY wants escaped are escaped in JSON too.
  const isPlain = !body.includes('\\');
  let text = '';
  for (const record of data)
    text += `${COLUMNS.map((name) => (isPlain ? record[name] : escaped(record[name] ?? ''))).join('\t')}\n`;
  return text;
}

async function fetchBatch<Page>(first: number, fetchPage: (page: number) => Promise<Page>): Promise<Page[]> {
  const last = Math.min(first + pagesPerBatch, pages);
  const fetched: Page[] = [];
  let next = first;
  const lane = async () => {
    while (next < last) {
      const page = next++;
      fetched[page - first] = await fetchPage(page);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return fetched;
}

const COMMA = Buffer.from(',');

const copyBytes = (batch: Buffer[]) =>
  copyRecords(client, '"user"', Buffer.concat(batch.flatMap((page) => [page, COMMA])));

async function copyText(batch: string[]): Promise<void> {
  const copy = client.query(copyFrom('COPY "user" FROM STDIN'));
  for (const text of batch) if (!copy.write(text)) await once(copy, 'drain');
  copy.end();
  await once(copy, 'finish');
}

async function load<Page>(
  fetchPage: (page: number) => Promise<Page>,
  write: (batch: Page[]) => Promise<void>,
): Promise<void> {
  let ahead = fetchBatch(0, fetchPage);
  for (let page = 0; page < pages; page += pagesPerBatch) {
    const batch = await ahead;
    const next = page + pagesPerBatch;
    ahead = next < pages ? fetchBatch(next, fetchPage) : Promise.resolve([]);
    await write(batch);
  }
}

await (variant === 'json' ? load(fetchText, copyText) : load(fetchBytes, copyBytes));
const seconds = (performance.now() - started) / 1000;
const cpu = process.cpuUsage(began);
const counted = await client.query<{ n: string }>('SELECT count(*) AS n FROM "user"');
await client.end();
console.log(
  JSON.stringify({
    rows: Number(counted.rows[0]?.n),
    seconds,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    peakRssMb: process.resourceUsage().maxRSS / 1024,
  }),
);

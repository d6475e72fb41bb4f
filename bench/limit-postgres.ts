/**
 * The minimum work to get the same pages into the same PostgreSQL table: parse, COPY into a temporary table, one INSERT
 * … ON CONFLICT per batch, while the next batch is fetched. No workflow, no checkpoint, no checks.
 *
 * Run by `npm run bench -- --destination postgres`; alone: `tsx bench/limit-postgres.ts URL ROWS PAGE_SIZE
 * postgresql://…`.
 */
import { Agent } from 'node:http';
import { once } from 'node:events';
import fetch from 'node-fetch';
import { Client } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';

const [url = '', rowsText = '', pageSizeText = '', server = ''] = process.argv.slice(2);
const rows = Number(rowsText);
const pageSize = Number(pageSizeText);
const IN_FLIGHT = 4;
const BATCH_ROWS = 50_000;
const COLUMNS = ['id', 'name', 'email', 'address', 'company', 'job', 'updatedAt', 'createdAt'];
const quoted = COLUMNS.map((name) => `"${name}"`).join(', ');

const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
const client = new Client({ connectionString: server });
await client.connect();
await client.query(
  `CREATE TABLE "user" (${COLUMNS.map((name) => `"${name}" ${name.endsWith('At') ? 'timestamptz' : 'text'}`).join(', ')}, PRIMARY KEY (id))`,
);

const started = performance.now();
const pages = Math.ceil(rows / pageSize);
const pagesPerBatch = Math.max(1, Math.floor(BATCH_ROWS / pageSize));

async function fetchPage(page: number): Promise<string> {
  const response = await fetch(`${url}?offset=${page * pageSize}&limit=${pageSize}`, { agent });
  const { data } = (await response.json()) as { data: Record<string, string>[] };
  let text = '';
  for (const record of data) text += `${COLUMNS.map((name) => escaped(record[name])).join('\t')}\n`;
  return text;
}

const SPECIAL: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
const escaped = (value: string | undefined) =>
  value === undefined
    ? '\\N'
    : /[\\\n\r\t]/.test(value)
      ? value.replace(/[\\\n\r\t]/g, (c) => SPECIAL[c] ?? c)
      : value;

async function fetchBatch(first: number): Promise<string[]> {
  const last = Math.min(first + pagesPerBatch, pages);
  const texts: string[] = [];
  let next = first;
  const lane = async () => {
    while (next < last) {
      const page = next++;
      texts[page - first] = await fetchPage(page);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return texts;
}

async function writeBatch(texts: string[]): Promise<void> {
  await client.query('BEGIN; CREATE TEMP TABLE batch (LIKE "user") ON COMMIT DROP');
  const copy = client.query(copyFrom('COPY batch FROM STDIN'));
  for (const text of texts) if (!copy.write(text)) await once(copy, 'drain');
  copy.end();
  await once(copy, 'finish');
  await client.query(
    `INSERT INTO "user" SELECT * FROM batch ON CONFLICT (id) DO UPDATE SET (${quoted}) = ROW (${COLUMNS.map((name) => `excluded."${name}"`).join(', ')}); COMMIT`,
  );
}

let ahead = fetchBatch(0);
for (let page = 0; page < pages; page += pagesPerBatch) {
  const texts = await ahead;
  ahead = page + pagesPerBatch < pages ? fetchBatch(page + pagesPerBatch) : Promise.resolve([]);
  await writeBatch(texts);
}
const seconds = (performance.now() - started) / 1000;
const counted = await client.query<{ n: string }>('SELECT count(*) AS n FROM "user"');
await client.end();
console.log(
  JSON.stringify({
    rows: Number(counted.rows[0]?.n),
    seconds,
    peakRssMb: process.resourceUsage().maxRSS / 1024,
  }),
);

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import type { FaultInput } from '../../src/dev/demo-api.js';
import {
  asciiJson,
  decodeBase64,
  parseTimestamp,
  pythonInt,
  pythonSlice,
} from '../../src/dev/demo-api/python.js';
import { TokenBucket } from '../../src/dev/demo-api/rate-limit.js';
import { Records, type IdForm } from '../../src/dev/demo-api/records.js';
import { changeSettings, DEFAULT_SETTINGS, parseMutation } from '../../src/dev/demo-api/settings.js';
import { startDemo, useDemo } from '../helpers/demo.js';

interface Row {
  id: string;
  updatedAt: string;
  createdAt: string;
  [field: string]: string;
}

interface Page {
  data: Row[];
  [field: string]: unknown;
}

const demo = useDemo();

async function text(path: string): Promise<string> {
  const response = await fetch(demo().url + path);
  const body = await response.text();
  if (!response.ok) throw new Error(`${response.status} ${body}`);
  return body;
}

const page = async (path: string): Promise<Page> => JSON.parse(await text(path)) as Page;
const ids = (rows: readonly { id: string }[]): string[] => rows.map((row) => row.id);
const times = (rows: readonly { updatedAt: string }[]): string[] => rows.map((row) => row.updatedAt);
const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function until(condition: () => boolean, seconds = 10): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !condition() && Date.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Every page of a keyset walk by tokens. */
async function walk(first = '/pagination/keyset'): Promise<Row[][]> {
  const pages: Row[][] = [];
  for (let path: string | null = first; path !== null;) {
    const answer: Page = await page(path);
    pages.push(answer.data);
    const token = answer.scroll_param as string | null;
    path = token === null ? null : `/pagination/keyset?scroll_param=${encodeURIComponent(token)}`;
  }
  return pages;
}

const WHOLE_LIST = {
  orderBy: 'updatedAt',
  descending: false,
  since: null,
  exclusive: false,
  unordered: false,
} as const;

/** All records as a list's body has them; checks its length and its lines by the way. */
function allRows(records: Records, form: IdForm): Row[] {
  const { slots, from, to } = records.list(WHOLE_LIST);
  const body = records.body(slots, from, to, form);
  const json = Buffer.concat([...body.chunks()]);
  expect(json.length).toBe(body.bytes);
  const rows = JSON.parse(`[${json.toString()}]`) as Row[];
  const lines = Buffer.concat([...body.lines()]).toString();
  expect(
    lines
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Row),
  ).toEqual(rows);
  return rows;
}

describe('the process', () => {
  test('tells its port and is gone after stop', async () => {
    const other = await startDemo({ rows: 3 });
    expect(await other.client.records()).toHaveLength(3);
    await other.stop();
    expect(alive(other.pid)).toBe(false);
    await other.stop();
  });

  test('ends when the process that started it is killed', async () => {
    const helper = fileURLToPath(new URL('../../src/dev/demo-api.ts', import.meta.url));
    const script = `
      import { startDemoApi } from ${JSON.stringify(helper)};
      const demo = await startDemoApi();
      console.log(demo.pid);
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]);
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    expect(alive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await until(() => !alive(pid));
    expect(alive(pid)).toBe(false);
  });

  test('says why it does not start', async () => {
    await expect(startDemo({ rows: -1 })).rejects.toThrow(/did not start.*rows/s);
    const wrong = { max_pgae: 10 } as object;
    await expect(startDemo(wrong)).rejects.toThrow('unknown setting: max_pgae');
  });

  test('takes every switch as a flag', async () => {
    const main = fileURLToPath(new URL('../../src/dev/demo-api-main.ts', import.meta.url));
    const flags = [
      '--rows',
      '7',
      '--max-page',
      '5',
      '--exclusive',
      '--gaps',
      '[[2,3]]',
      '--settings',
      '{"ties":2}',
    ];
    const child = spawn(process.execPath, ['--import', 'tsx', main, '--port', '0', ...flags]);
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const { port } = JSON.parse(line.toString()) as { port: number };
    const response = await fetch(`http://127.0.0.1:${port}/_demo/settings`);
    expect(await response.json()).toMatchObject({
      rows: 7,
      max_page: 5,
      exclusive: true,
      gaps: [[2, 3]],
      ties: 2,
    });
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});

describe('the data', () => {
  beforeEach(() => demo().client.reset());

  test('are the same for the same seed and others for another', async () => {
    const first = await demo().client.records();
    await demo().client.mutate({ insert: 5, update: 5, delete: 5 });
    const changed = await demo().client.records();
    await demo().client.reset();
    expect(await demo().client.records()).toEqual(first);
    await demo().client.mutate({ insert: 5, update: 5, delete: 5 });
    expect(await demo().client.records()).toEqual(changed);
    await demo().client.reset({ seed: 2 });
    expect(ids(await demo().client.records())).not.toEqual(ids(first));
  });

  test('look like those of the reference', async () => {
    await demo().client.reset({ rows: 5000 });
    const lines: string[] = [];
    for await (const line of demo().client.recordLines()) lines.push(line);
    const bytes = Buffer.byteLength(lines.join('')) / lines.length;
    expect(bytes).toBeGreaterThan(270);
    expect(bytes).toBeLessThan(320);
    const rows = lines.map((line) => JSON.parse(line) as Row);
    expect(new Set(ids(rows)).size).toBe(5000);
    for (const row of rows) {
      expect(Object.keys(row).join()).toBe('id,name,email,address,company,job,createdAt,updatedAt');
      expect(row.email).toMatch(/^[a-z]+\.[a-z]+\d{1,2}@example\.(com|net|org)$/);
      expect(row.address).toMatch(/^\d+ [^\n]+\n[^\n]+, [A-Z]{2} \d{5}$/);
      expect(row.createdAt <= row.updatedAt).toBe(true);
    }
    expect(rows[0]?.updatedAt).toBe('2026-01-01T00:00:00Z');
    expect(rows[1]?.updatedAt).toBe('2026-01-01T00:00:30Z');
    // Characters of two, three and four bytes, and some that JSON escapes.
    for (const word of ['é', '大阪', '🌊', '"Mitch"'])
      expect(lines.join('\n')).toContain(JSON.stringify(word).slice(1, -1));
  });

  test('are the same through every endpoint, over many buffers', async () => {
    await demo().client.reset({ rows: 40_000, max_page: 7_000, keyset_page: 7_000 });
    const rows = await demo().client.records();
    expect(rows).toHaveLength(40_000);
    expect((await page('/incremental/timestamp')).data).toEqual(rows);
    expect((await walk()).flat()).toEqual(rows);
    const [offset, numbered, steps]: Row[][] = [[], [], []];
    for (let i = 0; i < 6; i++) {
      offset?.push(...(await page(`/pagination/offset?limit=7000&offset=${i * 7000}`)).data);
      numbered?.push(...(await page(`/pagination/page_number?per_page=7000&page=${i + 1}`)).data);
      steps?.push(
        ...(await page(`/incremental/step?start_id=${i * 7000 + 1}&end_id=${(i + 1) * 7000}`)).data,
      );
    }
    expect(offset).toEqual(rows);
    expect(numbered).toEqual(rows);
    expect(steps).toEqual(rows.map((row, i) => ({ ...row, id: String(i + 1) })));
    expect(await demo().client.records('step')).toEqual(steps);
    const linked: Row[] = [];
    for (let url: unknown = '/pagination/next_page_url?per_page=7000'; typeof url === 'string';) {
      const answer: Page = await page(url.replace(demo().url, ''));
      linked.push(...answer.data);
      url = answer.next_page_url;
    }
    expect(linked).toEqual(rows);
  });

  test('stay in order and complete, whatever changes', () => {
    const mutations = fc.record({
      insert: fc.nat(4),
      update: fc.nat(4),
      delete: fc.nat(4),
      gap: fc.nat(2),
      late: fc.option(fc.record({ count: fc.nat(3), hours_ago: fc.constantFrom(0, 0.05, 1) }), {
        nil: undefined,
      }),
    });
    // Several changes may come before the next look.
    const script = fc.array(fc.tuple(mutations, fc.boolean()), { maxLength: 12 });
    fc.assert(
      fc.property(script, fc.integer({ min: 1, max: 4 }), (steps, ties) => {
        const records = new Records({ ...DEFAULT_SETTINGS, rows: 30, gaps: { every: 7, length: 3 }, ties });
        const present = new Set(ids(allRows(records, 'uuid')));
        for (const [mutation, look] of steps) {
          const wanted = parseMutation(mutation);
          if (Number(wanted.delete) + Number(wanted.update) > records.total) continue;
          const { inserted, updated, deleted, late, greatest } = records.mutate(wanted);
          for (const { id } of deleted) expect(present.delete(id)).toBe(true);
          for (const { id } of updated) expect(present.has(id)).toBe(true);
          for (const { id } of [...inserted, ...late]) present.add(id);
          if (!look) continue;

          const rows = allRows(records, 'uuid');
          const numbers = allRows(records, 'sequence').map((row) => Number(row.id));
          expect(new Set(ids(rows))).toEqual(present);
          expect([rows.length, records.total]).toEqual([present.size, present.size]);
          rows.forEach((row, i) => {
            expect(row.updatedAt <= greatest).toBe(true);
            expect(((numbers[i] ?? 0) - 1) % 10).toBeLessThan(7);
            const before = rows[i - 1];
            if (before === undefined) return;
            expect(before.updatedAt <= row.updatedAt).toBe(true);
            if (before.updatedAt === row.updatedAt) expect(numbers[i]).toBeGreaterThan(numbers[i - 1] ?? 0);
          });
        }
      }),
      { numRuns: 100 },
    );
  });

  test('of an answer under way are those of its moment', () => {
    const records = new Records({ ...DEFAULT_SETTINGS, rows: 2000 });
    const { slots, from, to } = records.list(WHOLE_LIST);
    const before = Buffer.concat([...records.body(slots, from, to, 'sequence').chunks()]).toString();
    const body = records.body(slots, from, to, 'sequence');
    const chunks = body.chunks()[Symbol.iterator]();
    const parts = [chunks.next().value as Buffer];
    records.mutate(parseMutation({ update: 500, delete: 500, insert: 5000 }));
    for (let next = chunks.next(); !next.done; next = chunks.next()) parts.push(next.value);
    expect(Buffer.concat(parts).toString()).toBe(before);
  });
});

describe('a switch', () => {
  beforeEach(() => demo().client.reset());

  test('that does not exist or means nothing is refused, and nothing changes', async () => {
    const { client } = demo();
    const before = await client.settings();
    await expect(client.set({ latency: 5 } as object)).rejects.toThrow(
      '400 {"error":"unknown setting: latency"}',
    );
    await expect(client.set({ max_page: 0 })).rejects.toThrow(/400.*max_page/);
    await expect(client.set({ fail: [{ kind: 'nothing' }] } as object)).rejects.toThrow(/400.*fail\.0\.kind/);
    await expect(client.set({ fail: [{ kind: 'reset', status: 500 }] } as object)).rejects.toThrow(
      'fail.0.status',
    );
    await expect(client.set({ gaps: [[5, 4]] })).rejects.toThrow(/400.*gaps/);
    await expect(client.set({ mutate_every: { requests: 1 } })).rejects.toThrow('it changes nothing');
    await expect(client.set({ rows: 4_000_000, spacing_seconds: 3600 })).rejects.toThrow('60 years');
    await expect(client.mutate({ inserts: 1 } as object)).rejects.toThrow('unknown mutation: inserts');
    const wrong = await fetch(`${demo().url}/_demo/settings`, { method: 'POST', body: '{' });
    expect([wrong.status, await wrong.text()]).toEqual([400, '{"error":"the input is not JSON"}']);
    expect((await fetch(`${demo().url}/_demo/setings`)).status).toBe(404);
    expect(await client.settings()).toEqual(before);
  });

  test('max_page raises the limit, and its words', async () => {
    await demo().client.set({ max_page: 150 });
    expect((await page('/pagination/offset?limit=150')).data).toHaveLength(150);
    await expect(page('/pagination/offset?limit=151')).rejects.toThrow(
      `400 {\n  "error": "Invalid value for 'limit'. It should be between 1 and 150."\n}\n`,
    );
    await expect(page('/pagination/page_number?per_page=151')).rejects.toThrow('between 1 and 150.');
    await demo().client.set({ max_page: 5 });
    expect((await page('/pagination/offset')).data).toHaveLength(5);
  });

  test('keyset_page sets the size of a keyset page', async () => {
    await demo().client.set({ keyset_page: 30 });
    expect((await walk()).map((rows) => rows.length)).toEqual([30, 30, 30, 30, 30, 30, 20]);
  });

  test('exclusive leaves out the record at the time that is asked for', async () => {
    const at = '2026-01-01T00:30:00Z';
    const first = async (): Promise<(string | undefined)[]> => [
      (await page(`/pagination/keyset?updated_since=${at}`)).data[0]?.updatedAt,
      (await page(`/pagination/offset?updated_since=${at}`)).data[0]?.updatedAt,
      (await page(`/incremental/timestamp?since=${at}`)).data[0]?.updatedAt,
    ];
    expect(await first()).toEqual([at, at, at]);
    await demo().client.set({ exclusive: true });
    const later = '2026-01-01T00:30:30Z';
    expect(await first()).toEqual([later, later, later]);
  });

  test('ties makes records share their times, and tokens lose what ties across a page edge', async () => {
    await demo().client.set({ ties: 7 });
    const rows = await demo().client.records();
    const groups = new Map<string, number>();
    for (const { updatedAt } of rows) groups.set(updatedAt, (groups.get(updatedAt) ?? 0) + 1);
    expect([...groups.values()]).toEqual([...Array<number>(28).fill(7), 4]);
    const seen = (await walk()).flat();
    expect(seen.length).toBeLessThan(200);
    const { inserted } = await demo().client.mutate({ insert: 8 });
    const after = await demo().client.records();
    expect(new Set(times(after.slice(-8))).size).toBe(2);
    expect(ids(after.slice(-8)).sort()).toEqual(ids(inserted).sort());
  });

  test('gaps leaves out step ids', async () => {
    await demo().client.set({
      gaps: [
        [10, 19],
        [1, 2],
        [15, 25],
      ],
    });
    const steps = await page('/incremental/step?start_id=1&end_id=30');
    expect(ids(steps.data)).toEqual(['3', '4', '5', '6', '7', '8', '9', '26', '27', '28', '29', '30']);
    expect((await page('/incremental/step?start_id=10&end_id=25')).data).toEqual([]);
    await demo().client.set({ rows: 10, gaps: { every: 4, length: 3 } });
    expect(ids(await demo().client.records('step'))).toEqual([
      '1',
      '2',
      '3',
      '4',
      '8',
      '9',
      '10',
      '11',
      '15',
      '16',
    ]);
  });

  test('unordered shuffles every answer, the same way each time, and makes keyset tokens positions', async () => {
    await demo().client.set({ unordered: true });
    const rows = await demo().client.records();
    const pages = await walk('/pagination/keyset?updated_since=2026-01-01T00:10:00Z');
    const wanted = rows.filter((row) => row.updatedAt >= '2026-01-01T00:10:00Z');
    expect(ids(pages.flat())).not.toEqual(ids(wanted));
    expect(ids(pages.flat()).sort()).toEqual(ids(wanted).sort());
    expect(await walk('/pagination/keyset?updated_since=2026-01-01T00:10:00Z')).toEqual(pages);
    const since = (await page('/incremental/timestamp?since=2026-01-01T00:10:00Z')).data;
    expect(since).toEqual(pages.flat());
    const all: Row[] = [];
    for (let from = 0; from < 200; from += 50)
      all.push(...(await page(`/pagination/offset?limit=50&offset=${from}`)).data);
    expect(ids(all).sort()).toEqual(ids(rows).sort());
    const steps = ids((await page('/incremental/step?start_id=1&end_id=20')).data).map(Number);
    expect(steps).not.toEqual([...steps].sort((a, b) => a - b));
    expect([...steps].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    await expect(page('/pagination/keyset?scroll_param=MjAyNi0wMS0wMVQwMDowMDowMFo=')).rejects.toThrow(
      'Invalid scroll_param value',
    );
  });

  test('numeric_ids serves integers that a double cannot hold', async () => {
    await demo().client.set({ numeric_ids: true });
    expect(await text('/pagination/offset?limit=2')).toMatch(
      /^\{"data": \[\{"id": 9007199254740993, "name".*, \{"id": 9007199254740994, "name"/,
    );
    const step = await text('/incremental/step?start_id=9007199254740994&end_id=9007199254740995');
    expect(step.match(/"id": \d+/g)).toEqual(['"id": 9007199254740994', '"id": 9007199254740995']);
    expect(await text('/incremental/step?start_id=1&end_id=1000')).toBe('{"data": []}');
    for await (const line of demo().client.recordLines()) {
      expect(line).toMatch(/^\{"id": 9007199254740993, /);
      break;
    }
  });

  test('latency_ms makes every answer wait', async () => {
    await demo().client.set({ latency_ms: 150 });
    const start = performance.now();
    await page('/pagination/offset');
    expect(performance.now() - start).toBeGreaterThan(145);
  });

  test('rate_limit empties and refills a bucket, at once after a change', async () => {
    await demo().client.set({ rate_limit: true, capacity: 2, refill_rate: 0.001 });
    await page('/pagination/offset');
    await page('/pagination/offset');
    await expect(page('/pagination/offset')).rejects.toThrow('429 {\n  "error": "Rate limit exceeded"\n}\n');
    expect((await fetch(`${demo().url}/pagination/offset`)).headers.get('retry-after')).toMatch(
      /^(999|1000)$/,
    );
    await demo().client.set({ capacity: 2 });
    await page('/pagination/offset');
    expect((await fetch(`${demo().url}/_demo/stats`)).status).toBe(200);
  });
});

describe('a mutation', () => {
  beforeEach(() => demo().client.reset());

  test('inserts rows that are later than all', async () => {
    const before = await demo().client.records();
    const { inserted, greatest, total } = await demo().client.mutate({ insert: 3 });
    const after = await demo().client.records();
    expect(total).toBe(203);
    expect(after.slice(0, 200)).toEqual(before);
    expect(ids(after.slice(200))).toEqual(ids(inserted));
    expect(inserted.map(({ sequence }) => sequence)).toEqual([201, 202, 203]);
    expect(new Set(times(after)).size).toBe(203);
    expect(after.at(-1)?.updatedAt).toBe(greatest);
  });

  test('updates rows: some fields change, the time is later than all, id and step id stay', async () => {
    const before = await demo().client.records();
    const steps = await demo().client.records('step');
    const { updated } = await demo().client.mutate({ update: 10 });
    const after = await demo().client.records();
    expect(new Set(ids(updated)).size).toBe(10);
    expect(ids(after.slice(-10))).toEqual(ids(updated));
    for (const { id, sequence } of updated) {
      const [old, now] = [before, after].map((rows) => rows.find((row) => row.id === id));
      expect(now).toMatchObject({ name: old?.name, email: old?.email, createdAt: old?.createdAt });
      expect(now?.address).not.toBe(old?.address);
      expect((now?.updatedAt ?? '') > (before.at(-1)?.updatedAt ?? '')).toBe(true);
      const { data } = await page(`/incremental/step?start_id=${sequence}&end_id=${sequence}`);
      expect(data).toEqual([{ ...now, id: String(sequence) }]);
      expect(steps.some((row) => row.id === String(sequence) && row.email === now?.email)).toBe(true);
    }
  });

  test('deletes rows, which leaves gaps', async () => {
    const { deleted, total } = await demo().client.mutate({ delete: 60 });
    expect([total, deleted.length]).toEqual([140, 60]);
    const left = new Set(ids(await demo().client.records()));
    expect(deleted.some(({ id }) => left.has(id))).toBe(false);
    const steps = new Set(ids((await page('/incremental/step?start_id=1&end_id=200')).data));
    expect(steps.size).toBe(140);
    expect(deleted.some(({ sequence }) => steps.has(String(sequence)))).toBe(false);
    expect((await page('/pagination/offset')).total).toBe(140);
  });

  test('changes the rows that are named, by either id, or none', async () => {
    const { client } = demo();
    const rows = await client.records();
    const name = rows[4]?.id ?? '';
    const { updated, deleted } = await client.mutate({ update: [name], delete: ['8'] });
    expect([updated, deleted]).toEqual([[{ id: name, sequence: 5 }], [{ id: rows[7]?.id, sequence: 8 }]]);
    const before = await client.records();
    await expect(client.mutate({ update: ['9'], delete: ['8'] })).rejects.toThrow('no record has the id 8');
    await expect(client.mutate({ update: [name], delete: ['5'] })).rejects.toThrow('a record is named twice');
    await expect(client.mutate({ update: 150, delete: 50 })).rejects.toThrow('there are only 199 records');
    expect(await client.records()).toEqual(before);
    // What is named is never drawn as well.
    const { updated: kept } = await client.mutate({ update: [name], delete: 198 });
    expect(ids(kept)).toEqual([name]);
    expect(ids(await client.records())).toEqual([name]);
  });

  test('lets rows arrive late', async () => {
    await demo().client.set({ spacing_seconds: 3600 });
    const { late, inserted, greatest } = await demo().client.mutate({
      insert: 1,
      late: { count: 2, hours_ago: 2 },
    });
    const rows = await demo().client.records();
    const at = new Date(Date.parse(greatest) - 7_200_000).toISOString().replace('.000Z', 'Z');
    expect(rows.filter((row) => late.some(({ id }) => id === row.id)).map((row) => row.updatedAt)).toEqual([
      at,
      at,
    ]);
    expect(rows.at(-1)?.id).toBe(inserted[0]?.id);
    expect(late.map(({ sequence }) => sequence)).toEqual([202, 203]);
    const { late: tied } = await demo().client.mutate({ late: { count: 1, hours_ago: 0 } });
    expect((await demo().client.records()).slice(-2).map((row) => [row.id, row.updatedAt])).toEqual([
      [inserted[0]?.id, greatest],
      [tied[0]?.id, greatest],
    ]);
  });

  test('skips step ids', async () => {
    const { inserted } = await demo().client.mutate({ insert: 2, gap: 1000 });
    expect(inserted.map(({ sequence }) => sequence)).toEqual([1201, 1202]);
  });

  test('draws the same rows for the same seed', async () => {
    const draw = async (): Promise<unknown> => {
      await demo().client.reset();
      return (await demo().client.mutate({ delete: 5, seed: 99 })).deleted;
    };
    expect(await draw()).toEqual(await draw());
  });

  test('happens between pages with mutate_every, as often as it says', async () => {
    await demo().client.set({
      mutate_every: { requests: 2, insert: 1, delete: 1, times: 2, path: '/pagination/offset' },
    });
    await page('/incremental/timestamp');
    const totals: unknown[] = [];
    const firsts: string[] = [];
    for (let i = 0; i < 7; i++) {
      const answer = await page('/pagination/offset?order_type=desc');
      totals.push(answer.total);
      firsts.push(answer.data[0]?.id ?? '');
    }
    expect(new Set(totals)).toEqual(new Set([200]));
    expect(firsts.map((id, i) => id === firsts[i - 1])).toEqual([
      false,
      true,
      false,
      true,
      false,
      true,
      true,
    ]);
    expect((await demo().client.stats()).mutations).toBe(2);
  });
});

describe('a scripted fault', () => {
  beforeEach(() => demo().client.reset());

  /** What a bare client sees: node-fetch and its like hide too much. */
  async function raw(
    path = '/pagination/offset?limit=50',
    timeout = 3000,
  ): Promise<{
    status: number | undefined;
    headers: IncomingMessage['headers'];
    body: Buffer;
    error: string | null;
  }> {
    return new Promise((resolve) => {
      const parts: Buffer[] = [];
      let message: IncomingMessage | undefined;
      const done = (error: string | null): void => {
        request.destroy();
        resolve({
          status: message?.statusCode,
          headers: message?.headers ?? {},
          body: Buffer.concat(parts),
          error,
        });
      };
      const request = get(demo().url + path, { agent: false }, (response) => {
        message = response;
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => done(null));
        response.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
      });
      request.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
      setTimeout(() => done('timeout'), timeout).unref();
    });
  }

  const script = (...fail: FaultInput[]): Promise<unknown> => demo().client.set({ fail });

  test('fires after so many requests, so many times, on the path it names', async () => {
    await script({ kind: 'status', status: 500, path: '/pagination/offset?limit=7', after: 2, times: 2 });
    const statuses: (number | undefined)[] = [];
    for (let i = 0; i < 6; i++) {
      expect((await raw('/pagination/offset?limit=8')).status).toBe(200);
      statuses.push((await raw('/pagination/offset?limit=7')).status);
      if (i === 0) expect((await demo().client.settings()).fail).toMatchObject([{ after: 1, times: 2 }]);
    }
    expect(statuses).toEqual([200, 200, 500, 500, 200, 200]);
    expect((await demo().client.settings()).fail).toEqual([]);
    expect((await demo().client.stats()).faults).toEqual({ status: 2 });
  });

  test('waits when another has the request', async () => {
    await script({ kind: 'status', status: 500 }, { kind: 'status', status: 503 });
    expect([(await raw()).status, (await raw()).status, (await raw()).status]).toEqual([500, 503, 200]);
  });

  test('status may say when to come again, in seconds or as a date', async () => {
    await script(
      { kind: 'status', status: 503, retry_after: 2 },
      { kind: 'status', status: 429, retry_after: 'Wed, 21 Oct 2026 07:28:00 GMT' },
      { kind: 'status', status: 429, retry_after_date: 30 },
    );
    const [first, second, third] = [await raw(), await raw(), await raw()];
    expect([first.status, first.headers['retry-after']]).toEqual([503, '2']);
    expect([second.status, second.headers['retry-after']]).toEqual([429, 'Wed, 21 Oct 2026 07:28:00 GMT']);
    expect(second.body.toString()).toBe('{\n  "error": "Rate limit exceeded"\n}\n');
    const ahead = Date.parse(third.headers['retry-after'] ?? '') - Date.now();
    expect(ahead).toBeGreaterThan(25_000);
    expect(ahead).toBeLessThanOrEqual(30_000);
  });

  test('html and wrong_shape are 200 all the same', async () => {
    await script({ kind: 'html' }, { kind: 'wrong_shape' }, { kind: 'wrong_shape', body: { data: null } });
    const html = await raw();
    expect([html.status, html.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    expect(html.body.toString()).toContain('<html>');
    expect((await raw()).body.toString()).toBe('{"data":{"a":1}}');
    expect((await raw()).body.toString()).toBe('{"data":null}');
  });

  test('bad_json ends in the middle of a complete response', async () => {
    await script({ kind: 'bad_json' });
    const { status, headers, body, error } = await raw();
    expect([status, Number(headers['content-length']), error]).toEqual([200, body.length, null]);
    expect(() => JSON.parse(body.toString()) as unknown).toThrow();
  });

  test('truncate ends the connection half way', async () => {
    await script({ kind: 'truncate' });
    const { status, headers, body, error } = await raw();
    expect([status, error]).toEqual([200, 'ECONNRESET']);
    expect(body.length).toBe(Math.floor(Number(headers['content-length']) / 2));
  });

  test('truncated_gzip ends the stream half way in a complete response', async () => {
    await script({ kind: 'truncated_gzip' });
    const { headers, body, error } = await raw();
    expect([headers['content-encoding'], Number(headers['content-length']), error]).toEqual([
      'gzip',
      body.length,
      null,
    ]);
    expect(() => gunzipSync(body)).toThrow('unexpected end of file');
  });

  test('reset, hang and stall', async () => {
    await script({ kind: 'reset' }, { kind: 'hang' }, { kind: 'stall' });
    expect(await raw()).toMatchObject({ status: undefined, error: 'ECONNRESET' });
    expect(await raw('/pagination/offset', 300)).toMatchObject({ status: undefined, error: 'timeout' });
    const stalled = await raw('/pagination/offset?limit=50', 300);
    expect([stalled.status, stalled.error]).toEqual([200, 'timeout']);
    expect(stalled.body.length).toBe(Math.floor(Number(stalled.headers['content-length']) / 2));
  });

  test('missing_pk takes or nulls the id of one record', async () => {
    await script({ kind: 'missing_pk', index: 3 }, { kind: 'missing_pk', id: 'null' });
    const [absent, none] = [await page('/pagination/offset'), await page('/pagination/offset')];
    expect(absent.data.map((row) => 'id' in row)).toEqual([...Array(10).keys()].map((i) => i !== 3));
    expect([none.data[0]?.id, typeof none.data[1]?.id]).toEqual([null, 'string']);
  });

  test('repeat_page serves the page before again', async () => {
    await script({ kind: 'repeat_page', after: 1 });
    const first = await text('/pagination/offset');
    expect(await text('/pagination/offset?offset=10')).toBe(first);
    expect(await text('/pagination/offset?offset=10')).not.toBe(first);
  });

  test('empty serves no records, and keeps the token if told', async () => {
    await script({ kind: 'empty' }, { kind: 'empty', keep_token: true });
    expect(await text('/pagination/keyset')).toBe('{"data": [], "scroll_param": null}');
    const kept = await page('/pagination/keyset');
    expect([kept.data, typeof kept.scroll_param]).toEqual([[], 'string']);
  });

  test('token_cycle leads round and round', async () => {
    await demo().client.set({ keyset_page: 10 });
    await script({ kind: 'token_cycle', pages: 3, after: 1 });
    let path = '/pagination/keyset';
    const tokens: unknown[] = [];
    for (let i = 0; i < 10; i++) {
      const { scroll_param: token } = await page(path);
      tokens.push(token);
      path = `/pagination/keyset?scroll_param=${encodeURIComponent(String(token))}`;
    }
    expect(new Set(tokens).size).toBe(4);
    expect(tokens.slice(4)).toEqual(tokens.slice(1, 7));
  });
});

test('stats tell what was asked, and reset forgets it', async () => {
  const { client, url } = demo();
  await client.reset();
  await page('/pagination/offset?limit=3');
  await page('/pagination/offset?limit=4');
  await fetch(`${url}/nowhere`);
  expect(await client.stats()).toMatchObject({
    requests: 3,
    by_path: { '/pagination/offset': 2, '/nowhere': 1 },
    by_status: { 200: 2, 404: 1 },
    records: 7,
    urls: ['/pagination/offset?limit=3', '/pagination/offset?limit=4', '/nowhere'],
  });
  await client.set({ exclusive: true });
  expect((await client.reset({ rows: 3 })).exclusive).toBe(false);
  expect(await client.stats()).toMatchObject({ requests: 0, urls: [] });
  expect(await client.records()).toHaveLength(3);
  for (let i = 0; i < 1005; i++) await page('/pagination/offset?limit=1');
  const { requests, urls } = await client.stats();
  expect([requests, urls.length]).toEqual([1005, 1000]);
});

describe("Python's rules", () => {
  test.each([
    ['12', 12n],
    [' -1_0 ', -10n],
    ['+007', 7n],
    ['', null],
    ['1__0', null],
    ['_1', null],
    ['1.0', null],
    ['0x10', null],
    ['1e3', null],
  ])('int(%j) is %s', (from, to) => expect(pythonInt(from)).toBe(to));

  test.each([
    ['1970-01-01T00:00:01', 1],
    ['2026-1-2t3:4:5', Date.UTC(2026, 0, 2, 3, 4, 5) / 1000],
    ['0001-01-01T00:00:00', -62_135_596_800],
    ['2024-02-29T00:00:00', Date.UTC(2024, 1, 29) / 1000],
    ['2026-02-29T00:00:00', null],
    ['2026-01-01T00:00:60', null],
    ['0000-01-01T00:00:00', null],
    ['2026-01-01T00:00:00Z', null],
    ['2026-01-01 00:00:00', null],
  ])('strptime(%j) is %s', (from, to) => expect(parseTimestamp(from)).toBe(to));

  test.each([
    ['MjAyNg==', '2026'],
    ['Mj*Ay\nNg==', '2026'],
    ['MjAyNg', null],
    ['/w==', null],
    ['é', null],
    ['', ''],
    ['====', ''],
  ])('b64decode(%j) is %j', (from, to) => expect(decodeBase64(from)).toBe(to));

  test('lists are sliced from the end by negative bounds', () => {
    const list = Array.from({ length: 10 }, (_, i) => i);
    fc.assert(
      fc.property(fc.integer({ min: -30, max: 30 }), fc.integer({ min: -30, max: 30 }), (from, to) => {
        // JavaScript's slice has Python's rules.
        expect(list.slice(...pythonSlice(BigInt(from), BigInt(to), 10))).toEqual(list.slice(from, to));
      }),
    );
  });

  test('dumps escapes all but ASCII', () => {
    expect(asciiJson('é"\n🌊\x7f')).toBe('"\\u00e9\\"\\n\\ud83c\\udf0a\\u007f"');
  });
});

test('the bucket refills by the clock, up to its capacity', () => {
  let now = 0;
  const bucket = new TokenBucket(3, 10, () => now);
  expect(bucket.consume()).toEqual({
    allowed: true,
    remaining: 2,
    secondsUntilFull: 0.1,
    secondsUntilNextToken: 0,
  });
  bucket.consume();
  expect(bucket.consume()).toMatchObject({ allowed: true, remaining: 0, secondsUntilNextToken: 0.1 });
  expect(bucket.consume()).toMatchObject({ allowed: false, remaining: 0, secondsUntilNextToken: 0.1 });
  now = 0.15;
  expect(bucket.consume().allowed).toBe(true);
  expect(bucket.consume().allowed).toBe(false);
  now = 100;
  expect(bucket.consume().remaining).toBe(2);
});

test('settings change only what is named', () => {
  const first = changeSettings(DEFAULT_SETTINGS, { ties: 3 });
  expect(changeSettings(first, { max_page: 9 })).toEqual({ ...DEFAULT_SETTINGS, ties: 3, max_page: 9 });
  const faults = changeSettings(first, { fail: [{ kind: 'reset' }] }).fail;
  expect(faults).toEqual([{ kind: 'reset', after: 0, times: 1 }]);
});

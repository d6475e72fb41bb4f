/** Bounds, windows and composite keys, from a real server into a real table. */
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { asConfiguration } from '../../src/config/index.js';
import type { HighwaterClient } from '../../src/client.js';
import { readDestination } from '../../src/cli/query.js';
import type { Json } from '../../src/protocol.js';
import {
  connect,
  highwater,
  scratch,
  startWorker,
  uniqueName,
  type WorkerProcess,
} from '../helpers/harness.js';
import { imitate } from '../helpers/imitations.js';

const refused = (message: string) => ({ status: 400, body: { message } });
const two = (part: number) => String(part).padStart(2, '0');

/** Readings of every few hours for two years, stamped by a clock on a wall, in pages of windows of time. */
const READINGS = 3000;
const wall = (i: number) => {
  const time = new Date(Date.UTC(2023, 0, 1) + i * 6 * 3_600_000);
  const day = `${two(time.getUTCDate())}/${two(time.getUTCMonth() + 1)}/${time.getUTCFullYear()}`;
  return `${day} ${two(time.getUTCHours())}:${two(time.getUTCMinutes())}:${two(time.getUTCSeconds())}`;
};
const sortable = (text: string) => text.replace(/^(\d\d)\/(\d\d)\/(\d{4})/, '$3/$2/$1');

/** Events of which seven have one time each, and whose ids no double can hold. */
const EVENTS = 100;
const FIRST_ID = 9_007_199_254_740_993n;
const happened = (i: number) => 1_767_225_600_000 + Math.floor(i / 7) * 1500;

let url: string;
let asked: URL[];
/** Called with each request for readings. */
let onReadings: (count: number) => unknown;
let stop: () => void;
beforeAll(async () => {
  ({ url, stop } = await imitate((at) => {
    asked.push(at);
    const given = Object.fromEntries(at.searchParams);
    if (at.pathname === '/readings') {
      const { changed_from = '', changed_to = '', page, per_page, ...others } = given;
      if (Object.keys(others).length > 0) return refused('unknown parameter');
      for (const text of [changed_from, changed_to])
        if (!/^\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d$/.test(text)) return refused(`no time: ${text}`);
      onReadings(asked.length);
      const [from, to] = [sortable(changed_from), sortable(changed_to)];
      const all = Array.from({ length: READINGS }, (_, i) => ({ id: i, changed: wall(i) }));
      // Neither end of a window is in it.
      const kept = all.filter(({ changed }) => sortable(changed) > from && sortable(changed) < to);
      const size = Number(per_page);
      return {
        body: {
          items: kept.slice((Number(page) - 1) * size, Number(page) * size),
          meta: { pages: Math.max(1, Math.ceil(kept.length / size)) },
        },
      };
    }
    const { since, after_id, ...others } = given;
    if (at.pathname !== '/events' || Object.keys(others).length > 0) return refused('unknown');
    const kept = Array.from({ length: EVENTS }, (_, i) => i).filter((i) => {
      if (since === undefined || happened(i) > Number(since)) return true;
      if (happened(i) < Number(since)) return false;
      return after_id === undefined || FIRST_ID + BigInt(i) > BigInt(after_id);
    });
    const shown = kept.slice(0, 5);
    // As text: JSON.stringify writes no such number.
    const items = shown.map((i) => ({ id: String(FIRST_ID + BigInt(i)), at: happened(i) }));
    return { body: { items, state: kept.length > shown.length ? 'partial' : 'complete' } };
  }));
});
afterAll(() => stop());
beforeEach(() => {
  asked = [];
  onReadings = () => undefined;
});

const READINGS_STREAM = {
  name: 'readings',
  path: '/readings',
  strategy: 'page_number',
  records: 'items',
  total_pages: 'meta.pages',
  page_size: 40,
  names: { limit: 'per_page', updated_since: 'changed_from', updated_until: 'changed_to' },
  columns: { id: 'LONG', changed: 'STRING' },
  cursor_field: 'changed',
  cursor_format: 'dd/MM/yyyy HH:mm:ss',
  cursor_zone: 'Europe/Berlin',
  start: '31/12/2022 12:00:00',
  window: '60d',
  settle: '10m',
  lookback: '1h',
  batch_rows: 100,
};
const EVENTS_STREAM = {
  name: 'events',
  path: '/events',
  strategy: 'cursor',
  records: 'items',
  next: 'last_record',
  ends: { path: 'state', is: 'complete' },
  names: { updated_since: 'since', scroll_param: 'after_id' },
  columns: { id: 'LONG', at: 'LONG' },
  cursor_field: 'at',
  cursor_format: 'epoch_ms',
};

describe('a sync', () => {
  let client: HighwaterClient;
  let folder: Awaited<ReturnType<typeof scratch>>;
  let worker: WorkerProcess;
  let taskQueue: string;
  let destination: string;
  beforeAll(async () => {
    client = await connect(inject('temporalAddress'));
    folder = await scratch();
    taskQueue = uniqueName('incremental');
    destination = folder.file('highwater.duckdb');
    worker = await start();
  });
  afterAll(async () => {
    await client.close();
    await worker.end();
    await folder.remove();
  });

  const start = () => startWorker({ address: inject('temporalAddress'), taskQueue, destination });
  const sync = async (stream: { [key: string]: Json }) => {
    const configuration = asConfiguration({ source: { base_url: url }, destination, streams: [stream] });
    const handle = await client.start(configuration, { taskQueue, workflowId: uniqueName('sync') });
    const [result] = (await handle.result()).streams;
    return result;
  };
  const query = async (sql: string) => (await readDestination(destination, sql)).rows;
  const from = (at: URL) => sortable(at.searchParams.get('changed_from') ?? '');

  test('of windows that is killed in the middle goes on in its window, and the edges of windows are read', async () => {
    const restarts: Promise<void>[] = [];
    let before = 0;
    onReadings = (count) => {
      // Five of the windows that hold anything, and each of some pages.
      if (count < 40 || restarts.length > 0) return;
      before = count;
      restarts.push(worker.end('SIGKILL').then(async () => void (worker = await start())));
    };
    const result = await sync(READINGS_STREAM);
    await Promise.all(restarts);
    expect(before).toBe(40);
    expect(result).toMatchObject({ endRule: 'empty_page', warnings: [] });
    expect(await query('SELECT count(*)::INT, count(DISTINCT id)::INT, max(id)::INT FROM readings')).toEqual([
      [READINGS, READINGS, READINGS - 1],
    ]);
    const windows = [...new Set(asked.map(from))];
    const again = asked.slice(before).map(from);
    // What had been committed is not asked for again.
    expect(windows.indexOf(again[0] ?? '')).toBeGreaterThan(2);
    expect(again).not.toContain(windows[0]);
  }, 120_000);

  test('asks next time from the newest record on', async () => {
    const result = await sync(READINGS_STREAM);
    expect(result).toMatchObject({ rows: 0, warnings: [] });
    expect(asked.map(from).sort()[0]).toBe(
      sortable(wall(READINGS - 1)).replace(/(\d\d):00:00$/, (_, h: string) => `${two(Number(h) - 1)}:00:00`),
    );
  });

  test('by time and key reads the records that share their time with the last of a page, once each', async () => {
    const first = await sync(EVENTS_STREAM);
    expect(first).toMatchObject({ records: EVENTS, rows: EVENTS, pages: EVENTS / 5, warnings: [] });
    expect(
      await query('SELECT count(DISTINCT id)::INT, min(id)::VARCHAR, max(id)::VARCHAR FROM events'),
    ).toEqual([[EVENTS, String(FIRST_ID), String(FIRST_ID + BigInt(EVENTS - 1))]]);
    expect(asked.at(1)?.search).toBe(`?after_id=${FIRST_ID + 4n}&since=${happened(4)}`);
    asked = [];
    expect(await sync(EVENTS_STREAM)).toMatchObject({ rows: 0, pages: 1 });
    expect(asked[0]?.search).toBe(`?since=${happened(EVENTS - 1)}`);
  });

  test('is checked for what its cursor field is said to be', async () => {
    const file = folder.file('check.json');
    const found = async (stream: { [key: string]: Json }) => {
      await writeFile(
        file,
        JSON.stringify({
          source: { base_url: url },
          destination: folder.file('x.duckdb'),
          streams: [stream],
        }),
      );
      return (await highwater(['check', file])).stdout;
    };
    const right = await found(EVENTS_STREAM);
    expect(right).toContain(`✓ cursor field at: ascending, ${happened(0)} to ${happened(4)}`);
    expect(right).toContain('✓ the filter includes the requested value');
    expect(await found({ ...EVENTS_STREAM, cursor_format: 'timestamp' })).toContain(
      `✗ cursor field at: no record has a timestamp there, but "${happened(0)}"`,
    );
    // Windows that hold nothing are passed over.
    const late = await found({ ...READINGS_STREAM, start: '01/06/2022 00:00:00' });
    expect(late).toContain('✓ cursor field changed: ascending, 01/01/2023');
    expect(late).toContain('the lookback makes up for that');
  });
});

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Progress } from '../../src/protocol.js';
import { EQUAL } from '../helpers/harness.js';
import { completed, gate, scheduled, summaryOf, useLaboratory, type Run } from './laboratory.js';

const lab = useLaboratory();

/** Status, and whether both queries answer. */
async function queried(run: Run): Promise<Progress['status']> {
  expect(await run.sync.state()).toMatchObject({ checkpoint: expect.any(String) as string });
  return (await run.progress()).status;
}

describe('the loop', () => {
  test('fetches batch n+1 while it writes batch n', async () => {
    const bench = await lab().bench({ rows: 240 });
    const run = await bench.start();
    expect(await run.result()).toMatchObject({ rows: 240, batches: 5, endRule: 'no_next_token' });
    const events = await run.events();
    const fetches = scheduled(events, 'fetchPages');
    const writes = completed(events, 'writeBatch');
    expect([fetches.length, writes.length]).toEqual([5, 5]);
    fetches.slice(1).forEach((fetch, n) => expect(fetch).toBeLessThan(writes[n] ?? 0));
    // And never more than one write on its way behind another, nor a fetch further ahead than two batches.
    scheduled(events, 'writeBatch').forEach((write, n) => {
      if (n > 1) expect(write).toBeGreaterThan(writes[n - 2] ?? 0);
      expect(fetches[n + 3] ?? Infinity).toBeGreaterThan(writes[n] ?? 0);
    });
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('answers both queries in every status', async () => {
    const opening = gate();
    const fetching = gate();
    let armed = false;
    const bench = await lab().bench({
      fail: [{ kind: 'status', status: 429, retry_after: 600, after: 1 }],
    });
    const run = await bench.start(
      { interval: '1h' },
      {
        openStream: (input, real) => opening.pass().then(() => real(input)),
        fetchPages: async (input, real) => {
          if (armed) await fetching.pass();
          return real(input);
        },
      },
    );
    await opening.reached;
    expect(await queried(run)).toBe('opening');
    opening.open();
    await run.status('waiting');
    expect(await queried(run)).toBe('waiting');
    armed = true;
    await run.sync.resume();
    await fetching.reached;
    expect(await queried(run)).toBe('running');
    await run.sync.pause();
    fetching.open();
    await run.status('paused');
    expect(await queried(run)).toBe('paused');
    await run.sync.resume();
    await run.status('sleeping');
    expect(await queried(run)).toBe('sleeping');
    await run.sync.cancel();
    await run.ends();

    const once = await bench.start();
    await once.result();
    expect(await queried(once)).toBe('drained');
  });
});

describe('pause', () => {
  test('stops after the batch in hand, and resume goes on to the end', async () => {
    const bench = await lab().bench({ rows: 500, latency_ms: 20 });
    const run = await bench.start();
    await run.reaches(({ batches }) => batches >= 2, 'two batches');
    await run.sync.pause();
    const paused = await run.status('paused');
    expect(paused.batches).toBeLessThan(9);
    const state = await run.sync.state();
    const requests = await bench.requests();

    await delay(400);
    expect(await run.progress()).toEqual(paused);
    expect(await run.sync.state()).toEqual(state);
    // At most the one prefetch that was under way when the signal came.
    expect((await bench.requests()) - requests).toBeLessThanOrEqual(1);
    const [rows, checkpoint] = await bench.read(
      'SELECT (SELECT count(*) FROM "user"), (SELECT id FROM _highwater_checkpoints)',
    );
    expect([Number(rows), checkpoint]).toEqual([paused.rows, state['checkpoint']]);

    await run.sync.resume();
    expect(await run.result()).toMatchObject({ rows: 500 });
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('ends pause between passes, and resume makes the next pass at once', async () => {
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start({ interval: '1h' });
    await run.status('sleeping');
    await bench.source.mutate({ insert: 5 });
    await run.sync.pause();
    await run.status('paused');
    await delay(200);
    expect((await run.progress()).totals.passes).toBe(1);
    await run.sync.resume();
    await run.reaches(({ totals, status }) => totals.passes === 2 && status === 'sleeping', 'the next pass');
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('can be cancelled', async () => {
    const bench = await lab().bench({ rows: 500, latency_ms: 20 });
    const run = await bench.start();
    await run.reaches(({ batches }) => batches >= 1, 'a batch');
    await run.sync.pause();
    await run.status('paused');
    await run.sync.cancel();
    expect(await run.ends()).toBeLessThan(2000);
    expect(await run.sync.status()).toBe('CANCELLED');
  });
});

describe('a 429 with Retry-After', () => {
  test('is a named timer, uses up no attempt, and shows in progress', async () => {
    const bench = await lab().bench({ fail: [{ kind: 'status', status: 429, retry_after: 1, after: 2 }] });
    const run = await bench.start({ batch_rows: 1000 });
    const { waiting, records, staged } = await run.status('waiting');
    // What was read before the refusal is written, not held back.
    expect([records, staged]).toEqual([100, 0]);
    expect(waiting?.reason).toMatch(/^429 /);
    expect(Math.abs(Date.parse(waiting?.until ?? '') - Date.now())).toBeLessThan(1500);
    await run.result();
    expect((await run.progress()).waiting).toBeNull();
    expect(await bench.difference()).toEqual(EQUAL);

    const events = await run.events();
    const timers = events.filter((event) => event.timerStartedEventAttributes);
    expect(timers.map(summaryOf)).toEqual([expect.stringMatching(/^waiting: 429 /)]);
    const attempts = events.flatMap((event) => event.activityTaskStartedEventAttributes?.attempt ?? []);
    expect(new Set(attempts)).toEqual(new Set([1]));
    expect(events.filter((event) => event.activityTaskFailedEventAttributes)).toEqual([]);
  });

  test('may be a date, and comes with a 503 too', async () => {
    const bench = await lab().bench({
      fail: [{ kind: 'status', status: 503, retry_after_date: 2, after: 1 }],
    });
    const run = await bench.start();
    expect((await run.status('waiting')).waiting?.reason).toMatch(/^503 /);
    await run.result();
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('is waited out no longer once resume is sent', async () => {
    const bench = await lab().bench({ fail: [{ kind: 'status', status: 429, retry_after: 600, after: 1 }] });
    const run = await bench.start();
    await run.status('waiting');
    await run.sync.resume();
    expect(await run.result()).toMatchObject({ rows: 200 });
  });

  test('can be paused, and gone on from', async () => {
    const bench = await lab().bench({ fail: [{ kind: 'status', status: 429, retry_after: 600, after: 1 }] });
    const run = await bench.start();
    await run.status('waiting');
    await run.sync.pause();
    expect((await run.status('paused')).waiting).toBeNull();
    await run.sync.resume();
    expect(await run.result()).toMatchObject({ rows: 200 });
  });

  test('can be cancelled, within two seconds', async () => {
    const bench = await lab().bench({ fail: [{ kind: 'status', status: 429, retry_after: 600, after: 1 }] });
    const run = await bench.start();
    await run.status('waiting');
    await run.sync.cancel();
    expect(await run.ends()).toBeLessThan(2000);
    expect(await run.sync.status()).toBe('CANCELLED');
  });

  test('of no seconds, over and over, is not asked again without a pause', async () => {
    const bench = await lab().bench({
      fail: [{ kind: 'status', status: 429, retry_after: 0, after: 1, times: 1000 }],
    });
    const run = await bench.start();
    await run.reaches(({ batches }) => batches === 1, 'the first batch');
    const before = await bench.requests();
    await delay(2500);
    expect((await bench.requests()) - before).toBeLessThanOrEqual(4);
    await bench.source.set({ fail: [] });
    expect(await run.result()).toMatchObject({ rows: 200 });
  });
});

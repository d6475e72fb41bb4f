/** Stop, cancel and trigger while something else is under way. */
import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import { EQUAL, uniqueName, until } from '../helpers/harness.js';
import { gate, useLaboratory, type Wrapper } from './laboratory.js';
import { LONG } from '../helpers/long.js';

const lab = useLaboratory();

const lost = () => ApplicationFailure.nonRetryable('the batch is gone', 'BatchLostError');
const notify = { url: 'http://127.0.0.1:9/hook' };

/** Lets the fetch with this number, from 1, fail before it reads anything. */
function failingFetch(failing: number, failure: () => Error): NonNullable<Wrapper['fetchPages']> {
  let calls = 0;
  return (input, real) => (++calls === failing ? Promise.reject(failure()) : real(input));
}

describe('cancelling', () => {
  test('ends a sync that was stopped and still reads', async () => {
    const reading = gate();
    const bench = await lab().bench({ rows: 200 });
    const run = await bench.start(
      { interval: '1h' },
      { fetchPages: (input, real) => reading.pass().then(() => real(input)) },
    );
    await reading.reached;
    await run.handle.signal('stop');
    await delay(500);
    await run.sync.cancel();
    await run.isCancelled();
  });

  test.skipIf(!LONG)(
    'ends a sync that was stopped, was interrupted, and waits for a receiver of notices',
    async () => {
      const [reading, sending] = [gate(), gate()];
      let calls = 0;
      const bench = await lab().bench({ rows: 200 });
      const run = await bench.start(
        { interval: '1h', notify },
        {
          fetchPages: async (input, real) => {
            if (++calls === 1) throw ApplicationFailure.nonRetryable('broken', 'Broken');
            await reading.pass();
            return real(input);
          },
          sendNotice: () => sending.pass(),
        },
      );
      await run.status('blocked');
      await run.handle.signal('trigger');
      await reading.reached;
      await run.handle.signal('stop');
      await run.status('stopped');
      await run.sync.cancel();
      await run.isCancelled();
      sending.open();
    },
  );
});

describe('stop', () => {
  test('that interrupts reading still writes what was read, and counts the write in flight', async () => {
    const [reading, writing] = [gate(), gate()];
    let calls = 0;
    let isInterrupted = false;
    const bench = await lab().bench({ rows: 500 });
    const run = await bench.start(
      { interval: '1h' },
      {
        fetchPages: async (input, real) => {
          if (++calls === 3) await reading.pass().finally(() => (isInterrupted = true));
          return real(input);
        },
        writeBatch: (input, real) => writing.pass().then(() => real(input)),
      },
    );
    await reading.reached;
    await run.handle.signal('stop');
    await until(() => isInterrupted, 60, 'the interruption');
    await delay(500);
    writing.open();
    const { status, streams } = await run.sync.result();
    expect([status, streams[0]?.records]).toEqual(['stopped', 100]);
    // The pages overlap: some records are read twice.
    const [rows] = await bench.read('SELECT count(*) FROM "user"');
    expect(Number(rows)).toBe(streams[0]?.rows);
  });

  test('before the first commit of a scheduled run reports it as stopped', async () => {
    const opening = gate();
    const bench = await lab().bench({ rows: 20 });
    await (await bench.start()).result();
    await bench.source.mutate({ insert: 5 });
    const run = await bench.start(
      {},
      { openStream: (input, real) => opening.pass().then(() => real(input)) },
    );
    await opening.reached;
    await run.handle.signal('stop');
    opening.open();
    expect(await run.sync.result()).toMatchObject({
      status: 'stopped',
      streams: [{ rows: 0, endRule: null }],
    });
  });

  test('of a blocked sync whose history is full reports its counts', async () => {
    const broken = () => ApplicationFailure.nonRetryable('broken', 'Broken');
    const bench = await lab().bench({ rows: 500 });
    const run = await bench.start(
      { interval: '1h', history_limit: 20 },
      { fetchPages: failingFetch(5, broken) },
    );
    const { totals } = await run.status('blocked');
    expect(totals.rows).toBeGreaterThan(100);
    await run.handle.signal('stop');
    expect(await run.sync.result()).toMatchObject({ status: 'stopped', streams: [{ rows: totals.rows }] });
  });
});

describe('stop while a run hands over', () => {
  test('ends the sync in that run, with its counts', async () => {
    const sending = gate();
    const broken = () => ApplicationFailure.nonRetryable('broken', 'Broken');
    const bench = await lab().bench({ rows: 500 });
    const run = await bench.start(
      { interval: '1h', history_limit: 60, notify },
      { fetchPages: failingFetch(3, broken), sendNotice: () => sending.pass() },
    );
    const { totals } = await run.status('blocked');
    await run.handle.signal('trigger');
    // The history is full, and the run gives the receiver of the notice five seconds.
    await until(async () => (await run.handle.describe()).historyLength > 60, 60, 'a full history');
    await delay(1000);
    await run.handle.signal('stop');
    sending.open();
    const { status, streams } = await run.sync.result();
    expect(status).toBe('stopped');
    expect(streams[0]?.rows).toBeGreaterThan(totals.rows);
    expect((await run.handle.describe()).runId).toBe(
      (await run.events())[0]?.workflowExecutionStartedEventAttributes?.originalExecutionRunId,
    );
  });
});

describe('an audit', () => {
  test('whose conclusion fails is concluded after reopening, and reads nothing again', async () => {
    const bench = await lab().bench({ rows: 40 });
    await (await bench.start()).result();
    let [fetches, conclusions] = [0, 0];
    const moved = () => ApplicationFailure.nonRetryable('moved', 'DestinationElsewhereError');
    const audit = uniqueName('audit');
    lab().wrap(audit, {
      fetchPages: (input, real) => {
        fetches++;
        return real(input);
      },
      concludeRange: (input, real) => (++conclusions === 1 ? Promise.reject(moved()) : real(input)),
    });
    const run = await bench.startWith([bench.configuration(), { range: { kind: 'audit' } }], audit);
    const { range, rows } = await run.result();
    expect([fetches, conclusions, rows]).toEqual([1, 2, 0]);
    expect(range).toMatchObject({ records: 40, equal: true });
  });
});

describe('trigger', () => {
  test('ends the wait before the stream is reopened quietly', async () => {
    let calls = 0;
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start(
      {},
      { fetchPages: (input, real) => (++calls < 5 ? Promise.reject(lost()) : real(input)) },
    );
    await run.reaches(({ waiting }) => calls === 4 && waiting !== null, 'the wait of four seconds');
    await run.handle.signal('trigger');
    expect(await run.ends()).toBeLessThan(2500);
  });

  test('in the middle of a pass makes one more, also where the stream is reopened before that', async () => {
    const reading = gate();
    const fetch = failingFetch(2, lost);
    let calls = 0;
    const bench = await lab().bench({ rows: 120 });
    const run = await bench.start(
      {},
      {
        fetchPages: async (input, real) => {
          if (++calls === 2) await reading.pass();
          return fetch(input, real);
        },
      },
    );
    await reading.reached;
    await until(async () => (await run.progress()).batches === 1, 60, 'a commit');
    await run.handle.signal('trigger');
    reading.open();
    await run.result();
    expect((await run.progress()).totals).toMatchObject({ passes: 2 });
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('in the middle of a pass makes one more, also where the run continues as new before that', async () => {
    const reading = gate();
    let calls = 0;
    const bench = await lab().bench({ rows: 400 });
    const run = await bench.start(
      { history_limit: 30 },
      {
        fetchPages: async (input, real) => {
          if (++calls === 2) await reading.pass();
          return real(input);
        },
      },
    );
    await reading.reached;
    await run.handle.signal('trigger');
    const first = await run.sync.runId();
    reading.open();
    await run.result();
    expect(await run.sync.runId()).not.toBe(first);
    expect((await run.progress()).totals).toMatchObject({ passes: 2 });
  });
});

/** What can be asked of a sync while it runs: stop, trigger, set; and what becomes of one that fails. */
import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import type { FetchPagesInput, Json } from '../../src/protocol.js';
import { EQUAL, until } from '../helpers/harness.js';
import { gate, summaryOf, useLaboratory, type Event, type Run } from './laboratory.js';

const lab = useLaboratory();

const set = (run: Run, settings: { [name: string]: Json }) =>
  run.handle.executeUpdate<{ [name: string]: number }, [unknown]>('set', { args: [settings] });

/** Why an update was refused. */
const refusal = async (outcome: Promise<unknown>): Promise<string> => {
  const thrown: unknown = await outcome.then(
    () => new Error('it was not refused'),
    (error: unknown) => error,
  );
  if (thrown instanceof WorkflowUpdateFailedError) return thrown.cause?.message ?? '';
  throw thrown;
};

describe('stop', () => {
  test('ends a pass after the batch in hand, and the next sync continues from there', async () => {
    const bench = await lab().bench({ rows: 500, latency_ms: 20 });
    const run = await bench.start();
    await run.reaches(({ batches }) => batches >= 2, 'two batches');
    await run.handle.signal('stop');
    const { status, streams } = await run.sync.result();
    expect(status).toBe('stopped');
    expect(streams).toMatchObject([{ stream: 'user', endRule: null }]);
    expect(streams[0]?.rows).toBeLessThan(450);
    const [rows] = await bench.read('SELECT count(*) FROM "user"');
    expect(Number(rows)).toBe(streams[0]?.rows);
    expect((await run.progress()).status).toBe('stopped');

    const next = await (await bench.start()).result();
    // It is not read from the beginning: at most the last page again, for records of one timestamp.
    expect(next.records).toBeLessThan(500 - Number(rows) + 60);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test.each(['sleeping', 'paused', 'waiting'] as const)('ends one that is %s at once', async (status) => {
    const refused = { kind: 'status', status: 429, retry_after: 600, after: 1 } as const;
    const bench = await lab().bench({ rows: 120, ...(status === 'waiting' && { fail: [refused] }) });
    const run = await bench.start({ interval: '1h' });
    if (status === 'paused') await run.sync.pause();
    await run.status(status);
    await run.handle.signal('stop');
    expect(await run.ends()).toBeLessThan(3000);
    expect((await run.sync.result()).status).toBe('stopped');
    expect((await run.progress()).waiting).toBeNull();
  });

  test('does not wait for a source that hangs for longer than ten seconds, and writes what was read', async () => {
    const bench = await lab().bench({ rows: 200, fail: [{ kind: 'hang', after: 2 }] });
    const run = await bench.start({ interval: '1h' });
    await run.reaches(({ batches }) => batches === 2, 'two batches');
    await run.handle.signal('stop');
    const took = await run.ends();
    expect(took).toBeGreaterThan(8000);
    expect(took).toBeLessThan(13_000);
    expect(await run.sync.result()).toMatchObject({ status: 'stopped', streams: [{ records: 100 }] });
  });

  test('asked of a pass that comes to its end by itself changes nothing', async () => {
    const writing = gate();
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start(
      {},
      { writeBatch: (input, real) => writing.pass().then(() => real(input)) },
    );
    await writing.reached;
    await run.handle.signal('stop');
    writing.open();
    expect(await run.sync.result()).toMatchObject({ status: 'completed', streams: [{ rows: 20 }] });
  });
});

describe('trigger', () => {
  test('ends pause between passes, and does not end a pause', async () => {
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start({ interval: '1h' });
    await run.status('sleeping');
    await bench.source.mutate({ insert: 5 });
    await run.handle.signal('trigger');
    await run.reaches(({ totals, status }) => totals.passes === 2 && status === 'sleeping', 'a second pass');
    expect(await bench.difference()).toEqual(EQUAL);
    await run.sync.pause();
    await run.status('paused');
    await run.handle.signal('trigger');
    await delay(300);
    expect(await run.progress()).toMatchObject({ status: 'paused', totals: { passes: 2 } });
    await run.sync.resume();
    await run.reaches(({ totals, status }) => totals.passes === 3 && status === 'sleeping', 'a third pass');
  });

  test('in the middle of a pass makes one more, also of a sync of one pass', async () => {
    const writing = gate();
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start(
      {},
      { writeBatch: (input, real) => writing.pass().then(() => real(input)) },
    );
    await writing.reached;
    await bench.source.mutate({ insert: 5 });
    await run.handle.signal('trigger');
    writing.open();
    expect(await run.result()).toMatchObject({ rows: 5 });
    expect((await run.progress()).totals).toMatchObject({ passes: 2, rows: 25 });
  });
});

describe('set', () => {
  test('takes effect at the next batch, is shown, and "default" takes it back', async () => {
    const reading = gate();
    const asked: FetchPagesInput[] = [];
    const bench = await lab().bench({ rows: 400 }, 'offset');
    const run = await bench.start(
      { interval: '1h' },
      {
        fetchPages: async (input, real) => {
          asked.push(input);
          if (asked.length === 2) await reading.pass();
          return real(input);
        },
      },
    );
    await reading.reached;
    expect(await set(run, { page_size: '10', batch_rows: 70, rate: 1000, retry_for: '2m' })).toEqual({
      ...{ page_size: 10, batch_rows: 70, requests_per_second: 1000, retry_for: 120 },
    });
    reading.open();
    const { settings, totals } = await run.status('sleeping');
    expect(settings['page_size']).toBe(10);
    expect(totals.rows).toBe(400);
    const [before, after] = [asked[1], asked.at(-1)];
    expect([before?.plan.options, after?.plan.options]).toMatchObject([{ pageSize: 50 }, { pageSize: 10 }]);
    expect(after).toMatchObject({
      budget: { rows: 70 },
      plan: { retrySeconds: 120, request: { rateLimit: { requestsPerSecond: 1000 } } },
    });
    expect(await bench.difference()).toEqual(EQUAL);
    expect(await set(run, { page_size: 'default', rate: null, retry_for: 'default' })).toEqual({
      batch_rows: 70,
    });
  });

  test('of a shorter interval ends the sleep that is too long now', async () => {
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start({ interval: '1h' });
    await run.status('sleeping');
    await set(run, { interval: '2h' });
    const { waiting } = await run.progress();
    expect(Date.parse(waiting?.until ?? '') - Date.now()).toBeGreaterThan(3_700_000);
    await set(run, { interval: '0.5s' });
    await run.reaches(({ totals }) => totals.passes >= 3, 'three passes');
  });

  test('is refused with every reason, and nothing is changed', async () => {
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start({ interval: '1h' });
    await run.status('sleeping');
    const said = await refusal(
      set(run, { page_sise: 5, batch_rows: 0, interval: 'often', in_flight: 1.5, rate: 2 }),
    );
    expect(said.split('\n')).toEqual([
      'no setting was changed:',
      expect.stringMatching(
        /^ {2}page_sise: cannot be changed while a sync runs \(did you mean "page_size"\?\); these can: interval, /,
      ),
      '  batch_rows: 0 is too small: the minimum is 1',
      '  interval: "often" is not a duration; write one such as "30s", "15m", "2h" or "1d"',
      '  in_flight: 1.5 is not a whole number',
    ]);
    expect(await refusal(set(run, { page_size: 5 }))).toMatch(/page_size: keyset sends no page size/);
    expect(await refusal(set(run, {}))).toMatch(/give an object such as/);
    expect((await run.progress()).settings).toEqual({});
    // A validator's refusal leaves nothing in history.
    expect((await run.events()).filter((e) => e.workflowExecutionUpdateAcceptedEventAttributes)).toEqual([]);
    const other = await lab().bench({ rows: 20 });
    const once = await other.start({}, { openStream: (input, real) => delay(500).then(() => real(input)) });
    expect(await refusal(set(once, { interval: '5m' }))).toMatch(/this sync makes a single pass/);
  });

  test('and what was counted outlive continue-as-new', async () => {
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start({ interval: '1h', history_limit: 20 });
    await run.status('sleeping');
    const first = await run.sync.runId();
    await set(run, { batch_rows: 7 });
    await run.reaches(async ({ status }) => {
      if (status === 'sleeping') await run.handle.signal('trigger');
      return (await run.sync.runId()) !== first;
    }, 'a second run');
    const { settings, recent, completeAsOf } = await run.status('sleeping');
    expect(settings).toEqual({ batch_rows: 7 });
    expect(recent.length).toBeGreaterThan(1);
    expect(completeAsOf).not.toBeNull();
  });
});

describe('an interval sync', () => {
  test('whose passes bring nothing makes them ever less often, until there are news', async () => {
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start({ interval: '10s', idle_interval: '1m' });
    const sleeps: number[] = [];
    for (let passes = 1; passes <= 6; passes++) {
      if (passes === 6) await bench.source.mutate({ insert: 1 });
      if (passes > 1) await run.handle.signal('trigger');
      const { waiting } = await run.reaches(
        ({ totals, status }) => totals.passes === passes && status === 'sleeping',
        `pass ${passes}`,
      );
      sleeps.push(Math.round((Date.parse(waiting?.until ?? '') - Date.now()) / 5000) * 5);
    }
    expect(sleeps).toEqual([10, 20, 40, 60, 60, 10]);
  });

  test('asks a source that fails ever less often, says so, and trigger tries at once', async () => {
    const bench = await lab().bench({ rows: 20, fail: [{ kind: 'status', status: 500, times: 1000 }] });
    const run = await bench.start({ interval: '1h', retry_for: '0.1s' });
    const { trouble, waiting } = await run.status('failing');
    expect(trouble).toMatchObject({ type: 'SourceUnavailableError', failures: 1, nextTry: waiting?.until });
    expect(trouble?.message).toContain('the source answered 500');
    await run.handle.signal('trigger');
    const second = await run.reaches(
      (now) => now.status === 'failing' && now.trouble?.failures === 2,
      'again',
    );
    const wait = (Date.parse(second.waiting?.until ?? '') - Date.now()) / 1000;
    expect(wait).toBeGreaterThan(100);
    expect(wait).toBeLessThan(121);
    expect(second.trouble?.since).toBe(trouble?.since);
    await bench.source.set({ fail: [] });
    await run.handle.signal('trigger');
    expect((await run.status('sleeping')).trouble).toBeNull();
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test.each(['resume', 'trigger'])(
    'that something must be mended for waits, and %s goes on',
    async (signal) => {
      const bench = await lab().bench({ rows: 80 });
      let refused = true;
      const run = await bench.start(
        { interval: '1h' },
        {
          fetchPages: async (input, real) => {
            if (refused && input.base.cursor !== null)
              throw ApplicationFailure.nonRetryable('the source answered 403', 'SourceRefusedError');
            return real(input);
          },
        },
      );
      const { trouble, waiting } = await run.status('blocked');
      expect(trouble).toMatchObject({ failures: 1, nextTry: null });
      expect(trouble?.message).toMatch(/^the source answered 403/);
      expect(waiting).toBeNull();
      const { currentDetails } = await run.handle.query<{ currentDetails: string }>(
        '__temporal_workflow_metadata',
      );
      expect(currentDetails.split('\n')[0]).toMatch(/^\*\*blocked\*\* · the source answered 403/);
      expect(currentDetails).toContain('fix the problem above, then `resume`');
      refused = false;
      await run.handle.signal(signal);
      expect((await run.status('sleeping')).trouble).toBeNull();
      expect(await bench.difference()).toEqual(EQUAL);
    },
  );

  test('that waits to be mended can be stopped, and a sync of one pass fails', async () => {
    const bench = await lab().bench({ rows: 20, fail: [{ kind: 'status', status: 403, times: 1000 }] });
    const run = await bench.start({ interval: '1h' });
    expect((await run.status('blocked')).trouble?.type).toBe('SourceRefusedError');
    await run.handle.signal('stop');
    expect((await run.sync.result()).status).toBe('stopped');
    const once = await bench.start();
    expect(await once.failure()).toMatchObject({ type: 'SourceRefusedError' });
    const progress = await once.progress();
    expect(progress).toMatchObject({ status: 'failed', trouble: { type: 'SourceRefusedError' } });
    const { currentDetails } = await once.handle.query<{ currentDetails: string }>(
      '__temporal_workflow_metadata',
    );
    expect(currentDetails).toMatch(
      /^\*\*failed\*\* · the source answered 403 .*\n\nThe sync has ended\. Fix the problem and /,
    );
  });
});

describe('a sync of several streams', () => {
  const streams = (url: string, more: { [key: string]: Json } = {}) => ({
    ...{ batch_rows: undefined as never },
    ...more,
    source: { base_url: url },
    defaults: {
      ...{
        primary_key: 'id',
        cursor_field: 'updatedAt',
        columns: { id: 'STRING', updatedAt: 'UTC_DATETIME' },
      },
    },
    streams: [
      { name: 'one', path: '/pagination/keyset', strategy: 'keyset' },
      { name: 'two', path: '/pagination/offset', strategy: 'offset' },
    ],
  });

  test('hands on what is asked of it, and says how each stream stands', async () => {
    const bench = await lab().bench({ rows: 20 });
    const { batch_rows: _, ...configuration } = streams(bench.source.url, { interval: '1h' });
    const run = await bench.startWith([{ ...configuration, destination: bench.destination }]);
    const child = (name: string) => lab().client.sync(`${run.id}/${name}`);
    const both = (holds: (progress: Awaited<ReturnType<Run['progress']>>) => boolean, what: string) =>
      until(
        async () => {
          const found = await Promise.all(
            ['one', 'two'].map((name) =>
              child(name)
                .progress()
                .catch(() => null),
            ),
          );
          return found.every((progress) => progress !== null && holds(progress));
        },
        15,
        what,
      );
    await both(({ status }) => status === 'sleeping', 'both sleeping');
    expect(await set(run, { batch_rows: 9, interval: '2h' })).toEqual({ batch_rows: 9, interval: 7200 });
    await both(({ settings }) => settings['interval'] === 7200, 'both told');
    expect(await refusal(set(run, { page_size: 5 }))).toMatch(/set it on the workflow ID\/STREAM/);
    await run.handle.signal('trigger');
    await both(({ totals, status }) => totals.passes === 2 && status === 'sleeping', 'both triggered');
    expect((await run.progress()).streams).toEqual([
      { stream: 'one', status: 'running' },
      { stream: 'two', status: 'running' },
    ]);
    await run.handle.signal('stop');
    expect(await run.sync.result()).toMatchObject({
      status: 'stopped',
      streams: [{ stream: 'one' }, { stream: 'two' }],
    });
  });

  test('that is stopped at once ends, whatever had begun', async () => {
    const bench = await lab().bench({ rows: 2000, latency_ms: 50 });
    const { batch_rows: _, ...configuration } = streams(bench.source.url, { sync: { max_streams: 1 } });
    const run = await bench.startWith([{ ...configuration, destination: bench.destination }]);
    await run.handle.signal('stop');
    expect((await run.sync.result()).status).toBe('stopped');
    expect((await run.progress()).status).toBe('stopped');
  });
});

/** What the sync itself writes; of patches the SDK does. */
const upserts = (events: readonly Event[]): Event[] =>
  events.filter(({ upsertWorkflowSearchAttributesEventAttributes: upsert }) => {
    const names = Object.keys(upsert?.searchAttributes?.indexedFields ?? {});
    return names.length > 0 && !names.includes('TemporalChangeVersion');
  });

describe('search attributes', () => {
  test('say how a sync stands, and find it', async () => {
    const bench = await lab().bench({ rows: 30 });
    const run = await bench.start({ interval: '1h' });
    await run.status('sleeping');
    const found = async (query: string) => {
      const ids: string[] = [];
      for await (const { workflowId } of lab().client.temporal.workflow.list({ query })) ids.push(workflowId);
      return ids.includes(run.id);
    };
    await until(
      // The server refuses the query until it knows the attributes, which this sync may be the first to register.
      () => found('HighwaterStatus = "sleeping" AND HighwaterRows = 30').catch(() => false),
      10,
      'the sync by its status',
    );
    expect(await found('HighwaterStrategy = "keyset" AND HighwaterStream = "user"')).toBe(true);
    expect(await found(`HighwaterDestination = "${bench.destination}" AND HighwaterLagSeconds < 60`)).toBe(
      true,
    );
    expect(await found('HighwaterLastPassEnd > "2026-01-01T00:00:00Z"')).toBe(true);
    await run.sync.pause();
    await until(() => found('HighwaterStatus = "paused"'), 10, 'the paused sync');
    await run.sync.cancel();
    await until(() => found('HighwaterStatus = "cancelled"'), 10, 'the cancelled sync');
    // Of a pass two: that it runs, and how it ended.
    expect(upserts(await run.events())).toHaveLength(4);
    expect((await run.events()).map(summaryOf)).toContain('sleeping: next pass');
  });

  test('are not touched where they are not known', async () => {
    const bench = await lab().bench({ rows: 30 });
    const run = await bench.start(
      {},
      {
        openStream: async (input, real) => {
          const opened = await real(input);
          if ('redirect' in opened) return opened;
          const { searchAttributes: _, ...rest } = opened;
          return rest;
        },
      },
    );
    await run.result();
    expect(upserts(await run.events())).toEqual([]);
  });
});

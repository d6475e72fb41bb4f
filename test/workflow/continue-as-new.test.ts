import { describe, expect, test } from 'vitest';
import { EQUAL } from '../helpers/harness.js';
import { gate, scheduled, useLaboratory, type Run } from './laboratory.js';
import { LONG } from '../helpers/long.js';

const lab = useLaboratory();
/** A few batches a run. */
const SHORT = { history_limit: 30 };

const runIds = async (run: Run, seen = new Set<string>()): Promise<Set<string>> =>
  seen.add((await run.handle.describe()).runId);

describe('continue as new', () => {
  test('spreads a pass over many runs, which together do what one does', async () => {
    const bench = await lab().bench({ rows: 1000 }, 'offset');
    const whole = await bench.start({ schema: 'whole' });
    const expected = await whole.result();
    const run = await bench.start(SHORT);
    const runs = new Set<string>();
    let batches = 0;
    await run.reaches(async ({ status, totals }) => {
      expect(totals.batches).toBeGreaterThanOrEqual(batches);
      batches = totals.batches;
      await runIds(run, runs);
      return status === 'drained';
    }, 'the end');
    expect(await run.result()).toEqual(expected);
    expect(expected).toMatchObject({ rows: 1000, batches: 21, endRule: 'total_reached' });
    expect(runs.size).toBeGreaterThan(4);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('leaves nothing in flight behind: every staged batch is written by the run that fetched it', async () => {
    const bench = await lab().bench({ rows: 400 }, 'offset');
    const run = await bench.start(SHORT);
    await run.result();
    let runId: string | null = (await run.handle.describe()).raw.workflowExecutionInfo?.firstRunId ?? null;
    let runs = 0;
    while (runId !== null) {
      const { client } = lab();
      const history = await client.temporal.workflow.getHandle(run.id, runId).fetchHistory();
      const events = history.events ?? [];
      expect(scheduled(events, 'fetchPages').length).toBe(scheduled(events, 'writeBatch').length);
      expect(events.length).toBeLessThan(80);
      const next = events.at(-1)?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId;
      runId = next ?? null;
      runs++;
    }
    expect(runs).toBeGreaterThan(2);
    // No request was made twice: nothing that was read had to be read again.
    const { urls } = await bench.source.stats();
    expect(new Set(urls).size).toBe(urls.length);
  });

  test.skipIf(!LONG)('loses no signal sent around it', async () => {
    const bench = await lab().bench({ rows: 2000, latency_ms: 20 }, 'offset');
    const run = await bench.start({ history_limit: 20 });
    const runs = new Set<string>();
    for (let round = 0; round < 4; round++) {
      // The last word counts, wherever in the chain of runs it falls.
      for (let i = 0; i < 8; i++) await (i % 2 === 0 ? run.sync.resume() : run.sync.pause());
      const { batches } = await run.status('paused');
      await runIds(run, runs);
      await run.sync.resume();
      await run.reaches((progress) => progress.batches > batches, 'another batch');
    }
    await bench.source.set({ latency_ms: 0 });
    expect(await run.result()).toMatchObject({ rows: 2000 });
    expect(runs.size).toBeGreaterThan(2);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('takes a pause over, and the new run answers queries before it has done anything', async () => {
    const opening = gate();
    let opens = 0;
    const bench = await lab().bench({ rows: 500 }, 'offset');
    const run = await bench.start(SHORT, {
      openStream: async (input, real) => {
        if (++opens === 2) await opening.pass();
        return real(input);
      },
    });
    await opening.reached;
    const before = await run.progress();
    expect(before).toMatchObject({ status: 'opening' });
    expect(before.totals.batches).toBeGreaterThan(0);
    await run.sync.pause();
    opening.open();
    const paused = await run.status('paused');
    expect(paused.totals).toEqual(before.totals);
    await run.sync.resume();
    expect(await run.result()).toMatchObject({ rows: 500 });
  });

  test('takes over the wait that a source asked for', async () => {
    const fail = [{ kind: 'status', status: 429, retry_after: 600, after: 1 } as const];
    const bench = await lab().bench({ rows: 300, fail }, 'offset');
    const run = await bench.start({ history_limit: 20 });
    await run.status('waiting');
    // It was the last thing that the first run learned; the second has waited from its beginning.
    expect(scheduled(await run.events(), 'fetchPages')).toEqual([]);
    await run.sync.resume();
    expect(await run.result()).toMatchObject({ rows: 300 });
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('starts over with `full` only once', async () => {
    const bench = await lab().bench({ rows: 400 }, 'offset');
    await (await bench.start()).result();
    const before = await bench.requests();
    const run = await bench.start(SHORT, {}, { full: true });
    expect(await run.result()).toMatchObject({ rows: 0, endRule: 'total_reached' });
    const urls = (await bench.source.stats()).urls.slice(before);
    expect(urls.filter((url) => url.includes('offset=0&'))).toHaveLength(1);
    expect(new Set(urls).size).toBe(urls.length);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('also happens between the passes of an interval sync', async () => {
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start({ ...SHORT, interval: '1h' });
    const runs = new Set<string>();
    await run.reaches(async ({ status, totals }) => {
      await runIds(run, runs);
      if (status === 'sleeping') await run.sync.resume();
      return totals.passes >= 4;
    }, 'four passes');
    expect(runs.size).toBeGreaterThan(1);
    await run.sync.cancel();
    await run.ends();
  });

  test('also happens while the source stays unavailable, so that no outage fills the history', async () => {
    const bench = await lab().bench({ rows: 20, fail: [{ kind: 'status', status: 500, times: 100_000 }] });
    const run = await bench.start({ ...SHORT, interval: '1h', retry_for: '1s' });
    const runs = new Set<string>();
    await run.reaches(async ({ status }) => {
      if (status === 'failing') await run.sync.resume();
      return (await runIds(run, runs)).size >= 2;
    }, 'a second run');
    expect((await run.events()).length).toBeLessThan(60);
    await bench.source.set({ fail: [] });
    await run.sync.resume();
    await run.reaches(({ totals }) => totals.passes >= 1, 'a pass');
    expect(await bench.difference()).toEqual(EQUAL);
  });
});

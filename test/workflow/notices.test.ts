/** A webhook is told of what becomes of a sync: each incident once, its end once, and it holds nothing up. */
import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, onTestFinished, test } from 'vitest';
import { uniqueName, until } from '../helpers/harness.js';
import { receiver } from '../helpers/receivers.js';
import { useLaboratory, type Bench, type Run, type Wrapper } from './laboratory.js';

const lab = useLaboratory();

interface Body {
  text: string;
  id: string;
  event: string;
  sync: string;
  stream: string;
  status: string;
  error: { type: string; message: string };
  since: string;
  nextTry: string | null;
  completeAsOf: string | null;
  lagSeconds: number | null;
  links: { workflow: string | null };
}

/** A receiver for one test, and what was told it. */
async function listening() {
  const hook = await receiver();
  onTestFinished(() => hook.stop());
  const bodies = () => hook.received.map(({ body }) => body as unknown as Body);
  const told = () => bodies().map(({ event, status }) => `${event}: ${status}`);
  return {
    ...{ hook, bodies, told },
    isTold: (count: number) => until(() => hook.received.length >= count, 20, `${count} notices`),
    goingOn: { interval: '1h', retry_for: '0.1s', notify: { url: hook.url } },
  };
}

const down = { kind: 'status', status: 500, times: 100_000 } as const;
const refused = { kind: 'status', status: 403, times: 100_000 } as const;

const mended = async (bench: Bench, run: Run) => {
  await bench.source.set({ fail: [] });
  await run.handle.signal('resume');
  await run.status('sleeping');
};

describe('of a sync that goes on', () => {
  test('each incident is told once, however often it fails, and its end once', async () => {
    const { bodies, told, isTold, goingOn } = await listening();
    const bench = await lab().bench({ rows: 20, fail: [down] });
    const run = await bench.start({ ...goingOn, history_limit: 20 });
    await isTold(1);
    const before = (await run.handle.describe()).runId;
    // Until it has continued as new: that is no other incident.
    await until(
      async () => {
        if ((await run.progress()).status === 'failing') await run.handle.signal('trigger');
        return (await run.handle.describe()).runId !== before;
      },
      30,
      'continue-as-new',
    );
    await run.reaches(
      ({ status, trouble }) => status === 'failing' && (trouble?.failures ?? 0) > 1,
      'failing on',
    );
    expect(told()).toEqual(['failing: failing']);
    await mended(bench, run);
    await isTold(2);
    expect(told()).toEqual(['failing: failing', 'recovered: running']);
    const [failing, recovered] = bodies();
    expect(failing).toMatchObject({
      sync: run.id,
      stream: 'user',
      error: { type: 'SourceUnavailableError' },
      completeAsOf: null,
      lagSeconds: null,
      links: { workflow: null },
    });
    expect(failing?.error.message).toContain('the source answered 500');
    expect(failing?.nextTry).toMatch(/Z$/);
    expect(failing?.text).toMatch(/^🔴 Sync \S+ \(user\) is failing, since \S+\.\n[\s\S]*\nIt retries at /);
    expect(recovered?.text).toMatch(/^🟢 Sync \S+ \(user\) has recovered, since /);
    expect(recovered?.since).toBe(failing?.since);
    expect(recovered?.id).not.toBe(failing?.id);
    await bench.source.set({ fail: [refused] });
    await run.handle.signal('trigger');
    await isTold(3);
    expect(told()[2]).toBe('failing: blocked');
    expect(bodies()[2]?.text).toContain(`is blocked and needs you`);
    expect(bodies()[2]?.text).toContain(`highwater resume ${run.id}`);
    await run.status('blocked');
  });

  test('a new configuration names another receiver, and the lag to be watched, from then on', async () => {
    const [before, after] = [await listening(), await listening()];
    const bench = await lab().bench({ rows: 20 });
    const run = await bench.start(before.goingOn);
    await run.status('sleeping');
    const was = await run.sync.configuration();
    const notify = { url: after.hook.url, lag: '3s', on: ['lag' as const] };
    await run.sync.configure({ ...was, interval: '2s', notify });
    await run.status('sleeping');
    await run.handle.signal('pause');
    await after.isTold(1);
    expect(after.told()).toEqual(['lag: running']);
    expect(before.told()).toEqual([]);
  });

  test('a lag is told while it is stuck, and once it has caught up', async () => {
    const { hook, bodies, told, isTold } = await listening();
    const bench = await lab().bench({ rows: 20 });
    const notify = { url: hook.url, lag: '3s', on: ['lag', 'recovered'] };
    const run = await bench.start({ interval: '2s', retry_for: '0.1s', notify });
    await run.status('sleeping');
    await run.handle.signal('pause');
    await isTold(1);
    const [late] = bodies();
    expect(told()).toEqual(['lag: running']);
    expect(late?.lagSeconds).toBeGreaterThanOrEqual(3);
    expect(late?.error.message).toMatch(/^the table is up to date as of \S+, more than 3s ago\.$/);
    await run.handle.signal('resume');
    await isTold(2);
    expect(told()[1]).toBe('recovered: running');
    expect(bodies()[1]?.error).toEqual({
      type: 'Lag',
      message: 'the table is less than 3s behind its source',
    });
  });

  test('a first pass that does not come through is a lag too', async () => {
    const { hook, bodies, told, isTold } = await listening();
    const bench = await lab().bench({ rows: 20, fail: [{ kind: 'status', status: 429, retry_after: 600 }] });
    await bench.start({ interval: '1s', notify: { url: hook.url, lag: '2s' } });
    await isTold(1);
    expect(told()).toEqual(['lag: running']);
    expect(bodies()[0]?.error.message).toContain('no pass has ended since the sync started');
  });
});

describe('a receiver that does not take it', () => {
  test('is called again, and the sync goes on meanwhile', async () => {
    const { hook, bodies, told, isTold, goingOn } = await listening();
    const bench = await lab().bench({ rows: 20, fail: [down] });
    hook.answer(503);
    // The first tries are a second apart and more; a test need not wait for them.
    const soon: Wrapper['sendNotice'] = (input, real) =>
      real(input).catch((thrown: ApplicationFailure) => {
        throw ApplicationFailure.create({ message: thrown.message, nextRetryDelay: '200ms' });
      });
    const run = await bench.start(goingOn, { sendNotice: soon });
    await isTold(1);
    await mended(bench, run);
    expect(await bench.difference()).toEqual({ missing: [], stale: [], extra: [] });
    hook.answer(200);
    await until(() => told().includes('recovered: running'), 30, 'what came later');
    const ids = new Set(bodies().map(({ id }) => id));
    expect(ids.size).toBe(2);
  });

  test('for good, or that nobody knows, is given up without a word in the sync', async () => {
    const { hook, told, isTold, goingOn } = await listening();
    const bench = await lab().bench({ rows: 20, fail: [down] });
    hook.answer(404);
    const run = await bench.start(goingOn);
    await isTold(1);
    await mended(bench, run);
    await isTold(2);
    expect(told()).toEqual(['failing: failing', 'recovered: running']);
    const nowhere = await bench.start({
      ...goingOn,
      table: 'other',
      notify: { url: '${env:NOT_SET_ANYWHERE}' },
    });
    await nowhere.status('sleeping');
    await nowhere.handle.signal('stop');
    expect((await nowhere.sync.result()).status).toBe('stopped');
  });
});

describe('of a sync of one pass', () => {
  test('a failure is told before it ends, also of a configuration that nobody could read', async () => {
    const { hook, bodies, told, isTold } = await listening();
    const bench = await lab().bench({ rows: 20, fail: [refused] });
    const run = await bench.start({ notify: { url: hook.url } });
    expect((await run.failure()).type).toBe('SourceRefusedError');
    expect(told()).toEqual(['failing: failed']);
    expect(bodies()[0]?.text).toContain('has failed');
    const wrong = await bench.startWith([
      { ...bench.configuration(), strategy: 'sideways', notify: { url: hook.url } },
    ]);
    expect((await wrong.failure()).type).toBe('ConfigurationError');
    await isTold(2);
    expect(bodies()[1]).toMatchObject({ sync: wrong.id, error: { type: 'ConfigurationError' } });
  });

  test('a schedule that fails again and again tells it once, and once that it is well', async () => {
    const { hook, told, isTold } = await listening();
    const bench = await lab().bench({ rows: 20, fail: [refused] });
    const scheduleId = uniqueName('nightly');
    const { client, taskQueue } = lab();
    const handle = await client.temporal.schedule.create({
      scheduleId,
      spec: { intervals: [{ every: '1d' }] },
      action: {
        type: 'startWorkflow',
        workflowType: 'sync',
        args: [bench.configuration({ notify: { url: hook.url } })],
        taskQueue,
        workflowId: scheduleId,
      },
    });
    onTestFinished(() => handle.delete());
    const pass = async (count: number) => {
      await handle.trigger('BUFFER_ONE');
      await until(
        async () => {
          const { info } = await handle.describe();
          return info.recentActions.length === count && info.runningActions.length === 0;
        },
        20,
        `pass ${count}`,
      );
    };
    await pass(1);
    await pass(2);
    await bench.source.set({ fail: [] });
    await pass(3);
    await isTold(2);
    expect(told()).toEqual(['failing: failed', 'recovered: running']);
  });
});

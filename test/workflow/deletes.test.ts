/** A pass that would remove more rows than it may asks, and does what was decided. */
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Json, TooManyDeletes } from '../../src/protocol.js';
import { until } from '../helpers/harness.js';
import { receiver } from '../helpers/receivers.js';
import { gate, scheduled, summaryOf, useLaboratory, type Bench, type Run } from './laboratory.js';

vi.setConfig({ testTimeout: 90_000 });
const lab = useLaboratory();

/** A pass is one batch. */
const REPLACE = { full_rescan: 1, mode: 'replace', batch_rows: 1000 };
const HOURLY = { ...REPLACE, interval: '1h' };

/** A source of so many rows, and a table that holds them. */
async function filled(rows = 100) {
  const bench = await lab().bench({ rows }, 'offset');
  await (await bench.start(REPLACE)).result();
  return bench;
}
const lose = (bench: Bench, count: number) => bench.source.mutate({ delete: count });
const rowsOf = async (bench: Bench) => Number((await bench.read('SELECT count(*) FROM "user"'))[0]);
const question = async (run: Run): Promise<TooManyDeletes | undefined> =>
  (await run.status('blocked', 30)).trouble?.deletes;
const asks = (run: Run, failures: number) =>
  run.reaches(
    ({ status, trouble }) => status === 'blocked' && trouble?.failures === failures,
    `question ${failures}`,
    30,
  );
const passes = (run: Run, n: number) =>
  run.reaches(({ totals, status }) => totals.passes === n && status === 'sleeping', `pass ${n} over`, 30);
const refusal = async (work: Promise<unknown>): Promise<string> => {
  const thrown: unknown = await work.then(
    () => new Error('it was not refused'),
    (error: unknown) => error,
  );
  if (thrown instanceof WorkflowUpdateFailedError) return thrown.cause?.message ?? '';
  throw thrown;
};
const decide = (run: Run, how: 'approve' | 'reject') =>
  run.handle.executeUpdate<{ streams: Json[] }, []>(how, { args: [] });

describe('a sync whose pass would remove many rows', () => {
  test('is blocked and says how many of how many; once approved it removes them', async () => {
    const bench = await filled();
    const run = await bench.start(HOURLY);
    await passes(run, 1);
    await lose(bench, 30);
    await run.sync.trigger();
    const { trouble } = await run.status('blocked', 30);
    expect(trouble).toMatchObject({
      ...{ type: 'TooManyDeletesError', failures: 1, nextTry: null },
      deletes: { table: 'main.user', how: 'removed', deletes: 30, rows: 100, allowed: 20, pass: 3 },
    });
    expect(trouble?.message).toContain('would remove 30 of the 100 rows of table main.user');
    expect(trouble?.message).toContain(`"highwater approve ${run.id}"`);
    expect(await rowsOf(bench)).toBe(100);
    expect(await decide(run, 'approve')).toEqual({
      streams: [{ stream: 'user', table: 'main.user', deletes: 30, rows: 100 }],
    });
    const after = await passes(run, 2);
    expect(after).toMatchObject({ deleted: 30, trouble: null, warnings: [] });
    expect(after.recent[0]).toMatchObject({ deleted: 30, rows: 0 });
    expect(await rowsOf(bench)).toBe(70);
    // That was about this pass.
    await lose(bench, 30);
    await run.sync.trigger();
    expect(await question(run)).toMatchObject({ deletes: 30, rows: 70 });
  });

  test('keeps them once rejected, says so, and asks again in the next pass', async () => {
    const bench = await filled();
    await lose(bench, 30);
    const run = await bench.start(HOURLY);
    await run.status('blocked', 30);
    expect(await decide(run, 'reject')).toMatchObject({ streams: [{ deletes: 30, rows: 100 }] });
    const after = await passes(run, 1);
    expect(after).toMatchObject({ deleted: 0, trouble: null });
    expect(after.warnings).toEqual([
      {
        code: 'deletes_rejected',
        message:
          '30 of the 100 rows of table main.user are gone from the source but stay in the table, because their removal was ' +
          'rejected. The next pass asks again if they are still gone.',
      },
    ]);
    expect(await rowsOf(bench)).toBe(100);
    await run.sync.trigger();
    expect(await question(run)).toMatchObject({ deletes: 30, rows: 100, pass: 3 });
    // And is through with it once they are back.
    await bench.source.reset({ rows: 100 });
    await run.sync.resume();
    const { warnings } = await passes(run, 2);
    expect(warnings).toEqual([]);
  });

  test('goes on by itself when the source has recovered and it is told to try again', async () => {
    const bench = await filled();
    await lose(bench, 30);
    const run = await bench.start(HOURLY);
    await asks(run, 1);
    await run.sync.trigger();
    await asks(run, 2);
    await bench.source.reset({ rows: 100 });
    await run.sync.resume();
    await passes(run, 1);
    expect(await rowsOf(bench)).toBe(100);
    expect(scheduled(await run.events(), 'writeBatch').length).toBeGreaterThanOrEqual(3);
  });

  test('asks again when more would go than were approved', async () => {
    const bench = await filled();
    await lose(bench, 30);
    const opening = gate();
    let opens = 0;
    const run = await bench.start(HOURLY, {
      openStream: async (input, real) => {
        if (++opens === 2) await opening.pass();
        return real(input);
      },
    });
    await asks(run, 1);
    await decide(run, 'approve');
    await opening.reached;
    await lose(bench, 1);
    opening.open();
    const { trouble } = await asks(run, 2);
    expect(trouble?.deletes).toMatchObject({ deletes: 31, allowed: 30 });
    expect(await rowsOf(bench)).toBe(100);
    await decide(run, 'approve');
    await passes(run, 1);
    expect(await rowsOf(bench)).toBe(69);
  });

  test('refuses decisions while nothing waits for one, and a second one', async () => {
    const bench = await filled();
    const run = await bench.start(HOURLY);
    await passes(run, 1);
    const nothing = 'nothing was decided: no pass waits for a decision about deletes (the sync is sleeping)';
    expect(await refusal(decide(run, 'approve'))).toBe(nothing);
    expect(await refusal(decide(run, 'reject'))).toBe(nothing);
    await lose(bench, 30);
    await run.sync.trigger();
    await run.status('blocked', 30);
    const both = await Promise.allSettled([decide(run, 'reject'), decide(run, 'approve')]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const { deleted, warnings } = await passes(run, 2);
    const isApproved = both[1]?.status === 'fulfilled';
    expect(deleted).toBe(isApproved ? 30 : 0);
    expect(warnings).toHaveLength(isApproved ? 0 : 1);
  });

  test('that makes one pass waits as well, and is completed by the decision', async () => {
    const bench = await filled();
    await lose(bench, 30);
    const run = await bench.start(REPLACE);
    await run.status('blocked', 30);
    await decide(run, 'approve');
    expect(await run.result()).toMatchObject({ deleted: 30, rows: 0 });
  });

  test('can be stopped while it waits, and is not through then', async () => {
    const bench = await filled();
    await lose(bench, 30);
    const run = await bench.start(REPLACE);
    await run.status('blocked', 30);
    await run.sync.stop();
    expect(await run.sync.result()).toMatchObject({ status: 'stopped' });
    expect(await rowsOf(bench)).toBe(100);
  });

  test('fails and names the flag where it was started so as not to wait', async () => {
    const bench = await filled();
    await lose(bench, 30);
    const run = await bench.start(REPLACE, {}, { waitForApproval: false });
    const { type, message, details } = await run.failure();
    expect(type).toBe('TooManyDeletesError');
    expect(message).toContain('would remove 30 of the 100 rows of table main.user');
    expect(message).toContain('--max-deletes any');
    expect(details?.[0]).toMatchObject({ deletes: 30, rows: 100, allowed: 20 });
    expect(await rowsOf(bench)).toBe(100);
  });

  test('that is paused while it waits takes the decision, and carries it out once resumed', async () => {
    const bench = await filled();
    await lose(bench, 30);
    const run = await bench.start(HOURLY);
    await run.status('blocked', 30);
    await run.sync.pause();
    await decide(run, 'approve');
    await run.status('paused');
    expect(await rowsOf(bench)).toBe(100);
    await run.sync.resume();
    await passes(run, 1);
    expect(await rowsOf(bench)).toBe(70);
  });

  test('takes another limit by a new configuration, and a move, while it waits', async () => {
    const bench = await filled();
    await lose(bench, 30);
    const run = await bench.start(HOURLY);
    await run.status('blocked', 30);
    await run.sync.move({ to: 'start' });
    await asks(run, 2);
    await run.sync.configure(bench.configuration({ ...HOURLY, max_deletes: '50%' }));
    await passes(run, 1);
    expect(await rowsOf(bench)).toBe(70);
  });

  test('hands the decision on when it continues as new, and commits what else the pass has read once', async () => {
    const bench = await filled(400);
    await lose(bench, 100);
    // The history is full when the last batch is refused.
    const run = await bench.start({ ...HOURLY, history_limit: 20, batch_rows: 50 });
    await run.reaches(({ status }) => status === 'blocked', 'the question', 30);
    const before = (await run.handle.describe()).runId;
    await decide(run, 'approve');
    await passes(run, 1);
    expect((await run.handle.describe()).runId).not.toBe(before);
    expect(await rowsOf(bench)).toBe(300);
  });

  test('asks in every mode of deleting, in the words of it', async () => {
    const bench = await lab().bench({ rows: 100 }, 'offset');
    const configuration = (more: { [key: string]: Json }) => ({
      source: { base_url: bench.source.url },
      destination: bench.destination,
      streams: [
        {
          ...{ name: 'users', path: '/pagination/offset', strategy: 'offset', full_rescan: 1 },
          ...{ columns: { id: 'STRING', name: 'STRING' }, page_size: 50, ...more },
        },
      ],
    });
    const modes = [
      [{ deletes: 'hard', table: 'a' }, 'removed', 'remove 30 of the 100 rows of table main.a:'],
      [{ deletes: 'soft', table: 'b' }, 'marked', 'mark 30 of the 100 rows of table main.b as deleted:'],
      [
        { deletes: 'soft', mode: 'history', table: 'c' },
        'ended',
        'end the current versions of 30 of the 100 rows of table main.c:',
      ],
    ] as const;
    for (const [more] of modes) await (await bench.startWith([configuration(more)])).result();
    await lose(bench, 30);
    for (const [more, how, said] of modes) {
      const run = await bench.startWith([configuration(more)]);
      const { trouble } = await run.status('blocked', 30);
      expect(trouble?.deletes).toMatchObject({ how, deletes: 30, rows: 100 });
      expect(trouble?.message).toContain(`this pass would ${said}`);
      await decide(run, 'approve');
      expect(await run.result()).toMatchObject({ deleted: 30 });
    }
  });

  test('tells the webhook what waits for whom, and shows it in the Web UI', async () => {
    const hook = await receiver();
    onTestFinished(() => hook.stop());
    const bench = await filled();
    await lose(bench, 30);
    const run = await bench.start({ ...HOURLY, notify: { url: hook.url } });
    await run.status('blocked', 30);
    await until(() => hook.received.length > 0, 20, 'the notice');
    const body = hook.received[0]?.body as unknown as { [name: string]: Json };
    expect(body).toMatchObject({
      ...{ event: 'failing', status: 'blocked', error: { type: 'TooManyDeletesError' } },
      deletes: { deletes: 30, rows: 100, table: 'main.user' },
    });
    const text = String(body['text']);
    expect(text).toMatch(
      /^🔴 Sync \S+ \(user\) waits for your decision: approve or reject the deletes of its pass, since /,
    );
    expect(text).toContain('this pass would remove 30 of the 100 rows');
    expect(text).toContain(`highwater approve ${run.id}`);
    expect(text).not.toContain('Fix the problem');
    const { currentDetails } = await run.handle.query<{ currentDetails: string }, []>(
      '__temporal_workflow_metadata',
    );
    expect(currentDetails).toContain('**blocked** · this pass would remove 30 of the 100 rows');
    expect(currentDetails).toContain('`approve` removes the rows, `reject` keeps them');
    await decide(run, 'approve');
    await passes(run, 1);
    const after = await run.handle.query<{ currentDetails: string }, []>('__temporal_workflow_metadata');
    expect(after.currentDetails).toMatch(/^- this pass: \d+ records, 0 rows written, 30 deleted, /m);
    expect(after.currentDetails).toMatch(
      /Last pass ended by `\w+` at \S+: \d+ records, 0 rows written, 30 deleted\./,
    );
    expect((await run.events()).map(summaryOf)).toContain('notify: failing');
  });
});

describe('a sync of several streams', () => {
  const configuration = (bench: Bench, more: { [key: string]: Json } = {}) => ({
    source: { base_url: bench.source.url },
    destination: bench.destination,
    defaults: {
      strategy: 'offset',
      path: '/pagination/offset',
      full_rescan: 1,
      page_size: 50,
      mode: 'replace',
    },
    streams: ['one', 'two', 'three'].map((name) => ({
      ...{ name, columns: { id: 'STRING', name: 'STRING' } },
      ...(name === 'three' && { max_deletes: 'any' }),
    })),
    ...more,
  });

  test('hands the decision on to those that wait, and says which', async () => {
    const bench = await lab().bench({ rows: 100 }, 'offset');
    await (await bench.startWith([configuration(bench)])).sync.result();
    await lose(bench, 30);
    // Those that wait leave room for those that have not begun.
    const run = await bench.startWith([configuration(bench, { sync: { max_streams: 1 } })]);
    const both = await run.reaches(
      ({ streams }) => streams.map(({ status }) => status).join() === 'blocked,blocked,done',
      'two questions',
      30,
    );
    expect(both).toMatchObject({ status: 'blocked', trouble: { type: 'TooManyDeletesError', failures: 1 } });
    expect(both.trouble?.message).toMatch(
      /^stream (one|two) \(and 1 more stream\): this pass would remove 30 of the 100 rows of table main\.(one|two):/,
    );
    const two = lab().client.sync(`${run.id}/two`);
    await two.reject();
    await run.reaches(({ streams }) => streams[1]?.status === 'done', 'the second', 30);
    expect(await run.sync.approve()).toEqual({
      streams: [{ stream: 'one', table: 'main.one', deletes: 30, rows: 100 }],
    });
    const { streams } = await run.sync.result();
    expect(streams.map(({ deleted }) => deleted)).toEqual([30, 0, 30]);
    expect(streams[1]?.warnings).toContainEqual(expect.objectContaining({ code: 'deletes_rejected' }));
  });

  test('that was started so as not to wait fails for the streams that would have asked', async () => {
    const bench = await lab().bench({ rows: 100 }, 'offset');
    await (await bench.startWith([configuration(bench)])).sync.result();
    await lose(bench, 30);
    const run = await bench.startWith([configuration(bench), { waitForApproval: false }]);
    const { type, message } = await run.failure();
    expect(type).toBe('TooManyDeletesError');
    expect(message).toMatch(
      /^stream (one|two): this pass would remove 30 of the 100 rows of table main\.\1: /,
    );
    expect(await bench.read('SELECT (SELECT count(*) FROM one), (SELECT count(*) FROM three)')).toEqual([
      '100',
      '70',
    ]);
  });

  test('refuses decisions while no stream waits for one', async () => {
    const bench = await lab().bench({ rows: 20 }, 'offset');
    const run = await bench.startWith([configuration(bench, { interval: '1h' })]);
    await until(
      () =>
        lab()
          .client.sync(`${run.id}/one`)
          .progress()
          .then(
            ({ status }) => status === 'sleeping',
            () => false,
          ),
      30,
      'a pass',
    );
    expect(await refusal(decide(run, 'approve'))).toBe(
      'nothing was decided: no pass waits for a decision about deletes (the sync is running)',
    );
    await run.sync.cancel();
    await run.ends();
  });
});

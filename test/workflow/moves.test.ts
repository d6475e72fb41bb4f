/** The cursor as something an operator moves, and a configuration that is changed, while a sync runs. */
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, test, vi } from 'vitest';
import { EQUAL, until } from '../helpers/harness.js';
import { gate, useLaboratory, type Bench, type Run } from './laboratory.js';
import type { Json } from '../../src/protocol.js';

vi.setConfig({ testTimeout: 90_000 });
const lab = useLaboratory();

const HOUR = { interval: '1h' };
/** Asks for an update as anybody's client does. */
const ask = <T = { done: boolean; state: { [name: string]: Json } }>(run: Run, name: string, input: Json) =>
  run.handle.executeUpdate<T, [Json]>(name, { args: [input] });
const move = (run: Run, input: Json) => ask(run, 'move', input);
async function refusal(work: Promise<unknown>): Promise<string> {
  const thrown: unknown = await work.then(
    () => new Error('it was not refused'),
    (error: unknown) => error,
  );
  if (thrown instanceof WorkflowUpdateFailedError) return thrown.cause?.message ?? '';
  throw thrown;
}
const passes = (run: Run, n: number) =>
  run.reaches(({ totals, status }) => totals.passes === n && status === 'sleeping', `pass ${n} over`, 30);
const commits = async (bench: Bench) =>
  (
    await bench.read(
      "SELECT string_agg(id || ' ' || epoch_ms(committed_at), ',' ORDER BY committed_at) FROM _highwater_batches",
    )
  )
    .map(String)
    .join()
    .split(',')
    .map((text) => text.split(' ') as [string, string]);

describe('the cursor of a sync that runs', () => {
  test('is moved to a batch, to a time, to the start and to a state, while it sleeps; and to where it never was, not', async () => {
    const bench = await lab().bench({ rows: 170 });
    const run = await bench.start(HOUR);
    await passes(run, 1);
    const all = await commits(bench);
    expect(all.length).toBeGreaterThanOrEqual(4);
    const [second] = all[1] ?? ['', ''];
    const requests = await bench.requests();
    const moved = await move(run, { to: second });
    expect(moved).toMatchObject({ done: true, state: { scroll_param: null } });
    expect(moved.state['checkpoint']).not.toBe(second);
    const after = await passes(run, 2);
    // From there to the end, and no more.
    expect(after.records).toBeLessThan(170);
    expect(after.records).toBeGreaterThanOrEqual(60);
    expect(await bench.requests()).toBeGreaterThan(requests);
    // When the first batch was committed; what is there already is written no more.
    const time = new Date(Number(all[0]?.[1])).toISOString();
    expect((await move(run, { to: time })).done).toBe(true);
    const more = await passes(run, 3);
    expect(more.records).toBeGreaterThan(after.records);
    expect(more).toMatchObject({ rows: 0, endRule: 'no_next_token' });
    expect((await move(run, { to: 'start' })).state['last_updated_at']).toBe('0001-01-01T00:00:00Z');
    expect((await passes(run, 4)).records).toBeGreaterThanOrEqual(170);
    const set = await move(run, { state: { last_updated_at: '2026-01-01T00:30:00Z' } });
    expect(set.state['last_updated_at']).toBe('2026-01-01T00:30:00Z');
    await passes(run, 5);
    const stays = await run.sync.state();
    expect(await refusal(move(run, { to: 'nowhere' }))).toBe(
      'the sync was not moved: this stream has no batch "nowhere"; "highwater state get" lists its batches',
    );
    expect(await refusal(move(run, { to: '2001-01-01T00:00:00Z' }))).toMatch(
      /nothing was committed at or before 2001/,
    );
    expect(await refusal(move(run, { state: { offset: 3 } }))).toMatch(
      /the state has 2 problems:\n {2}offset: belongs to the state of offset, .*\n {2}last_updated_at: is missing/,
    );
    for (const [input, said] of [
      [{}, 'give {"to": "start"}'],
      [{ to: 'start', state: {} }, 'give {"to": "start"}'],
      [{ to: '2026-01-01' }, 'is not a time with a time zone'],
      [{ state: 'x' }, '"state" must be an object'],
    ] as const)
      expect(await refusal(move(run, input))).toContain(said);
    await run.status('sleeping');
    expect(await run.sync.state()).toMatchObject({ last_updated_at: stays['last_updated_at'] ?? null });
    expect(await bench.difference()).toEqual(EQUAL);
    const said = await bench.read("SELECT string_agg(moved, ' | ' ORDER BY moved_at) FROM _highwater_moves");
    expect(String(said[0])).toBe(
      `moved to batch ${second} | moved to where it stood at ${time} | started over | set to last_updated_at 2026-01-01T00:30:00Z`,
    );
  });

  test('is moved in the middle of a pass: what is in flight is dropped, and no row is lost', async () => {
    const bench = await lab().bench({ rows: 400 });
    const held = gate();
    let reads = 0;
    const run = await bench.start(
      { ...HOUR, history_limit: 40 },
      {
        fetchPages: async (input, real) => {
          if (++reads === 4) await held.pass();
          return real(input);
        },
      },
    );
    await held.reached;
    await run.reaches(({ batches }) => batches >= 2, 'two batches');
    await bench.source.mutate({ update: 20 });
    const [first] = (await commits(bench))[0] ?? [''];
    expect((await move(run, { to: first })).done).toBe(true);
    held.open();
    await passes(run, 1);
    expect(await bench.difference()).toEqual(EQUAL);
    const [batches, ids] = await bench.read('SELECT count(*), count(DISTINCT base) FROM _highwater_batches');
    expect(batches).toBe(ids);
  });

  test('is moved while it is paused, and stays so; while it waits for the source, and waits on', async () => {
    const bench = await lab().bench({
      rows: 120,
      fail: [{ kind: 'status', status: 429, retry_after: 3600, after: 2, times: 1 }],
    });
    const run = await bench.start(HOUR);
    await run.status('waiting');
    expect((await move(run, { to: 'start' })).done).toBe(true);
    const { waiting } = await run.status('waiting');
    expect(Date.parse(waiting?.until ?? '')).toBeGreaterThan(Date.now() + 3_000_000);
    await run.sync.pause();
    await run.status('paused');
    expect((await move(run, { to: 'start' })).done).toBe(true);
    await run.status('paused');
    const requests = await bench.requests();
    await run.sync.resume();
    await passes(run, 1);
    expect(await bench.requests()).toBeGreaterThan(requests);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('is moved by a start that does nothing else, or goes on from there; a move of no use fails it', async () => {
    const bench = await lab().bench({ rows: 60 });
    const once = await bench.start();
    expect((await once.result()).records).toBeGreaterThanOrEqual(60);
    const configuration = bench.configuration();
    const requests = await bench.requests();
    const only = await bench.startWith([configuration, { move: { to: 'start' }, moveOnly: true }]);
    expect(await only.sync.result()).toMatchObject({
      status: 'moved',
      streams: [{ records: 0, cursor: { last_updated_at: '0001-01-01T00:00:00Z' } }],
    });
    expect(await bench.requests()).toBe(requests);
    expect((await (await bench.start()).result()).records).toBeGreaterThanOrEqual(60);
    const bad = await (
      await bench.startWith([bench.configuration(HOUR), { move: { to: 'nowhere' } }])
    ).failure();
    expect(bad).toMatchObject({ type: 'MoveRefused' });
    expect(bad.message).toMatch(/this stream has no batch "nowhere"/);
    const odd = await (await bench.startWith([configuration, { move: { to: 3 } }])).failure();
    expect(odd.message).toMatch(/move: the sync was not moved: "to" must be "start"/);
  });

  test('is moved over continue-as-new where it cannot be at once, and says so', async () => {
    const bench = await lab().bench({ rows: 60 });
    let isAway = false;
    const away = () => ApplicationFailure.nonRetryable('away', 'DestinationBusyError');
    const run = await bench.start(
      { ...HOUR, history_limit: 40 },
      { openStream: (input, real) => (isAway ? Promise.reject(away()) : real(input)) },
    );
    await passes(run, 1);
    isAway = true;
    let isAnswered = false;
    const asked = move(run, { to: 'start' }).finally(() => (isAnswered = true));
    await until(
      async () => {
        await run.sync.trigger();
        return isAnswered;
      },
      30,
      'an answer',
    );
    expect((await asked).done).toBe(false);
    isAway = false;
    await run.sync.trigger();
    const { totals } = await run.reaches(
      ({ totals: { passes: n }, status }) => n >= 2 && status === 'sleeping',
      'the pass after it',
    );
    expect(totals.records).toBeGreaterThanOrEqual(120);
    expect(await bench.read('SELECT count(*) FROM _highwater_moves')).toEqual(['1']);
  });

  test('of a sync that fails is moved, which may mend it', async () => {
    const bench = await lab().bench({
      rows: 60,
      fail: [{ kind: 'status', status: 403, after: 1, times: 1 }],
    });
    const run = await bench.start(HOUR);
    await run.status('blocked');
    expect((await move(run, { to: 'start' })).done).toBe(true);
    await passes(run, 1);
    expect(await bench.difference()).toEqual(EQUAL);
    await run.sync.stop();
    await run.ends();
    await expect(move(run, { to: 'start' })).rejects.toThrow();
  });
});

describe('the configuration of a sync that runs', () => {
  test('is changed from the next batch on, also over continue-as-new, and told from others', async () => {
    const bench = await lab().bench({ rows: 120 });
    const run = await bench.start({ ...HOUR, history_limit: 30 });
    await passes(run, 1);
    const next = bench.configuration({ interval: '2h', batch_rows: 20, history_limit: 25 });
    expect((await ask(run, 'configure', next)).done).toBe(true);
    await passes(run, 2);
    await run.sync.trigger();
    await passes(run, 3);
    await run.sync.trigger();
    const { waiting } = await passes(run, 4);
    expect(Date.parse(waiting?.until ?? '')).toBeGreaterThan(Date.now() + 90 * 60_000);
    expect(await run.handle.query('configuration')).toEqual(next);
    expect(await lab().client.running(run.id, next)).toBe('same');
    expect(await lab().client.running(run.id, bench.configuration({ ...HOUR, history_limit: 30 }))).toBe(
      'other configuration',
    );
    const { raw } = await run.handle.describe();
    expect(raw.workflowExecutionInfo?.firstRunId).not.toBe(raw.workflowExecutionInfo?.execution?.runId);
    // Nothing that the pace changes makes what was read stale.
    expect(await bench.read('SELECT count(*) FROM _highwater_moves')).toEqual(['0']);
    const otherwise = bench.configuration({ interval: '2h', page_size: 10 });
    expect((await ask(run, 'configure', otherwise)).done).toBe(true);
    await passes(run, 5);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('mends a sync that is blocked by the one that it has', async () => {
    const bench = await lab().bench({ rows: 60 });
    let isWrong = false;
    const wrong = () =>
      ApplicationFailure.nonRetryable('page_size: is of no use any more', 'ConfigurationError');
    const run = await bench.start(HOUR, {
      openStream: (input, real) =>
        isWrong && (input.configuration as { page_size: number }).page_size !== 10
          ? Promise.reject(wrong())
          : real(input),
    });
    await passes(run, 1);
    isWrong = true;
    await run.sync.trigger();
    await run.status('blocked');
    const useless = bench.configuration({ ...HOUR, page_size: 20 });
    expect(await refusal(ask(run, 'configure', useless))).toMatch(/of no use any more/);
    await run.status('blocked');
    const next = bench.configuration({ ...HOUR, page_size: 10 });
    expect((await ask(run, 'configure', next)).done).toBe(true);
    const { trouble } = await passes(run, 2);
    expect(trouble).toBeNull();
  });

  test('is refused where it is one of another sync, or of no use, and the sync goes on as it was', async () => {
    const bench = await lab().bench({ rows: 60 });
    const run = await bench.start(HOUR);
    await passes(run, 1);
    const other = {
      ...bench.configuration({ ...HOUR, table: 'other' }),
      base_url: `${bench.source.url}/elsewhere`,
      strategy: 'timestamp',
    };
    expect(await refusal(ask(run, 'configure', other))).toMatch(
      /^the configuration was not changed: a running sync cannot become another sync:.*\n {2}the table is main.user and would be main.other\n {2}the strategy .*\n {2}the source .*\nStop the running sync, and start the other\.$/,
    );
    expect(await refusal(ask(run, 'configure', { ...bench.configuration(HOUR), bogus: 1 }))).toMatch(
      /bogus: is not a known key/,
    );
    expect(
      await refusal(
        ask(run, 'configure', bench.configuration({ ...HOUR, destination: `${bench.destination}.other` })),
      ),
    ).toMatch(/the destination is .* and would be .*other/);
    expect(await refusal(ask(run, 'configure', ['x']))).toMatch(/it must be an object/);
    expect(await run.handle.query('configuration')).toEqual(bench.configuration(HOUR));
    await run.status('sleeping');
    expect(await bench.read('SELECT count(*) FROM _highwater_moves')).toEqual(['0']);
  });
});

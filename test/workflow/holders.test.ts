import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, inject, test } from 'vitest';
import { EQUAL } from '../helpers/harness.js';
import { envWithoutTemporal } from '../helpers/temporal.js';
import { completed, gate, scheduled, useLaboratory, type Bench, type Run } from './laboratory.js';

const lab = useLaboratory();

/** A sync that stands still with some batches written. */
async function paused(bench: Bench): Promise<Run> {
  const run = await bench.start();
  await run.reaches(({ batches }) => batches >= 2, 'two batches');
  await run.sync.pause();
  await run.status('paused');
  return run;
}

const slow = { rows: 400, latency_ms: 20 };

describe('a second sync of a table', () => {
  test('is refused while the first runs, before it asks the source for anything, by the name of the holder', async () => {
    const bench = await lab().bench(slow);
    const first = await paused(bench);
    const before = await bench.requests();
    const second = await bench.start();
    const { type, message, nonRetryable } = await second.failure();
    expect([type, nonRetryable]).toEqual(['StreamHeldError', true]);
    expect(message).toContain(`the running workflow "${first.id}" writes table main.user`);
    expect(message).toContain('--take-over');
    // The first may have had a prefetch under way.
    expect((await bench.requests()) - before).toBeLessThanOrEqual(1);
    expect(scheduled(await second.events(), 'fetchPages')).toEqual([]);

    await first.sync.resume();
    await first.result();
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('is refused with another strategy too', async () => {
    const bench = await lab().bench(slow);
    const first = await paused(bench);
    const base_url = `${bench.source.url}/pagination/offset`;
    const second = await bench.start({ strategy: 'offset', base_url });
    expect(await second.failure()).toMatchObject({
      type: 'StreamHeldError',
      message: expect.stringContaining(first.id) as string,
    });
    expect((await bench.source.stats()).by_path).not.toHaveProperty('/pagination/offset');
  });

  test('goes on from the checkpoint once the first was terminated', async () => {
    const bench = await lab().bench(slow);
    const first = await paused(bench);
    await first.handle.terminate();
    const { urls } = await bench.source.stats();
    await (await bench.start()).result();
    expect((await bench.source.stats()).urls.slice(urls.length)).not.toContainEqual(
      expect.stringContaining('updated_since=0001'),
    );
    expect(await bench.difference()).toEqual(EQUAL);
  });
});

describe('take-over', () => {
  test('makes the first fail, by the name of the new holder, and the table is the second one’s', async () => {
    const bench = await lab().bench(slow);
    const first = await paused(bench);
    const second = await bench.start({}, {}, { takeOver: true });
    expect(await second.result()).toMatchObject({ endRule: 'no_next_token' });
    await bench.source.mutate({ update: 5 });
    await first.sync.resume();
    const { type, message } = await first.failure();
    expect(type).toBe('CheckpointConflictError');
    expect(message).toContain(`The workflow "${second.id}" holds the stream`);
    expect(message).toContain('Nothing was written');
    await (await bench.start()).result();
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('fences off a write that is under way', async () => {
    const writing = gate();
    const bench = await lab().bench({ rows: 200 });
    const first = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          await writing.pass();
          return real(input);
        },
      },
    );
    await writing.reached;
    const second = await bench.start({}, {}, { takeOver: true });
    await second.result();
    writing.open();
    expect(await first.failure()).toMatchObject({ type: 'CheckpointConflictError' });
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('is done once: who has taken a stream over does not take it back from the next one', async () => {
    const bench = await lab().bench({ rows: 200 });
    const first = await bench.start({ interval: '1h' });
    await first.status('sleeping');
    const second = await bench.start({ interval: '1h' }, {}, { takeOver: true });
    await second.status('sleeping');
    const third = await bench.start({ interval: '1h' }, {}, { takeOver: true });
    await third.status('sleeping');

    await second.sync.resume();
    expect(await second.failure()).toMatchObject({
      type: 'StreamHeldError',
      message: expect.stringContaining(third.id) as string,
    });
    await bench.source.mutate({ insert: 5 });
    await third.sync.resume();
    await third.reaches(
      ({ totals, status }) => totals.passes === 2 && status === 'sleeping',
      'a second pass',
    );
    expect(await bench.difference()).toEqual(EQUAL);
  });
});

describe('a workflow reset', () => {
  const temporal = (...args: string[]) =>
    promisify(execFile)(inject('temporalCli'), [...args, '--address', inject('temporalAddress')], {
      env: envWithoutTemporal(),
    });

  test('in the middle of a pass goes on from the stored checkpoint', async () => {
    const bench = await lab().bench(slow);
    const run = await paused(bench);
    await bench.source.mutate({ insert: 30, update: 3 });
    const reset = ['reset', '--workflow-id', run.id, '--type', 'FirstWorkflowTask', '--reason', 'a test'];
    await temporal('workflow', ...reset);
    const again = lab().client.sync(run.id);
    await again.resume();
    await again.result();
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('of a sync that has ended, to a batch long written, writes nothing twice and reads what is new', async () => {
    const bench = await lab().bench({ rows: 400 });
    const run = await bench.start();
    await run.result();
    await bench.source.mutate({ insert: 30, update: 3 });
    const events = await run.events();
    // The workflow task that has sent the third batch to be written.
    const third = scheduled(events, 'writeBatch')[2] ?? 0;
    expect(completed(events, 'writeBatch').length).toBeGreaterThan(5);
    const task = events.findLast(
      (event) => Number(event.eventId) < third && event.workflowTaskCompletedEventAttributes,
    );
    const at = ['--event-id', String(task?.eventId), '--reason', 'a test'];
    await temporal('workflow', 'reset', '--workflow-id', run.id, ...at);
    const again = lab().client.sync(run.id);
    expect((await again.result()).streams[0]).toMatchObject({ rows: expect.any(Number) as number });
    expect(await bench.difference()).toEqual(EQUAL);
    const [batches, ids] = await bench.read('SELECT count(*), count(DISTINCT id) FROM _highwater_batches');
    expect(batches).toBe(ids);
  });
});

/** The client against a real server: what it throws, and its schedules. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import {
  AlreadyRunningError,
  type HighwaterClient,
  NoSuchSyncError,
  NotRunningError,
  type SyncHandle,
} from '../../src/index.js';
import { connect, uniqueName } from '../helpers/harness.js';

let client: HighwaterClient;
beforeAll(async () => {
  client = await connect(inject('temporalAddress'));
});
afterAll(() => client.close());

/** Each thing that can be asked of a sync. */
const CHANGES: { [name: string]: (sync: SyncHandle) => Promise<unknown> } = {
  stop: (sync) => sync.stop(),
  trigger: (sync) => sync.trigger(),
  pause: (sync) => sync.pause(),
  resume: (sync) => sync.resume(),
  cancel: (sync) => sync.cancel(),
  set: (sync) => sync.set({ in_flight: 1 }),
  move: (sync) => sync.move({ to: 'start' }),
  configure: (sync) => sync.configure({ strategy: 'keyset' }),
  approve: (sync) => sync.approve(),
  reject: (sync) => sync.reject(),
};
const QUESTIONS: typeof CHANGES = {
  result: (sync) => sync.result(),
  runId: (sync) => sync.runId(),
  status: (sync) => sync.status(),
  work: (sync) => sync.work(),
  summary: (sync) => sync.summary(),
  progress: (sync) => sync.progress(),
  state: (sync) => sync.state(),
  configuration: (sync) => sync.configuration(),
};

describe('a sync that is unknown', () => {
  test.each(Object.entries({ ...CHANGES, ...QUESTIONS }))('has %s throw NoSuchSyncError', async (_, ask) => {
    const thrown: unknown = await ask(client.sync('no-such-sync')).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(NoSuchSyncError);
    expect(thrown).toMatchObject({
      workflowId: 'no-such-sync',
      message: 'there is no sync with the id "no-such-sync"; "highwater list" shows all syncs',
    });
  });

  test.each([
    ['backfill', () => client.backfill('no-such-sync', { from: null, to: null })],
    ['audit', () => client.audit('no-such-sync')],
    ['outcomesOf', () => client.outcomesOf('no-such-sync', ['a'])],
    ['streamOf', () => client.streamOf('no-such-sync')],
    ['a range', () => client.range('no-such-sync').range()],
  ])('has %s throw NoSuchSyncError', async (_, ask) => {
    await expect(ask()).rejects.toBeInstanceOf(NoSuchSyncError);
  });
});

describe('a sync that has ended', () => {
  let sync: SyncHandle;
  beforeAll(async () => {
    const workflowId = uniqueName('ended');
    // No worker takes it.
    sync = await client.start(
      { strategy: 'keyset', base_url: 'http://127.0.0.1:1/x' },
      { workflowId, taskQueue: uniqueName('nobody') },
    );
    await client.temporal.workflow.getHandle(workflowId).terminate();
  });

  // Temporal cancels what has ended without a word.
  const { cancel, ...changes } = CHANGES;

  test('can be cancelled, which does nothing', async () => {
    await expect(cancel?.(sync)).resolves.toBeUndefined();
  });

  test.each(Object.entries(changes))('has %s throw NotRunningError', async (_, ask) => {
    const thrown: unknown = await ask(sync).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(NotRunningError);
    expect(thrown).toMatchObject({ workflowId: sync.workflowId, status: 'TERMINATED' });
  });
});

test('a sync that runs is not started twice', async () => {
  const options = { workflowId: uniqueName('twice'), taskQueue: uniqueName('nobody') };
  const configuration = { strategy: 'keyset', base_url: 'http://127.0.0.1:1/x' } as const;
  const sync = await client.start(configuration, options);
  await expect(client.start(configuration, options)).rejects.toBeInstanceOf(AlreadyRunningError);
  await client.temporal.workflow.getHandle(sync.workflowId).terminate();
});

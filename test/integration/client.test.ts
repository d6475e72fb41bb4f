/** The client against a real server: what it throws, and its schedules. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import {
  AlreadyRunningError,
  ConfigurationError,
  type HighwaterClient,
  NoSuchScheduleError,
  NoSuchSyncError,
  NotRunningError,
  ScheduleExistsError,
  type ScheduleOptions,
  ScheduleRefusedError,
  type SyncHandle,
} from '../../src/index.js';
import { connect, uniqueName, until } from '../helpers/harness.js';

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

describe('schedules', () => {
  const configuration = {
    strategy: 'keyset',
    base_url: 'http://127.0.0.1:1/x',
    interval: '1h',
  } as const;
  /** No worker takes their syncs. */
  const nobody = { taskQueue: 'nobody' };

  test('are created, listed, paused, resumed, triggered and deleted', async () => {
    const id = uniqueName('often');
    const schedule = await client.schedules.create(configuration, {
      ...nobody,
      ...{ id, every: '45m', jitter: '30s', catchUp: '2h' },
    });
    expect(schedule.id).toBe(id);
    const made = await schedule.describe();
    expect(made).toMatchObject({ id, when: 'every 45m', paused: false, lastId: null, lastResult: null });
    expect(Date.parse(made.nextRun ?? '')).toBeGreaterThan(Date.now());
    const { policies, spec, action } = await client.temporal.schedule.getHandle(id).describe();
    expect(policies).toMatchObject({ overlap: 'SKIP', catchupWindow: 7_200_000 });
    expect(spec).toMatchObject({ jitter: 30_000 });
    // It makes one pass.
    const { interval: _, ...onePass } = configuration;
    expect(action).toMatchObject({ workflowType: 'sync', args: [onePass], taskQueue: 'nobody' });

    // The list is what the server has indexed.
    const isListed = async (paused: boolean) => {
      const listed = await client.schedules.list();
      return listed.some((one) => one.id === id && one.paused === paused);
    };
    await until(() => isListed(false), 20, 'the schedule in the list');
    await client.schedules.get(id).pause('for a test');
    expect(await schedule.describe()).toMatchObject({ paused: true, nextRun: null });
    await until(() => isListed(true), 20, 'the paused schedule in the list');
    await schedule.resume();
    expect(await schedule.describe()).toMatchObject({ paused: false });

    await schedule.trigger();
    await until(async () => (await schedule.describe()).lastId !== null, 20, 'its sync');
    const { lastId, lastResult } = await schedule.describe();
    expect(lastId).toMatch(new RegExp(`^${id}-`));
    expect(lastResult).toBeNull();
    await client.temporal.workflow.getHandle(lastId ?? '').terminate('by a test');
    expect((await schedule.describe()).lastResult).toEqual({
      execution: 'TERMINATED',
      error: 'the sync was terminated: by a test',
    });
    await schedule.delete();
    await expect(schedule.describe()).rejects.toBeInstanceOf(NoSuchScheduleError);
  });

  test('have cron expressions in a time zone, and the id of the sync unless told otherwise', async () => {
    const table = uniqueName('scheduled').replaceAll('-', '_');
    const schedule = await client.schedules.create(
      { ...configuration, table },
      { ...nobody, cron: ['0 3 * * *', '0 5 * * SUN'], timeZone: 'Europe/Berlin', paused: true },
    );
    expect(schedule.id).toMatch(new RegExp(`^${table}-keyset-[0-9a-f]{8}$`));
    expect(await schedule.describe()).toMatchObject({
      when: '0 3 * * *, 0 5 * * SUN (Europe/Berlin)',
      paused: true,
    });
    const again = client.schedules.create(
      { ...configuration, table },
      { ...nobody, every: '1h', paused: true },
    );
    await expect(again).rejects.toBeInstanceOf(ScheduleExistsError);
    await schedule.delete();
  });

  const refusals: [string, ScheduleOptions, RegExp][] = [
    ['no times', {}, /needs either "every" or "cron"/],
    ['both kinds of times', { every: '1h', cron: '0 3 * * *' }, /needs either "every" or "cron"/],
    [
      'an interval that is none',
      { every: 'often' },
      /"every" of the schedule is "often", which is not a dur/,
    ],
    ['a wrong catch-up', { every: '1h', catchUp: 'x' }, /"catchUp" of the schedule is "x"/],
    ['a cron expression that is none', { cron: 'often' }, /Temporal refused the schedule: /],
  ];
  test.each(refusals)('with %s are refused', async (_, options, expected) => {
    const id = uniqueName('refused');
    const thrown: unknown = await client.schedules
      .create(configuration, { id, ...nobody, ...options })
      .catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(ScheduleRefusedError);
    expect(thrown).toMatchObject({ message: expect.stringMatching(expected) as string });
    await expect(client.schedules.get(id).describe()).rejects.toBeInstanceOf(NoSuchScheduleError);
  });

  test('of a configuration with a problem are refused', async () => {
    const wrong = { strategy: 'keyset', base_url: 'nowhere' } as const;
    const made = client.schedules.create(wrong, { every: '1h' });
    await expect(made).rejects.toBeInstanceOf(ConfigurationError);
  });

  test.each(['pause', 'resume', 'trigger', 'delete', 'describe'] as const)(
    'that are unknown have %s throw NoSuchScheduleError',
    async (name) => {
      const thrown: unknown = await client.schedules
        .get('no-such-schedule')
        [name]()
        .catch((error: unknown) => error);
      expect(thrown).toBeInstanceOf(NoSuchScheduleError);
    },
  );
});

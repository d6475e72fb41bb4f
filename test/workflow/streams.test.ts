/** Signals and updates that a sync of several streams hands on to streams that have not started yet. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { uniqueName, until } from '../helpers/harness.js';
import { gate, useLaboratory, type Run, type Wrapper } from './laboratory.js';

const lab = useLaboratory();

const NAMES = ['one', 'two', 'three', 'four', 'five'];
/** Inputs of this size are sent to one stream after the other, so that the last one has to wait for its start. */
const LARGE = 'x'.repeat(600_000);

/** Starts a sync of several streams whose openings last until they are cancelled; returns it once one has begun. */
async function start(): Promise<Run> {
  const held = gate();
  const openStream: NonNullable<Wrapper['openStream']> = (input, real) => held.pass().then(() => real(input));
  const bench = await lab().bench();
  const id = uniqueName('streams');
  for (const name of NAMES) lab().wrap(`${id}/${name}`, { openStream });
  const streams = NAMES.map((name) => ({ name }));
  const run = await bench.startWith([{ interval: '1h', defaults: { path: LARGE }, streams }], id);
  // A signal that arrives before any stream runs would be obeyed without one.
  await held.reached;
  return run;
}

/** The signals that a stream has received, in their order. */
async function signalsOf(run: Run, name: string): Promise<string[]> {
  const child = lab().client.temporal.workflow.getHandle(`${run.id}/${name}`);
  const history = await child.fetchHistory().catch(() => null);
  return (history?.events ?? []).flatMap(
    (event) => event.workflowExecutionSignaledEventAttributes?.signalName ?? [],
  );
}

test.each(['pause', 'stop'])('a %s may be followed by a cancellation', async (signal) => {
  const run = await start();
  await run.handle.signal(signal);
  await delay(500);
  await run.sync.cancel();
  await run.isCancelled();
});

test('a signal may follow a cancellation', async () => {
  const run = await start();
  const last = lab().client.temporal.workflow.getHandle(`${run.id}/five`);
  const hasStarted = () =>
    last.describe().then(
      () => true,
      () => false,
    );
  await until(hasStarted, 60, 'the last start');
  await run.sync.cancel();
  await run.handle.signal('trigger');
  await run.isCancelled();
});

test('a pause and its resume arrive in this order', async () => {
  const run = await start();
  // The sync counts all streams as running by now; the last of them are yet to start.
  await run.handle.signal('pause');
  await delay(700);
  await run.handle.signal('resume');
  const all = () => Promise.all(NAMES.map((name) => signalsOf(run, name)));
  await until(async () => (await all()).every(({ length }) => length === 2), 60, 'all signals');
  expect(await all()).toEqual(NAMES.map(() => ['pause', 'resume']));
});

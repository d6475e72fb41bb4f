import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, makeTelemetryFilterString, Runtime, Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { describe, expect, test } from 'vitest';

// Where a replay fails on purpose, the log would only repeat it.
Runtime.install({
  logger: new DefaultLogger('ERROR'),
  telemetryOptions: { logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'OFF' as never }) } },
  shutdownSignals: [],
});

const BUNDLE = fileURLToPath(new URL('../../dist/workflow-bundle.cjs', import.meta.url));
/** For workers that send traces. */
const TRACED = fileURLToPath(new URL('../../dist/workflow-bundle-traced.cjs', import.meta.url));
const HISTORIES = join(import.meta.dirname, 'histories');

interface RecordedEvent {
  eventType: string;
  activityTaskScheduledEventAttributes?: { activityType: { name: string } };
}

interface Recorded {
  version: string;
  name: string;
  history: { events: RecordedEvent[] };
}

const recorded: Recorded[] = readdirSync(HISTORIES).flatMap((version) =>
  readdirSync(join(HISTORIES, version)).map((file) => ({
    version,
    name: file.replace(/\.json$/, ''),
    history: JSON.parse(readFileSync(join(HISTORIES, version, file), 'utf8')) as Recorded['history'],
  })),
);

const has = ({ history }: Recorded, activity: string) =>
  history.events.some((e) => e.activityTaskScheduledEventAttributes?.activityType.name === activity);

const NAMES = recorded.map(({ version, name }) => [version, name] as const);
const find = (version: string, name: string) => {
  const found = recorded.find((one) => one.version === version && one.name === name);
  if (found === undefined) throw new Error(`no history ${version}/${name}`);
  return found;
};

/** Replays a history as a worker does when it takes over a running sync; returns what went wrong, or null. */
async function replay({ history, name }: Recorded, code?: string): Promise<unknown> {
  const workflowBundle = code === undefined ? { codePath: BUNDLE } : { code };
  return Worker.runReplayHistory({ workflowBundle }, history, name).then(
    () => null,
    (error: unknown) => error ?? new Error('failed without a reason'),
  );
}

describe('a sync that was started with a released version goes on with this code', () => {
  test.each(NAMES)('%s: %s', async (version, name) => {
    const broken = await replay(find(version, name));
    const meaning =
      `Running syncs of version ${version} would break: their workers could not go on with them (here: ${name}). ` +
      `Do not record the history again. Keep the old path under patched() from @temporalio/workflow, or give the ` +
      `new code a workflow type of its own.\n${String(broken)}`;
    expect(broken, meaning).toBeNull();
  });

  test('on a worker that sends traces too, and back', async () => {
    const code = readFileSync(TRACED, 'utf8');
    for (const one of recorded) expect(await replay(one, code), one.name).toBeNull();
  });

  test('and there is a history of every strategy, and of every way to wait', () => {
    const names = recorded.filter(({ version }) => version === '0.1.0').map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining([
        ...['keyset', 'offset', 'timestamp', 'step_size', 'replay'],
        ...['continue-as-new-middle-run', 'paused', 'rate-limit-waiting', 'interval-sleeping'],
        ...['stopped', 'set-and-triggered', 'blocked', 'failing-and-triggered', 'streams-controlled'],
      ]),
    );
  });
});

describe('these replays would notice a change', () => {
  const original = readFileSync(BUNDLE, 'utf8');

  /** The bundle with some text replaced; the text must be there, once. */
  function changed(...changes: [from: string, to: string][]): string {
    return changes.reduce((code, [from, to]) => {
      expect(code.split(from).length - 1, `occurrences of ${from}`).toBe(1);
      return code.replace(from, to);
    }, original);
  }

  test('of two activities swapped, with TMPRL1100', async () => {
    const swapped = changed(
      ['const { fetchPages } =', 'const { writeBatch: fetchPages } ='],
      ['const { writeBatch } =', 'const { fetchPages: writeBatch } ='],
    );
    const affected = recorded.filter((one) => has(one, 'fetchPages'));
    expect(affected.length).toBeGreaterThan(8);
    for (const one of affected) {
      const broken = await replay(one, swapped);
      expect(broken, one.name).toBeInstanceOf(DeterminismViolationError);
      expect(String(broken), one.name).toContain('TMPRL1100');
    }
  });
});

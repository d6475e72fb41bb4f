import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DefaultLogger, makeTelemetryFilterString, Runtime } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { describe, expect, test } from 'vitest';
import { replay as replayHistory, type Replayed } from '../../src/replaying.js';
import { workflowBundle } from '../helpers/workflow-bundle.js';
import { whatBreaks } from './words.js';
import { LONG } from '../helpers/long.js';

// Where a replay fails on purpose, the log would only repeat it.
Runtime.install({
  logger: new DefaultLogger('ERROR'),
  telemetryOptions: { logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'OFF' as never }) } },
  shutdownSignals: [],
});

const BUNDLE = await workflowBundle();
/** For workers that send traces. */
const TRACED = await workflowBundle({ isTraced: true });
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

/** What went wrong with a history, or null. */
async function replay({ history, name }: Recorded, code?: string): Promise<Replayed['broken']> {
  const workflowBundle = code === undefined ? { codePath: BUNDLE } : { code };
  return (await replayHistory({ workflowBundle }, history, name)).broken;
}

describe('a sync that was started with a released version goes on with this code', () => {
  test.each(NAMES)('%s: %s', async (version, name) => {
    const one = find(version, name);
    const broken = await replay(one);
    expect(broken, whatBreaks(version, name, one.history, broken)).toBeNull();
  });

  test.skipIf(!LONG)('on a worker that sends traces too, and back', async () => {
    const code = readFileSync(TRACED, 'utf8');
    for (const one of recorded) expect(await replay(one, code), one.name).toBeNull();
  });

  test.each(readdirSync(HISTORIES))(
    'of %s there is a history of every strategy, and of every way to wait',
    (version) => {
      const names = recorded.filter((one) => one.version === version).map(({ name }) => name);
      expect(names).toEqual(
        expect.arrayContaining([
          ...['keyset', 'offset', 'timestamp', 'step_size', 'replay'],
          ...['continue-as-new-middle-run', 'paused', 'rate-limit-waiting', 'interval-sleeping'],
          ...['stopped', 'set-and-triggered', 'blocked', 'failing-and-triggered', 'streams-controlled'],
          ...['moved', 'configured', 'only-moved'],
        ]),
      );
    },
  );
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

  test.skipIf(!LONG)('of two activities swapped, with TMPRL1100', async () => {
    const swapped = changed(
      ['const { fetchPages } =', 'const { writeBatch: fetchPages } ='],
      ['const { writeBatch } =', 'const { fetchPages: writeBatch } ='],
    );
    const affected = recorded.filter((one) => has(one, 'fetchPages'));
    expect(affected.length).toBeGreaterThan(8);
    for (const one of affected) {
      const broken = await replay(one, swapped);
      expect(broken?.error, one.name).toBeInstanceOf(DeterminismViolationError);
      expect(broken?.reason, one.name).toContain('TMPRL1100');
    }
  });

  // What a developer gets to read, on a bundle with a change such as one makes without a second thought.
  test.each([
    [
      'a write that comes before a fetch',
      [
        ['const { fetchPages } =', 'const { writeBatch: fetchPages } ='],
        ['const { writeBatch } =', 'const { fetchPages: writeBatch } ='],
      ],
      "Activity type of scheduled event 'fetchPages' does not match activity type of activity command 'writeBatch'",
    ],
    [
      'a timer that was not there',
      [
        [
          'await this.opening.open();',
          'await (0,_temporalio_workflow__WEBPACK_IMPORTED_MODULE_0__.condition)(() => false, 1); await this.opening.open();',
        ],
      ],
      'Timer machine does not handle this event: HistoryEvent(id: 5, ActivityTaskScheduled)',
    ],
  ] as const)('and says what would break, and what to do: %s', async (_, changes, place) => {
    const one = find('0.1.0', 'paused');
    const broken = await replay(one, changed(...changes.map(([from, to]): [string, string] => [from, to])));
    const said = whatBreaks(one.version, one.name, one.history, broken);
    expect(said).toMatch(
      /^Incompatible change: syncs that were started with version 0\.1\.0 would not go on with this code\.$/m,
    );
    expect(said).toContain('  history      test/replay/histories/0.1.0/paused.json\n');
    expect(said).toMatch(
      /^ {2}such a sync {2}\d+ events: openStream, \d+ × fetchPages, \d+ × writeBatch, signal pause; still running$/m,
    );
    expect(said).toMatch(/^ {2}breaks {7}it would deviate from its history: .*TMPRL1100/m);
    expect(said).toContain(place);
    expect(said).toMatch(/^ {2}what then {4}it would get stuck: .*Nothing would be lost/m);
    expect(said).toMatch(
      /patched\(\) from @temporalio\/workflow; or give the new way a workflow type of its own/,
    );
  });
});

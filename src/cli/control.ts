import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import type { HighwaterClient, SyncHandle } from '../client.js';
import type { Progress } from '../protocol.js';
import { standingOf, standingText, workerCommandFor, type Standing } from '../sync-condition.js';
import type { ListedSchedule } from '../schedules.js';
import { askSyncs, connected, type Connected } from './asking.js';
import { scheduleNamed, SYNC_OR_SCHEDULE } from './latest.js';
import { note, print, visible, wrapped } from './output.js';

/** Something that a sync which runs can be asked for. */
export interface Control {
  name: 'pause' | 'resume' | 'stop' | 'cancel' | 'trigger';
  description: string;
  /** More for the help, a sentence or two. */
  help: string;
  /** Returns whether the request has taken effect; `before` is the sync's report at the time of the request. */
  isDone: (now: Progress, before: Progress | null) => boolean;
  /** Returns whether waiting for that is pointless. */
  comesLater?: (now: Progress) => boolean;
  /** Does the same to a schedule whose latest sync does not run, and returns what was done; absent: a schedule is no sync. */
  onSchedule?: (client: HighwaterClient, schedule: ListedSchedule) => Promise<string>;
  /** Describes what became of it, before the standing of the sync; `now` is null where the sync has not answered since. */
  said: (now: Progress | null, before: Progress | null) => string;
  /** The text shown until then. */
  later: string;
}

const POLL_MILLISECONDS = 200;
const WAIT_SECONDS = 15;

export function controlCommand(control: Control): Command {
  return new Command(control.name)
    .description(control.description)
    .argument(
      '<id>',
      control.onSchedule === undefined
        ? 'the workflow id; ID/STREAM for one of several streams'
        : SYNC_OR_SCHEDULE,
    )
    .option('--no-wait', 'return at once, without waiting for the effect')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `\n${control.help}\n\nExamples:\n  highwater ${control.name} users\n  highwater ${control.name} shop/orders --json`,
    )
    .action((id: string, options: { wait: boolean; json?: boolean }) =>
      connected((to) => actOnSyncs(control, to, id, options)),
    );
}

async function actOnSyncs(
  control: Control,
  { client }: Connected,
  named: string,
  options: { wait: boolean; json?: boolean },
): Promise<void> {
  const schedule = control.onSchedule === undefined ? null : await scheduleNamed(client, named);
  if (schedule !== null && control.onSchedule !== undefined && !(await isRunning(client, schedule))) {
    const done = await control.onSchedule(client, schedule);
    if (options.json === true)
      print(JSON.stringify({ id: named, asked: control.name, done: true, status: null }));
    else print(wrapped(`${named}: ${done}`, 2));
    return;
  }
  const id = schedule?.lastId ?? named;
  const handle = client.sync(id);
  await handle.mustRun();
  const [before] = await askSyncs(client, [handle], { milliseconds: 3000 });
  await handle[control.name]();
  const outcome =
    options.wait && before !== null ? await watch(control, client, handle, before?.progress) : null;
  if (options.json === true) {
    print(
      JSON.stringify({
        id,
        asked: control.name,
        done: outcome?.done ?? false,
        status: outcome?.ended ?? outcome?.progress?.status ?? null,
      }),
    );
    return;
  }
  if (before === null) note(noAnswerText((await handle.work()).taskQueue));
  print(wrapped(`${id}: ${controlText(control, outcome, before?.progress ?? null, Date.now())}`, 2));
}

/** Returns whether the latest sync of a schedule runs; one that is no longer known does not. */
const isRunning = async (client: HighwaterClient, { lastId }: ListedSchedule): Promise<boolean> =>
  lastId !== null &&
  (await client
    .sync(lastId)
    .status()
    .catch(() => '')) === 'RUNNING';

const noAnswerText = (taskQueue: string): string =>
  `no worker answers; the request takes effect once a worker runs ("${workerCommandFor(taskQueue)}")`;

/** Describes the result of a request in a line. */
export function controlText(
  { said, later }: Pick<Control, 'said' | 'later'>,
  outcome: Outcome | null,
  before: Progress | null,
  now: number,
): string {
  if (outcome?.ended != null) return outcome.ended;
  const { done = false, progress = null } = outcome ?? {};
  const what = done ? said(progress, before) : later;
  if (progress === null) return what;
  return `${what}; now ${visible(standingText(ownStanding(progress, '', now)))}`;
}

/** Returns the standing of a running sync by its own report alone. */
export function ownStanding(progress: Progress, id: string, now = Date.now()): Standing {
  const facts = {
    execution: 'RUNNING',
    retry: null,
    taskQueue: '',
    isPolled: true,
    ended: null,
    outcome: null,
  };
  return standingOf({ id, progress, ...facts }, now);
}

/** Returns whether the sync has failed again since. */
export const hasFailedSince = (now: Progress | null, before: Progress | null): boolean =>
  (now?.trouble?.failures ?? 0) > (before?.trouble?.failures ?? 0);

export interface Outcome {
  done: boolean;
  /** The final status of a sync that has ended. */
  ended: string | null;
  progress: Progress | null;
}

async function watch(
  control: Control,
  client: Connected['client'],
  handle: SyncHandle,
  before: Progress | undefined,
): Promise<Outcome> {
  const deadline = Date.now() + WAIT_SECONDS * 1000;
  for (let progress: Progress | null = null; ; await delay(POLL_MILLISECONDS)) {
    const ended = await handle.status();
    if (ended !== 'RUNNING') {
      const how = await handle.result().then(
        ({ status }) => status,
        () => ended.toLowerCase(),
      );
      return { done: true, ended: how, progress };
    }
    progress = (await askSyncs(client, [handle], { milliseconds: 3000 }))[0]?.progress ?? null;
    if (progress !== null && control.isDone(progress, before ?? null))
      return { done: true, ended: null, progress };
    const isLater = progress !== null && control.comesLater?.(progress) === true;
    if (isLater || Date.now() > deadline) return { done: false, ended: null, progress };
  }
}

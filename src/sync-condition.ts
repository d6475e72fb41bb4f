/** Sums up the state of a sync: its health, since when, and the next step. */
import { ruleFor, type FailureType } from './failures.js';
import type { Progress, Retry, TooManyDeletes } from './protocol.js';
import { count, counted, firstLine, shellWord, since } from './text.js';

/** Best first. `over`: the sync has ended as intended. */
export const LEVELS = ['well', 'over', 'waiting', 'trouble', 'stuck'] as const;

export type Level = (typeof LEVELS)[number];

/** `several`: streams in different good states. */
export type Kind =
  | 'up-to-date'
  | 'reading'
  | 'quiet'
  | 'waiting'
  | 'paused'
  | 'queued'
  | 'retrying'
  | 'failing'
  | 'blocked'
  | 'decision'
  | 'no-worker'
  | 'no-answer'
  | 'not-asked'
  | 'failed'
  | 'ended'
  | 'several';

export interface Standing {
  /** For decisions; `word` is for display. */
  kind: Kind;
  level: Level;
  /** A word or two: `up to date`, `retrying`, `blocked`. */
  word: string;
  /** Since when and why, in a line; may be empty. */
  what: string;
  /** The operator's next step; null if there is none. */
  todo: string | null;
  /** The main command of that step, without `npx`. */
  command: string | null;
  /** The error's own advice; empty if it has none. */
  advice: string;
  /** The lines of the error that say where it happened: `request: GET …`. */
  places: string[];
}

/** The reason why a running sync has not answered. */
export interface Silence {
  reason: string;
  /** Null: the general advice applies. */
  advice: string | null;
}

/** State of one sync or stream, as Temporal and its worker report it. */
export interface Facts {
  /** As commands name it. */
  id: string;
  /** RUNNING, COMPLETED, FAILED, … */
  execution: string;
  /** The sync's own report; null where no worker answers. */
  progress: Progress | null;
  retry: Retry | null;
  /** Since when the source has sent no page to the activity that reads; absent or null: none reads, or that is not known. */
  quietSince?: string | null;
  taskQueue: string;
  /** Whether a worker polls its task queue; null if that is not known. */
  isPolled: boolean | null;
  /** The status that Temporal's list has, while the worker has not been asked yet; absent or null: it has been. */
  listedStatus?: string | null;
  /** The reason for a missing report, if it is known. */
  silence?: Silence | null;
  /** When it ended; null while it runs. */
  ended: string | null;
  /** How it ended, if that is known. */
  outcome: { status: string | null; error: string | null; rows?: number | null } | null;
  /** When its schedule starts the next sync. */
  nextRun?: string | null;
}

/** Returns the standing of a sync, without its streams. @param now in milliseconds. */
export function standingOf(facts: Facts, now: number): Standing {
  if (facts.execution !== 'RUNNING') return endedStanding(facts, now);
  const { progress, retry, isPolled, listedStatus = null } = facts;
  if (progress === null && listedStatus !== null)
    return standing('not-asked', 'waiting', listedStatus, 'asking its worker');
  // Nothing is retried without a worker.
  if (progress === null && isPolled === false) return silentStanding(facts);
  const isAtWork = ['opening', 'running', 'failing'].includes(progress?.status ?? 'opening');
  if (retry !== null && isAtWork && !(progress !== null && isTakenOver(retry)))
    return retryStanding(retry, facts, now);
  if (progress === null) return silentStanding(facts);
  return runningStanding(progress, facts, now);
}

/** Returns whether another attempt runs after a worker was lost: nothing is wrong any more. */
const isTakenOver = ({ isWorkerLost = false, next }: Retry): boolean => isWorkerLost && next === null;

const standing = (
  kind: Kind,
  level: Level,
  word: string,
  what: string,
  more: Partial<Standing> = {},
): Standing => ({ kind, level, word, what, todo: null, command: null, advice: '', places: [], ...more });

const FROM_CHECKPOINT = 'start it again to continue from its checkpoint';

function endedStanding({ execution, ended, outcome, id, nextRun = null }: Facts, now: number): Standing {
  const ago = ended === null ? '' : `${since(ended, now)} ago`;
  const next = nextRun === null ? '' : `next sync ${inTime(nextRun, now)}`;
  const error = outcome?.error ?? '';
  switch (execution) {
    case 'FAILED':
    case 'TIMED_OUT': {
      const [parent = ''] = id.split('/');
      const again = id.includes('/')
        ? `start "${parent}" again`
        : 'start it again ("highwater run" or "start")';
      return standing(
        'failed',
        'stuck',
        execution === 'FAILED' ? 'failed' : 'timed out',
        said(ago, firstLine(error), next),
        {
          todo: `fix the cause, then ${again}; it continues from its checkpoint`,
          command: `highwater logs ${shellWord(id)}`,
          ...linesOf(error),
        },
      );
    }
    case 'COMPLETED': {
      if (outcome?.status === 'stopped')
        return standing('ended', 'over', 'stopped', said(ago, next), { todo: FROM_CHECKPOINT });
      const rows = outcome?.rows ?? null;
      const wrote = rows === null ? '' : `${counted(rows, 'row')} written`;
      return nextRun === null
        ? standing('ended', 'over', outcome?.status ?? 'completed', said(ago, wrote))
        : standing('up-to-date', 'well', 'up to date', said(`completed ${ago}`.trim(), wrote, next));
    }
    default: {
      const word = outcome?.status ?? ENDINGS[execution] ?? execution.toLowerCase();
      return standing('ended', 'over', word, said(ago, firstLine(error), next), { todo: FROM_CHECKPOINT });
    }
  }
}

const ENDINGS: { [execution: string]: string } = { CANCELED: 'cancelled' };

function silentStanding({ taskQueue, isPolled, silence = null, id }: Facts): Standing {
  const start = workerCommandFor(taskQueue);
  if (isPolled === false)
    return standing(
      'no-worker',
      'stuck',
      'no worker',
      `running, but no worker polls the task queue "${taskQueue}"`,
      { todo: `start one: ${start}`, command: withoutNpx(start) },
    );
  return standing(
    'no-answer',
    'trouble',
    'no answer',
    silence?.reason ?? `running, but no worker answers on the task queue "${taskQueue}"`,
    {
      todo:
        silence?.advice ??
        `"highwater logs ${shellWord(id)}" shows what happened last, "highwater doctor" looks for the cause; or start a worker: ${start}`,
      command: `highwater logs ${shellWord(id)}`,
    },
  );
}

/** The command that starts a worker for a task queue. */
export const workerCommandFor = (taskQueue: string): string =>
  `npx highwater worker${taskQueue === 'highwater' ? '' : ` --task-queue ${shellWord(taskQueue)}`}`;

const withoutNpx = (command: string): string => command.replace(/^npx /, '');

function retryStanding(retry: Retry, { id, taskQueue }: Facts, now: number): Standing {
  const { isWorkerLost = false } = retry;
  const begun = retry.since == null ? '' : sinceText(retry.since, now);
  const message = failureWords(retry);
  return standing('retrying', 'trouble', 'retrying', said(begun, retryText(retry, now), firstLine(message)), {
    todo: isWorkerLost
      ? `nothing if another worker runs: it continues from the last committed batch; else start one: ${workerCommandFor(taskQueue)}`
      : (RETRIED[retry.type as FailureType] ?? 'nothing: Temporal retries automatically'),
    command: isWorkerLost ? withoutNpx(workerCommandFor(taskQueue)) : `highwater logs ${shellWord(id)}`,
    ...linesOf(message),
  });
}

/** What a person can do about failures that are retried and may last. */
const RETRIED: { [type in FailureType]?: string } = {
  SourceUnavailableError:
    'see whether the API is up and can be reached from the worker; it is retried until it answers',
  MalformedAnswerError: 'see what the API sends ("highwater preview" shows it); it is retried',
  DestinationBusyError:
    'close the other program that has the destination open; it is retried until it is free',
  SecretUnavailableError: 'see whether the secret is there for the worker; it is retried until it is',
  StorageFullError: 'make room on the disk; it is retried until there is some',
};

/** The reason for the last failure of a retried activity, in words for an operator. */
export const failureWords = ({ message, isWorkerLost = false }: Retry): string =>
  isWorkerLost ? WORKER_LOST : message;

const WORKER_LOST = 'the worker has stopped answering: it has ended, or cannot reach the Temporal server';

const sinceText = (time: string, now: number): string => `since ${time} (${since(time, now)})`;

/** `attempt 8, next in 12s`, `attempt 8 is due`, or `attempt 8 is running`. */
export function retryText({ attempt, next }: Pick<Retry, 'attempt' | 'next'>, now: number): string {
  if (next === null) return `attempt ${attempt} is running`;
  return Date.parse(next) <= now
    ? `attempt ${attempt} is due`
    : `attempt ${attempt}, next in ${since(next, now)}`;
}

/** A source that has sent no page for this long is shown as one that does not answer. */
const QUIET_MILLISECONDS = 20_000;

/** The standing of a sync that reads or opens its stream. It is well only once nothing is wrong any more. */
function readingStanding(progress: Progress, facts: Facts, upToDate: string, now: number): Standing {
  const { status, trouble } = progress;
  const { id, retry, quietSince = null } = facts;
  const isQuiet = quietSince !== null && now - Date.parse(quietSince) > QUIET_MILLISECONDS;
  const quiet = isQuiet ? `no page from the source for ${since(quietSince, now)}` : '';
  if (trouble !== null)
    return standing(
      'failing',
      'trouble',
      'trying again',
      said(troubleSince(trouble, now), quiet, firstLine(trouble.message)),
      {
        todo: 'nothing: it is trying again now; the problem is over once a batch is written',
        command: `highwater logs ${shellWord(id)}`,
        ...linesOf(trouble.message),
      },
    );
  if (isQuiet)
    return standing('quiet', 'waiting', status, said(quiet, readingText(progress), upToDate), {
      todo: 'nothing yet: a request without an answer fails after its timeout, and is retried',
      command: `highwater logs ${shellWord(id)}`,
    });
  const takenOver = retry !== null && isTakenOver(retry) ? 'continuing after a worker was lost' : '';
  return standing('reading', 'well', status, said(takenOver, readingText(progress), upToDate));
}

function runningStanding(progress: Progress, facts: Facts, now: number): Standing {
  const { id } = facts;
  const { status, waiting, trouble, completeAsOf } = progress;
  const name = shellWord(id);
  const asOf = completeAsOf === null ? '' : `as of ${completeAsOf} (${since(completeAsOf, now)} ago)`;
  const upToDate = asOf === '' ? '' : `up to date ${asOf}`;
  switch (status) {
    case 'sleeping':
      return standing(
        'up-to-date',
        'well',
        asOf === '' ? 'sleeping' : 'up to date',
        said(asOf, nextPass(waiting, now)),
      );
    case 'opening':
    case 'running':
      return readingStanding(progress, facts, upToDate, now);
    case 'waiting':
      return standing(
        'waiting',
        'waiting',
        'waiting',
        said(
          waiting === null ? '' : `continues ${untilText(waiting, now)}`,
          firstLine(waiting?.reason ?? ''),
          upToDate,
        ),
        {
          todo: `nothing: it continues automatically; "highwater resume ${name}" tries the source now`,
          command: `highwater resume ${name}`,
        },
      );
    case 'paused':
      return standing('paused', 'waiting', 'paused', upToDate, {
        todo: `"highwater resume ${name}" continues`,
        command: `highwater resume ${name}`,
      });
    case 'failing':
      return standing(
        'failing',
        'trouble',
        'failing',
        said(troubleSince(trouble, now), firstLine(trouble?.message ?? waiting?.reason ?? '')),
        {
          ...failingStep(trouble, name, now),
          ...linesOf(trouble?.message ?? ''),
        },
      );
    case 'blocked':
      return trouble?.deletes === undefined
        ? standing(
            'blocked',
            'stuck',
            'blocked',
            said(troubleSince(trouble, now), firstLine(trouble?.message ?? '')),
            {
              ...blockedStep(trouble?.type ?? '', name),
              ...linesOf(trouble?.message ?? ''),
            },
          )
        : standing(
            'decision',
            'stuck',
            'needs approval',
            said(troubleSince(trouble, now), deletesText(trouble.deletes)),
            {
              todo: `decide: "highwater approve ${name}" removes the rows, "highwater reject ${name}" keeps them`,
              command: `highwater approve ${name}`,
            },
          );
    default:
      return status === 'failed'
        ? standing('failed', 'stuck', status, upToDate)
        : standing('ended', 'over', status, upToDate);
  }
}

type Step = Pick<Standing, 'todo' | 'command'>;

function failingStep(trouble: Progress['trouble'], name: string, now: number): Step {
  const next = trouble?.nextTry == null ? 'automatically' : inTime(trouble.nextTry, now);
  return ruleFor(trouble?.type).resumeStartsOver === true
    ? {
        todo: `put the destination back: it looks again ${next}, "highwater trigger ${name}" looks now; or "highwater resume ${name}" reads everything into a new one`,
        command: `highwater trigger ${name}`,
      }
    : {
        todo: `it retries ${next}; "highwater trigger ${name}" retries now`,
        command: `highwater trigger ${name}`,
      };
}

const blockedStep = (type: string, name: string): Step =>
  type === 'SourceRefusedError'
    ? {
        todo: `change the configuration, then "highwater configure ${name} FILE"; after a change at the source or of a secret, "highwater resume ${name}"; or "highwater stop ${name}"`,
        command: `highwater resume ${name}`,
      }
    : {
        todo: `fix the cause, then "highwater resume ${name}"; or "highwater stop ${name}"`,
        command: `highwater resume ${name}`,
      };

const nextPass = (waiting: Progress['waiting'], now: number) =>
  waiting === null ? '' : `next pass ${untilText(waiting, now)}`;

const untilText = (waiting: Progress['waiting'], now: number): string =>
  waiting === null ? '' : inTime(waiting.until, now);

/** `in 5m`; `now` where that time has passed. */
export const inTime = (time: string, now: number): string =>
  Date.parse(time) <= now ? 'now' : `in ${since(time, now)}`;

const troubleSince = (trouble: Progress['trouble'], now: number): string =>
  trouble === null ? '' : `${sinceText(trouble.since, now)}, ${counted(trouble.failures, 'failure')}`;

function readingText({ status, streams, pass, records, recordsPerSecond, totals }: Progress): string {
  if (status === 'opening') return '';
  if (streams.length > 0) {
    const done = streams.filter((one) => one.status === 'done').length;
    return `${done} of ${counted(streams.length, 'stream')} done`;
  }
  const rate = recordsPerSecond === null ? '' : `, ${count(recordsPerSecond)} records/s`;
  return `pass ${Math.max(pass, totals.passes + 1, 1)}: ${counted(records, 'record')} written${rate}`;
}

const deletesText = ({ deletes, rows, table }: TooManyDeletes): string =>
  `a pass would remove ${count(deletes)} of the ${counted(rows, 'row')} of ${table}`;

const PLACE = /^[a-z_ ]{1,20}: /;

/** Splits the lines of a message after its first into places and advice. */
function linesOf(message: string): Pick<Standing, 'advice' | 'places'> {
  const [, ...others] = message.split('\n').map((line) => line.trim());
  const lines = others.filter(Boolean);
  return {
    advice: lines.filter((line) => !PLACE.test(line)).join(' '),
    places: lines.filter((line) => PLACE.test(line)),
  };
}

/** The standing of a stream under its name. */
export interface StreamStanding {
  stream: string;
  standing: Standing;
}

/** The standing of a stream that has not begun. */
export const queuedStanding = (): Standing => standing('queued', 'waiting', 'queued', 'waits for its turn');

/** Returns the standing of a sync of several streams: its own if that applies to all of them, else the rolled-up one. */
export function standingOfSeveral(own: Standing, streams: readonly StreamStanding[]): Standing {
  const isForAll = own.level === 'over' || OF_ALL.includes(own.kind);
  return isForAll || streams.length === 0 ? own : rolledUp(streams);
}

const OF_ALL: readonly Kind[] = ['paused', 'failed', 'no-worker', 'no-answer'];

/** The standing of a sync of several streams: that of the worst of them. */
export function rolledUp(streams: readonly StreamStanding[]): Standing {
  const worst = streams.reduce<Level>((level, one) => worseOf(level, one.standing.level), 'well');
  const [first, ...others] = streams.filter((one) => one.standing.level === worst);
  const all = counted(streams.length, 'stream');
  if (worst === 'well' || worst === 'over' || first === undefined) return bestOf(streams, all);
  const more = others.length === 0 ? '' : `, and ${count(others.length)} more`;
  return {
    ...first.standing,
    what: said(`${count(others.length + 1)} of ${all}: ${first.stream}${more}`, first.standing.what),
  };
}

const worseOf = (a: Level, b: Level): Level => (LEVELS.indexOf(b) > LEVELS.indexOf(a) ? b : a);

/** Counts the states of streams of which none waits or fails. */
function bestOf(streams: readonly StreamStanding[], all: string): Standing {
  const [first] = streams;
  if (first === undefined) return standing('ended', 'over', 'no streams', '');
  const words = tally(streams.map((one) => one.standing.word));
  if (words.length === 1)
    return { ...first.standing, what: said(`all ${all}`, first.standing.what), todo: null };
  const isWell = streams.some((one) => one.standing.level === 'well');
  return standing('several', isWell ? 'well' : 'over', 'healthy', words.join(', '));
}

/** `3 running`, `2 queued`: each word with its number, the most frequent first. */
export function tally(words: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).map(([word, n]) => `${count(n)} ${word}`);
}

const DAY_MILLISECONDS = 24 * 60 * 60 * 1000;

/**
 * Returns the standing of a sync for a list of many: a failure that ended it more than a day ago is no news, unless a
 * schedule starts it again.
 */
export const standingInList = (
  own: Standing,
  { execution, ended, schedule }: { execution: string; ended: string | null; schedule: string | null },
  now: number,
): Standing =>
  execution !== 'RUNNING' && schedule === null && ended !== null && now - Date.parse(ended) > DAY_MILLISECONDS
    ? { ...own, level: 'over' }
    : own;

/** Joins the parts that are not empty. */
const said = (...parts: string[]): string => parts.filter((part) => part !== '').join(' · ');

/** `retrying: attempt 8, next in 12s · 503 Service Unavailable`. */
export const standingText = ({ word, what }: Pick<Standing, 'word' | 'what'>): string =>
  what === '' ? word : `${word}: ${what}`;

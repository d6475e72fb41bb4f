/**
 * The standing of a sync in a sentence: is it well, since when, and what is to be done? Pure functions of what Temporal
 * and the sync say, for `status`, `list`, `run` and the commands that ask something of a sync.
 */
import type { Retry } from '../client.js';
import type { Progress } from '../protocol.js';
import { count, counted, since } from './output.js';
import type { Tone } from './terminal.js';

/** From the best to the worst; `over`: it has ended as it was told to. */
export const LEVELS = ['well', 'over', 'waiting', 'trouble', 'stuck'] as const;

export type Level = (typeof LEVELS)[number];

export interface Standing {
  level: Level;
  /** A word or two: `up to date`, `retrying`, `blocked`. */
  word: string;
  /** Since when and why, in a line; may be empty. */
  what: string;
  /** What the operator does; null if nothing. */
  todo: string | null;
}

export const MARKS: { [L in Level]: string } = {
  well: '✓',
  over: '·',
  waiting: '…',
  trouble: '!',
  stuck: '✗',
};

export const TONES: { [L in Level]: Tone } = {
  well: 'good',
  over: 'quiet',
  waiting: 'warn',
  trouble: 'warn',
  stuck: 'bad',
};

/** What is known about a sync of one stream, or about one stream of several. */
export interface Facts {
  /** As commands name it. */
  id: string;
  /** RUNNING, COMPLETED, FAILED, … */
  execution: string;
  /** The sync's own report; null where no worker answers. */
  progress: Progress | null;
  retry: Retry | null;
  taskQueue: string;
  /** Whether a worker polls its task queue; null if that is not known. */
  isPolled: boolean | null;
  /** When it ended; null while it runs. */
  ended: string | null;
  /** How it ended, if it was stopped or has failed. */
  outcome: { status: string | null; error: string | null } | null;
}

export function standingOf(facts: Facts, now: number): Standing {
  if (facts.execution !== 'RUNNING') return endedStanding(facts, now);
  const { progress, retry } = facts;
  if (retry !== null && ['opening', 'running', 'failing'].includes(progress?.status ?? 'opening'))
    return retryStanding(retry, now);
  if (progress === null) return silentStanding(facts);
  return runningStanding(progress, facts.id, now);
}

function endedStanding({ execution, ended, outcome, id }: Facts, now: number): Standing {
  const ago = ended === null ? '' : `${since(ended, now)} ago`;
  if (execution === 'FAILED') {
    const [parent] = id.split('/');
    const again = id.includes('/')
      ? `start "${parent}" again`
      : 'start it again ("highwater run" or "start")';
    return {
      level: 'stuck',
      word: 'failed',
      what: said(ago, firstLine(outcome?.error ?? '')),
      todo: `fix the cause, then ${again}; it continues from its checkpoint`,
    };
  }
  if (execution === 'COMPLETED' && outcome?.status !== 'stopped')
    return { level: 'over', word: outcome?.status ?? 'completed', what: ago, todo: null };
  const word = outcome?.status ?? ENDINGS[execution] ?? execution.toLowerCase();
  return {
    level: 'over',
    word,
    what: said(ago, word === 'stopped' ? '' : firstLine(outcome?.error ?? '')),
    todo: 'to go on, start it again; it continues from its checkpoint',
  };
}

const ENDINGS: { [execution: string]: string } = {
  CANCELLED: 'cancelled',
  CANCELED: 'cancelled',
  TERMINATED: 'terminated',
  TIMED_OUT: 'timed out',
};

function silentStanding({ taskQueue, isPolled, id }: Facts): Standing {
  if (isPolled === false)
    return {
      level: 'stuck',
      word: 'no worker',
      what: `running, but no worker polls the task queue "${taskQueue}"`,
      todo: `start one: ${workerCommandFor(taskQueue)}`,
    };
  return {
    level: 'trouble',
    word: 'no answer',
    what: `running, but no worker answers on the task queue "${taskQueue}"`,
    todo: `"highwater logs ${id}" shows what happened last, "highwater doctor" looks for the cause; or start a worker: ${workerCommandFor(taskQueue)}`,
  };
}

/** The command that starts a worker for a task queue. */
export const workerCommandFor = (taskQueue: string): string =>
  `npx highwater worker${taskQueue === 'highwater' ? '' : ` --task-queue ${taskQueue}`}`;

function retryStanding({ attempt, next, message }: Retry, now: number): Standing {
  return {
    level: 'trouble',
    word: 'retrying',
    what: said(retryText({ attempt, next }, now), firstLine(message)),
    todo: 'nothing yet: it retries by itself',
  };
}

/** `attempt 8 in 12s`, or `attempt 8 runs now`. */
export const retryText = ({ attempt, next }: Pick<Retry, 'attempt' | 'next'>, now: number): string =>
  next === null || Date.parse(next) <= now
    ? `attempt ${attempt} runs now`
    : `attempt ${attempt}, next in ${since(next, now)}`;

function runningStanding(progress: Progress, id: string, now: number): Standing {
  const { status, waiting, trouble, completeAsOf } = progress;
  const upToDate =
    completeAsOf === null ? '' : `up to date as of ${completeAsOf} (${since(completeAsOf, now)} ago)`;
  switch (status) {
    case 'sleeping':
      return {
        level: 'well',
        word: completeAsOf === null ? 'sleeping' : 'up to date',
        what: said(
          completeAsOf === null ? '' : `as of ${completeAsOf} (${since(completeAsOf, now)} ago)`,
          nextPass(waiting, now),
        ),
        todo: null,
      };
    case 'opening':
    case 'running': {
      const again = trouble === null ? '' : `again, after ${counted(trouble.failures, 'failure')}`;
      const pass = status === 'opening' ? '' : passText(progress);
      return { level: 'well', word: status, what: said(again, pass, upToDate), todo: null };
    }
    case 'waiting':
      return {
        level: 'waiting',
        word: 'waiting',
        what: said(untilText(waiting, now), firstLine(waiting?.reason ?? ''), upToDate),
        todo: `nothing, it continues by itself; "highwater resume ${id}" asks the source at once`,
      };
    case 'paused':
      return { level: 'waiting', word: 'paused', what: upToDate, todo: `"highwater resume ${id}" continues` };
    case 'failing':
      return {
        level: 'trouble',
        word: 'failing',
        what: said(troubleSince(trouble, now), firstLine(trouble?.message ?? waiting?.reason ?? '')),
        todo: `it retries ${trouble?.nextTry == null ? 'by itself' : `in ${since(trouble.nextTry, now)}`}; "highwater trigger ${id}" retries now`,
      };
    case 'blocked':
      return {
        level: 'stuck',
        word: 'blocked',
        what: said(troubleSince(trouble, now), firstLine(trouble?.message ?? '')),
        todo:
          trouble?.deletes === undefined
            ? `fix the cause, then "highwater resume ${id}"; or "highwater stop ${id}"`
            : `decide: "highwater approve ${id}" removes the rows, "highwater reject ${id}" keeps them`,
      };
    default:
      return { level: status === 'failed' ? 'stuck' : 'over', word: status, what: upToDate, todo: null };
  }
}

const nextPass = (waiting: Progress['waiting'], now: number) =>
  waiting === null ? '' : `next pass ${untilText(waiting, now)}`;

const untilText = (waiting: Progress['waiting'], now: number): string =>
  waiting === null ? '' : Date.parse(waiting.until) <= now ? 'now' : `in ${since(waiting.until, now)}`;

const troubleSince = (trouble: Progress['trouble'], now: number): string =>
  trouble === null
    ? ''
    : `since ${trouble.since} (${since(trouble.since, now)}), ${counted(trouble.failures, 'failure')}`;

function passText({ pass, records, recordsPerSecond, totals }: Progress): string {
  const rate = recordsPerSecond === null ? '' : `, ${count(recordsPerSecond)} records/s`;
  return `pass ${Math.max(pass, totals.passes + 1, 1)}: ${counted(records, 'record')} written${rate}`;
}

/** One stream's standing, under its name. */
export interface StreamStanding {
  stream: string;
  standing: Standing;
}

/** The standing of a sync of several streams: that of the worst of them. */
export function rolledUp(streams: readonly StreamStanding[]): Standing {
  const worst = streams.reduce<Level>(
    (level, { standing }) =>
      LEVELS.indexOf(standing.level) > LEVELS.indexOf(level) ? standing.level : level,
    'well',
  );
  const [first, ...others] = streams.filter(({ standing }) => standing.level === worst);
  const all = counted(streams.length, 'stream');
  if (first === undefined) return { level: 'over', word: 'no streams', what: '', todo: null };
  const { stream, standing } = first;
  if (worst === 'well' || worst === 'over') {
    const words = tally(streams.map(({ standing: { word } }) => word));
    const isOne = words.length === 1;
    return {
      level: streams.some(({ standing: { level } }) => level === 'well') ? 'well' : 'over',
      word: isOne ? standing.word : 'well',
      what: isOne ? said(`all ${all}`, standing.what) : words.join(', '),
      todo: null,
    };
  }
  const more = others.length === 0 ? '' : `, and ${count(others.length)} more`;
  return {
    level: worst,
    word: standing.word,
    what: said(`${count(others.length + 1)} of ${all}: ${stream}${more}`, standing.what),
    todo: standing.todo,
  };
}

/** `3 running`, `2 queued`: each word with its number, the most frequent first. */
export function tally(words: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).map(([word, n]) => `${count(n)} ${word}`);
}

/** The parts that say something, as one text. */
const said = (...parts: string[]): string => parts.filter((part) => part !== '').join(' · ');

const firstLine = (text: string): string => text.split('\n')[0] ?? '';

/** `retrying: attempt 8, next in 12s · 503 Service Unavailable`. */
export const standingText = ({ word, what }: Standing): string => (what === '' ? word : `${word}: ${what}`);

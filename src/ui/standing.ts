/** Decides how well a sync is, since when, and what to do: pure functions of its facts. */
import { count, counted, roughly, since } from '../text.js';
import { isRange, type SyncFacts, type SyncFamily } from './facts.js';

/** The worst first. */
export const LEVELS = ['bad', 'warn', 'busy', 'well', 'idle'] as const;

/**
 * `bad`: an operator must act. `warn`: it fails, and retries by itself. `busy`: it reads, or waits as the source asked.
 * `well`: up to date until the next pass. `idle`: it does not run, and need not.
 */
export type Level = (typeof LEVELS)[number];

/** How a sync is, in words. */
export interface Standing {
  level: Level;
  /** One or two words: `blocked`, `no worker`. */
  state: string;
  headline: string;
  since: string | null;
  /** The next step for the reader; null: there is nothing to do. */
  todo: string | null;
  /** A command for it. */
  command: string | null;
  /** Where it happened: the request, the record. */
  places: string[];
}

const standing = (
  level: Level,
  state: string,
  headline: string,
  more: Partial<Pick<Standing, 'since' | 'todo' | 'command' | 'places'>> = {},
): Standing => ({ level, state, headline, since: null, todo: null, command: null, places: [], ...more });

/** Temporal's first retries are quick, and rarely worth a word. */
const ATTEMPTS_NOT_SHOWN = 2;

/** Returns how a sync is. @param now in milliseconds. */
export function standingOf(sync: SyncFacts, now: number): Standing {
  if (sync.execution !== 'RUNNING') return endedStanding(sync, now);
  if (sync.progress === null) return silentStanding(sync);
  const { retrying } = sync;
  const own = runningStanding(sync, now);
  const isTold = own.level === 'bad' || own.level === 'warn';
  if (isTold || retrying === null || retrying.attempt <= ATTEMPTS_NOT_SHOWN) return own;
  const next = retrying.nextTry === null ? 'an attempt runs now' : `next ${inTime(retrying.nextTry, now)}`;
  return standing('warn', 'retrying', firstLine(retrying.message), {
    todo: `Temporal retries by itself: attempt ${retrying.attempt}, ${next}. See the worker's log if it does not pass.`,
    command: `highwater logs ${quoted(sync.id)}`,
  });
}

/** Returns how a sync of several streams is: as the worst of them. */
export function familyStanding({ sync, children }: SyncFamily, now: number): Standing {
  const own = standingOf(sync, now);
  const streams = children.filter((child) => !isRange(child) && child.execution === 'RUNNING');
  const worst = streams
    .map((child) => ({ child, of: standingOf(child, now) }))
    .sort((a, b) => LEVELS.indexOf(a.of.level) - LEVELS.indexOf(b.of.level))[0];
  if (worst === undefined || !isWorse(worst.of, own)) return own;
  const name = worst.child.stream ?? worst.child.id;
  return { ...worst.of, headline: `${name}: ${worst.of.headline}` };
}

const isWorse = (a: Standing, b: Standing): boolean => LEVELS.indexOf(a.level) < LEVELS.indexOf(b.level);

function runningStanding(sync: SyncFacts, now: number): Standing {
  const { progress, id } = sync;
  if (progress === null) return silentStanding(sync);
  const { trouble, waiting, status } = progress;
  switch (status) {
    case 'blocked': {
      const at = { since: trouble?.since ?? null };
      if (trouble?.deletes !== undefined) {
        const { deletes, rows, table } = trouble.deletes;
        return standing(
          'bad',
          'asks',
          `A pass would remove ${count(deletes)} of the ${counted(rows, 'row')} of ${table}`,
          {
            ...at,
            todo: 'Look at the source. Approve to remove the rows, reject to keep them.',
            command: `highwater approve ${quoted(id)}`,
          },
        );
      }
      const running = progress.streams.filter((stream) => stream.status === 'blocked');
      const message = trouble?.message ?? `waiting: ${running.map(({ stream }) => stream).join(', ')}`;
      return standing('bad', 'blocked', firstLine(message), {
        ...at,
        todo: `${adviceIn(message)}Fix the cause, then resume.`,
        command: `highwater resume ${quoted(id)}`,
        places: placesIn(message),
      });
    }
    case 'failing':
      return standing('warn', 'failing', firstLine(trouble?.message ?? 'a failure that is retried'), {
        since: trouble?.since ?? null,
        todo:
          trouble?.nextTry == null
            ? 'It retries by itself.'
            : `${adviceIn(trouble.message)}It retries by itself ${inTime(trouble.nextTry, now)} (${counted(trouble.failures, 'failure')} so far). Trigger to retry now.`,
        command: `highwater trigger ${quoted(id)}`,
        places: placesIn(trouble?.message ?? ''),
      });
    case 'paused':
      return standing('idle', 'paused', 'Paused by an operator', {
        todo: 'Resume to continue.',
        command: `highwater resume ${quoted(id)}`,
      });
    case 'waiting':
      return standing(
        'busy',
        'waiting',
        waiting === null
          ? 'Waits as the source asked'
          : `Waits until ${clock(waiting.until)}: ${firstLine(waiting.reason)}`,
        { since: null },
      );
    case 'sleeping':
      return standing('well', 'up to date', upToDate(sync, now), {
        since: progress.recent[0]?.ended ?? progress.completeAsOf,
      });
    case 'opening':
      return standing('busy', 'opening', 'Opens its stream');
    default:
      return standing('busy', status, readingText(sync));
  }
}

function readingText({ progress }: SyncFacts): string {
  if (progress === null) return 'Runs';
  if (progress.streams.length > 0) {
    const done = progress.streams.filter(({ status }) => status === 'done').length;
    return `${done} of ${counted(progress.streams.length, 'stream')} done`;
  }
  const rate = progress.recordsPerSecond === null ? '' : `, ${count(progress.recordsPerSecond)} records/s`;
  return `Pass ${progress.pass}: ${counted(progress.records, 'record')} read, ${counted(progress.rows, 'row')} written${rate}`;
}

function upToDate({ progress, nextRun }: SyncFacts, now: number): string {
  const asOf = progress?.completeAsOf ?? null;
  const next = progress?.waiting?.until ?? nextRun;
  const until = next === null ? '' : `; next pass ${inTime(next, now)}`;
  return asOf === null
    ? `The last pass has ended${until}`
    : `Up to date as of ${since(asOf, now)} ago${until}`;
}

function silentStanding({ silence, taskQueue, started }: SyncFacts): Standing {
  const [reason, advice] = (silence ?? 'The worker has not answered yet').split('\n');
  const isFresh = silence === null;
  return standing(isFresh ? 'busy' : 'bad', isFresh ? 'asking' : 'no answer', reason ?? '', {
    since: isFresh ? started : null,
    ...(!isFresh && {
      todo: advice ?? 'Start a worker, or see the log of the one that runs.',
      command: advice === undefined ? `highwater worker --task-queue ${quoted(taskQueue)}` : null,
    }),
  });
}

function endedStanding(sync: SyncFacts, now: number): Standing {
  const { execution, ended, schedule, nextRun, outcome, status } = sync;
  const at = { since: ended };
  const next = nextRun === null ? '' : `; the next run starts ${inTime(nextRun, now)}`;
  switch (execution) {
    case 'COMPLETED': {
      if (status === 'stopped' || outcome?.status === 'stopped')
        return standing('idle', 'stopped', `Stopped by an operator${next}`, at);
      const rows = outcome?.rows ?? sync.rows;
      const wrote = rows === null ? '' : `: ${counted(rows, 'row')} written`;
      return schedule !== null && nextRun !== null
        ? standing('well', 'up to date', `The last run completed${wrote}${next}`, at)
        : standing('idle', 'completed', `Completed${wrote}${next}`, at);
    }
    case 'FAILED':
    case 'TIMED_OUT': {
      const why = outcome?.error ?? (execution === 'FAILED' ? 'The sync failed' : 'The workflow timed out');
      return standing('bad', 'failed', firstLine(why) + next, {
        ...at,
        todo: `${adviceIn(why)}Fix the cause and start it again: it continues from its checkpoint.`,
        command: `highwater logs ${quoted(sync.id)}`,
        places: placesIn(why),
      });
    }
    case 'TERMINATED':
      return standing(
        'idle',
        'terminated',
        `Terminated${outcome?.error == null ? '' : `: ${firstLine(outcome.error)}`}${next}`,
        at,
      );
    default:
      return standing(
        'idle',
        execution.toLowerCase(),
        `${execution.slice(0, 1)}${execution.slice(1).toLowerCase()}${next}`,
        at,
      );
  }
}

const capital = (text: string): string =>
  /^(?:the|a|an|no|it) /.test(text) ? text.slice(0, 1).toUpperCase() + text.slice(1) : text;
const clock = (time: string): string => `${time.slice(11, 16)} UTC`;

/** `in 5m`; `now` where that time has passed. */
export const inTime = (time: string, now: number): string =>
  Date.parse(time) <= now ? 'now' : `in ${roughly((Date.parse(time) - now) / 1000)}`;

/** The first line of a message: what happened. */
export const firstLine = (message: string): string => capital((message.split('\n')[0] ?? '').trim());

/** Where something happened: `request: GET …`. */
const PLACE = /^[a-z_ ]{1,20}: /;

const otherLines = (message: string): string[] =>
  message
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
    .filter(Boolean);

/** The advice in the other lines of a message. */
function adviceIn(message: string): string {
  const text = otherLines(message)
    .filter((line) => !PLACE.test(line))
    .join(' ');
  return text === '' ? '' : `${text}${/[.!?]$/.test(text) ? '' : '.'} `;
}

/** The lines of a message that say where it happened. */
const placesIn = (message: string): string[] => otherLines(message).filter((line) => PLACE.test(line));

/** An id as a word of a shell. */
const quoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/** Counts standings, for the line above the list. */
export function tally(standings: readonly Standing[]): { level: Level; count: number }[] {
  return LEVELS.map((level) => ({
    level,
    count: standings.filter((one) => one.level === level).length,
  })).filter((one) => one.count > 0);
}

/** Seconds since the table last held everything in the source; null where that is not known. */
export function lagOf({ execution, progress, lagSeconds }: SyncFacts, now: number): number | null {
  if (execution !== 'RUNNING') return null;
  const asOf = progress?.completeAsOf ?? null;
  return asOf === null ? lagSeconds : Math.max(0, (now - Date.parse(asOf)) / 1000);
}

/** Schedules as they are shown: when they start syncs, and what became of the last one. */
import type { ListedSchedule } from '../schedules.js';
import { standingOf, type Standing } from '../sync-condition.js';
import { since } from './output.js';

/** Returns the state of a schedule: paused, failing or active. */
export function scheduleStanding(
  { paused, lastResult, lastId, lastRun }: ListedSchedule,
  now: number,
): Pick<Standing, 'level' | 'what'> & { word: 'paused' | 'failing' | 'active' } {
  const last: Standing | null =
    lastResult === null || lastId === null
      ? null
      : standingOf(
          {
            ...{ id: lastId, execution: lastResult.execution, progress: null, retry: null, taskQueue: '' },
            ...{ isPolled: null, ended: lastRun, outcome: { status: null, error: lastResult.error } },
          },
          now,
        );
  if (paused) return { level: 'waiting', word: 'paused', what: '' };
  if (last !== null && last.level === 'stuck') return { level: last.level, word: 'failing', what: last.what };
  return { level: 'well', word: 'active', what: '' };
}

/** The last sync of a schedule in a word. */
export const lastResultText = ({ lastId, lastResult }: ListedSchedule): string =>
  lastId === null ? '' : lastResult === null ? 'running' : lastResult.execution.toLowerCase();

/** A schedule in a line. */
export function scheduleText(schedule: ListedSchedule, now: number): string {
  const { id, when, paused, lastId, nextRun } = schedule;
  const next = paused
    ? `paused; "highwater schedule resume ${id}" starts syncs again`
    : nextRun === null
      ? 'no next sync'
      : `next sync in ${since(nextRun, now)}`;
  return `Schedule ${id}: ${when} · ${next}${lastId === null ? '' : ` · latest sync: ${lastId}`}`;
}

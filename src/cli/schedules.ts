/** Schedules as they are shown: when they start syncs, and what became of the last one. */
import { ScheduleNotFoundError } from '@temporalio/client';
import type { HighwaterClient } from '../client.js';
import { durationText } from '../durations.js';
import { messageOf } from '../errors.js';
import { standingOf, type Standing } from '../sync-condition.js';
import { outcomeOf } from './look.js';
import { since } from './output.js';

/** A schedule, and the sync that it started last. */
export interface ShownSchedule {
  id: string;
  when: string;
  paused: boolean;
  lastRun: string | null;
  lastId: string | null;
  /** The end of that sync; null while it runs, or where it is no longer known. */
  lastResult: { execution: string; error: string | null } | null;
  nextRun: string | null;
}

interface Described {
  spec?: { intervals?: { every: number }[]; calendars?: readonly unknown[] };
  memo?: Record<string, unknown>;
}

/** The times of a schedule, as they were given. */
function timesOf({ spec, memo }: Described): string {
  if (typeof memo?.['when'] === 'string') return memo['when'];
  const intervals = (spec?.intervals ?? []).map(({ every }) => `every ${durationText(every / 1000)}`);
  return (spec?.calendars?.length ? [...intervals, 'by calendar'] : intervals).join(', ');
}

/** Every schedule of syncs. */
export async function schedulesOf(client: HighwaterClient): Promise<ShownSchedule[]> {
  const found: ShownSchedule[] = [];
  for await (const { scheduleId, action, spec, state, info, memo } of client.temporal.schedule.list()) {
    if (action?.workflowType !== 'sync') continue;
    const last = info?.recentActions.at(-1);
    const lastId = last?.action.type === 'startWorkflow' ? last.action.workflow.workflowId : null;
    found.push({
      id: scheduleId,
      when: timesOf({
        ...(spec !== undefined && { spec }),
        ...(memo !== undefined && { memo }),
      }),
      paused: state.paused,
      lastRun: last?.takenAt.toISOString() ?? null,
      lastId,
      lastResult: lastId === null ? null : await resultOf(client, lastId),
      nextRun: state.paused ? null : (info?.nextActionTimes[0]?.toISOString() ?? null),
    });
  }
  return found;
}

/** A schedule by its id; null if there is none. */
export async function scheduleOf(client: HighwaterClient, id: string): Promise<ShownSchedule | null> {
  const described = await client.temporal.schedule
    .getHandle(id)
    .describe()
    .catch((thrown: unknown) => {
      if (thrown instanceof ScheduleNotFoundError) return null;
      throw thrown;
    });
  if (described === null || described.action.workflowType !== 'sync') return null;
  const { spec, state, info, memo } = described;
  const last = info.recentActions.at(-1);
  const lastId = last?.action.type === 'startWorkflow' ? last.action.workflow.workflowId : null;
  return {
    id,
    when: timesOf({ spec, ...(memo !== undefined && { memo }) }),
    paused: state.paused,
    lastRun: last?.takenAt.toISOString() ?? null,
    lastId,
    lastResult: lastId === null ? null : await resultOf(client, lastId),
    nextRun: state.paused ? null : (info.nextActionTimes[0]?.toISOString() ?? null),
  };
}

async function resultOf(client: HighwaterClient, id: string): Promise<ShownSchedule['lastResult']> {
  const sync = client.sync(id);
  const known = await sync.summary().catch(() => null);
  if (known === null || known.status === 'RUNNING') return null;
  const error = await outcomeOf(sync).then((outcome) => outcome.error, messageOf);
  return { execution: known.status, error };
}

/** Returns the state of a schedule: paused, failing or active. */
export function scheduleStanding(
  { paused, lastResult, lastId, lastRun }: ShownSchedule,
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
export const lastResultText = ({ lastId, lastResult }: ShownSchedule): string =>
  lastId === null ? '' : lastResult === null ? 'running' : lastResult.execution.toLowerCase();

/** A schedule in a line. */
export function scheduleText(schedule: ShownSchedule, now: number): string {
  const { id, when, paused, lastId, nextRun } = schedule;
  const next = paused
    ? `paused; "highwater schedule resume ${id}" starts syncs again`
    : nextRun === null
      ? 'no next sync'
      : `next sync in ${since(nextRun, now)}`;
  return `Schedule ${id}: ${when} · ${next}${lastId === null ? '' : ` · latest sync: ${lastId}`}`;
}

/** The sync that a command is about when it is given the id of a schedule. */
import { NoSuchSyncError, type HighwaterClient } from '../client.js';
import { HighwaterError } from '../errors.js';
import { NoSuchScheduleError, type ListedSchedule } from '../schedules.js';
import { wrapped } from './output.js';
import { scheduleText } from './schedules.js';

/** Help text of an argument that {@link latestOf} reads. */
export const SYNC_OR_SCHEDULE = 'the workflow id; ID/STREAM for one of several streams; or a schedule id';

/** A schedule that has started nothing yet: there is no sync to look at. */
class ScheduleOnlyError extends HighwaterError {
  override readonly name = 'ScheduleOnlyError';
}

/**
 * Returns the schedule of an id that no sync has; null if it is the id of a sync.
 * @throws {NoSuchSyncError} if there is neither.
 */
export async function scheduleNamed(client: HighwaterClient, id: string): Promise<ListedSchedule | null> {
  const known = await client
    .sync(id)
    .summary()
    .catch((thrown: unknown) => {
      if (thrown instanceof NoSuchSyncError) return null;
      throw thrown;
    });
  if (known !== null) return null;
  return client.schedules
    .get(id)
    .describe()
    .catch((thrown: unknown) => {
      if (thrown instanceof NoSuchScheduleError) throw new NoSuchSyncError(id);
      throw thrown;
    });
}

/**
 * Returns the sync that an id means: itself, or the latest one of a schedule, with a line about the schedule.
 * @throws {NoSuchSyncError | ScheduleOnlyError}
 */
export async function latestOf(
  client: HighwaterClient,
  id: string,
): Promise<{ id: string; schedule: string | null }> {
  const schedule = await scheduleNamed(client, id);
  if (schedule === null) return { id, schedule: null };
  const line = wrapped(scheduleText(schedule, Date.now()), 2);
  if (schedule.lastId === null) throw new ScheduleOnlyError(`${line}. It has started no sync yet.`);
  return { id: schedule.lastId, schedule: line };
}

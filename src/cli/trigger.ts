import type { Command } from 'commander';
import type { Progress } from '../protocol.js';
import { controlCommand, hasFailedSince } from './control.js';
import { count, counted, shellWord } from './output.js';

export const triggerCommand = (): Command =>
  controlCommand({
    name: 'trigger',
    description: 'Start a pass now, or one more after the current pass.',
    help:
      'It waits for the end of the pass, at most 15 seconds. A failing or blocked sync retries. A paused one stays paused ' +
      'and makes the pass after "resume". With the id of a schedule: its running sync; if none runs, the schedule starts one.',
    onSchedule: async (client, { id }) => {
      await client.schedules.get(id).trigger();
      return `the schedule starts a sync now; "highwater status ${shellWord(id)}" shows it`;
    },
    isDone: (now, before) => isParent(now) || hasPassed(now, before) || hasFailedSince(now, before),
    comesLater: ({ status }) => ['paused', 'waiting'].includes(status),
    said: triggeredText,
    later: 'a pass was requested and has not ended yet',
  });

const isParent = ({ streams }: Progress): boolean => streams.length > 0;

const hasPassed = (now: Progress, before: Progress | null): boolean =>
  now.totals.passes > (before?.totals.passes ?? 0);

/** Describes the result of the requested pass. */
export function triggeredText(now: Progress | null, before: Progress | null): string {
  if (now === null) return 'a pass was requested';
  if (isParent(now)) return 'requested a pass of every running stream';
  if (!hasPassed(now, before)) return 'retried and failed again';
  const [pass] = now.recent;
  if (pass === undefined) return 'a pass has ended';
  const deleted = pass.deleted > 0 ? `, ${count(pass.deleted)} deleted` : '';
  return `a pass has ended: ${counted(pass.records, 'record')} read, ${counted(pass.rows, 'row')} written${deleted}`;
}

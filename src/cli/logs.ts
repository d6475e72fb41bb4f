import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import type { PayloadReader } from '../payloads/converter.js';
import { connected, type Connected } from './asking.js';
import type { WrittenBatch } from '../protocol.js';
import type { Retry } from '../protocol.js';
import { failureWords, retryText } from '../sync-condition.js';
import { eventsOf, type Event } from './history.js';
import { latestOf, SYNC_OR_SCHEDULE } from './latest.js';
import { asLimit, count, counted, cut, note, outputWidth, print, visible, wrapped } from './output.js';
import type { Event as Line } from '../ui/facts.js';
import { paint, type Tone } from './terminal.js';

const POLL_MILLISECONDS = 1000;

export function logsCommand(): Command {
  return new Command('logs')
    .description('Show the events of a sync in order: batches, waits, failures, commands.')
    .argument('<id>', SYNC_OR_SCHEDULE)
    .option('--limit <n>', 'show the last n lines', asLimit, 50)
    .option('--follow', 'keep showing new lines until the sync ends')
    .option('--json', 'print one JSON object per line')
    .addHelpText(
      'after',
      `
The events come from Temporal's history, so no worker needs to run. An attempt that failed and is being retried is not
in the history yet: the last line says so. With a schedule's id, the command shows its latest sync. A worker writes its
own log to standard error.

Examples:
  highwater logs users
  highwater logs users --follow
  highwater logs users --limit 500 --json`,
    )
    .action((id: string, options: { limit: number; follow?: boolean; json?: boolean }) =>
      connected((to) => logs(to, id, options)),
    );
}

async function logs(
  { client }: Connected,
  named: string,
  options: { limit: number; follow?: boolean; json?: boolean },
): Promise<void> {
  const { id, schedule } = await latestOf(client, named);
  if (schedule !== null) note(schedule);
  const show = (lines: Line[]) => {
    for (const line of lines)
      print(
        options.json === true
          ? JSON.stringify(line)
          : paint(
              TONES[line.level],
              wrapped(
                visible(`${line.time.slice(0, 19)}Z ${MARKS[line.level]} ${line.text}`),
                23,
                outputWidth(),
              ),
            ),
      );
  };
  let runId: string | null = await client.sync(id).runId();
  const { payloads } = client;
  const run = async (which: string): Promise<Event[]> =>
    payloads.readable(await eventsOf(client, { workflowId: id, runId: which }));
  let events = await run(runId);
  const lines = linesOf(payloads, events);
  // Runs that were continued as new come before.
  for (let first = events[0]; lines.length < options.limit;) {
    const before: string | null | undefined =
      first?.workflowExecutionStartedEventAttributes?.continuedExecutionRunId;
    if (!before) break;
    // It may be gone already: histories are kept for as long as the namespace says.
    const earlier = await run(before).catch(() => []);
    lines.unshift(...linesOf(payloads, earlier));
    first = earlier[0];
  }
  show(lines.slice(-options.limit));
  const isOpen = !events.some(hasEnded);
  const retry = async () => (isOpen ? await retryOf(client, id) : null);
  let shown = await retry();
  if (shown !== null) show([lineOfRetry(shown, Date.now())]);
  while (options.follow === true && runId !== null) {
    const last = events.at(-1);
    const next: string | null | undefined =
      last?.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId;
    if (next) {
      runId = next;
      events = [];
    } else if (last !== undefined && hasEnded(last)) return;
    else await delay(POLL_MILLISECONDS);
    const known = events.length;
    events = await run(runId);
    show(linesOf(payloads, events, known));
    const current = await retry();
    // Each attempt once.
    if (current !== null && (current.attempt !== shown?.attempt || current.activity !== shown.activity))
      show([lineOfRetry(current, Date.now())]);
    shown = current;
  }
}

/** Returns the activity that Temporal retries; null if there is none. */
const retryOf = (client: Connected['client'], id: string): Promise<Retry | null> =>
  client
    .sync(id)
    .work()
    .then(
      ({ retry }) => retry,
      () => null,
    );

/** Returns the line of an activity that is retried, which is in no history before it has succeeded or given up. */
export function lineOfRetry(retry: Retry, now: number): Line {
  const lines = failureWords(retry)
    .split('\n')
    .map((line) => line.trim());
  return {
    time: new Date(now).toISOString(),
    level: 'warn',
    text: `${retry.activity}: retrying, ${retryText(retry, now)}, after: ${lines.filter((line) => line !== '').join(' · ')}`,
  };
}

const TONES: { [L in Line['level']]: Tone | null } = { info: null, warn: 'warn', error: 'bad' };

const MARKS = { info: ' ', warn: '!', error: '✗' } as const;

const hasEnded = (event: Event) =>
  Boolean(
    event.workflowExecutionCompletedEventAttributes ??
    event.workflowExecutionFailedEventAttributes ??
    event.workflowExecutionCanceledEventAttributes ??
    event.workflowExecutionTerminatedEventAttributes ??
    event.workflowExecutionTimedOutEventAttributes,
  );

interface Scheduled {
  activity: string;
  summary: string;
  /** The attempt that was the last, and why the one before it failed. */
  before: { attempt: number; failure: Failure } | null;
}

/** The lines of a readable history, from its n-th event on. */
export function linesOf(payloads: PayloadReader, events: readonly Event[], from = 0): Line[] {
  const scheduled = new Map<string, Scheduled>();
  for (const event of events) {
    const activity = event.activityTaskScheduledEventAttributes?.activityType?.name;
    if (activity)
      scheduled.set(String(event.eventId), {
        activity,
        summary: summaryOf(payloads, event) ?? activity,
        before: null,
      });
    const started = event.activityTaskStartedEventAttributes;
    const of = scheduled.get(String(started?.scheduledEventId));
    if (of !== undefined && started?.lastFailure)
      of.before = { attempt: started.attempt ?? 0, failure: started.lastFailure };
  }
  return events.slice(from).flatMap((event): Line[] => {
    const said = lineOf(
      payloads,
      event,
      (id) => scheduled.get(String(id)) ?? { activity: '', summary: 'an activity', before: null },
    );
    if (said === null) return [];
    const { seconds, nanos } = event.eventTime ?? {};
    const time = new Date(Number(seconds ?? 0) * 1000 + Math.floor((nanos ?? 0) / 1e6)).toISOString();
    return [{ time, level: 'info', ...said }];
  });
}

/** Null for what only Temporal needs to know. */
function lineOf(
  payloads: PayloadReader,
  event: Event,
  scheduled: (id: unknown) => Scheduled,
): (Partial<Line> & { text: string }) | null {
  const started = event.workflowExecutionStartedEventAttributes;
  if (started) return { text: started.continuedExecutionRunId ? 'continued in a new history' : 'started' };
  const done = event.activityTaskCompletedEventAttributes;
  if (done) {
    const { activity, summary, before } = scheduled(done.scheduledEventId);
    // The server tells of attempts that failed only once one has not.
    const tries: Partial<Line> & { again: string } =
      before === null
        ? { again: '' }
        : {
            level: 'warn',
            again: `, on attempt ${before.attempt}, after: ${failureText(before.failure)}`,
          };
    const { again, ...level } = tries;
    if (activity === 'openStream') return { ...level, text: `${summary}${again}` };
    if (activity !== 'writeBatch') return before === null ? null : { ...level, text: `${summary}${again}` };
    const {
      rows = 0,
      rejected = 0,
      deleted = 0,
    } = (payloads.valueOf(done.result?.payloads?.[0]) ?? {}) as Partial<WrittenBatch>;
    const more = [
      ...(deleted > 0 ? [`, ${count(deleted)} deleted`] : []),
      ...(rejected > 0 ? [`, ${count(rejected)} quarantined`] : []),
    ].join('');
    return { ...level, text: `${summary}: ${counted(rows, 'row')} written${more}${again}` };
  }
  const failed = event.activityTaskFailedEventAttributes;
  if (failed)
    return {
      level: 'error',
      text: `${scheduled(failed.scheduledEventId).summary}: ${failureText(failed.failure)}`,
    };
  const late = event.activityTaskTimedOutEventAttributes;
  if (late)
    return {
      level: 'error',
      text: `${scheduled(late.scheduledEventId).summary}: ${failureText(late.failure)}`,
    };
  const timer = event.timerStartedEventAttributes;
  if (timer) {
    const seconds = Number(timer.startToFireTimeout?.seconds ?? 0);
    return { text: `${summaryOf(payloads, event) ?? 'waiting'} (${seconds} s)` };
  }
  const signal = event.workflowExecutionSignaledEventAttributes;
  if (signal) return { text: `${signal.signalName ?? ''} requested by ${signal.identity ?? ''}` };
  const cancel = event.workflowExecutionCancelRequestedEventAttributes;
  if (cancel) return { level: 'warn', text: `cancel requested by ${cancel.identity ?? ''}` };
  const update = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest;
  if (update) {
    // A whole configuration, too, is an input.
    const [given] = update.input?.args?.payloads ?? [];
    const input = given === undefined ? '' : ` ${cut(JSON.stringify(payloads.valueOf(given) ?? null), 200)}`;
    return { text: `${update.input?.name ?? 'update'}${input} requested by ${update.meta?.identity ?? ''}` };
  }
  const child = event.childWorkflowExecutionStartedEventAttributes;
  if (child) return { text: `${child.workflowExecution?.workflowId ?? ''} started` };
  const childDone = event.childWorkflowExecutionCompletedEventAttributes;
  if (childDone) return { text: `${childDone.workflowExecution?.workflowId ?? ''} ended` };
  const childFailed = event.childWorkflowExecutionFailedEventAttributes;
  if (childFailed) {
    const text = `${childFailed.workflowExecution?.workflowId ?? ''} failed: ${failureText(childFailed.failure)}`;
    return { level: 'error', text };
  }
  const task = event.workflowTaskFailedEventAttributes;
  if (task)
    return {
      level: 'error',
      text: `the worker could not continue the workflow: ${failureText(task.failure)}`,
    };
  const ended = event.workflowExecutionFailedEventAttributes;
  if (ended) return { level: 'error', text: `failed: ${failureText(ended.failure)}` };
  const terminated = event.workflowExecutionTerminatedEventAttributes;
  if (terminated) return { level: 'warn', text: `terminated: ${terminated.reason ?? ''}` };
  if (event.workflowExecutionTimedOutEventAttributes) return { level: 'error', text: 'timed out' };
  if (event.workflowExecutionCanceledEventAttributes) return { level: 'warn', text: 'cancelled' };
  const result = event.workflowExecutionCompletedEventAttributes;
  if (!result) return null;
  const value = payloads.valueOf(result.result?.payloads?.[0]) as { status?: string } | null;
  return { text: value?.status ?? 'completed' };
}

type Failure = NonNullable<Event['activityTaskFailedEventAttributes']>['failure'];

/** The whole message of the cause: its lines say where it happened and what to do. */
function failureText(failure: Failure): string {
  let innermost = failure;
  while (innermost?.cause && !innermost.applicationFailureInfo) innermost = innermost.cause;
  const lines = (innermost?.message ?? '').split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '').join(' · ');
}

const summaryOf = (payloads: PayloadReader, event: Event): string | null => {
  const value = payloads.valueOf(event.userMetadata?.summary);
  return typeof value === 'string' ? value : null;
};

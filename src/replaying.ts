import type { DataConverter } from '@temporalio/common';
import { Worker, type ReplayWorkerOptions } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { messageOf } from './errors.js';

export type History = Parameters<typeof Worker.runReplayHistory>[1];
type Code = Pick<ReplayWorkerOptions, 'workflowBundle' | 'workflowsPath'> & {
  dataConverter?: DataConverter;
};

/** The outcome of replaying a history. */
export interface Replayed {
  events: number;
  /** Null where a sync with such a history goes on. */
  broken: {
    /** The place where history and code part. */
    reason: string;
    error: unknown;
  } | null;
}

/** The behaviour of a sync whose history some code does not replay. */
export const WOULD_STAND_STILL =
  'it would get stuck: workers of this version would fail and retry its next step for ever, and it would answer neither ' +
  'queries nor a stop. Nothing would be lost: table and checkpoint stay as they are';

/** Replays a history as a worker does that takes over a running sync. */
export async function replay(code: Code, history: History, name: string): Promise<Replayed> {
  const events = eventsOf(history).length;
  try {
    await Worker.runReplayHistory(code, history, name);
    return { events, broken: null };
  } catch (error) {
    const isOther = error instanceof DeterminismViolationError;
    const said = innerMessage(messageOf(error));
    const reason = isOther
      ? `it would deviate from its history: ${said}`
      : `this version fails to replay it: ${said}`;
    return { events, broken: { reason: reason.slice(0, 500), error } };
  }
}

/** Takes the first message inside of a Rust error: it names the cause. */
function innerMessage(text: string): string {
  const [, inner] = /message: "((?:[^"\\]|\\.)*)"/.exec(text) ?? [];
  const [first = ''] = (inner?.replace(/\\(.)/g, '$1') ?? text).split('\n');
  return first;
}

interface RecordedEvent {
  activityTaskScheduledEventAttributes?: { activityType?: { name?: string | null } | null } | null;
  workflowExecutionSignaledEventAttributes?: { signalName?: string | null } | null;
  workflowExecutionUpdateAcceptedEventAttributes?: object | null;
  timerStartedEventAttributes?: object | null;
}

const eventsOf = (history: History): RecordedEvent[] =>
  (history as { events?: RecordedEvent[] }).events ?? [];

/** The place of a sync that has such a history: "24 events: openStream, 3 × fetchPages, signal pause; runs still". */
export function situationOf(history: History): string {
  const events = eventsOf(history);
  const counts = new Map<string, number>();
  for (const event of events) {
    const what =
      event.activityTaskScheduledEventAttributes?.activityType?.name ??
      (event.workflowExecutionSignaledEventAttributes
        ? `signal ${event.workflowExecutionSignaledEventAttributes.signalName ?? ''}`
        : event.workflowExecutionUpdateAcceptedEventAttributes
          ? 'update'
          : event.timerStartedEventAttributes
            ? 'timer'
            : null);
    if (what !== null) counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  const done = [...counts].map(([what, n]) => (n === 1 ? what : `${n} × ${what}`)).join(', ');
  const last = Object.entries(events.at(-1) ?? {}).find(([name, value]) => value !== null && END.test(name));
  const how = last === undefined ? 'still running' : `ended (${END.exec(last[0])?.[1] ?? ''})`;
  return `${events.length} events: ${done === '' ? 'no activities' : done}; ${how}`;
}

const END =
  /^workflowExecution(Completed|Failed|Canceled|ContinuedAsNew|Terminated|TimedOut)EventAttributes$/;

import {
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import { ApplicationFailure } from '@temporalio/common';
import type { Activities } from '../activities/index.js';
import { runInBackground } from './background.js';
import { asObject } from './configurations.js';
import { durationText, parseDuration } from '../durations.js';
import { NOTICE_EVENTS, type Json, type Notice, type NoticeEvent, type Trouble } from '../protocol.js';

/** State for the next run. */
export interface NoticesCarry {
  incident: Incident | null;
  /** Since when the lag has been too large, where a notice was made of that. */
  late: string | null;
  /** Notices that could not be sent yet. */
  waiting: Notice[];
  /** When the sync was started. */
  started: string;
  /** Number of notices so far, for their ids. */
  made: number;
}

/** A failure that a notice was made of. */
interface Incident {
  status: Failing;
  type: string;
  message: string;
  since: string;
  /** When the sync failed last. */
  last: number;
}

type Failing = 'failing' | 'blocked' | 'failed';

interface Hook {
  url: string;
  on: readonly NoticeEvent[];
  lagSeconds: number | null;
}

const MESSAGE_LIMIT = 2000;
/** Notices kept for a receiver that does not answer: the latest ones. */
const WAITING_LIMIT = 20;
/** A sync that commits batches this long after a failure has recovered, also in the middle of a pass. */
const WELL_MILLISECONDS = 5 * 60_000;
/** How long a sync that ends, or a run that continues as new, waits for the receiver. */
const END_PATIENCE = '20s';
const HAND_OVER_PATIENCE = '5s';

/**
 * Calls a webhook once for each incident and once for its end, also across continue-as-new and across the runs of a
 * schedule. It delays the sync only at its very end.
 */
export class Notices {
  private hook: Hook | null;
  private incident: Incident | null;
  private late: string | null;
  private waiting: Notice[];
  private readonly started: string;
  private made: number;
  private isSending = false;
  private readonly scope = new CancellationScope();
  /** Scope of the watch on the lag. */
  private watching: CancellationScope | null = null;

  /** @param completeAsOf the time as of which the table holds what the source had. */
  constructor(
    configuration: Json,
    private readonly stream: string,
    private readonly completeAsOf: () => string | null,
    carry: NoticesCarry | null,
  ) {
    this.hook = hookOf(configuration);
    const { lastFailure, startTime } = workflowInfo();
    this.incident = carry === null ? incidentBefore(lastFailure, startTime) : carry.incident;
    this.late = carry?.late ?? null;
    this.waiting = carry?.waiting ?? [];
    this.started = carry?.started ?? startTime.toISOString();
    this.made = carry?.made ?? 0;
  }

  start(): void {
    if (this.hook === null) return;
    this.sendWaiting();
    this.startWatch(this.hook.lagSeconds);
  }

  /** Uses the webhook of another configuration from now on. */
  configure(configuration: Json): void {
    const before = this.hook?.lagSeconds ?? null;
    this.hook = hookOf(configuration);
    if (this.hook === null) this.waiting = [];
    const lagSeconds = this.hook?.lagSeconds ?? null;
    if (lagSeconds === before) return;
    this.watching?.cancel();
    this.startWatch(lagSeconds);
  }

  private startWatch(lagSeconds: number | null): void {
    if (lagSeconds === null) return;
    this.inBackground(async () => {
      this.watching = new CancellationScope();
      await this.watching.run(() => this.watchLag(lagSeconds));
    });
  }

  /** Makes a notice of a new incident, and another one where an operator must now act on it. */
  recordFailure(status: Failing, trouble: Trouble): void {
    const { type, message, since, nextTry, deletes } = trouble;
    const known = this.incident;
    const isWorse =
      known !== null &&
      status !== 'failing' &&
      (known.status === 'failing' || (deletes !== undefined && known.type !== type));
    this.incident = { status, type, message: message.slice(0, MESSAGE_LIMIT), since, last: Date.now() };
    if (known === null || isWorse) {
      const question = deletes === undefined ? {} : { deletes };
      this.makeNotice('failing', { status, type, message, since, nextTry, ...question });
    } else this.incident = { ...this.incident, status: known.status, since: known.since };
  }

  /** Ends an incident. @param isPassEnd a pass has ended; else a batch was committed. */
  recordProgress(isPassEnd: boolean, status: Notice['status']): void {
    const { incident } = this;
    if (incident === null || (!isPassEnd && Date.now() - incident.last < WELL_MILLISECONDS)) return;
    this.incident = null;
    const { type, message, since } = incident;
    this.makeNotice('recovered', { status, type, message: `It was: ${message}`, since, nextTry: null });
  }

  /** Sends what waits before the workflow ends, if the receiver answers soon. */
  async finish(): Promise<void> {
    if (this.waiting.length > 0) await condition(() => this.waiting.length === 0, END_PATIENCE);
  }

  /** Gives the receiver a moment before the run is continued as new. */
  async waitForReceiver(): Promise<void> {
    if (this.waiting.length > 0) await condition(() => this.waiting.length === 0, HAND_OVER_PATIENCE);
  }

  /** Stops sending, and returns the state for the next run; null where no webhook is called. */
  async handOver(): Promise<NoticesCarry | null> {
    if (this.hook === null) return null;
    this.scope.cancel();
    await condition(() => !this.isSending);
    const { incident, late, waiting, started, made } = this;
    return { incident, late, waiting, started, made };
  }

  private makeNotice(
    event: NoticeEvent,
    content: Pick<Notice, 'status' | 'type' | 'message' | 'since' | 'nextTry' | 'deletes'>,
  ) {
    if (this.hook?.on.includes(event) !== true) return;
    const completeAsOf = this.completeAsOf();
    const from = completeAsOf ?? (event === 'lag' ? this.started : null);
    const now = Date.now();
    const notice: Notice = {
      id: `${workflowInfo().firstExecutionRunId}/${this.stream}/${++this.made}`,
      event,
      stream: this.stream,
      ...content,
      message: content.message.slice(0, MESSAGE_LIMIT),
      completeAsOf,
      lagSeconds: from === null ? null : Math.round((now - Date.parse(from)) / 1000),
      at: new Date(now).toISOString(),
    };
    this.waiting = [...this.waiting, notice].slice(-WAITING_LIMIT);
    this.sendWaiting();
  }

  private sendWaiting(): void {
    if (this.isSending || this.waiting.length === 0 || this.hook === null) return;
    const { url } = this.hook;
    this.isSending = true;
    this.inBackground(async () => {
      try {
        for (let [notice] = this.waiting; notice !== undefined; [notice] = this.waiting) {
          const sent = notice;
          await sendNotice(url, sent);
          this.waiting = this.waiting.filter(({ id }) => id !== sent.id);
        }
      } finally {
        this.isSending = false;
      }
    });
  }

  /** Watches the lag with one timer at a time. */
  private async watchLag(limit: number): Promise<void> {
    const left = () => Date.parse(this.completeAsOf() ?? this.started) + limit * 1000 - Date.now();
    for (;;) {
      for (let wait = left(); wait > 0; wait = left()) {
        if (this.late === null) await sleep(wait, { summary: 'notify: lag above its limit' });
        else this.recordCatchUp(limit);
      }
      if (this.late === null) this.recordLag(limit);
      await condition(() => left() > 0);
    }
  }

  private recordLag(limit: number): void {
    const completeAsOf = this.completeAsOf();
    this.late = completeAsOf ?? this.started;
    const trouble = this.incident === null ? '' : ` ${this.incident.message}`;
    const message =
      completeAsOf === null
        ? `no pass has ended since the sync started more than ${durationText(limit)} ago.${trouble}`
        : `the table is up to date as of ${completeAsOf}, more than ${durationText(limit)} ago.${trouble}`;
    const status = this.incident?.status ?? 'running';
    this.makeNotice('lag', { status, type: 'Lag', message, since: this.late, nextTry: null });
  }

  private recordCatchUp(limit: number): void {
    const since = this.late ?? this.started;
    this.late = null;
    const message = `the table is less than ${durationText(limit)} behind its source`;
    this.makeNotice('recovered', { status: 'running', type: 'Lag', message, since, nextTry: null });
  }

  /** Runs work beside the sync that ends with it. */
  private inBackground(work: () => Promise<void>): void {
    runInBackground(() => this.scope.run(work));
  }
}

/** Sends a notice, with retries for an hour; then it is given up, and the worker's log has it. */
async function sendNotice(url: string, notice: Notice): Promise<void> {
  const activities = proxyActivities<Activities>({
    startToCloseTimeout: '15s',
    scheduleToCloseTimeout: '1h',
    retry: { initialInterval: '1s', maximumInterval: '5m' },
  });
  try {
    await activities.sendNotice.executeWithOptions({ summary: `notify: ${notice.event}` }, [{ url, notice }]);
  } catch (thrown) {
    if (isCancellation(thrown)) throw thrown;
  }
}

/** Reads the webhook of a configuration that may not have been checked yet; null where there is none to use. */
function hookOf(configuration: Json): Hook | null {
  const { notify } = asObject(configuration);
  const { url, on, lag } = asObject(notify ?? null);
  if (typeof url !== 'string' || url === '') return null;
  const seconds = typeof lag === 'string' ? parseDuration(lag) : typeof lag === 'number' ? lag : null;
  const lagSeconds = seconds !== null && seconds > 0 ? seconds : null;
  const events = Array.isArray(on) ? NOTICE_EVENTS.filter((event) => on.includes(event)) : NOTICE_EVENTS;
  return { url, on: events, lagSeconds: events.includes('lag') ? lagSeconds : null };
}

/** Returns the failure of the schedule's previous run, which a notice was made of. */
function incidentBefore(failure: Error | undefined, startTime: Date): Incident | null {
  if (failure === undefined) return null;
  const type = (failure instanceof ApplicationFailure ? failure.type : null) ?? 'SyncFailed';
  const since = startTime.toISOString();
  return { status: 'failed', type, message: failure.message, since, last: startTime.getTime() };
}

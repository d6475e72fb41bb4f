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
import { durationText, parseDuration } from '../durations.js';
import { NOTICE_EVENTS, type Json, type Notice, type NoticeEvent, type Trouble } from '../protocol.js';

/** What one run hands to the next. */
export interface NoticesCarry {
  incident: Incident | null;
  /** Since when the lag has been too large, where that was told. */
  late: string | null;
  /** That could not be sent yet. */
  waiting: Notice[];
  /** When the sync was started. */
  started: string;
  told: number;
}

/** What keeps the sync from going on, told already. */
interface Incident {
  status: Failing;
  type: string;
  message: string;
  since: string;
  /** When it failed last. */
  last: number;
}

type Failing = 'failing' | 'blocked' | 'failed';

interface Hook {
  url: string;
  on: readonly NoticeEvent[];
  lagSeconds: number | null;
}

const MESSAGE_LIMIT = 2000;
/** A receiver that is away for long is told the latest of what has happened. */
const WAITING_LIMIT = 20;
/** A sync that goes on well for so long after a failure, in the midst of a pass, is well again. */
const WELL_MILLISECONDS = 5 * 60_000;
/** Whoever ends waits no longer than this for the receiver. */
const END_PATIENCE = '20s';
const HAND_OVER_PATIENCE = '5s';

/**
 * Tells a webhook what becomes of a sync: once for each incident, once for its end, also across continue-as-new and,
 * where a schedule makes a sync again and again, across these. It never holds the sync up, but at its very end.
 */
export class Notices {
  private hook: Hook | null;
  private incident: Incident | null;
  private late: string | null;
  private waiting: Notice[];
  private readonly started: string;
  private told: number;
  private isSending = false;
  private readonly scope = new CancellationScope();
  /** Of the watch on the lag. */
  private watching: CancellationScope | null = null;

  /** @param completeAsOf as of when the table holds what the source had. */
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
    this.told = carry?.told ?? 0;
  }

  begin(): void {
    if (this.hook === null) return;
    this.send();
    this.watch(this.hook.lagSeconds);
  }

  /** Tells by another configuration from here on. */
  configure(configuration: Json): void {
    const before = this.hook?.lagSeconds ?? null;
    this.hook = hookOf(configuration);
    if (this.hook === null) this.waiting = [];
    const lagSeconds = this.hook?.lagSeconds ?? null;
    if (lagSeconds === before) return;
    this.watching?.cancel();
    this.watch(lagSeconds);
  }

  private watch(lagSeconds: number | null): void {
    if (lagSeconds === null) return;
    this.inBackground(async () => {
      this.watching = new CancellationScope();
      await this.watching.run(() => this.watchLag(lagSeconds));
    });
  }

  /** The sync cannot go on. Told once, and once more where somebody must do something now. */
  recordFailure(status: Failing, trouble: Trouble): void {
    const { type, message, since, nextTry, deletes } = trouble;
    const known = this.incident;
    const isWorse =
      known !== null &&
      status !== 'failing' &&
      (known.status === 'failing' || (deletes !== undefined && known.type !== type));
    this.incident = { status, type, message: message.slice(0, MESSAGE_LIMIT), since, last: Date.now() };
    if (known === null || isWorse) {
      const asked = deletes === undefined ? {} : { deletes };
      this.tell('failing', { status, type, message, since, nextTry, ...asked });
    } else this.incident = { ...this.incident, status: known.status, since: known.since };
  }

  /** A batch was committed, or, where `isThrough`, a pass has ended. */
  recordProgress(isThrough: boolean, status: Notice['status']): void {
    const { incident } = this;
    if (incident === null || (!isThrough && Date.now() - incident.last < WELL_MILLISECONDS)) return;
    this.incident = null;
    const { type, message, since } = incident;
    this.tell('recovered', { status, type, message: `It was: ${message}`, since, nextTry: null });
  }

  /** Before the workflow ends: what waits is sent, if that can be done soon. */
  async end(): Promise<void> {
    if (this.waiting.length > 0) await condition(() => this.waiting.length === 0, END_PATIENCE);
  }

  /** Before it continues as new; null where nobody is told anything. */
  async handOver(): Promise<NoticesCarry | null> {
    if (this.hook === null) return null;
    if (this.waiting.length > 0) await condition(() => this.waiting.length === 0, HAND_OVER_PATIENCE);
    this.scope.cancel();
    await condition(() => !this.isSending);
    const { incident, late, waiting, started, told } = this;
    return { incident, late, waiting, started, told };
  }

  private tell(
    event: NoticeEvent,
    what: Pick<Notice, 'status' | 'type' | 'message' | 'since' | 'nextTry' | 'deletes'>,
  ) {
    if (this.hook?.on.includes(event) !== true) return;
    const completeAsOf = this.completeAsOf();
    const from = completeAsOf ?? (event === 'lag' ? this.started : null);
    const now = Date.now();
    const notice: Notice = {
      ...{
        id: `${workflowInfo().firstExecutionRunId}/${this.stream}/${++this.told}`,
        event,
        stream: this.stream,
      },
      ...{ ...what, message: what.message.slice(0, MESSAGE_LIMIT), completeAsOf },
      lagSeconds: from === null ? null : Math.round((now - Date.parse(from)) / 1000),
      at: new Date(now).toISOString(),
    };
    this.waiting = [...this.waiting, notice].slice(-WAITING_LIMIT);
    this.send();
  }

  private send(): void {
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

  /** One timer at a time, whatever the sync is doing. */
  private async watchLag(limit: number): Promise<void> {
    const left = () => Date.parse(this.completeAsOf() ?? this.started) + limit * 1000 - Date.now();
    for (;;) {
      for (let wait = left(); wait > 0; wait = left()) {
        if (this.late === null) await sleep(wait, { summary: 'notify: the lag passes its limit' });
        else this.caughtUp(limit);
      }
      if (this.late === null) this.fallsBehind(limit);
      await condition(() => left() > 0);
    }
  }

  private fallsBehind(limit: number): void {
    const completeAsOf = this.completeAsOf();
    this.late = completeAsOf ?? this.started;
    const trouble = this.incident === null ? '' : ` ${this.incident.message}`;
    const message =
      completeAsOf === null
        ? `no pass has ended since the sync was started, which is longer ago than ${durationText(limit)}.${trouble}`
        : `the table holds what the source had at ${completeAsOf}, which is longer ago than ${durationText(limit)}.${trouble}`;
    const status = this.incident?.status ?? 'running';
    this.tell('lag', { status, type: 'Lag', message, since: this.late, nextTry: null });
  }

  private caughtUp(limit: number): void {
    const since = this.late ?? this.started;
    this.late = null;
    const message = `the table is less than ${durationText(limit)} behind its source`;
    this.tell('recovered', { status: 'running', type: 'Lag', message, since, nextTry: null });
  }

  /** What is done beside the sync ends with it, and fails nothing. */
  private inBackground(work: () => Promise<void>): void {
    this.scope.run(work).catch((thrown: unknown) => {
      if (!isCancellation(thrown)) throw thrown;
    });
  }
}

/** Tried again for an hour; what cannot be sent then is given up, and stands in the worker's log. */
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

/** As it stands in the configuration, which may be one that nobody has checked yet; null where there is none to use. */
function hookOf(configuration: Json): Hook | null {
  const { notify } = asObject(configuration);
  const { url, on, lag } = asObject(notify ?? null);
  if (typeof url !== 'string' || url === '') return null;
  const seconds = typeof lag === 'string' ? parseDuration(lag) : typeof lag === 'number' ? lag : null;
  const lagSeconds = seconds !== null && seconds > 0 ? seconds : null;
  const events = Array.isArray(on) ? NOTICE_EVENTS.filter((event) => on.includes(event)) : NOTICE_EVENTS;
  return { url, on: events, lagSeconds: events.includes('lag') ? lagSeconds : null };
}

/** A schedule hands on the failure of the sync that it made before: that one was told already. */
function incidentBefore(failure: Error | undefined, startTime: Date): Incident | null {
  if (failure === undefined) return null;
  const type = (failure instanceof ApplicationFailure ? failure.type : null) ?? 'SyncFailed';
  const since = startTime.toISOString();
  return { status: 'failed', type, message: failure.message, since, last: startTime.getTime() };
}

const asObject = (value: Json): { [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};

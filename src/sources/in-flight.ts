import type { PageRequest } from '../protocol.js';
import {
  RateLimitedError,
  type PageAnswer,
  type RecordPart,
  type RecordSink,
  type Source,
} from './source.js';

interface Flight {
  request: PageRequest;
  key: string;
  parent: string;
  /** The answer, once its records have gone to the sink that was given to {@link Flight.take}. */
  take: (sink: RecordSink) => Promise<PageAnswer>;
  stop: (reason?: unknown) => void;
  /**
   * `blocked`: more of it has come than is kept; it holds its socket back until its turn. `refused`: the source asks
   * to wait.
   */
  state: 'running' | 'blocked' | 'ended' | 'failed' | 'refused';
}

/** The next call comes within milliseconds, unless the sync waits, was paused or cancelled, or moved to another worker. */
const KEPT_MILLISECONDS = 3000;
/** Answers that came whole hold nothing but memory. They are as old as the pass at most. */
const KEPT_WHOLE_MILLISECONDS = 10 * 60_000;
/** A page that has not begun by then waits for those that wait for it, or for a slow source. */
const STARVING_MILLISECONDS = 2000;
/** Bytes of records that are kept of answers before their turn. */
const EARLY_BYTES = 2 * 1024 * 1024;

/** Facts about the current parent that consecutive calls share. */
export interface PassMemory {
  /** When the first request was made: what is asked "until now" is the same in all of them, ISO 8601. */
  readonly began: string;
  /** Pages and records read of the current parent; null if earlier calls began with it. */
  read: { pages: number; records: number } | null;
  /** Pages that the source says follow the last one that was read of it. */
  remaining: number;
}

/**
 * Reads pages one after the other while the requests that are known to follow are on their way already. Records
 * reach the sink in order: of an answer that is early a little is kept, and a large one holds its socket back until
 * its turn.
 *
 * Requests of one parent follow each other: where another one comes than was expected, all that were expected of that
 * parent are given up, as what they say may be out of date. Those of other parents stay good, in whatever order the
 * parents' turns come.
 */
export class InFlight {
  readonly memory: PassMemory;
  private flights: Flight[] = [];
  private early = 0;
  /** The page that is read must not wait for connections that others hold until its turn is over. */
  private isStarving = false;

  /** @param began when the first request is made, ISO 8601. */
  constructor(
    private readonly source: Source,
    private signal: AbortSignal,
    began = new Date().toISOString(),
  ) {
    this.memory = { began, read: null, remaining: 0 };
  }

  /** Goes on for a call that follows. */
  adopt(signal: AbortSignal): void {
    this.signal = signal;
  }

  /**
   * Forgets requests that have failed: the call that follows makes them again.
   * @param isWaiting whether the sync waits for the source already; else the call that follows meets its refusals.
   * @returns whether requests are left that the call that follows can use.
   */
  dropFailed(isWaiting: boolean): boolean {
    this.flights = this.flights.filter(
      ({ state }) => state !== 'failed' && !(isWaiting && state === 'refused'),
    );
    return this.flights.length > 0;
  }

  /** Gives up requests whose answers have not come whole. Returns whether others are left. */
  stopUnended(): boolean {
    this.stopRequests(({ state }) => state !== 'ended');
    return this.flights.length > 0;
  }

  /**
   * As {@link Source.read}.
   * @param ahead the requests expected to follow.
   */
  read(request: PageRequest, ahead: PageRequest[], sink: RecordSink): Promise<PageAnswer> {
    const wanted = keyOf(request);
    const parent = parentOf(request);
    const own = this.flights.filter((flight) => flight.parent === parent);
    // It is missing where it was refused before, and those that follow it were answered.
    const isThere = own.some(({ key }) => key === wanted);
    const expected = [...(isThere ? [wanted] : []), ...ahead.map(keyOf)];
    const agree = own.findIndex((flight, i) => flight.key !== expected[i]);
    if (agree !== -1) this.stopRequests((flight) => own.indexOf(flight) >= agree);
    const at = this.flights.findIndex(({ key }) => key === wanted);
    // The one that was started first has its connection; of others that is not known.
    const mayStarve = at > 0 || (at === -1 && this.flights.length > 0);
    const [flight = this.startRequest(request)] = at === -1 ? [] : this.flights.splice(at, 1);
    const starves = () => {
      if (flight.state !== 'running') return;
      this.isStarving = true;
      this.stopRequests(({ state }) => state === 'blocked');
    };
    if (mayStarve && this.source.concurrency != null) starves();
    const patience = mayStarve ? setTimeout(starves, STARVING_MILLISECONDS) : undefined;
    this.startMissing(ahead);
    // A request may outlive the call that made it, but not the one that reads its answer.
    const { signal } = this;
    const stop = () => flight.stop(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    const begun: RecordSink = (part) => {
      clearTimeout(patience);
      return sink(part);
    };
    return flight.take(begun).finally(() => {
      clearTimeout(patience);
      this.isStarving = false;
      signal.removeEventListener('abort', stop);
    });
  }

  /** Gives up what is on its way. */
  stop(): void {
    this.stopRequests(() => true);
  }

  private stopRequests(which: (flight: Flight) => boolean): void {
    const gone = this.flights.filter(which);
    this.flights = this.flights.filter((flight) => !gone.includes(flight));
    for (const flight of gone) flight.stop();
  }

  /** Starts those of the expected requests that are not on their way, as many at once as are expected. */
  private startMissing(ahead: PageRequest[]): void {
    const started = this.flights.map(({ key }) => key);
    for (const request of ahead) {
      const at = started.indexOf(keyOf(request));
      if (at !== -1) started.splice(at, 1);
      else if (this.flights.filter(({ state }) => state !== 'ended').length < ahead.length)
        this.flights.push(this.startRequest(request));
    }
  }

  private startRequest(request: PageRequest): Flight {
    const abort = new AbortController();
    const turn = new Turn(abort.signal);
    const early: RecordPart[] = [];
    const release = () => {
      for (const part of early.splice(0)) this.early -= bytesOf(part);
    };
    const flight: Flight = {
      request,
      key: keyOf(request),
      parent: parentOf(request),
      state: 'running',
      stop: (reason) => {
        abort.abort(reason);
        release();
      },
      take: async (sink) => {
        turn.isTaken = true;
        if (flight.state === 'failed' || flight.state === 'refused') return answer;
        for (let part = early.shift(); part !== undefined; part = early.shift()) {
          this.early -= bytesOf(part);
          await sink(part);
        }
        // Its early parts were released when it was stopped.
        if (abort.signal.aborted) throw abort.signal.reason;
        turn.begin(sink);
        return answer;
      },
    };
    const answer = this.source.read(
      request,
      async (part) => {
        // Parts are kept in their order: once one waits, all that follow wait.
        if (!turn.isTaken && flight.state === 'running' && this.early + bytesOf(part) <= EARLY_BYTES) {
          this.early += bytesOf(part);
          early.push(copied(part));
          return;
        }
        if (!turn.isTaken) this.blockRequest(flight);
        const sink = await turn.sink();
        await sink(part);
      },
      abort.signal,
    );
    answer.then(
      () => (flight.state = 'ended'),
      (thrown: unknown) => {
        // The failure is thrown when the turn of the request comes, if it comes.
        flight.state = thrown instanceof RateLimitedError ? 'refused' : 'failed';
        release();
      },
    );
    return flight;
  }

  private blockRequest(flight: Flight): void {
    if (this.isStarving && this.flights.includes(flight)) this.stopRequests((one) => one === flight);
    flight.state = 'blocked';
  }
}

/** Requests in flight that one call has left for the call that follows it, by the name of that call. */
export class KeptRequests {
  private readonly kept = new Map<string, { requests: InFlight; expiry: NodeJS.Timeout }>();

  /** Returns the requests that were kept for a call; else new ones, which begin at the time `began`, ISO 8601. */
  take(call: string, source: Source, signal: AbortSignal, began?: string): InFlight {
    const found = this.kept.get(call);
    if (found === undefined) return new InFlight(source, signal, began);
    this.kept.delete(call);
    clearTimeout(found.expiry);
    found.requests.adopt(signal);
    return found.requests;
  }

  /** Keeps requests for the call that follows. @param isWaiting whether the sync waits for the source meanwhile. */
  keep(call: string, requests: InFlight, isWaiting = false): void {
    if (!requests.dropFailed(isWaiting)) return;
    this.stop(call);
    this.hold(call, requests, KEPT_MILLISECONDS, () => {
      const left = requests.stopUnended() ? KEPT_WHOLE_MILLISECONDS : 0;
      this.hold(call, requests, left, () => this.stop(call));
    });
  }

  /** Gives up all requests. */
  close(): void {
    for (const call of [...this.kept.keys()]) this.stop(call);
  }

  private hold(call: string, requests: InFlight, milliseconds: number, then: () => void): void {
    const expiry = setTimeout(then, milliseconds);
    expiry.unref();
    this.kept.set(call, { requests, expiry });
  }

  private stop(call: string): void {
    const found = this.kept.get(call);
    if (found === undefined) return;
    this.kept.delete(call);
    clearTimeout(found.expiry);
    found.requests.stop();
  }
}

/** The turn of a request: before it begins, parts that have no room wait for its sink. */
class Turn {
  isTaken = false;
  begin: (sink: RecordSink) => void = () => undefined;
  private readonly begun = new Promise<RecordSink>((resolve) => (this.begin = resolve));
  private readonly stopped: Promise<never>;

  constructor(signal: AbortSignal) {
    this.stopped = new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    this.stopped.catch(() => undefined);
  }

  /** Returns the sink of the turn once it has begun; throws once the request is stopped. */
  sink(): Promise<RecordSink> {
    return Promise.race([this.begun, this.stopped]);
  }
}

const bytesOf = ({ lines, outside, sent }: RecordPart) =>
  lines.length + (outside?.lines.length ?? 0) + (sent?.length ?? 0);

/** Copies a part: its bytes belong to the source again once the sink's promise is settled. */
function copied(part: RecordPart): RecordPart {
  const { lines, outside } = part;
  return {
    ...part,
    lines: Buffer.from(lines),
    ...(outside !== undefined && { outside: { ...outside, lines: Buffer.from(outside.lines) } }),
  };
}

/** The parent is a part of the key: a new one may have come between those that were expected. */
const keyOf = ({ params, parent }: PageRequest) => JSON.stringify([params, parent]);
const parentOf = ({ parent }: PageRequest) => JSON.stringify(parent ?? null);

import type { PageRequest } from '../protocol.js';
import type { PageAnswer, RecordSink, Source } from './source.js';

interface Flight {
  request: PageRequest;
  answer: Promise<PageAnswer>;
  /** The records may go to this sink from now on: it is this page's turn. */
  take: (sink: RecordSink) => void;
  stop: (reason?: unknown) => void;
}

/** The next call comes within milliseconds, unless the sync was paused or cancelled or moved to another worker. */
const KEPT_MILLISECONDS = 3000;

/**
 * Reads pages one after the other while the requests that are known to follow are on their way already. Records
 * reach the sink in order: an answer that is early waits, and holds its socket back, until its turn.
 */
export class InFlight {
  private flights: Flight[] = [];
  private expiry: NodeJS.Timeout | undefined;

  constructor(
    private readonly source: Source,
    private signal: AbortSignal,
  ) {}

  /** The one that was kept under `key`, with what is on its way; else a new one. */
  static take(key: string, source: Source, signal: AbortSignal): InFlight {
    const kept = InFlight.kept.get(key);
    if (kept === undefined) return new InFlight(source, signal);
    InFlight.kept.delete(key);
    clearTimeout(kept.expiry);
    kept.signal = signal;
    return kept;
  }

  /** Keeps what is on its way for the call that follows, if it follows soon. */
  keep(key: string): void {
    if (this.flights.length === 0) return;
    InFlight.kept.get(key)?.stop();
    InFlight.kept.set(key, this);
    this.expiry = setTimeout(() => {
      InFlight.kept.delete(key);
      this.stop();
    }, KEPT_MILLISECONDS);
    this.expiry.unref();
  }

  private static readonly kept = new Map<string, InFlight>();

  /**
   * As {@link Source.read}.
   * @param ahead the requests expected to follow.
   */
  read(request: PageRequest, ahead: PageRequest[], sink: RecordSink): Promise<PageAnswer> {
    const wanted = [request, ...ahead];
    const agree = this.flights.findIndex((flight, i) => !same(flight.request, wanted[i]));
    if (agree !== -1) for (const flight of this.flights.splice(agree)) flight.stop();
    for (const next of wanted.slice(this.flights.length)) this.flights.push(this.start(next));
    const flight = this.flights.shift() as Flight;
    flight.take(sink);
    // A request may outlive the call that made it, but not the one that reads its answer.
    const { signal } = this;
    const stop = () => flight.stop(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    return flight.answer.finally(() => signal.removeEventListener('abort', stop));
  }

  /** Gives up what is on its way. */
  stop(): void {
    for (const flight of this.flights.splice(0)) flight.stop();
  }

  private start(request: PageRequest): Flight {
    const abort = new AbortController();
    let take: Flight['take'] = () => undefined;
    const turn = new Promise<RecordSink>((resolve) => (take = resolve));
    const stopped = new Promise<never>((_, reject) => {
      abort.signal.addEventListener('abort', () => reject(abort.signal.reason as Error), { once: true });
    });
    stopped.catch(() => undefined);
    const answer = this.source.read(
      request,
      async (...records) => (await Promise.race([turn, stopped]))(...records),
      abort.signal,
    );
    // Its failure is met when its turn comes, if it comes.
    answer.catch(() => undefined);
    return { request, answer, take, stop: (reason) => abort.abort(reason) };
  }
}

/** Of the same parent too: a new one may have come between those that were expected. */
const same = (a: PageRequest, b: PageRequest | undefined) =>
  JSON.stringify([a.params, a.parent]) === JSON.stringify([b?.params, b?.parent]);

import type { PageRequest } from '../protocol.js';
import type { PageAnswer, RecordSink, Source } from './source.js';

interface Flight {
  request: PageRequest;
  answer: Promise<PageAnswer>;
  /** The records may go to this sink from now on: it is this page's turn. */
  take: (sink: RecordSink) => void;
  stop: () => void;
}

/**
 * Reads pages one after the other while the requests that are known to follow are on their way already. Records
 * reach the sink in order: an answer that is early waits, and holds its socket back, until its turn.
 */
export class InFlight {
  private flights: Flight[] = [];

  constructor(
    private readonly source: Source,
    private readonly signal: AbortSignal,
  ) {}

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
    return flight.answer;
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
      AbortSignal.any([this.signal, abort.signal]),
    );
    // Its failure is met when its turn comes, if it comes.
    answer.catch(() => undefined);
    return { request, answer, take, stop: () => abort.abort() };
  }
}

const same = (a: PageRequest, b: PageRequest | undefined) =>
  JSON.stringify(a.params) === JSON.stringify(b?.params);

import { durationText } from '../durations.js';
import { SyncError } from '../errors.js';
import type { FetchedPages, Note, PageRecords, PageRequest, PageSummary, Reject } from '../protocol.js';

/** Where records come from. One implementation for each kind of source. */
export interface Source {
  /** Requests that may be on their way at once; null or absent: as many as there are. */
  readonly concurrency?: number | null;

  /**
   * Reads one page. May be called again with the same request.
   * @throws {RateLimitedError} when the source asks to wait.
   * @throws {SourceRefusedError | SourceUnavailableError | MalformedAnswerError | RecordError}
   */
  read(request: PageRequest, sink: RecordSink, signal: AbortSignal): Promise<PageAnswer>;
}

/**
 * Takes records as newline-delimited JSON; the bytes are the sink's until its promise is settled. `kept` of the records
 * stand in `lines`: a filter may have left some out, and `rejects` cannot be stored, which the paging has to know of all the same.
 * `outside`: records that are not meant, where only a range is.
 */
export type RecordSink = (
  lines: Buffer,
  records: PageRecords,
  longest: number,
  kept: number,
  rejects: Reject[],
  outside?: { lines: Buffer; records: number },
) => Promise<void>;

export interface PageAnswer extends Pick<
  PageSummary,
  'nextToken' | 'noToken' | 'total' | 'more' | 'totalPages' | 'skipped' | 'ignored' | 'pastEnd'
> {
  /** Names of members that no column is declared for. */
  undeclared: string[];
  /** What was done to records so that they could be stored; absent: nothing. */
  remarks?: Note[];
}

/** A request that goes to the source. */
export interface RequestStarted {
  method: string;
  /** Without its query; secrets are masked. */
  address: string;
}

/** What is said of a request that nobody waits for any longer. */
export const ABORTED = 'aborted';

/** Is told how a request goes. */
export interface RequestInHand {
  answered(status: number): void;
  /**
   * @param bytes of the answer, unpacked.
   * @param error the name of what has gone wrong.
   */
  ended(bytes: number, error?: string): void;
}

/** The source asks to wait before the next request. A sync waits, and does not fail. */
export class RateLimitedError extends SyncError {
  override readonly name = 'RateLimitedError';
  /** When the wait ends by this machine's clock, ISO 8601: for people, who may look at that clock. */
  readonly until: string;

  /**
   * @param seconds for how long; null where the source does not say.
   * @param reason what the source answered.
   */
  constructor(
    readonly seconds: number | null,
    readonly reason: string,
  ) {
    const until = new Date(Date.now() + (seconds ?? 1) * 1000).toISOString();
    super(
      seconds === null
        ? `the source asks to wait, and does not say for how long: ${reason}`
        : `the source asks to wait ${durationText(Math.ceil(seconds))}, until ${until}: ${reason}`,
    );
    this.until = until;
  }

  /** The wait as the workflow makes a timer of it. */
  get wait(): NonNullable<FetchedPages['wait']> {
    const { until, seconds, reason } = this;
    return { until, seconds, reason, for: 'source' };
  }
}

import { durationText } from '../durations.js';
import { SyncError } from '../errors.js';
import type { FetchedPages, Note, PageRecords, PageRequest, PageSummary, Reject } from '../protocol.js';

/** Reads pages of records. One implementation for each kind of source. */
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

/** A part of the records of an answer. */
export interface RecordPart {
  /** The kept records as newline-delimited JSON. The bytes are the sink's until its promise is settled. */
  lines: Buffer;
  /** Number of records in `lines`. */
  kept: number;
  /** All records, also those that a filter left out or that cannot be stored: paging counts them. */
  records: PageRecords;
  /** Bytes of the longest record of the answer so far. */
  longest: number;
  /** Records that cannot be stored. */
  rejects: Reject[];
  /**
   * The records as the source sent them, as newline-delimited JSON, where a transform makes the lines; pages are recognised by
   * them.
   */
  sent?: Buffer;
  /** Records outside of the range that is read; absent where no range is. */
  outside?: { lines: Buffer; records: number };
}

/** Takes the records of an answer, part by part. */
export type RecordSink = (part: RecordPart) => Promise<void>;

export interface PageAnswer extends Pick<
  PageSummary,
  'nextToken' | 'noToken' | 'total' | 'more' | 'totalPages' | 'skipped' | 'ignored' | 'pastEnd'
> {
  /** Names of members that no column is declared for. */
  undeclared: string[];
  /** Changes made to records so that they could be stored; absent: none. */
  remarks?: Note[];
  /** The members that "exclude" and made columns name; absent: there are none. */
  named?: NamedMembers;
  /** Records of which a transform made no row; absent: none. */
  dropped?: { records: number; hook: string };
}

/** What an answer shows of the members that the configuration names. */
export interface NamedMembers {
  /** Records that were looked at. */
  records: number;
  /** Members that none of them has, and what follows: `customer.crad: column card stays empty, …`. */
  absent: string[];
}

/** A request that goes to the source. */
export interface RequestStarted {
  method: string;
  /** Without its query; secrets are masked. */
  address: string;
}

/** The error of a request that was given up. */
export const ABORTED = 'aborted';

/** Is told how a request goes. */
export interface RequestObserver {
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
        ? `the source asks to wait without saying how long: ${reason}`
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

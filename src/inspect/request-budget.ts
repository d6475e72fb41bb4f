import { HighwaterError } from '../errors.js';
import { counted } from '../text.js';

/** The limit of requests was reached. */
export class OutOfRequestsError extends HighwaterError {
  override readonly name = 'OutOfRequestsError';
}

/** Requests that `init` sends at most: to find out how a list pages, for samples, and for the check. */
export const REQUESTS_IN_ALL = 55;
/** Requests kept for a sample. */
export const SAMPLE_REQUESTS = 10;
/** Requests kept for the check. */
export const CHECK_REQUESTS = 5;

/** Counts the requests of one look at an API, and refuses more than its limit. */
export class RequestBudget {
  /** Requests sent. */
  sent = 0;

  constructor(readonly limit = REQUESTS_IN_ALL) {}

  /**
   * Counts a request that is about to be sent.
   * @param reserve requests that are kept for later.
   * @throws {OutOfRequestsError}
   */
  spend(reserve = 0): void {
    if (!this.has(reserve))
      throw new OutOfRequestsError(`the limit of ${counted(this.limit, 'request')} is reached`);
    this.sent++;
  }

  /** Returns whether one more request may be sent. */
  has(reserve = 0): boolean {
    return this.sent < this.limit - reserve;
  }
}

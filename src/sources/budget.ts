import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Headers } from 'node-fetch';
import type { RateLimit } from '../protocol.js';
import { RateLimitedError } from './source.js';
import { allowance } from './waits.js';

/** A wait of this length is better spent in the workflow, where it shows and holds no process. */
const WAITED_HERE_MILLISECONDS = 2000;

/** The budgets of all sources that one worker or command reads. */
export class Budgets {
  private readonly all = new Map<string, Budget>();

  /**
   * Returns the budget that all streams with the same origin, credentials and limit share.
   * @param account tells apart callers that the source counts apart: origin and credentials.
   */
  budgetFor(account: unknown, limit: RateLimit | null): Budget {
    const key = createHash('sha256')
      .update(JSON.stringify([account, limit]))
      .digest('hex');
    const budget = this.all.get(key) ?? new Budget(limit);
    this.all.set(key, budget);
    return budget;
  }
}

/** The requests that all streams of a source make together: so many at once, so many a second. */
export class Budget {
  private active = 0;
  private readonly queue: (() => void)[] = [];
  /** When the next request may start. Times here are by a clock that only runs forward, and is never set. */
  private nextStart = 0;
  private blocked: { until: number; reason: string } | null = null;

  constructor(private readonly limit: RateLimit | null) {}

  /**
   * Waits for a request's turn.
   * @returns a function that ends the turn.
   * @throws {RateLimitedError} when the turn comes later than is worth waiting here.
   */
  async takeTurn(signal: AbortSignal): Promise<() => void> {
    this.refuseWhileBlocked();
    const most = this.limit?.concurrency ?? Infinity;
    // In order: a request that goes on ahead holds its place until the one before it has been read.
    if (this.active >= most) await this.waitForPlace(signal);
    else this.active++;
    let ended = false;
    const end = () => {
      if (ended) return;
      ended = true;
      const next = this.queue.shift();
      if (next === undefined) this.active--;
      else next();
    };
    try {
      const rate = this.limit?.requestsPerSecond ?? null;
      const now = performance.now();
      const start = Math.max(now, rate === null ? 0 : this.nextStart, this.blocked?.until ?? 0);
      if (rate !== null) this.nextStart = start + 1000 / rate;
      if (start > now) await sleep(start - now, undefined, { signal });
      this.refuseWhileBlocked();
      return end;
    } catch (thrown) {
      end();
      throw signal.aborted ? signal.reason : thrown;
    }
  }

  /** Notes how many requests an answer says are left. A source that does not say until when is asked again. */
  noteAllowance(headers: Headers): void {
    const { isUsedUp, left, seconds } = allowance(headers, this.limit);
    if (isUsedUp && seconds !== null)
      this.blocked = { until: performance.now() + seconds * 1000, reason: left };
  }

  /** Lets the next request go at once. */
  endWait(): void {
    this.blocked = null;
  }

  private refuseWhileBlocked(): void {
    const { blocked } = this;
    if (blocked === null) return;
    const milliseconds = blocked.until - performance.now();
    if (milliseconds <= 0) this.blocked = null;
    else if (milliseconds > WAITED_HERE_MILLISECONDS)
      throw new RateLimitedError(milliseconds / 1000, `no requests until then (${blocked.reason})`);
  }

  /** Waits until an ended request hands its place over. */
  private waitForPlace(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onFree = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = () => {
        const at = this.queue.indexOf(onFree);
        if (at !== -1) this.queue.splice(at, 1);
        reject(signal.reason as Error);
      };
      if (signal.aborted) onAbort();
      else {
        this.queue.push(onFree);
        signal.addEventListener('abort', onAbort, { once: true });
      }
    });
  }
}

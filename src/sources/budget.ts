import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Headers } from 'node-fetch';
import type { RateLimit } from '../protocol.js';
import { RateLimitedError } from './source.js';
import { allowance } from './waits.js';

/** A wait of this length is better spent in the workflow, where it shows and holds no process. */
const WAITED_HERE_MILLISECONDS = 2000;
/** What all streams of a source that run in this process together ask of it. */
export class Budget {
  private static readonly all = new Map<string, Budget>();
  private active = 0;
  private readonly queue: (() => void)[] = [];
  /** When the next request may start. Like all times here by a clock that only runs forward, and is never set. */
  private nextStart = 0;
  private blocked: { until: number; reason: string } | null = null;

  private constructor(private readonly limit: RateLimit | null) {}

  /** @param who tells apart those whom the source counts apart: origin and credentials. */
  static of(who: unknown, limit: RateLimit | null): Budget {
    const key = createHash('sha256')
      .update(JSON.stringify([who, limit]))
      .digest('hex');
    const budget = Budget.all.get(key) ?? new Budget(limit);
    Budget.all.set(key, budget);
    return budget;
  }

  /**
   * Waits for a request's turn.
   * @returns what ends it.
   * @throws {RateLimitedError} when the turn comes later than is worth waiting here.
   */
  async turn(signal: AbortSignal): Promise<() => void> {
    this.refuseWhileBlocked();
    const most = this.limit?.concurrency ?? Infinity;
    // In order: a request that goes on ahead holds its place until the one before it has been read.
    if (this.active >= most) await this.freed(signal);
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

  /** Takes note of what an answer says is left. A source that does not say until when is simply asked again. */
  learn(headers: Headers): void {
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
      throw new RateLimitedError(milliseconds / 1000, `no more requests for now (${blocked.reason})`);
  }

  /** Waits until an ended request hands its place over. */
  private freed(signal: AbortSignal): Promise<void> {
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

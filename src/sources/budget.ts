import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Headers } from 'node-fetch';
import type { RateLimit } from '../protocol.js';
import { RateLimitedError } from './source.js';

/** A wait of this length is better spent in the workflow, where it shows and holds no process. */
const WAITED_HERE_MILLISECONDS = 2000;
/** A number this large says when, not for how long. */
const EPOCH_SECONDS = 1_000_000_000;
/** A wait longer than this is a mistake of the source. */
const LONGEST_SECONDS = 24 * 3600;

/** Headers in common use, tried in this order. */
const REMAINING = ['x-ratelimit-remaining', 'ratelimit-remaining', 'x-rate-limit-remaining'];
const RESET = ['x-ratelimit-reset', 'ratelimit-reset', 'x-rate-limit-reset', 'retry-after'];

/** What all streams of a source that run in this process together ask of it. */
export class Budget {
  private static readonly all = new Map<string, Budget>();
  private active = 0;
  private readonly queue: (() => void)[] = [];
  /** When the next request may start. */
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
      const start = Math.max(Date.now(), rate === null ? 0 : this.nextStart, this.blocked?.until ?? 0);
      if (rate !== null) this.nextStart = start + 1000 / rate;
      if (start > Date.now()) await sleep(start - Date.now(), undefined, { signal });
      this.refuseWhileBlocked();
      return end;
    } catch (thrown) {
      end();
      throw signal.aborted ? signal.reason : thrown;
    }
  }

  /** Takes note of what an answer says is left. */
  learn(headers: Headers): void {
    const { isUsedUp, left, reset } = leftAndReset(headers, this.limit);
    if (isUsedUp && reset !== null) this.blocked = { until: Date.parse(reset), reason: left };
  }

  private refuseWhileBlocked(): void {
    const { blocked } = this;
    if (blocked === null) return;
    const milliseconds = blocked.until - Date.now();
    if (milliseconds <= 0) this.blocked = null;
    else if (milliseconds > WAITED_HERE_MILLISECONDS) {
      throw new RateLimitedError(
        new Date(blocked.until).toISOString(),
        `the source allows no more requests for now (${blocked.reason})`,
      );
    }
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

/** What an answer's headers say is left, and when there is more again (ISO 8601). */
export function leftAndReset(
  headers: Headers,
  limit: RateLimit | null,
): { isUsedUp: boolean; left: string; reset: string | null } {
  const left = first(headers, limit?.remainingHeader ?? null, REMAINING);
  const reset = first(headers, limit?.resetHeader ?? null, RESET);
  const until = reset === null ? null : resetTime(reset.value, Date.now());
  return {
    isUsedUp: left !== null && Number(left.value) < 1,
    left: left === null ? '' : `${left.name}: ${left.value}`,
    reset: until === null ? null : new Date(until).toISOString(),
  };
}

function first(
  headers: Headers,
  own: string | null,
  common: readonly string[],
): { name: string; value: string } | null {
  for (const name of own === null ? common : [own]) {
    const value = headers.get(name);
    if (value !== null && value.trim() !== '') return { name, value: value.trim() };
  }
  return null;
}

/** Seconds from now, seconds or milliseconds since 1970, or a date → milliseconds since 1970; null where it is none. */
export function resetTime(text: string, now: number): number | null {
  const number = Number(text);
  if (Number.isNaN(number)) {
    const date = Date.parse(text);
    return Number.isNaN(date) ? null : Math.min(date, now + LONGEST_SECONDS * 1000);
  }
  const until =
    number >= EPOCH_SECONDS * 1000 ? number : number >= EPOCH_SECONDS ? number * 1000 : now + number * 1000;
  return until < now ? null : Math.min(until, now + LONGEST_SECONDS * 1000);
}

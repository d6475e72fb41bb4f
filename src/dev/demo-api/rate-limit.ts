/** State of the bucket after a request. */
export interface Permit {
  allowed: boolean;
  /** Remaining whole tokens. */
  remaining: number;
  secondsUntilFull: number;
  secondsUntilNextToken: number;
}

/** The reference API's token bucket: bursts of up to `capacity`, refilled at `rate` tokens per second. */
export class TokenBucket {
  #tokens: number;
  #last: number;

  /** @param now a monotonic clock in seconds. */
  constructor(
    readonly capacity: number,
    readonly rate: number,
    private readonly now: () => number = () => performance.now() / 1000,
  ) {
    this.#tokens = capacity;
    this.#last = now();
  }

  consume(): Permit {
    const now = this.now();
    this.#tokens = Math.min(this.capacity, this.#tokens + (now - this.#last) * this.rate);
    this.#last = now;
    const allowed = this.#tokens >= 1;
    if (allowed) this.#tokens -= 1;
    return {
      allowed,
      remaining: Math.max(0, Math.trunc(this.#tokens)),
      secondsUntilFull: Math.max(0, (this.capacity - this.#tokens) / this.rate),
      secondsUntilNextToken: this.#tokens >= 1 ? 0 : (1 - this.#tokens) / this.rate,
    };
  }
}

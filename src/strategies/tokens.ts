import { TokenCycleError } from './strategy.js';

/** The one token that is remembered of all that were followed, and when to remember a newer one instead. */
export type TokenTrail = { token: string; steps: number; limit: number };

/**
 * The trail after `token` is followed too. Brent's algorithm: the remembered token is renewed after 1, 2, 4, 8 …
 * steps, so it soon lies inside any circle, and is met again within one more round of it.
 * @throws {TokenCycleError} when the token is the remembered one.
 */
export function followToken(trail: TokenTrail | null, token: string): TokenTrail {
  if (trail === null) return { token, steps: 0, limit: 1 };
  if (token === trail.token) throw new TokenCycleError(token);
  const steps = trail.steps + 1;
  return steps < trail.limit ? { ...trail, steps } : { token, steps: 0, limit: trail.limit * 2 };
}

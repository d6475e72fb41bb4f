/** Decides which requests the page answers: pure functions of their headers. */

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

export interface GuardedRequest {
  host: string | undefined;
  origin: string | undefined;
  /** `Sec-Fetch-Site`, which browsers set and pages cannot. */
  site: string | undefined;
}

/**
 * Returns why a request is refused; null if it may be answered. A page of another site can make a browser send requests
 * here, under a name of its own that resolves to 127.0.0.1 (DNS rebinding): its Host header gives it away.
 * @param names further host names under which the page is served; null: any, since every request needs the token.
 */
export function refusalOfHost({ host = '' }: GuardedRequest, names: readonly string[] | null): string | null {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  if (names === null || LOOPBACK.includes(name) || names.includes(name)) return null;
  return `this page does not answer to the host ${JSON.stringify(host.slice(0, 100))}`;
}

/** Returns why an action is refused by its origin; null if it comes from the page itself. */
export function refusalOfOrigin({ host = '', origin, site }: GuardedRequest): string | null {
  if (site !== undefined && site !== 'same-origin') return 'actions are accepted from this page only';
  if (origin === undefined || !URL.canParse(origin)) return 'actions need an Origin header';
  return new URL(origin).host === host ? null : 'actions are accepted from this page only';
}

/** Headers of every answer: no script, style, frame or form of another origin, and nothing stored. */
export const SECURITY_HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  // Not `no-referrer`, with which browsers send forms with the Origin `null`.
  'Referrer-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Cache-Control': 'no-store',
} as const;

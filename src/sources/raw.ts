/** Reads whole answers as they come, for looking at an API whose pages are not known yet. */
import { type Response } from 'node-fetch';
import { HighwaterError, messageOf, SourceUnavailableError } from '../errors.js';
import { nextAddress } from '../request/next-link.js';
import type { StreamPlan } from '../protocol.js';
import type { Surroundings } from '../surroundings.js';
import { authenticatorOf, type Authenticator } from './auth.js';
import { httpRequest } from './http-request.js';
import type { ResolvedRequest } from './references.js';
import { resolvedRequestOf } from './stream-source.js';
import { bodyOf, send, theirWords, Watch, type HttpRequest } from './transport.js';
import { allowance, retryAfter } from './waits.js';

/** An answer of any status. */
export interface RawAnswer {
  status: number;
  /** By lower-case names. */
  headers: ReadonlyMap<string, string>;
  text: string;
  /** The text of a refusal, secrets masked; empty for any other answer. */
  words: string;
  /** Method and address, secrets masked. */
  request: string;
  /** Seconds that the answer asks to wait; 0 where it does not say for how long; null: it does not ask. */
  waitSeconds: number | null;
}

/** The address of a next page lies on a host that is neither configured nor listed. */
export class OtherHostError extends HighwaterError {
  override readonly name = 'OtherHostError';
}

/** The most that is read of an answer. */
const LIMIT = 32 * 1024 * 1024;

export class RawSource {
  private constructor(
    private readonly plan: StreamPlan,
    private readonly resolved: ResolvedRequest,
    private readonly auth: Authenticator | null,
    private readonly surroundings: Surroundings,
  ) {}

  /**
   * @param destination beside which refresh tokens are kept.
   * @throws {ConfigurationError} where a reference leads nowhere.
   */
  static async of(
    plan: StreamPlan,
    surroundings: Surroundings,
    destination: string | null,
  ): Promise<RawSource> {
    const resolved = await resolvedRequestOf(plan, surroundings);
    const { trust, network } = surroundings;
    const options = { timeoutSeconds: plan.requestTimeoutSeconds, destination, trust, network };
    return new RawSource(plan, resolved, authenticatorOf(resolved, options), surroundings);
  }

  /**
   * Sends one request; an answer of any status is returned.
   * @param params added to those of the plan.
   * @param address of a next page that an answer named; null: that of the plan.
   * @throws {SourceUnavailableError} where no answer comes.
   */
  async read(params: Readonly<Record<string, string>>, address: string | null): Promise<RawAnswer> {
    const call = this.request(params, address);
    const watch = new Watch(new AbortController().signal, this.plan.requestTimeoutSeconds * 1000);
    const { mask } = this.resolved;
    try {
      await this.auth?.authorize(call);
      const response = await send(call, watch, this.surroundings.network);
      const text = await textOf(response, watch);
      return {
        status: response.status,
        headers: new Map([...response.headers].map(([name, value]) => [name.toLowerCase(), value])),
        text,
        words: response.ok ? '' : mask(theirWords(mask(text))),
        request: `${call.method} ${call.shown}`,
        waitSeconds: waitOf(response),
      };
    } catch (thrown) {
      if (thrown instanceof HighwaterError) throw thrown;
      const why = watch.timedOut
        ? `the source sent nothing for ${this.plan.requestTimeoutSeconds} s`
        : `reading from the source failed: ${mask(messageOf(thrown).replace(/^request to \S+ failed, reason: ?/, ''))}`;
      throw new SourceUnavailableError(call.shown, why, call.method);
    } finally {
      watch.end();
    }
  }

  close(): void {
    this.surroundings.network.close();
  }

  private request(params: Readonly<Record<string, string>>, address: string | null): HttpRequest {
    const { resolved, plan } = this;
    const values = { cursor: {}, parent: {} };
    const base = resolved.at(values);
    const url = address === null ? new URL(base) : this.named(address, base);
    for (const [name, text] of Object.entries(resolved.params)) {
      const value = address !== null && !resolved.secretParams.includes(name) ? null : text(values);
      if (value !== null) url.searchParams.set(name, value);
    }
    for (const [name, value] of Object.entries(params)) url.searchParams.set(name, value);
    return httpRequest(url, values, resolved, { ...plan.request, accept: 'application/json' });
  }

  /** The address that an answer named. @throws {OtherHostError} */
  private named(address: string, base: URL): URL {
    const url = nextAddress(address, { current: base, base, hosts: this.plan.request.nextHosts ?? [] });
    if (url === null) {
      const host = URL.canParse(address, base.href) ? new URL(address, base).host : '';
      // An address such as file:///x names no host.
      const named = host === '' ? address : host;
      throw new OtherHostError(`it leads to another host, ${this.resolved.mask(named)}`);
    }
    [url.username, url.password] = [base.username, base.password];
    return url;
  }
}

async function textOf(response: Response, watch: Watch): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of bodyOf(response)) {
    watch.touch((chunk as Buffer).length);
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size > LIMIT) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}

function waitOf({ status, headers }: Response): number | null {
  const seconds = retryAfter(headers, null);
  const { isUsedUp, namesReset } = allowance(headers, null);
  const waits =
    status === 429 || (status === 503 && seconds !== null) || (status === 403 && isUsedUp && namesReset);
  return waits ? (seconds ?? 0) : null;
}

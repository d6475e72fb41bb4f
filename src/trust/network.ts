import { lookup as lookupName, type LookupAddress } from 'node:dns';
import { Agent as HttpAgent, type Agent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';
import fetch, { Headers, type RequestInit, type Response } from 'node-fetch';
import { getProxyForUrl } from 'proxy-from-env';
import { messageOf, NotAllowedError } from '../errors.js';
import { isConnectionHeader } from '../request/header-names.js';
import type { TrustPolicy } from './policy.js';

/** Connections are kept, and shared by all streams of a worker. */
const KEEP_ALIVE = { keepAlive: true, keepAliveMsecs: 10_000, maxSockets: 64 } as const;
const PORTS: Record<string, number> = { 'http:': 80, 'https:': 443 };

/**
 * Sends single requests to the hosts that the worker's owner allows. The address that is checked is the one that is
 * connected to: a name is resolved once, for the connection.
 */
export class Network {
  private readonly agents = new Map<string, Agent>();

  constructor(
    private readonly trust: TrustPolicy,
    private readonly resolveName: LookupFunction = lookupName,
  ) {}

  /**
   * Sends a request; redirects are the caller's. HTTPS_PROXY, HTTP_PROXY and NO_PROXY are obeyed; a private CA comes
   * through NODE_EXTRA_CA_CERTS.
   * @throws {NotAllowedError} also for headers that only the connection may set.
   */
  async fetch(url: URL, init: RequestInit): Promise<Response> {
    const port = portOf(url);
    this.trust.requireHost(url.hostname, port);
    requireOwnHeaders(init.headers);
    const proxy = getProxyForUrl(url.href);
    if (proxy !== '') await this.requireResolved(url.hostname, port);
    try {
      return await fetch(url, { ...init, agent: this.agentFor(url.protocol, proxy) });
    } catch (thrown) {
      // node-fetch keeps of an error only its code and its message.
      if ((thrown as NodeJS.ErrnoException).code !== NotAllowedError.CODE) throw thrown;
      throw new NotAllowedError(messageOf(thrown).replace(/^request to \S+ failed, reason: ?/, ''));
    }
  }

  /** Closes the connections that are kept. */
  close(): void {
    for (const agent of this.agents.values()) agent.destroy();
    this.agents.clear();
  }

  private agentFor(protocol: string, proxy: string): Agent {
    const name = `${protocol} ${proxy}`;
    let agent = this.agents.get(name);
    if (agent === undefined) {
      const isSecure = protocol === 'https:';
      if (proxy === '') agent = guarded(isSecure ? HttpsAgent : HttpAgent, this.lookup);
      else agent = isSecure ? new HttpsProxyAgent(proxy, KEEP_ALIVE) : new HttpProxyAgent(proxy, KEEP_ALIVE);
      this.agents.set(name, agent);
    }
    return agent;
  }

  /** Resolves a name for a connection, to addresses that may be connected to. */
  private readonly lookup =
    (port: number): LookupFunction =>
    (host, options, callback) =>
      this.resolveName(host, { ...options, all: true }, (error, found) => {
        if (error !== null) return callback(error, '');
        let refusal: NotAllowedError | null = null;
        const allowed = (found as LookupAddress[]).filter(({ address }) => {
          try {
            this.trust.requireAddress(host, port, address);
            return true;
          } catch (thrown) {
            if (!(thrown instanceof NotAllowedError)) throw thrown;
            refusal = thrown;
            return false;
          }
        });
        const [first] = allowed;
        if (first === undefined) callback(refusal, '');
        else if (options.all === true) callback(null, allowed);
        else callback(null, first.address, first.family);
      });

  /** A proxy connects by itself: only the addresses that the name has here can be checked. */
  private requireResolved(host: string, port: number): Promise<void> {
    if (isIP(host.replace(/^\[|\]$/g, '')) !== 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.lookup(port)(host, { all: true }, (error) => {
        if (error instanceof NotAllowedError) reject(error);
        else resolve();
      });
    });
  }
}

/** @throws {NotAllowedError} */
function requireOwnHeaders(headers: RequestInit['headers']): void {
  const name = [...new Headers(headers).keys()].find(isConnectionHeader);
  if (name === undefined) return;
  throw new NotAllowedError(`the header "${name}" is set by the connection, and cannot be configured`);
}

const portOf = ({ port, protocol }: URL): number => (port === '' ? (PORTS[protocol] ?? 0) : Number(port));

/** An agent whose connections resolve their names by `lookup`. */
function guarded(
  base: typeof HttpAgent | typeof HttpsAgent,
  lookup: (port: number) => LookupFunction,
): Agent {
  const agent = new base(KEEP_ALIVE);
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) =>
    connect({ ...options, lookup: lookup(Number(options.port)) }, callback);
  return agent;
}

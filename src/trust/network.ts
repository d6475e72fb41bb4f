import { lookup as lookupName } from 'node:dns';
import type { Agent } from 'node:http';
import { isIP, type LookupFunction } from 'node:net';
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';
import fetch, { Headers, type RequestInit, type Response } from 'node-fetch';
import { getProxyForUrl } from 'proxy-from-env';
import { messageOf, NotAllowedError } from '../errors.js';
import { isConnectionHeader } from '../request/header-names.js';
import { checkedAgent, checkedLookup, KEEP_ALIVE, type AddressCheck } from './connections.js';
import type { TrustPolicy } from './policy.js';

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
      if (proxy === '') agent = checkedAgent(protocol, (port) => this.lookup(port));
      else agent = isSecure ? new HttpsProxyAgent(proxy, KEEP_ALIVE) : new HttpProxyAgent(proxy, KEEP_ALIVE);
      this.agents.set(name, agent);
    }
    return agent;
  }

  private lookup(port: number): LookupFunction {
    const check: AddressCheck = (host, at, address) => this.trust.requireAddress(host, at, address);
    return checkedLookup(check, port, this.resolveName);
  }

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
  throw new NotAllowedError(`the connection sets the header "${name}"; it cannot be configured`);
}

const portOf = ({ port, protocol }: URL): number => (port === '' ? (PORTS[protocol] ?? 0) : Number(port));

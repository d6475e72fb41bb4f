/** Connections whose names resolve only to addresses that may be connected to. */
import { lookup as lookupName, type LookupAddress } from 'node:dns';
import { Agent as HttpAgent, type Agent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { Socket, type LookupFunction } from 'node:net';
import { NotAllowedError } from '../errors.js';
import type { TrustPolicy } from './policy.js';

/** Throws a {@link NotAllowedError} for an address that the name has and that must not be connected to. */
export type AddressCheck = (host: string, port: number, address: string) => void;

/** Connections are kept, and shared by all streams of a worker. */
export const KEEP_ALIVE = { keepAlive: true, keepAliveMsecs: 10_000, maxSockets: 64 } as const;

/** Resolves a name once, for a connection to this port, to the addresses that pass the check. */
export const checkedLookup =
  (check: AddressCheck, port: number, resolveName: LookupFunction = lookupName): LookupFunction =>
  (host, options, callback) =>
    resolveName(host, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, '');
      let refusal: NotAllowedError | null = null;
      const allowed = (found as LookupAddress[]).filter(({ address }) => {
        try {
          check(host, port, address);
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

/** Returns an agent for `http:` or `https:` whose connections resolve their names by `lookup`. */
export function checkedAgent(protocol: string, lookup: (port: number) => LookupFunction): Agent {
  const agent = new (protocol === 'https:' ? HttpsAgent : HttpAgent)(KEEP_ALIVE);
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) =>
    connect({ ...options, lookup: lookup(Number(options.port)) }, callback);
  return agent;
}

/**
 * Connections to the servers of destinations. Which of them may be used is decided by their address as it is written;
 * here a name must not lead to where a cloud gives the machine its credentials.
 */
export class DestinationConnections {
  constructor(
    private readonly trust: TrustPolicy,
    private readonly resolveName: LookupFunction = lookupName,
  ) {}

  /** Returns a socket that connects, once it is told to, as a socket of `node:net` does. */
  socket(): Socket {
    const socket = new Socket();
    const connect = socket.connect.bind(socket) as (options: object) => Socket;
    const checked = (place: string | number, host?: string) =>
      typeof place === 'number' && host !== undefined
        ? connect({ port: place, host, lookup: this.lookup(place) })
        : connect({ path: String(place) });
    return Object.assign(socket, { connect: checked });
  }

  agent(protocol: 'http:' | 'https:'): Agent {
    return checkedAgent(protocol, (port) => this.lookup(port));
  }

  private lookup(port: number): LookupFunction {
    return checkedLookup(
      (host, at, address) => this.trust.requireNoMetadata(host, at, address),
      port,
      this.resolveName,
    );
  }
}

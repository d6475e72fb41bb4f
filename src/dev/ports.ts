import { connect, createServer, type Server } from 'node:net';

/**
 * Picks one free port for each preferred one: the preferred port itself if it is free, any other otherwise. `0` asks
 * for any free port.
 *
 * The ports are free at the time of the call; the caller must handle losing the race for them.
 */
export async function freePorts(preferred: readonly number[], host = '127.0.0.1'): Promise<number[]> {
  const held: Server[] = [];
  try {
    for (const port of preferred) {
      // If SO_REUSEADDR lets a listen succeed beside a server on 0.0.0.0 (macOS), only a connect detects that server.
      const usable = port !== 0 && !(await portAnswers(port, host));
      const server = (usable ? await listenOn(port, host) : null) ?? (await listenOn(0, host));
      if (!server) throw new Error(`No free port on ${host}`);
      held.push(server); // held until all are chosen, so that no port is chosen twice
    }
    return held.map(portOf);
  } finally {
    await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))));
  }
}

/** Whether something accepts TCP connections at the port. */
export function portAnswers(port: number, host = '127.0.0.1', timeoutMs = 500): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host });
    const settle = (answers: boolean) => {
      socket.destroy();
      resolve(answers);
    };
    socket.setTimeout(timeoutMs, () => settle(false));
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
  });
}

function listenOn(port: number, host: string): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen({ port, host, exclusive: true }, () => resolve(server));
  });
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('Not listening on a port');
  return address.port;
}

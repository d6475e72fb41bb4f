import { createConnection, type Socket } from 'node:net';

/** A connection that only ends, as servers and load balancers end idle ones, is made anew by then; a server that was stopped takes none. */
const BACK_MILLISECONDS = 500;
const AGAIN_MILLISECONDS = 1000;

/**
 * Notices at once when a server goes away, by a connection of its own on which nothing is sent.
 * @param address host:port; where no connection can be made, as behind a proxy, nothing is noticed.
 * @returns what ends the watch.
 */
export function watchServer(address: string, onAway: () => void): () => void {
  const { hostname, port } = new URL(`tcp://${address}`);
  const host = hostname.replace(/^\[|\]$/g, '');
  let socket: Socket | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  const connect = (since: number | null): void => {
    if (isOver) return;
    let isConnected = false;
    const late = since === null ? AGAIN_MILLISECONDS : since + BACK_MILLISECONDS - Date.now();
    socket = createConnection({ host, port: Number(port), timeout: Math.max(late, 1) });
    socket.unref();
    socket.on('connect', () => {
      isConnected = true;
      socket?.setTimeout(0);
    });
    socket.on('timeout', () => socket?.destroy());
    socket.on('error', () => undefined);
    // Read, so that its end is noticed.
    socket.resume();
    socket.on('close', () => {
      if (isOver) return;
      if (isConnected) {
        connect(Date.now());
        return;
      }
      if (since !== null) onAway();
      timer = setTimeout(() => connect(null), AGAIN_MILLISECONDS);
      timer.unref();
    });
  };
  connect(null);
  return () => {
    isOver = true;
    clearTimeout(timer);
    socket?.destroy();
  };
}

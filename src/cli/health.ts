import { createServer, type Server } from 'node:http';

/**
 * Serves the probes of a worker on all addresses, as a kubelet uses the pod's: `/healthz` answers while the process
 * does, `/readyz` with 503 and the reason where it takes no work. A server that is away is no reason to start anew.
 * @param notReady why no work is taken just now, or null.
 */
export async function serveHealth(port: number, notReady: () => Promise<string | null>): Promise<Server> {
  const server = createServer((request, response) => {
    const say = (status: number, text: string) =>
      void response.writeHead(status, { 'Content-Type': 'text/plain' }).end(`${text}\n`);
    if (request.url === '/healthz') say(200, 'alive');
    else if (request.url === '/readyz')
      void notReady().then(
        (reason) => (reason === null ? say(200, 'ready') : say(503, reason)),
        () => say(503, 'unknown'),
      );
    else say(404, 'only /healthz and /readyz exist');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (thrown) =>
      reject(new Error(`cannot listen on the health port ${port}: ${thrown.message}`)),
    );
    server.listen(port, resolve);
  });
  // It alone keeps no process up.
  server.unref();
  return server;
}

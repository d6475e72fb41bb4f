import { once } from 'node:events';
import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { DestinationError, InputRefusedError, messageOf } from '../../errors.js';
import { inputProblems } from '../../inputs.js';
import type { History, HistoryRequest } from '../destination.js';
import { QUERY_SECONDS, queryError, timeLimit, type Answer, type AnswerPart } from './query.js';
import type { RetryOutcome, RetryRequest } from '../sql/retry.js';

/*
 * The protocol: a request is one line of JSON. A query is answered by a line per part of the answer and a final
 * `{"end":true}`, another request by `{"result":…}`, a failed one by `{"error":…}`. Closing the connection cancels the
 * request.
 */

/** Returns the path of the owner's socket, which only this user can reach. */
export function socketPath(name: string): string {
  if (process.platform === 'win32') return `\\\\.\\pipe\\${name}`;
  return join(tmpdir(), `highwater-${userInfo().uid}`, `${name}.sock`);
}

type OwnerRequest =
  { query: { sql: string; seconds: number } } | { retry: RetryRequest } | { history: HistoryRequest };

/** Operations that an owner performs for other programs on this machine. */
export interface OwnerServices {
  /** Passes the answer to `read`, and releases its resources when that has ended. */
  query: (sql: string, limit: AbortSignal, read: (answer: Answer) => Promise<void>) => Promise<void>;
  retry: (request: RetryRequest) => Promise<RetryOutcome>;
  history: (request: HistoryRequest) => Promise<History>;
}

export interface OwnerServer {
  /** Stops the server and the answers under way. */
  close: () => void;
}

const REQUEST_LIMIT = 1024 * 1024;
/** Each query takes one of this process's four threads for files, DNS and databases. */
const QUERIES_AT_ONCE = 2;

/** Answers other programs while a worker owns a destination: DuckDB does not let them open the file meanwhile. */
export async function serveQueries(path: string, services: OwnerServices): Promise<OwnerServer> {
  if (process.platform !== 'win32') {
    await ownFolder(dirname(path));
    await rm(path, { force: true });
  }
  const sockets = new Set<Socket>();
  const turns = new Turns(QUERIES_AT_ONCE);
  const server = createServer((socket) => {
    sockets.add(socket);
    const gone = new AbortController();
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      sockets.delete(socket);
      gone.abort();
    });
    receiveLine(socket, (request) =>
      serveRequest(socket, request, services, { turns, gone: gone.signal })
        .catch((thrown: unknown) => writeLine(socket, { error: messageOf(thrown) }))
        .finally(() => socket.end()),
    );
  });
  await listenAt(server, path);
  return {
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function listenAt(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  server.unref();
  if (process.platform !== 'win32') await chmod(path, 0o600);
}

/** Calls back with the first line; closes the connection if it is longer than any request. */
function receiveLine(socket: Socket, answer: (line: string) => Promise<unknown>): void {
  const chunks: Buffer[] = [];
  let size = 0;
  const onData = (chunk: Buffer) => {
    size += chunk.length;
    chunks.push(chunk);
    if (size > REQUEST_LIMIT) socket.destroy();
    else if (chunk.includes(LINE_END)) {
      socket.off('data', onData).resume();
      void answer(Buffer.concat(chunks).toString('utf8'));
    }
  };
  socket.on('data', onData);
}

const LINE_END = '\n'.charCodeAt(0);

async function serveRequest(
  socket: Socket,
  line: string,
  services: OwnerServices,
  { turns, gone }: { turns: Turns; gone: AbortSignal },
): Promise<void> {
  const request = decodeRequest(line);
  if ('retry' in request) return writeLine(socket, { result: await services.retry(request.retry) });
  if ('history' in request) return writeLine(socket, { result: await services.history(request.history) });
  const { sql, seconds } = request.query;
  const limit = AbortSignal.any([gone, timeLimit(seconds)]);
  try {
    await services.query(sql, limit, async (answer) => {
      const parts = turns.taking(answer, limit);
      for await (const part of parts) {
        writeLine(socket, part);
        if (socket.writableNeedDrain) await once(socket, 'drain', { signal: limit });
      }
    });
    writeLine(socket, { end: true });
  } catch (thrown) {
    throw queryError(thrown, limit);
  }
}

/** @throws {InputRefusedError} */
function decodeRequest(line: string): OwnerRequest {
  const request: unknown = JSON.parse(line);
  const problems = inputProblems('ownerRequest', request);
  if (problems !== null) throw new InputRefusedError('the request to the owner of the destination', problems);
  return request as OwnerRequest;
}

const writeLine = (socket: Socket, line: object): void => {
  if (!socket.destroyed) socket.write(`${JSON.stringify(line)}\n`);
};

/** Limits how many operations run at once; the others wait. */
class Turns {
  private readonly waiting: (() => void)[] = [];

  constructor(private free: number) {}

  /** Takes a turn for each part of an answer, so that a slow reader does not block others. */
  async *taking(answer: Answer, limit: AbortSignal): Answer {
    try {
      for (;;) {
        await this.takeTurn();
        const next = await (limit.aborted ? answer.return() : answer.next()).finally(() => this.giveTurn());
        limit.throwIfAborted();
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await answer.return();
    }
  }

  private async takeTurn(): Promise<void> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  private giveTurn(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.free++;
    else next();
  }
}

/** Creates a folder that only this user can access, and refuses one that another user has created. */
async function ownFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const info = await lstat(path);
  if (!info.isDirectory() || info.uid !== userInfo().uid) {
    throw new DestinationError(
      `another user owns ${path}, the folder of sockets for queries. Remove it, or set TMPDIR to a folder of your own.`,
    );
  }
  if ((info.mode & 0o077) !== 0) await chmod(path, 0o700);
}

/** Asks the owner of a destination to retry quarantined records. @throws {DestinationError} */
export const retryAtOwner = (path: string, request: RetryRequest): Promise<RetryOutcome> =>
  resultFrom<RetryOutcome>(path, { retry: request });

/** Asks the owner of a destination for a stream's checkpoint and log. @throws {DestinationError} */
export const historyAtOwner = (path: string, request: HistoryRequest): Promise<History> =>
  resultFrom<History>(path, { history: request });

/** Runs one reading statement through the owner of a destination. @throws {DestinationError} */
export async function* askOwner(path: string, sql: string, seconds = QUERY_SECONDS): Answer {
  for await (const line of linesFrom(path, { query: { sql, seconds } })) {
    if ('end' in line) return;
    yield line as AnswerPart;
  }
  throw new DestinationError(BROKEN_OFF);
}

async function resultFrom<Result>(path: string, request: OwnerRequest): Promise<Result> {
  for await (const line of linesFrom(path, request)) return (line as { result: Result }).result;
  throw new DestinationError(BROKEN_OFF);
}

const BROKEN_OFF = 'the worker that owns the destination closed the connection in the middle of its answer';

/** Yields the lines of an owner's answer, read on demand. @throws {DestinationError} */
async function* linesFrom(path: string, request: OwnerRequest): AsyncGenerator<object, void, undefined> {
  const socket = createConnection(path);
  socket.write(`${JSON.stringify(request)}\n`);
  const decoder = new StringDecoder('utf8');
  let begun: string[] = [];
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      const [first = '', ...more] = decoder.write(chunk).split('\n');
      begun.push(first);
      for (const next of more) {
        const line = JSON.parse(begun.join('')) as { error?: string };
        begun = [next];
        if (line.error !== undefined) throw new DestinationError(line.error);
        yield line;
      }
    }
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    throw code === 'EPIPE' || code === 'ECONNRESET' ? new DestinationError(BROKEN_OFF) : thrown;
  } finally {
    socket.destroy();
  }
}

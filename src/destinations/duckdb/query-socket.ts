import { once } from 'node:events';
import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { DestinationError, messageOf } from '../../errors.js';
import type { History, HistoryRequest } from '../destination.js';
import { QUERY_SECONDS, queryError, timeLimit, type Answer, type AnswerPart } from './query.js';
import type { RetryOutcome, RetryRequest } from '../sql/retry.js';

/*
 * A request is one line of JSON. A query is answered by a line for each part of its answer, and then `{"end":true}`; other
 * requests by `{"result":…}`; what is refused by `{"error":…}`. A connection that closes ends what it has asked for.
 */

/** Where the owner of a destination listens; only this user can reach it. */
export function socketPath(name: string): string {
  if (process.platform === 'win32') return `\\\\.\\pipe\\${name}`;
  return join(tmpdir(), `highwater-${userInfo().uid}`, `${name}.sock`);
}

/** A request to an owner. */
export type OwnerRequest =
  { query: { sql: string; seconds: number } } | { replay: RetryRequest } | { history: HistoryRequest };

/** What the owner of a destination does for other programs on this machine. */
export interface OwnerServices {
  /** Hands the answer to `read`, and lets go of what it took once that has ended. */
  query: (sql: string, limit: AbortSignal, read: (answer: Answer) => Promise<void>) => Promise<void>;
  replay: (request: RetryRequest) => Promise<RetryOutcome>;
  history: (request: HistoryRequest) => Promise<History>;
}

/** An owner that answers. */
export interface OwnerServer {
  /** Breaks off what is being answered, too. */
  close: () => void;
}

const REQUEST_LIMIT = 1024 * 1024;
/** Each takes a thread of four that this process has for files, names and databases. */
const QUERIES_AT_ONCE = 2;

/** Answers other programs for as long as a worker owns a destination: DuckDB lets none of them in meanwhile. */
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
    receive(socket, (request) =>
      serve(socket, request, services, { turns, gone: gone.signal })
        .catch((thrown: unknown) => write(socket, { error: messageOf(thrown) }))
        .finally(() => socket.end()),
    );
  });
  await listen(server, path);
  return {
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  server.unref();
  if (process.platform !== 'win32') await chmod(path, 0o600);
}

/** Calls back with the first line; what is longer than any request closes the connection. */
function receive(socket: Socket, answer: (line: string) => Promise<unknown>): void {
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

async function serve(
  socket: Socket,
  line: string,
  services: OwnerServices,
  { turns, gone }: { turns: Turns; gone: AbortSignal },
): Promise<void> {
  const request = JSON.parse(line) as OwnerRequest;
  if ('replay' in request) return write(socket, { result: await services.replay(request.replay) });
  if ('history' in request) return write(socket, { result: await services.history(request.history) });
  const { sql, seconds } = request.query;
  const limit = AbortSignal.any([gone, timeLimit(seconds)]);
  try {
    await services.query(sql, limit, async (answer) => {
      const parts = turns.taking(answer, limit);
      for await (const part of parts) {
        write(socket, part);
        if (socket.writableNeedDrain) await once(socket, 'drain', { signal: limit });
      }
    });
    write(socket, { end: true });
  } catch (thrown) {
    throw queryError(thrown, limit);
  }
}

const write = (socket: Socket, line: object): void => {
  if (!socket.destroyed) socket.write(`${JSON.stringify(line)}\n`);
};

/** Lets so many at a time do something; the others wait. */
class Turns {
  private readonly waiting: (() => void)[] = [];

  constructor(private free: number) {}

  /** The parts of an answer, each of them made in a turn: a reader that is slow holds up none of the others. */
  async *taking(answer: Answer, limit: AbortSignal): Answer {
    try {
      for (;;) {
        await this.take();
        const next = await (limit.aborted ? answer.return() : answer.next()).finally(() => this.give());
        limit.throwIfAborted();
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await answer.return();
    }
  }

  private async take(): Promise<void> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  private give(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.free++;
    else next();
  }
}

/** Makes a folder that only this user can reach; in a place for all, another may have made it before. */
async function ownFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const info = await lstat(path);
  if (!info.isDirectory() || info.uid !== userInfo().uid) {
    throw new DestinationError(
      `${path}, where queries are answered, belongs to another user. Remove it, or set TMPDIR to a folder of your own.`,
    );
  }
  if ((info.mode & 0o077) !== 0) await chmod(path, 0o700);
}

/** Has the owner of a destination try records again that were put aside. @throws {DestinationError} */
export const retryAtOwner = (path: string, request: RetryRequest): Promise<RetryOutcome> =>
  resultFrom<RetryOutcome>(path, { replay: request });

/** Asks the owner of a destination for what is stored of a stream. @throws {DestinationError} */
export const historyAtOwner = (path: string, request: HistoryRequest): Promise<History> =>
  resultFrom<History>(path, { history: request });

/** Runs one reading statement at the owner of a destination. @throws {DestinationError} */
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

const BROKEN_OFF = 'the worker that owns the destination broke off its answer';

/** The lines of an owner's answer, read as they are asked for. @throws {DestinationError} */
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

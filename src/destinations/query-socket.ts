import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { StatementType, type DuckDBConnection } from '@duckdb/node-api';
import { DestinationError, messageOf } from '../errors.js';
import type { Json } from '../protocol.js';
import type { History, HistoryRequest } from './destination.js';
import type { ReplayOutcome, ReplayRequest } from './replay.js';

/** A query's answer: column names and rows, every value as JSON has it. */
export interface QueryAnswer {
  columns: string[];
  rows: Json[][];
}

const READING = [StatementType.SELECT, StatementType.EXPLAIN, StatementType.CALL, StatementType.RELATION];
const REQUEST_LIMIT = 1024 * 1024;

/** Where the owner of a destination listens; only this user can reach it. */
export function socketPath(name: string): string {
  if (process.platform === 'win32') return `\\\\.\\pipe\\${name}`;
  return join(tmpdir(), `highwater-${userInfo().uid}`, `${name}.sock`);
}

/**
 * Runs one reading statement.
 * @throws {DestinationError} for a statement that could write, or that DuckDB refuses.
 */
export async function runQuery(connection: DuckDBConnection, sql: string): Promise<QueryAnswer> {
  try {
    if (sql.replace(/--.*|\/\*[\s\S]*?\*\//g, '').trim() === '')
      throw new DestinationError('give a statement');
    const statements = await connection.extractStatements(sql);
    if (statements.count !== 1) throw new DestinationError('give one statement at a time');
    const prepared = await statements.prepare(0);
    // EXPLAIN ANALYZE runs what it explains.
    const runs = prepared.statementType === StatementType.EXPLAIN && /\banalyze\b/i.test(sql);
    if (!READING.includes(prepared.statementType) || runs) {
      throw new DestinationError(
        'only statements that read are allowed here: the destination is written by syncs',
      );
    }
    const reader = await prepared.runAndReadAll();
    return { columns: reader.columnNames(), rows: reader.getRowsJson() };
  } catch (thrown) {
    if (thrown instanceof DestinationError) throw thrown;
    throw new DestinationError(messageOf(thrown));
  }
}

/** What an owner is asked for besides queries: JSON, which no statement is. */
export type OwnerRequest = { replay: ReplayRequest } | { history: HistoryRequest };

/** A request that is no query; null for a query. */
export const ownerRequest = (text: string): OwnerRequest | null =>
  /^\{"(replay|history)":/.test(text) ? (JSON.parse(text) as OwnerRequest) : null;

/** Answers queries for as long as a worker owns a destination: DuckDB lets no other program in meanwhile. */
export async function serveQueries(
  path: string,
  answer: (text: string) => Promise<QueryAnswer | ReplayOutcome | History>,
): Promise<Server> {
  if (process.platform !== 'win32') {
    await ownFolder(dirname(path));
    await rm(path, { force: true });
  }
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = [];
    let size = 0;
    socket.on('data', (chunk) => {
      size += chunk.length;
      if (size > REQUEST_LIMIT) socket.destroy();
      else chunks.push(chunk);
    });
    socket.on('error', () => socket.destroy());
    socket.on('end', () => {
      answer(Buffer.concat(chunks).toString('utf8')).then(
        (result) => socket.end(JSON.stringify({ result })),
        (thrown: unknown) => socket.end(JSON.stringify({ error: messageOf(thrown) })),
      );
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  server.unref();
  if (process.platform !== 'win32') await chmod(path, 0o600);
  return server;
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
export const replayAtOwner = (path: string, request: ReplayRequest): Promise<ReplayOutcome> =>
  ask<ReplayOutcome>(path, JSON.stringify({ replay: request }));

/** Asks the owner of a destination for what is stored of a stream. @throws {DestinationError} */
export const historyAtOwner = (path: string, request: HistoryRequest): Promise<History> =>
  ask<History>(path, JSON.stringify({ history: request }));

/** Asks the owner of a destination. */
export const askOwner = (path: string, sql: string): Promise<QueryAnswer> => ask<QueryAnswer>(path, sql);

async function ask<Answer>(path: string, request: string): Promise<Answer> {
  const text = await new Promise<string>((resolve, reject) => {
    const socket = createConnection(path);
    const chunks: Buffer[] = [];
    socket.on('connect', () => socket.end(request));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('utf8')));
  });
  let answer: { result?: Answer; error?: string };
  try {
    answer = JSON.parse(text) as typeof answer;
  } catch {
    throw new DestinationError('the worker that owns the destination broke off its answer');
  }
  const { result, error } = answer;
  if (result === undefined) throw new DestinationError(error ?? 'the worker did not answer');
  return result;
}

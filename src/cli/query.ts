import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { DuckDBInstance } from '@duckdb/node-api';
import { Command, InvalidArgumentError, Option } from 'commander';
import { destinationKind } from '../config/index.js';
import { refuseToRead } from './custom-destination.js';
import { liveOwner } from '../destinations/duckdb/owner.js';
import { confine, NO_EXTENSIONS } from '../destinations/duckdb/confine.js';
import { openError } from '../destinations/duckdb/file.js';
import { refuseOtherLog } from '../destinations/duckdb/wal.js';
import { askFiles } from '../destinations/files/reader.js';
import {
  QUERY_SECONDS,
  queryError,
  runQuery,
  timeLimit,
  readWhole,
  type Answer,
  type QueryAnswer,
} from '../destinations/duckdb/query.js';
import { askOwner } from '../destinations/duckdb/query-socket.js';
import { durationText, parseDuration } from '../durations.js';
import { DestinationError, messageOf } from '../errors.js';
import type { Json } from '../protocol.js';
import { counted, layout, note, outputWidth, write, type Cell, type Layout } from './output.js';
import { askServer } from './postgres.js';
import { destinationFor, WHOSE } from './subject.js';

interface Options {
  destination?: string;
  json?: boolean;
  timeout: number;
  wide?: boolean;
}

export function queryCommand(): Command {
  return new Command('query')
    .description('Query the destination, even while a worker has it open.')
    .argument('<sql>', 'one read-only statement')
    .argument('[sync]', WHOSE)
    .option(
      '-d, --destination <file>',
      'a DuckDB file, or the address of a PostgreSQL server or of files (default: $HIGHWATER_DESTINATION, else that of the configuration in this folder, else highwater.duckdb, else the only destination here)',
    )
    .addOption(
      new Option('--timeout <duration>', 'time limit, including reading the answer, such as 90s or 10m')
        .default(QUERY_SECONDS, durationText(QUERY_SECONDS))
        .argParser(asSeconds),
    )
    .option('--wide', 'on a terminal: do not cut wide tables to its width')
    .option('--json', 'print a JSON array of objects')
    .addHelpText(
      'after',
      `
Rows are printed as they arrive. The first rows determine the widths of the columns. On a terminal, a table that is
wider is cut to fit; --wide, --json or a pipe show everything. In JSON, whole numbers beyond 2^53 are strings, so that
no digit is lost.

Examples:
  highwater query 'SELECT count(*) FROM "user"'
  highwater query 'FROM "user"' users.yaml
  highwater query 'FROM "user"' --json --timeout 30m > rows.json`,
    )
    .action(async (sql: string, sync: string | undefined, options: Options) => {
      const { destination: asked, json, timeout, wide } = options;
      const destination = await destinationFor(asked, sync);
      const limit = timeLimit(timeout);
      try {
        const answer = ask(destination, sql, timeout);
        const width = wide === true ? Infinity : outputWidth();
        await (json === true ? showJson(answer, limit) : showTable(answer, limit, width));
      } catch (thrown) {
        throw withPlace(limit.aborted ? queryError(thrown, limit) : thrown, destination);
      }
    });
}

/** The error with the destination that was asked, unless it names it. A server's address may hold a password: it names itself. */
function withPlace(thrown: unknown, destination: string): unknown {
  const kind = destinationKind(destination);
  if (kind === 'server' || kind === 'custom' || !(thrown instanceof DestinationError)) return thrown;
  return thrown.message.includes(destination)
    ? thrown
    : new DestinationError(`${thrown.message}\n  (in ${destination})`);
}

/** @throws {InvalidArgumentError} */
function asSeconds(text: string): number {
  const seconds = parseDuration(text);
  if (seconds !== null && seconds > 0 && seconds <= 86_400) return seconds;
  throw new InvalidArgumentError('Give a duration of at most 1d, such as 90s or 10m.');
}

async function showJson(answer: Answer, limit: AbortSignal): Promise<void> {
  let names: string[] = [];
  let numbers = new Set<number>();
  let before = '[';
  for await (const part of answer) {
    if ('columns' in part) {
      names = part.columns;
      numbers = new Set(part.numbers);
      continue;
    }
    const objects = part.rows.map((row) =>
      JSON.stringify(
        Object.fromEntries(
          names.map((name, i) => [name, numbers.has(i) ? asNumber(row[i] ?? null) : (row[i] ?? null)]),
        ),
      ),
    );
    if (objects.length === 0) continue;
    await write(`${before}${objects.join(',\n')}`, limit);
    before = ',\n';
  }
  await write(`${before === '[' ? '[' : ''}]\n`, limit);
}

/** Returns the number that a text is; the text where a number of JSON would not have all of its digits. */
export function asNumber(value: Json): Json {
  if (typeof value !== 'string') return value;
  const number = Number(value);
  const isExact = /^-?\d+$/.test(value) ? Number.isSafeInteger(number) : Number.isFinite(number);
  return isExact && value.trim() !== '' ? number : value;
}

/** Rows by which the columns' widths are chosen. */
const FIRST_ROWS = 1000;

async function showTable(answer: Answer, limit: AbortSignal, width: number): Promise<void> {
  let names: string[] = [];
  let numbers = new Set<number>();
  let first: Cell[][] = [];
  let lines: Layout | null = null;
  let count = 0;
  const begin = async (): Promise<Layout> => {
    const begun = layout(names, first, width, { dropsColumns: true });
    await write(`${[begun.head, ...first.map(begun.line)].join('\n')}\n`, limit);
    first = [];
    return begun;
  };
  for await (const part of answer) {
    if ('columns' in part) {
      names = part.columns;
      numbers = new Set(part.numbers);
      continue;
    }
    count += part.rows.length;
    const rows = part.rows.map((row) => row.map((value, i) => cell(value, numbers.has(i))));
    if (lines !== null) await write(rows.map((row) => `${lines?.line(row)}\n`).join(''), limit);
    else if (first.push(...rows) >= FIRST_ROWS) lines = await begin();
  }
  lines ??= await begin();
  await write(`(${counted(count, 'row')})\n`, limit);
  if (lines.isCut) note(`The table was cut to ${width} columns; use --wide or --json to see all of it.`);
}

/**
 * Runs one reading statement in a file, a server or a store of files.
 * @throws {DestinationError}
 */
export async function* ask(destination: string, sql: string, seconds = QUERY_SECONDS): Answer {
  const kind = destinationKind(destination);
  if (kind === 'server') yield* askServer(destination, sql, seconds);
  else if (kind === 'custom') await refuseToRead(destination);
  else if (kind === 'files') yield* askFiles(destination, sql, process.env, timeLimit(seconds));
  else if (existsSync(destination)) yield* askFile(await realpath(destination), sql, seconds);
  else throw new DestinationError(`there is no destination at ${destination}`);
}

/** As {@link ask}, read to its end. */
export const query = (destination: string, sql: string): Promise<QueryAnswer> =>
  readWhole(ask(destination, sql));

/** Asks the worker that owns the file, or opens the file where none does. */
async function* askFile(path: string, sql: string, seconds: number): Answer {
  const owner = await liveOwner(path);
  if (owner !== null) {
    yield* askOwner(owner.socket, sql, seconds);
    return;
  }
  await refuseOtherLog(path);
  const instance = await DuckDBInstance.create(path, { access_mode: 'READ_ONLY', ...NO_EXTENSIONS }).catch(
    (thrown: unknown) => {
      throw openError(path, messageOf(thrown));
    },
  );
  await confine(instance, [], true);
  // A connection left open keeps the file open with it.
  const connection = await instance.connect();
  try {
    yield* runQuery(connection, sql, timeLimit(seconds));
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

/** Reads a file, through the worker that owns it where one does. */
export const readDestination = (path: string, sql: string): Promise<QueryAnswer> =>
  readWhole(askFile(path, sql, QUERY_SECONDS));

/** Numbers stand on the right, with their digits as they are: they may be copied. */
function cell(value: Json, isNumber: boolean): Cell {
  if (value === null) return 'NULL';
  if (typeof value === 'number' || isNumber) return { text: String(value), isNumber: true };
  return typeof value === 'string' ? value.replaceAll('\n', '⏎') : JSON.stringify(value);
}

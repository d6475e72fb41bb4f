import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { DuckDBInstance } from '@duckdb/node-api';
import { Command } from 'commander';
import { destinationKind } from '../config/index.js';
import { liveOwner } from '../destinations/owner.js';
import { confine, NO_EXTENSIONS } from '../destinations/duckdb-confine.js';
import { openError } from '../destinations/duckdb-file.js';
import { refuseOtherLog } from '../destinations/duckdb-wal.js';
import { queryFiles } from '../destinations/files-reader.js';
import { askOwner, runQuery, type QueryAnswer } from '../destinations/query-socket.js';
import { DestinationError, messageOf } from '../errors.js';
import type { Json } from '../protocol.js';
import { destinationOf, print, table } from './output.js';
import { queryServer } from './postgres.js';

export function queryCommand(): Command {
  return new Command('query')
    .description('Read the destination, also while a worker holds it.')
    .argument('<sql>', 'one statement that reads')
    .option(
      '-d, --destination <file>',
      'the DuckDB file, or the address of a PostgreSQL server or of files (default: HIGHWATER_DESTINATION, else highwater.duckdb here)',
    )
    .option('--json', 'a JSON array of objects')
    .addHelpText('after', '\nExample:\n  highwater query \'SELECT count(*) FROM "user"\'')
    .action(async (sql: string, options: { destination?: string; json?: boolean }) => {
      const given = destinationOf(options.destination, undefined);
      const { columns, rows } = await query(given, sql);
      if (options.json === true) {
        print(
          JSON.stringify(
            rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i] ?? null]))),
          ),
        );
      } else {
        print(
          table(
            columns,
            rows.map((row) => row.map(cell)),
            // What was asked for is shown whole.
            Infinity,
          ),
        );
        print(`(${rows.length} row${rows.length === 1 ? '' : 's'})`);
      }
    });
}

/**
 * Reads a file, a server or a store of files.
 * @throws {DestinationError}
 */
export async function query(destination: string, sql: string): Promise<QueryAnswer> {
  const kind = destinationKind(destination);
  if (kind === 'server') return queryServer(destination, sql);
  if (kind === 'files') return queryFiles(destination, sql, process.env);
  if (!existsSync(destination)) throw new DestinationError(`there is no destination at ${destination}`);
  return readDestination(await realpath(destination), sql);
}

/** Reads through the worker that owns the file, or opens the file where nobody does. */
export async function readDestination(path: string, sql: string): Promise<QueryAnswer> {
  const owner = await liveOwner(path);
  if (owner !== null) return askOwner(owner.socket, sql);
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
    return await runQuery(connection, sql);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

const cell = (value: Json): string | number =>
  value === null
    ? 'NULL'
    : typeof value === 'number'
      ? value
      : typeof value === 'string'
        ? value.replaceAll('\n', '⏎')
        : JSON.stringify(value);

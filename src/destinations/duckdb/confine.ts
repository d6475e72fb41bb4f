import { resolve } from 'node:path';
import type { DuckDBInstance } from '@duckdb/node-api';
import { DuckDbSession } from './session.js';
import { joined, literal, sql } from '../sql/sql.js';

/** Settings that keep DuckDB from finding or installing extensions. */
export const NO_EXTENSIONS = {
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
} as const;

/**
 * Confines statements to files in `folders`, the database's own files and its spill files: no other database, extension
 * or network address. No statement can undo this while the database is open.
 *
 * Known gaps (DuckDB 1.5): COPY can overwrite the file of the open database; enable_logging(storage => 'file') makes
 * all later statements fail, and ends the process when the database is closed.
 * @param isLocked whether statements may change no settings at all; a destination itself raises the memory limit.
 */
export async function confine(
  instance: DuckDBInstance,
  folders: readonly string[],
  isLocked: boolean,
): Promise<void> {
  const connection = await instance.connect();
  const session = new DuckDbSession(connection);
  try {
    const allowed = joined(folders.map((folder) => literal(resolve(folder))));
    await session.run(sql`SET GLOBAL allowed_directories = [${allowed}]`);
    await session.run(sql`SET GLOBAL enable_external_access = false`);
    if (isLocked) await session.run(sql`SET GLOBAL lock_configuration = true`);
  } finally {
    connection.closeSync();
  }
}

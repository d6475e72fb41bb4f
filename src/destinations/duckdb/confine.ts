import { resolve } from 'node:path';
import type { DuckDBInstance } from '@duckdb/node-api';
import { DuckDbSession } from './session.js';
import { joined, literal, sql } from '../sql/sql.js';

/** DuckDB looks for extensions neither here nor anywhere else. */
export const NO_EXTENSIONS = {
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
} as const;

/**
 * Confines what statements reach: files in `folders`, the database's own files and those that it spills to, and nothing
 * else; no other database in another place, no extension, no address. DuckDB lets no statement undo it while the database
 * is open.
 *
 * What does not hold (DuckDB 1.5): COPY may write over the file of the open database, and enable_logging(storage => 'file')
 * makes every statement after it fail, and ends the process when the database is closed.
 * @param isLocked forbids statements to change any setting, such as the memory limit, which a destination itself raises.
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

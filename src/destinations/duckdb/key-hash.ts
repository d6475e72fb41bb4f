/**
 * Hashes of primary keys, stored in a column of each table whose key is text. Finding a 36-character key by its hash
 * takes a fifth of the time; for numbers a hash would be slower.
 */
import { KEY_HASH, type TableSpec } from '../../protocol.js';
import { tableName } from '../checkpoints.js';
import type { SqlSession } from '../sql/dialect.js';
import { identifier, joined, literal, sql, type Sql } from '../sql/sql.js';

/** Whether rows of the table are found by the hash of their key. */
export const hashesKey = ({ primaryKey, columns }: Pick<TableSpec, 'primaryKey' | 'columns'>): boolean =>
  primaryKey.some((name) => columns[name] === 'STRING');

/** Returns the SQL of a key's hash. @param column returns the SQL of a key column. */
export const keyHash = ({ primaryKey, columns }: TableSpec, column: (name: string) => Sql): Sql =>
  sql`hash(${joined(primaryKey.map((name) => (columns[name] === 'STRING' ? column(name) : sql`CAST(${column(name)} AS VARCHAR)`)))})`;

/** Identifies the hash function: DuckDB may change its own between versions. */
const HASH_PROBE = sql`SELECT concat_ws(',', hash('a'), hash(repeat('highwater é', 9)), hash('a', 'b'), hash(NULL::VARCHAR))`;

/** Fills missing hashes of rows that other programs or older versions wrote. */
export const fillingHashes = (table: TableSpec): Sql =>
  sql`UPDATE ${tableName(table)} AS t SET ${identifier(KEY_HASH)} = ${keyHash(table, (name) => sql`t.${identifier(name)}`)} WHERE ${identifier(KEY_HASH)} IS NULL`;

/** Removes the hashes of a table, which are filled again when they are needed. */
export const forgetHashes = async (session: SqlSession, table: Sql): Promise<void> => {
  await session.run(sql`UPDATE ${table} SET ${identifier(KEY_HASH)} = NULL`);
};

/** Removes all hashes if this DuckDB hashes differently from the one that wrote the file. */
export async function checkHashes(session: SqlSession): Promise<void> {
  const [[probe] = []] = await session.rows(HASH_PROBE);
  const [[stored] = []] = await session.rows(sql`SELECT value FROM _highwater_meta WHERE name = 'key_hash'`);
  if (stored === probe) return;
  if (stored !== undefined) {
    const tables = await session.rows(
      sql`SELECT schema_name, table_name FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (database_name, schema_name, table_name)
         WHERE database_name = current_database() AND column_name = ${literal(KEY_HASH)}`,
    );
    for (const [schema, table] of tables)
      await forgetHashes(session, sql`${identifier(schema ?? '')}.${identifier(table ?? '')}`);
  }
  await session.runAll([
    sql`DELETE FROM _highwater_meta WHERE name = 'key_hash'`,
    sql`INSERT INTO _highwater_meta VALUES ('key_hash', ${literal(probe ?? '')})`,
  ]);
}

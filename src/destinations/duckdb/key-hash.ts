/**
 * Hashes of primary keys, a column of each table whose key is a text: finding a text of 36 letters by its hash is a
 * fifth of the work. Finding a number by its hash would be more.
 */
import { KEY_HASH, type TableSpec } from '../../protocol.js';
import { tableName } from '../checkpoints.js';
import type { SqlSession } from '../sql/dialect.js';
import { identifier, joined, literal, sql, type Sql } from '../sql/sql.js';

/** Whether keys of a table are found by their hash. */
export const hashesKey = ({ primaryKey, columns }: Pick<TableSpec, 'primaryKey' | 'columns'>): boolean =>
  primaryKey.some((name) => columns[name] === 'STRING');

/** The hash of a key. @param column the SQL of a column of the key. */
export const keyHash = ({ primaryKey, columns }: TableSpec, column: (name: string) => Sql): Sql =>
  sql`hash(${joined(primaryKey.map((name) => (columns[name] === 'STRING' ? column(name) : sql`CAST(${column(name)} AS VARCHAR)`)))})`;

/** Tells one way of hashing from another: DuckDB does not promise that its own stays the same in all versions. */
const HASH_PROBE = sql`SELECT concat_ws(',', hash('a'), hash(repeat('highwater é', 9)), hash('a', 'b'), hash(NULL::VARCHAR))`;

/** Gives a hash to the rows that have none: other programs wrote them, or an older version did. */
export const fillingHashes = (table: TableSpec): Sql =>
  sql`UPDATE ${tableName(table)} AS t SET ${identifier(KEY_HASH)} = ${keyHash(table, (name) => sql`t.${identifier(name)}`)} WHERE ${identifier(KEY_HASH)} IS NULL`;

/** Removes the hashes of a table's rows; they are made again when they are needed. */
export const forgetHashes = async (session: SqlSession, table: Sql): Promise<void> => {
  await session.run(sql`UPDATE ${table} SET ${identifier(KEY_HASH)} = NULL`);
};

/** Forgets all hashes where this DuckDB hashes in another way than the one that wrote the file. */
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

/** What DuckDB does for a table that follows its source. */
import type { ColumnType, SchemaChange, StreamKey, TableSpec } from '../../protocol.js';
import { keyValues, notReady, tableName } from '../checkpoints.js';
import { columnType, duckDbType } from './columns.js';
import { counts, rowsOf, type DuckDbSession } from './session.js';
import type { SchemaStore, StoredTable } from '../columns/inference.js';
import { identifier, joined, literal, sql, type Sql } from '../sql/sql.js';
import { messageOf } from '../../errors.js';

/** Highwater's own table of what was done to tables. */
export const SCHEMA_CHANGES = sql`
  CREATE TABLE IF NOT EXISTS _highwater_schema_changes (
    batch VARCHAR NOT NULL, "schema" VARCHAR NOT NULL, "table" VARCHAR NOT NULL, strategy VARCHAR NOT NULL,
    source VARCHAR NOT NULL, "column" VARCHAR NOT NULL, path VARCHAR NOT NULL, from_type VARCHAR, to_type VARCHAR NOT NULL,
    example VARCHAR NOT NULL, record VARCHAR NOT NULL, changed_at TIMESTAMP WITH TIME ZONE NOT NULL
  );
`;

/** DuckDB does not tell names apart by their case. */
export const duckDbNames = { fold: (name: string) => name.toLowerCase(), nameBytes: 200 };

export async function storedTable(connection: DuckDbSession, table: TableSpec): Promise<StoredTable> {
  const { schema, table: name } = table;
  const found = await rowsOf(
    connection,
    sql`SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database()
       AND lower(schema_name) = lower($1) AND lower(table_name) = lower($2) ORDER BY column_index`,
    [schema, name],
  );
  const columns = found.map(([column, type]) => ({
    ...{ name: String(column), type: columnType(String(type)), stored: String(type) },
  }));
  const origins = await rowsOf(
    connection,
    sql`SELECT "column", path FROM _highwater_schema_changes
       WHERE lower("schema") = lower($1) AND lower("table") = lower($2) ORDER BY changed_at, rowid`,
    [schema, name],
  );
  return {
    columns: columns.length === 0 ? null : columns,
    origins: origins.map(([column, path]) => ({
      ...{ column: String(column), path: JSON.parse(String(path)) as string[] },
    })),
  };
}

/**
 * @param create makes a table that is not there.
 * @param batch the checkpoint that the changes are committed with.
 */
export function duckDbStore(
  connection: DuckDbSession,
  key: StreamKey,
  table: TableSpec,
  batch: string,
  create: (table: TableSpec) => Promise<void>,
): SchemaStore {
  const run = (statement: Sql) =>
    connection.run(statement).catch((thrown: unknown) => {
      throw notReady(table, messageOf(thrown));
    });
  return {
    ...duckDbNames,
    read: () => storedTable(connection, table),
    survives: async (column) => {
      const name = identifier(column);
      const [lost] = await counts(
        connection,
        sql`SELECT count(*) FROM ${tableName(table)} WHERE TRY_CAST(CAST(${name} AS DOUBLE) AS HUGEINT) IS DISTINCT FROM CAST(${name} AS HUGEINT)`,
      );
      return lost === 0;
    },
    apply: async (spec, isNew, changes) => {
      if (isNew) await create(spec);
      for (const { column, from, to } of changes) {
        const name = identifier(column);
        if (isNew || from === to) continue;
        await run(
          from === null
            ? sql`ALTER TABLE ${tableName(table)} ADD COLUMN ${name} ${duckDbType(to)}`
            : sql`ALTER TABLE ${tableName(table)} ALTER COLUMN ${name} SET DATA TYPE ${duckDbType(to)} USING ${widened(name, from, to)}`,
        );
      }
      if (changes.length === 0) return;
      const values = joined([batch, ...keyValues(key)].map(literal));
      const rows = changes.map(
        ({ column, path, from, to, example, record }) =>
          sql`(${values}, ${literal(column)}, ${literal(JSON.stringify(path))}, ${from === null ? sql`NULL` : literal(from)}, ${literal(to)}, ${literal(example)}, ${literal(record)}, now())`,
      );
      await connection.run(sql`INSERT INTO _highwater_schema_changes VALUES ${joined(rows)}`);
    },
  };
}

/** A column's values in a wider type. */
export function widened(name: Sql, from: ColumnType, to: ColumnType): Sql {
  if (to === 'STRING') return asText(name, from);
  if (to !== 'JSON') return sql`CAST(${name} AS ${duckDbType(to)})`;
  switch (from) {
    case 'BOOLEAN':
    case 'SHORT':
    case 'INT':
    case 'LONG':
    case 'FLOAT':
    case 'DOUBLE':
      return sql`CAST(${asText(name, from)} AS JSON)`;
    default:
      return from.startsWith('DECIMAL')
        ? sql`CAST(${asText(name, from)} AS JSON)`
        : sql`to_json(${asText(name, from)})`;
  }
}

/** A column's values as the source may have written them. */
function asText(name: Sql, from: ColumnType): Sql {
  const text = sql`CAST(${name} AS VARCHAR)`;
  switch (from) {
    case 'FLOAT':
    case 'DOUBLE':
      return sql`regexp_replace(${text}, '\\.0$', '')`;
    case 'NAIVE_DATETIME':
      return sql`replace(${text}, ' ', 'T')`;
    case 'UTC_DATETIME':
      return sql`replace(CAST(${name} AT TIME ZONE 'UTC' AS VARCHAR), ' ', 'T') || 'Z'`;
    case 'BINARY':
      return sql`to_base64(${name})`;
    default:
      // The zeros that the scale adds.
      return from.startsWith('DECIMAL')
        ? sql`CASE WHEN contains(${text}, '.') THEN rtrim(rtrim(${text}, '0'), '.') ELSE ${text} END`
        : text;
  }
}

/** What a batch that was committed before has done to the table. */
export async function changesOf(connection: DuckDbSession, batch: string): Promise<SchemaChange[]> {
  const found = await rowsOf(
    connection,
    sql`SELECT "column", from_type, to_type FROM _highwater_schema_changes
       WHERE batch = $1 AND from_type IS DISTINCT FROM to_type ORDER BY rowid`,
    [batch],
  );
  return found.map(([column, from, to]) => ({
    column: String(column),
    from: from as ColumnType | null,
    to: to as ColumnType,
  }));
}

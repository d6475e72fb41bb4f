/** The rows in data files: each with the batch that wrote it, the time, and its place among all versions. */
import type { ColumnType, TableSpec } from '../../protocol.js';
import { filesProblem, type FileFormat } from '../../config/files-address.js';
import { duckDbType, fromJson, jsonType } from '../duckdb/columns.js';
import { readFiles } from '../duckdb/load.js';
import type { Commit, Manifest } from './manifest.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';

export const BATCH = '_highwater_batch';
export const SYNCED_AT = '_highwater_synced_at';
/** The column that orders the versions of a row. */
export const SEQUENCE = sql`_highwater_sequence`;
export const OWN_COLUMNS: { [name: string]: ColumnType } = {
  [BATCH]: 'STRING',
  [SYNCED_AT]: 'UTC_DATETIME',
  [SEQUENCE]: 'LONG',
};
/** Range of sequence numbers for each version of the table: its maximum number of rows. */
export const SEQUENCE_STEP = 2n ** 32n;

/**
 * Returns the SQL of a value as a format stores it. Types that NDJSON lacks become text that reads back as the same
 * value.
 */
export function written(column: Sql, type: ColumnType, format: FileFormat): Sql {
  if (format === 'parquet') return column;
  // Years that ISO 8601 cannot express keep DuckDB's form.
  const time = (text: Sql, of: Sql) =>
    sql`CASE WHEN year(${of}) BETWEEN 1 AND 9999 THEN ${text} ELSE CAST(${of} AS VARCHAR) END`;
  switch (type) {
    case 'BINARY':
      return sql`to_base64(${column})`;
    case 'UTC_DATETIME':
      return time(sql`strftime(${column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')`, column);
    case 'NAIVE_DATETIME':
      return time(sql`strftime(${column}, '%Y-%m-%dT%H:%M:%S.%f')`, column);
    // JSON has no NaN and no infinity.
    case 'DOUBLE':
    case 'FLOAT':
      return sql`CASE WHEN isfinite(${column}) THEN to_json(${column}) WHEN ${column} IS NOT NULL THEN to_json(CAST(${column} AS VARCHAR)) END`;
    default:
      // Most JSON parsers would round the number.
      return type.startsWith('DECIMAL') ? sql`CAST(${column} AS VARCHAR)` : column;
  }
}

/** Returns the COPY options of a format. */
export const copyOptions = (format: FileFormat): Sql =>
  format === 'parquet' ? sql`FORMAT parquet, COMPRESSION zstd` : sql`FORMAT json`;

/** Returns all columns that the table has ever had, with their latest names and types. */
export function columnsOf({ schemas }: Pick<Manifest, 'schemas'>): [string, ColumnType][] {
  const columns = new Map<string, [string, ColumnType]>();
  for (const schema of schemas) {
    for (const [name, type] of Object.entries(schema)) columns.set(name.toLowerCase(), [name, type]);
  }
  return [...columns.values()];
}

/**
 * Builds queries over a table's files.
 * @param pathOf returns the local path of a file in the manifest.
 * @returns queries for `all` versions of every row, and for the `latest` of each primary key. A column that was not
 * declared when a version was written keeps its earlier value.
 */
export function tableQueries(
  manifest: Manifest,
  commits: readonly Commit[],
  pathOf: (path: string) => string,
): { all: Sql; latest: Sql } {
  const columns = [...columnsOf(manifest), ...Object.entries(OWN_COLUMNS)];
  const names = columns.map(([name]) => identifier(name));
  const groups = new Map<string, { schema: number; format: FileFormat; paths: string[]; longest: number }>();
  for (const { schema, files } of commits) {
    for (const { path, longest = 0 } of files) {
      const format = path.endsWith('.ndjson') ? 'ndjson' : 'parquet';
      const name = `${schema} ${format}`;
      const group = groups.get(name) ?? { schema, format, paths: [], longest: 0 };
      groups.set(name, group);
      group.paths.push(pathOf(path));
      group.longest = Math.max(group.longest, longest);
    }
  }
  const has = (schema: number, name: string) =>
    name in OWN_COLUMNS ||
    Object.keys(manifest.schemas[schema] ?? {}).some((one) => one.toLowerCase() === name.toLowerCase());
  const parts = [...groups.values()].map(({ schema, format, paths, longest }) => {
    const stored = Object.entries({ ...manifest.schemas[schema], ...OWN_COLUMNS });
    const from =
      format === 'parquet'
        ? sql`read_parquet([${joined(paths.map(literal))}], hive_partitioning = false)`
        : readFiles(paths, longest, stored, jsonType);
    const values = columns.map(([name, type]) => {
      const was = stored.find(([one]) => one.toLowerCase() === name.toLowerCase());
      const value =
        was === undefined
          ? sql`NULL`
          : format === 'parquet'
            ? identifier(was[0])
            : fromJson(identifier(was[0]), was[1]);
      return sql`CAST(${value} AS ${duckDbType(type)}) AS ${identifier(name)}`;
    });
    return sql`SELECT ${joined(values)}, ${numeral(schema)} AS "_highwater_schema" FROM ${from}`;
  });
  const empty = sql`SELECT ${joined(columns.map(([name, type]) => sql`CAST(NULL AS ${duckDbType(type)}) AS ${identifier(name)}`))}, 0 AS "_highwater_schema" WHERE false`;
  const versions = parts.length === 0 ? empty : joined(parts, sql` UNION ALL `);
  const keys = joined(manifest.primary_key.map(identifier));
  // Rows written under an earlier primary key may lack a column of the current one.
  const keyed = sql`SELECT * FROM (${versions}) WHERE ${joined(
    manifest.primary_key.map((name) => sql`${identifier(name)} IS NOT NULL`),
    sql` AND `,
  )}`;
  const schemas = [...new Set([...groups.values()].map(({ schema }) => schema))];
  const latest = columns.map(([name]) => {
    const column = identifier(name);
    const having = schemas.filter((schema) => has(schema, name));
    if (having.length === schemas.length) return column;
    // No schema has the column: nothing was ever written to it.
    const known =
      having.length === 0 ? sql`false` : sql`"_highwater_schema" IN (${joined(having.map(numeral))})`;
    return sql`first_value(${column}) OVER (PARTITION BY ${keys} ORDER BY (${known}) DESC, ${identifier(SEQUENCE)} DESC) AS ${column}`;
  });
  return {
    all: sql`SELECT ${joined(names)} FROM (${versions})`,
    latest: sql`SELECT ${joined(latest)} FROM (${keyed}) QUALIFY row_number() OVER (PARTITION BY ${keys} ORDER BY ${identifier(SEQUENCE)} DESC) = 1`,
  };
}

/** Says why files cannot hold a table, including its write mode; null if they can. */
export function unfit(table: TableSpec, partitionBy: string | null): string | null {
  const [, problem = null] = filesProblem(table) ?? [];
  if (problem !== null) return problem;
  const { columns } = table;
  const own = Object.keys(columns).find((name) => name.toLowerCase() in OWN_COLUMNS);
  if (own !== undefined) return `the column name ${JSON.stringify(own)} is reserved by Highwater`;
  if (partitionBy === null) return null;
  const type = columns[partitionBy];
  if (type === undefined)
    return `partition_by names ${JSON.stringify(partitionBy)}, which is not a column of the table`;
  return ['NAIVE_DATE', 'NAIVE_DATETIME', 'UTC_DATETIME'].includes(type)
    ? null
    : `partition_by needs a date or time; the column ${JSON.stringify(partitionBy)} is ${type}`;
}

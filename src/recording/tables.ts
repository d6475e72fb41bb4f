/** Reads the tables of a temporary destination as people compare them. */
import { DuckDBInstance } from '@duckdb/node-api';
import { NO_EXTENSIONS } from '../destinations/duckdb/confine.js';
import { DuckDbSession } from '../destinations/duckdb/session.js';
import { identifier, joined, literal, sql, type Sql } from '../destinations/sql/sql.js';
import { DELETED_AT, VALID_TO, type Json } from '../protocol.js';

/** A table that streams write. */
export interface TableOfStream {
  /** The name of the file with its expected rows: the stream's, or that of a table without one. */
  name: string;
  schema: string;
  table: string;
  key: readonly string[];
}

/** The rows of a table, in the order of their keys. */
export interface TableRows {
  name: string;
  /** `SCHEMA.TABLE` */
  table: string;
  key: readonly string[];
  /** Types as the destination names them. */
  columns: { [name: string]: string };
  rows: readonly { readonly [column: string]: Json }[];
  /** Quarantined records with their reasons, in the order of their text. */
  rejected: readonly { reason: string; record: string }[];
}

/** Highwater's columns whose values differ from run to run: whether they are set is compared. */
const TIMES: readonly string[] = [DELETED_AT, VALID_TO];
const OWN = '_highwater_';
const NUMBER = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL)/;

/**
 * Reads all tables of streams, in the order of the known ones.
 * @param known tables with their names and keys; another is named by itself, and its rows have no key.
 */
export async function readTables(database: string, known: readonly TableOfStream[]): Promise<TableRows[]> {
  const instance = await DuckDBInstance.create(database, { access_mode: 'READ_ONLY', ...NO_EXTENSIONS });
  const connection = await instance.connect();
  try {
    await connection.run("SET TimeZone = 'UTC'");
    const session = new DuckDbSession(connection);
    const found = await session.rows(
      sql`SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT starts_with(table_name, ${literal(OWN)})
         ORDER BY schema_name, table_name`,
    );
    const tables: TableRows[] = [];
    for (const [schema, table] of found) {
      if (schema == null || table == null) continue;
      const isSame = (one: TableOfStream) =>
        one.schema.toLowerCase() === schema.toLowerCase() && one.table.toLowerCase() === table.toLowerCase();
      const plain = { name: table, schema, table, key: [] };
      tables.push(await readTable(session, known.find(isSame) ?? plain));
    }
    const place = ({ name }: TableRows) => (known.findIndex((one) => one.name === name) + 1 || Infinity) - 1;
    return tables.sort((x, y) => (place(x) === place(y) ? 0 : place(x) - place(y)));
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

async function readTable(
  session: DuckDbSession,
  { name, schema, table, key }: TableOfStream,
): Promise<TableRows> {
  const described = await session.rows(
    sql`SELECT column_name, data_type FROM duckdb_columns()
       WHERE lower(schema_name) = lower(${literal(schema)}) AND lower(table_name) = lower(${literal(table)}) ORDER BY column_index`,
  );
  const columns = described.flatMap(([column, type]): [string, string][] =>
    column == null || type == null || (column.startsWith(OWN) && !TIMES.includes(column))
      ? []
      : [[column, type]],
  );
  const values = columns.map(([column]): Sql => {
    const value = identifier(column);
    return TIMES.includes(column)
      ? sql`CASE WHEN ${value} IS NOT NULL THEN 'set' END`
      : sql`CAST(${value} AS VARCHAR)`;
  });
  const order = [...key.map(identifier), ...values];
  const rows = await session.rows(
    sql`SELECT ${joined(values) || sql`NULL`} FROM ${identifier(schema)}.${identifier(table)} ORDER BY ${joined(order) || sql`1`}`,
  );
  const rejected = await session.rows(
    sql`SELECT reason, record FROM _highwater_rejects
       WHERE lower("schema") = lower(${literal(schema)}) AND lower("table") = lower(${literal(table)}) ORDER BY record, reason`,
  );
  return {
    name,
    table: `${schema}.${table}`,
    key,
    columns: Object.fromEntries(columns),
    rows: rows.map((row) =>
      Object.fromEntries(columns.map(([column, type], i) => [column, valueOf(row[i] ?? null, type)])),
    ),
    rejected: rejected.map(([reason, record]) => ({ reason: reason ?? '', record: record ?? '' })),
  };
}

/** A value as JSON. A number that JSON could not hold exactly is a text with all of its digits. */
function valueOf(text: string | null, type: string): Json {
  if (text === null) return null;
  if (type === 'BOOLEAN') return text === 'true';
  if (type === 'JSON') return exactly(text, () => JSON.parse(text) as Json, JSON.stringify);
  return NUMBER.test(type) && /^-?\d/.test(text) ? exactly(text, () => Number(text), String) : text;
}

/** Returns what a text says if it can be written as the same text again; else the text. */
function exactly(text: string, read: () => Json, write: (value: Json) => string): Json {
  try {
    const value = read();
    return write(value) === text ? value : text;
  } catch {
    return text;
  }
}

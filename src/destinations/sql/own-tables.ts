/** Highwater's own tables: their definitions, their preparation, and conditions on them. */
import { randomUUID } from 'node:crypto';
import { DestinationError } from '../../errors.js';
import type { StreamKey } from '../../protocol.js';
import { keyValues } from '../checkpoints.js';
import type { Dialect, OwnTable, SqlSession } from './dialect.js';
import { identifier, joined, literal, sql, type Sql } from './sql.js';

/**
 * Version of Highwater's own tables. 1: checkpoints, batches, parents. 2: seen, rejects, schema changes, moves,
 * fingerprints. 3: the column `range`, which was a part of `source` before, and the counts `deleted` and `left` of batches.
 */
const TABLES_VERSION = 3;

type Kind = 'text' | 'text?' | 'whole' | 'time' | 'truth';

interface Definition {
  table: OwnTable;
  columns: { [name: string]: Kind };
  /** Absent: the table has no primary key, in any database. */
  primaryKey?: readonly string[];
}

const STREAM = { schema: 'text', table: 'text', strategy: 'text', source: 'text', range: 'text' } as const;
const STREAM_KEY = Object.keys(STREAM);

export const DEFINITIONS: readonly Definition[] = [
  { table: 'meta', columns: { name: 'text', value: 'text' }, primaryKey: ['name'] },
  {
    table: 'checkpoints',
    columns: { ...STREAM, id: 'text', cursor: 'text?', holder: 'text', updated_at: 'time' },
    primaryKey: STREAM_KEY,
  },
  {
    table: 'batches',
    columns: {
      id: 'text',
      base: 'text',
      ...STREAM,
      cursor: 'text',
      workflow_id: 'text',
      pages: 'whole',
      records: 'whole',
      rows: 'whole',
      deleted: 'whole',
      left: 'whole',
      committed_at: 'time',
    },
    primaryKey: ['id', ...STREAM_KEY],
  },
  {
    table: 'parents',
    columns: { ...STREAM, parent: 'text', mark: 'text' },
    primaryKey: [...STREAM_KEY, 'parent'],
  },
  { table: 'seen', columns: { ...STREAM, pass: 'whole', key: 'text?' } },
  {
    table: 'moves',
    columns: {
      id: 'text',
      base: 'text',
      ...STREAM,
      cursor: 'text?',
      workflow_id: 'text',
      moved: 'text',
      moved_at: 'time',
    },
    primaryKey: ['id', ...STREAM_KEY],
  },
  {
    table: 'rejects',
    columns: { batch: 'text', ...STREAM, reason: 'text', record: 'text', rejected_at: 'time' },
  },
  // Rows that differ from the source, until their range is forgotten. `gone`: the sync removed the row meanwhile.
  {
    table: 'differences',
    columns: { ...STREAM, kind: 'text', key: 'text', repaired: 'truth', batch: 'text?' },
  },
  {
    table: 'schema_changes',
    columns: {
      batch: 'text',
      ...STREAM,
      column: 'text',
      path: 'text',
      from_type: 'text?',
      to_type: 'text',
      example: 'text',
      record: 'text',
      changed_at: 'time',
    },
  },
  // The part of the configuration that each checkpoint depends on, as JSON.
  { table: 'fingerprints', columns: { ...STREAM, fingerprint: 'text' } },
];

const columnsOf = (table: OwnTable): Definition['columns'] =>
  DEFINITIONS.find((one) => one.table === table)?.columns ?? {};

/** Returns the types of the columns of one of Highwater's own tables. */
export function columnTypes(dialect: Dialect, table: OwnTable): { [name: string]: Sql } {
  const types = {
    text: dialect.type('STRING'),
    'text?': dialect.type('STRING'),
    whole: dialect.type('LONG'),
    time: dialect.type('UTC_DATETIME'),
    truth: dialect.type('BOOLEAN'),
  };
  const kinds = Object.entries(columnsOf(table));
  return Object.fromEntries(kinds.map(([name, kind]) => [name, types[kind]]));
}

/** Returns the columns of one of Highwater's own tables, as they are declared. */
export function ownColumnsOf(dialect: Dialect, table: OwnTable): Sql {
  const kinds = columnsOf(table);
  return joined(
    Object.entries(columnTypes(dialect, table)).map(
      ([name, type]) => sql`${identifier(name)} ${type}${kinds[name] === 'text?' ? sql`` : sql` NOT NULL`}`,
    ),
  );
}

function creationOf(dialect: Dialect, schema: string, { table, primaryKey }: Definition): Sql {
  const key = primaryKey === undefined ? sql`` : dialect.primaryKey(primaryKey.map(identifier));
  const place = table === 'schema_changes' ? dialect.changes.column : sql``;
  return sql`CREATE TABLE IF NOT EXISTS ${dialect.ownTable(schema, table)} (${ownColumnsOf(dialect, table)}${place}${key})`;
}

type OfDialect = Pick<SqlSession, 'dialect'>;

export const ownTable = ({ dialect }: OfDialect, { schema }: Pick<StreamKey, 'schema'>, table: OwnTable) =>
  dialect.ownTable(schema, table);

/** `INSERT INTO` one of Highwater's own tables, for values in the order of its definition; an upgraded one has another. */
export const insertInto = (session: OfDialect, key: Pick<StreamKey, 'schema'>, table: OwnTable): Sql =>
  sql`INSERT INTO ${ownTable(session, key, table)} (${joined(Object.keys(columnsOf(table)).map(identifier))})`;

/** A condition on Highwater's own tables: the row is about this table. */
export const tableIs = (
  { dialect }: OfDialect,
  { schema, table }: Pick<StreamKey, 'schema' | 'table'>,
): Sql => sql`${dialect.isName(sql`"schema"`, schema)} AND ${dialect.isName(sql`"table"`, table)}`;

/** A condition on Highwater's own tables: the row is about this stream. */
export const keyIs = (session: OfDialect, key: StreamKey): Sql =>
  sql`${tableIs(session, key)} AND strategy = ${literal(key.strategy)} AND source = ${literal(key.source)}
    AND "range" = ${literal(key.range)}`;

/** The values of a stream's key, as rows of Highwater's own tables have them. */
export const keyLiterals = (key: StreamKey): Sql => joined(keyValues(key).map(literal));

/** Makes Highwater's own tables where they are missing, and the schema; brings those of older versions up to date. */
export async function prepareOwnTables(session: SqlSession, schema: string): Promise<void> {
  const { dialect } = session;
  await dialect.prepareSchema(session, schema);
  const meta = dialect.ownTable(schema, 'meta');
  await session.runAll([
    ...DEFINITIONS.map((definition) => creationOf(dialect, schema, definition)),
    sql`INSERT INTO ${meta} SELECT * FROM (VALUES ('database', ${literal(randomUUID())}), ('version', ${literal(String(TABLES_VERSION))})) AS v
       WHERE NOT EXISTS (SELECT 1 FROM ${meta} WHERE name = 'database')`,
  ]);
  const version = await metaValue(session, schema, 'version');
  refuseNewer(version);
  if (Number(version) === TABLES_VERSION) return;
  // DuckDB alters no table whose rows the transaction has changed.
  await addCounts(session, schema);
  await splitRanges(session, schema);
  await session.run(
    sql`UPDATE ${meta} SET value = ${literal(String(TABLES_VERSION))} WHERE name = 'version'`,
  );
}

/** Gives the tables of versions 1 and 2 the column `range`, and moves ranges into it from the sources' ends. */
async function splitRanges(session: SqlSession, schema: string): Promise<void> {
  const { dialect } = session;
  for (const { table, columns, primaryKey } of DEFINITIONS) {
    if (!('range' in columns)) continue;
    const name = dialect.ownTable(schema, table);
    await session.run(
      sql`ALTER TABLE ${name} ADD COLUMN IF NOT EXISTS "range" ${dialect.type('STRING')} DEFAULT ''`,
    );
    const columnNames = (primaryKey ?? []).map(identifier);
    if (primaryKey !== undefined && dialect.primaryKey(columnNames) !== '')
      await session.run(
        sql`ALTER TABLE ${name} DROP CONSTRAINT IF EXISTS ${identifier(`_highwater_${table}_pkey`)}, ADD PRIMARY KEY (${joined(columnNames)})`,
      );
    // The source itself may have a "#", in a reference to a secret's field.
    for (const sign of [literal('#backfill '), literal('#audit ')]) {
      await session.run(
        sql`UPDATE ${name} SET source = substr(source, 1, strpos(source, ${sign}) - 1), "range" = substr(source, strpos(source, ${sign}) + 1)
           WHERE strpos(source, ${sign}) > 0`,
      );
    }
  }
}

/** Gives the batches of versions 1 and 2 their counts of deleted rows and of rows that were left as they are. */
async function addCounts(session: SqlSession, schema: string): Promise<void> {
  const batches = session.dialect.ownTable(schema, 'batches');
  for (const name of ['deleted', 'left'].map(identifier))
    await session.run(
      sql`ALTER TABLE ${batches} ADD COLUMN IF NOT EXISTS ${name} ${session.dialect.type('LONG')} DEFAULT 0`,
    );
}

/** Whether an older version made Highwater's own tables, and none has brought them up to date since. */
export async function areTablesOld(session: SqlSession, schema: string): Promise<boolean> {
  const version = await metaValue(session, schema, 'version');
  return version !== null && Number(version) < TABLES_VERSION;
}

/** @throws {DestinationError} where a newer Highwater has written the tables: this one does not know their meaning. */
function refuseNewer(stored: string | null): void {
  if (stored === null || Number(stored) <= TABLES_VERSION) return;
  throw new DestinationError(
    `a newer Highwater has written this destination: its own tables have version ${stored}, and this Highwater supports ` +
      `version ${TABLES_VERSION}. Use the newer one, or sync into another destination.`,
  );
}

/** The identity of the database; null where it has none of Highwater's tables. */
export const databaseId = (session: SqlSession, schema: string): Promise<string | null> =>
  metaValue(session, schema, 'database');

async function metaValue(
  session: SqlSession,
  schema: string,
  name: 'database' | 'version',
): Promise<string | null> {
  if (!(await session.dialect.hasOwnTable(session, schema, 'meta'))) return null;
  const meta = session.dialect.ownTable(schema, 'meta');
  const [[value = null] = []] = await session.rows(
    sql`SELECT value FROM ${meta} WHERE name = ${literal(name)}`,
  );
  return value;
}

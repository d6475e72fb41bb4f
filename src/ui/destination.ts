/** Reads Highwater's own tables about one stream. */
import { parseTree, type ParseError } from 'jsonc-parser';
import { isServer } from '../config/index.js';
import { identifier, literal } from '../destinations/sql/sql.js';
import { messageOf } from '../errors.js';
import type { Json, TableSpec } from '../protocol.js';
import type { DestinationFacts, Part, Reject } from './facts.js';

/** Answers a reading statement in a destination. */
export type Ask = (destination: string, sql: string) => Promise<{ rows: Json[][] }>;

const COMMITS_READ = 5000;
const REJECTS_SHOWN = 20;
const CHANGES_SHOWN = 20;
const DAYS_READ = 7;

/** Reads each table by itself: one that is missing, or that cannot be read, hides no other. */
export async function readDestination(
  ask: Ask,
  destination: string,
  name: string,
  table: TableSpec,
): Promise<DestinationFacts> {
  const own = (which: string) =>
    isServer(destination) ? `${identifier(table.schema)}.${identifier(which)}` : identifier(which);
  const ofTable = `"schema" = ${literal(table.schema)} AND "table" = ${literal(table.table)}`;
  const rowsOf = async <T>(sql: string, read: (row: Json[]) => T): Promise<Part<T[]>> => {
    try {
      return { value: (await ask(destination, sql)).rows.map(read) };
    } catch (thrown) {
      return { problem: messageOf(thrown) };
    }
  };
  const commits = await rowsOf(
    `SELECT extract(epoch FROM committed_at), records, "rows", deleted FROM ${own('_highwater_batches')}
     WHERE ${ofTable} AND "range" = '' AND committed_at > now() - INTERVAL '${DAYS_READ} days'
     ORDER BY committed_at DESC LIMIT ${COMMITS_READ}`,
    ([at, records, rows, deleted]) => ({
      at: Number(at) * 1000,
      records: Number(records),
      rows: Number(rows),
      deleted: Number(deleted),
    }),
  );
  // A destination that did not answer would not answer twice more.
  if ('problem' in commits) return { name, table: table.table, commits, rejects: commits, changes: commits };
  const changes = await rowsOf(
    `SELECT extract(epoch FROM changed_at), "column", from_type, to_type FROM ${own('_highwater_schema_changes')}
     WHERE ${ofTable} ORDER BY changed_at DESC LIMIT ${CHANGES_SHOWN}`,
    ([at, column, from, to]) => ({
      at: Number(at) * 1000,
      column: String(column),
      from: from == null ? null : String(from),
      to: String(to),
    }),
  );
  const latest = await rowsOf(
    `SELECT extract(epoch FROM rejected_at), reason, record FROM ${own('_highwater_rejects')}
     WHERE ${ofTable} ORDER BY rejected_at DESC LIMIT ${REJECTS_SHOWN}`,
    ([at, reason, record]): Reject => ({
      at: Number(at) * 1000,
      reason: String(reason),
      key: keyIn(String(record), table.primaryKey),
    }),
  );
  const total = await rowsOf(
    `SELECT count(*) FROM ${own('_highwater_rejects')} WHERE ${ofTable}`,
    ([count]) => Number(count),
  );
  return { name, table: table.table, commits, changes, rejects: rejectsFrom(latest, total) };
}

const rejectsFrom = (latest: Part<Reject[]>, total: Part<number[]>): DestinationFacts['rejects'] =>
  'problem' in latest
    ? latest
    : 'problem' in total
      ? total
      : { value: { total: total.value[0] ?? latest.value.length, latest: latest.value } };

/** Returns the primary key of a record in JSON, with all digits of a number; empty where the record has none. */
export function keyIn(record: string, primaryKey: readonly string[]): string {
  const errors: ParseError[] = [];
  const tree = parseTree(record, errors);
  if (tree?.type !== 'object' || errors.length > 0) return '';
  // The last of two members with one name counts.
  const members = new Map(
    (tree.children ?? []).map(({ children: [name, value] = [] }) => [name?.value as unknown, value]),
  );
  const values = primaryKey.map((name) => members.get(name));
  if (values.every((value) => value === undefined)) return '';
  return values
    .map((value) => {
      if (value === undefined) return 'null';
      return value.type === 'string'
        ? String(value.value)
        : record.slice(value.offset, value.offset + value.length);
    })
    .join(', ');
}

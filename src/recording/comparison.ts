/** Compares the rows of a run with the expected ones, and says what differs. */
import { z } from 'zod';
import type { Json } from '../protocol.js';
import { counted } from '../text.js';
import { RecordingError } from './errors.js';
import type { TableRows } from './tables.js';

type Row = { readonly [column: string]: Json };
type Rejects = TableRows['rejected'];

const expectation = z.strictObject({
  table: z.string(),
  key: z.array(z.string()),
  columns: z.record(z.string(), z.string()),
  rows: z.array(z.record(z.string(), z.json())),
  rejected: z.array(z.strictObject({ reason: z.string(), record: z.string() })).default([]),
});

/** The expected rows of a table. */
export type Expectation = z.infer<typeof expectation>;

/** The differences of one table; empty lists where there are none. */
export interface Difference {
  name: string;
  table: string;
  /** The name of the table, where another one is expected. */
  tableName: { expected: string; actual: string } | null;
  /** The columns of the primary key, where others are expected, or these in another order. */
  primaryKey: { expected: string[]; actual: string[] } | null;
  /** Rows that are expected and not there, and the other way round, by their keys or as a whole. */
  missing: Row[];
  extra: Row[];
  changed: { key: Row; columns: { [name: string]: { expected: Json; actual: Json } } }[];
  /** Columns that are expected to be there, not to be there, or of another type. */
  columns: { [name: string]: { expected: string | null; actual: string | null } };
  /** Quarantined records. */
  missingRejects: Rejects;
  extraRejects: Rejects;
}

/** Returns the text of a file with expected rows: a row a line. */
export function expectationText({ table, key, columns, rows, rejected }: TableRows): string {
  const list = (values: readonly unknown[]) =>
    values.length === 0
      ? '[]'
      : `[\n${values.map((value) => `    ${JSON.stringify(value)}`).join(',\n')}\n  ]`;
  const members = [
    `"table": ${JSON.stringify(table)}`,
    `"key": ${JSON.stringify(key)}`,
    `"columns": ${JSON.stringify(columns, null, 2).replaceAll('\n', '\n  ')}`,
    `"rows": ${list(rows)}`,
    ...(rejected.length > 0 ? [`"rejected": ${list(rejected)}`] : []),
  ];
  return `{\n${members.map((member) => `  ${member}`).join(',\n')}\n}\n`;
}

/** @throws {RecordingError} that names the file. */
export function readExpectation(file: string, text: string): Expectation {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw new RecordingError(`${file} is not JSON: ${String(thrown)}`);
  }
  const { data, error } = expectation.safeParse(value);
  if (data !== undefined) return data;
  const [first] = error.issues;
  throw new RecordingError(
    `${file} does not hold expected rows: ${first?.path.join('.') ?? ''}: ${first?.message ?? ''}`,
  );
}

/** Returns the differences of a table; null if there are none. */
export function compareTables(expected: Expectation, actual: TableRows): Difference | null {
  const columns: Difference['columns'] = {};
  for (const name of new Set([...Object.keys(expected.columns), ...Object.keys(actual.columns)])) {
    const [is, was] = [actual.columns[name] ?? null, expected.columns[name] ?? null];
    if (is !== was) columns[name] = { expected: was, actual: is };
  }
  const shared = Object.keys(expected.columns).filter((name) => actual.columns[name] !== undefined);
  const wanted = byKey(expected.rows, actual.key);
  const found = byKey(actual.rows, actual.key);
  const difference: Difference = {
    name: actual.name,
    table: actual.table,
    tableName: expected.table === actual.table ? null : { expected: expected.table, actual: actual.table },
    primaryKey:
      textOf(expected.key) === textOf([...actual.key])
        ? null
        : { expected: expected.key, actual: [...actual.key] },
    missing: [...wanted].flatMap(([key, row]) => (found.has(key) ? [] : [shownKey(row, actual.key)])),
    extra: [...found].flatMap(([key, row]) => (wanted.has(key) ? [] : [shownKey(row, actual.key)])),
    changed: [],
    columns,
    missingRejects: without(expected.rejected, actual.rejected),
    extraRejects: without(actual.rejected, expected.rejected),
  };
  for (const [key, row] of wanted) {
    const is = found.get(key);
    if (is === undefined) continue;
    const changed = shared.filter((name) => textOf(row[name]) !== textOf(is[name]));
    if (changed.length === 0) continue;
    difference.changed.push({
      key: shownKey(row, actual.key),
      columns: Object.fromEntries(
        changed.map((name) => [name, { expected: row[name] ?? null, actual: is[name] ?? null }]),
      ),
    });
  }
  return isEmpty(difference) ? null : difference;
}

function isEmpty(difference: Difference): boolean {
  const { missing, extra, changed, columns, missingRejects, extraRejects, tableName, primaryKey } =
    difference;
  const all = [missing, extra, changed, missingRejects, extraRejects, Object.keys(columns)];
  return all.every(({ length }) => length === 0) && tableName === null && primaryKey === null;
}

/** Rows by their keys; of several with the same one, each by its number. Rows without a key are their own. */
function byKey(rows: readonly Row[], key: readonly string[]): Map<string, Row> {
  const found = new Map<string, Row>();
  const times = new Map<string, number>();
  for (const row of rows) {
    const text = textOf(shownKey(row, key));
    const number = (times.get(text) ?? 0) + 1;
    times.set(text, number);
    found.set(`${text} ${number}`, row);
  }
  return found;
}

const shownKey = (row: Row, key: readonly string[]): Row =>
  key.length === 0 ? row : Object.fromEntries(key.map((name) => [name, row[name] ?? null]));

/** The members of an object in any order. */
const textOf = (value: Json | Row | undefined): string =>
  JSON.stringify(value ?? null, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([x], [y]) => (x < y ? -1 : 1)))
      : inner,
  );

function without(these: Rejects, others: Rejects): Rejects {
  const left = others.map((one) => JSON.stringify([one.reason, one.record]));
  return these.filter(({ reason, record }) => {
    const at = left.indexOf(JSON.stringify([reason, record]));
    if (at === -1) return true;
    left.splice(at, 1);
    return false;
  });
}

/**
 * Returns the differences of a table in lines for people.
 * @param limit maximum rows of each kind.
 */
export function differenceLines(difference: Difference, limit = 20): string[] {
  const { missing, extra, changed, columns, missingRejects, extraRejects, tableName, primaryKey } =
    difference;
  const counts = [
    tableName !== null && 'table renamed',
    primaryKey !== null && 'primary key changed',
    missing.length > 0 && `${counted(missing.length, 'row')} missing`,
    extra.length > 0 && `${counted(extra.length, 'row')} extra`,
    changed.length > 0 && `${counted(changed.length, 'row')} changed`,
    Object.keys(columns).length > 0 && `${counted(Object.keys(columns).length, 'column')} changed`,
    missingRejects.length > 0 && `${counted(missingRejects.length, 'reject')} missing`,
    extraRejects.length > 0 && `${counted(extraRejects.length, 'reject')} extra`,
  ].filter((one) => one !== false);
  const lines = [counts.join(', ')];
  const add = <T>(all: readonly T[], shown: (one: T) => string[]) => {
    for (const one of all.slice(0, limit)) lines.push(...shown(one));
    if (all.length > limit) lines.push(`  … and ${counted(all.length - limit, 'more', 'more')}`);
  };
  if (tableName !== null) lines.push(`  table: expected ${tableName.expected}, is ${tableName.actual}`);
  if (primaryKey !== null)
    lines.push(`  primary key: expected ${keyText(primaryKey.expected)}, is ${keyText(primaryKey.actual)}`);
  add(Object.entries(columns), ([name, { expected, actual }]) => [
    `  column ${name}: expected ${expected ?? 'none'}, is ${actual ?? 'missing'}`,
  ]);
  add(missing, (row) => [`  missing  ${pairs(row)}`]);
  add(extra, (row) => [`  extra    ${pairs(row)}`]);
  const inColumns = new Map<string, number>();
  for (const name of changed.flatMap((one) => Object.keys(one.columns)))
    inColumns.set(name, (inColumns.get(name) ?? 0) + 1);
  if (changed.length > limit)
    for (const [name, rows] of inColumns) lines.push(`  ${name} differs in ${counted(rows, 'row')}`);
  add(changed, ({ key, columns: values }) => [
    `  changed  ${pairs(key)}`,
    ...Object.entries(values).map(
      ([name, { expected, actual }]) =>
        `    ${name}: expected ${JSON.stringify(expected)}, is ${JSON.stringify(actual)}`,
    ),
  ]);
  add(missingRejects, ({ reason, record }) => [`  reject missing  ${record}`, `    ${reason}`]);
  add(extraRejects, ({ reason, record }) => [`  reject extra    ${record}`, `    ${reason}`]);
  return lines;
}

const keyText = (key: readonly string[]): string => (key.length === 0 ? 'none' : key.join(', '));

const pairs = (row: Row): string =>
  Object.entries(row)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ');

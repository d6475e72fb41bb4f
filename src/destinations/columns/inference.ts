/**
 * Makes a table follow its source: finds the columns that the records of a batch need, has the table changed for them,
 * and returns the batch in the form that the table takes. All of it is part of the write's transaction.
 */
import { createHash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { DestinationError, RecordError } from '../../errors.js';
import type { ColumnType, Inference, ParentSpec, Reject, SchemaChange, TableSpec } from '../../protocol.js';
import { memberTexts } from '../../request/paths.js';
import { Facts, holds, isAbove, isPlainInstant, kindOf, snakeCase, takes } from './widening.js';
import { type Field, FieldWalker } from './fields.js';

/** A column of the stored table. */
export interface StoredColumn {
  name: string;
  /** Null if the type is not one of Highwater's. */
  type: ColumnType | null;
  /** The database's own name of the type. */
  stored: string;
}

export interface StoredTable {
  /** Null if the table does not exist yet. */
  columns: StoredColumn[] | null;
  /** The record members that columns were made for. */
  origins: { column: string; path: string[] }[];
}

/** A schema change and the record that caused it. */
export interface RecordedChange extends SchemaChange {
  /** The names on the way to the member that the column is for. */
  path: readonly string[];
  /** The value as JSON, truncated. */
  example: string;
  /** The primary key of its record. */
  record: string;
}

/** Rules for names in a database. */
export interface NameRules {
  /** Maps names that the database considers equal to one name. */
  fold: (name: string) => string;
  /** Maximum length of a name in bytes. */
  nameBytes: number;
  /** Folded names that the database reserves in every table. */
  taken?: ReadonlySet<string>;
}

/** Operations on the stored table, in the write's transaction. */
export interface SchemaStore extends NameRules {
  read: () => Promise<StoredTable>;
  /** Whether every value of an integer column converts to DOUBLE unchanged. */
  survives: (column: string) => Promise<boolean>;
  /** Creates the table, or adds and widens columns, and records the changes. */
  apply: (table: TableSpec, isNew: boolean, changes: readonly RecordedChange[]) => Promise<void>;
}

/** A batch in the form that the table takes. */
export interface AdaptedBatch {
  table: TableSpec;
  files: string[];
  longest: number;
  records: number;
  /** Whether the table exists now. */
  exists: boolean;
  changes: SchemaChange[];
  /** Paths of files of {@link Reject}s: records that the table cannot hold. */
  rejects: string[];
  /** Reasons of the same records, by their places in the batch. */
  refused: ReadonlyMap<number, string>;
  /** Returns the column of a member; null if it has none. */
  columnOf: (member: string) => string | null;
  /** Removes the files written for this batch. */
  discard: () => Promise<void>;
}

/** A table with more columns usually comes from a list written as an object; PostgreSQL allows few more. */
const COLUMN_LIMIT = 1000;
const OWN = '_highwater';
const EXAMPLE_LENGTH = 100;
const DIFFERENCES = 5;

interface Column {
  name: string;
  type: ColumnType | null;
  isDeclared: boolean;
  /** Whether the table has it already. */
  isThere: boolean;
  /** The member that it belongs to; null while that is undecided. */
  path: readonly string[] | null;
  /** Whether the table had the column before any record had the member. */
  isAdopted: boolean;
}

/** Maps each record member to a column of its own: two members that want the same name get different columns. */
export class Columns {
  private readonly byName = new Map<string, Column>();
  private readonly byPath = new Map<string, Column>();
  private readonly inference: Inference;

  constructor(
    private readonly table: TableSpec,
    private readonly stored: StoredTable,
    private readonly rules: NameRules,
  ) {
    this.inference = table.inference ?? { policy: 'freeze', flatten: 0, names: 'as_is' };
    for (const { name, type, stored: is } of stored.columns ?? []) {
      if (rules.fold(name).startsWith(OWN)) continue;
      const column = { name, type, isDeclared: false, isThere: true, path: null, isAdopted: false };
      if (type === null) this.foreign.set(column, is);
      this.byName.set(rules.fold(name), column);
    }
    for (const { column: name, path } of stored.origins) {
      const column = this.byName.get(rules.fold(name));
      if (column === undefined) continue;
      // Keep the spelling of the records, which are read by it.
      column.name = name;
      column.path = path;
      this.byPath.set(JSON.stringify(path), column);
    }
    for (const [name, type] of Object.entries(table.columns)) {
      const there = this.byName.get(rules.fold(name));
      const column = there ?? { name, type, isDeclared: true, isThere: false, path: null, isAdopted: false };
      column.isDeclared = true;
      column.name = name;
      if (there === undefined) this.byName.set(rules.fold(name), column);
      if (column.path === null) this.byPath.set(JSON.stringify([name]), column);
    }
  }

  private readonly foreign = new Map<Column, string>();

  /** Whether the table already has columns that came from records. */
  get isEstablished(): boolean {
    return [...this.byName.values()].some(({ isThere, isDeclared }) => isThere && !isDeclared);
  }

  /**
   * Returns the column of a member.
   * @throws {DestinationError} if the table has a column of that name with a foreign type.
   */
  of(path: readonly string[]): Column {
    const key = JSON.stringify(path);
    let column = this.byPath.get(key);
    if (column?.path == null) column = this.claimColumn(path, key, column);
    const foreign = this.foreign.get(column);
    if (foreign !== undefined) {
      const { schema, table } = this.table;
      throw new DestinationError(
        `table ${schema}.${table} has a column ${JSON.stringify(column.name)} of type ${foreign}, which Highwater cannot ` +
          `write. Change its type, rename it, or sync into another table.`,
      );
    }
    return column;
  }

  private claimColumn(path: readonly string[], key: string, exact: Column | undefined): Column {
    let column = exact ?? this.freeColumn(path);
    if (column === null) {
      const name = this.freeName(path);
      column = { name, type: null, isDeclared: false, isThere: false, path, isAdopted: false };
      this.byName.set(this.rules.fold(name), column);
    } else {
      // Another member that this column was reserved for by name has come too late.
      if (exact === undefined) {
        this.byPath.delete(JSON.stringify([column.name]));
        if (!column.isDeclared && path.length === 1) column.name = this.desiredName(path);
      }
      column.isAdopted = !column.isDeclared || exact === undefined;
    }
    column.path = path;
    this.byPath.set(key, column);
    if (this.byName.size > COLUMN_LIMIT) throw this.tooMany();
    return column;
  }

  /** Returns the existing column with the name that a member wants, unless it belongs to another member. */
  private freeColumn(path: readonly string[]): Column | null {
    const column = this.byName.get(this.rules.fold(this.desiredName(path)));
    return column?.path === null ? column : null;
  }

  private freeName(path: readonly string[]): string {
    const desired = this.desiredName(path);
    let name = desired;
    const { fold, taken } = this.rules;
    const isFree = () => !this.byName.has(fold(name)) && taken?.has(fold(name)) !== true;
    for (let i = 2; !isFree(); i++) name = this.truncatedName(`${desired}_${i}`, path);
    return name;
  }

  /** Returns the name that a column would get if no other column had it. */
  private desiredName(path: readonly string[]): string {
    const { names } = this.inference;
    const name = path
      .map((part) => (names === 'snake_case' ? snakeCase(part) : part))
      .join('__')
      // oxlint-disable-next-line no-control-regex
      .replace(/[\u0000-\u001f\u007f]|\p{Surrogate}/gu, '_')
      .trim();
    const isOwn = this.rules.fold(name).startsWith(OWN);
    return this.truncatedName(name === '' ? '_' : isOwn ? `source${name}` : name, path);
  }

  /** Truncates a name that is too long, and makes it unique with a hash of the whole. */
  private truncatedName(name: string, path: readonly string[]): string {
    const { nameBytes } = this.rules;
    if (Buffer.byteLength(name) <= nameBytes) return name;
    const hash = createHash('sha256').update(JSON.stringify(path)).update(name).digest('hex').slice(0, 8);
    const bytes = Buffer.from(name).subarray(0, nameBytes - 9);
    return `${bytes.toString('utf8').replace(/\uFFFD+$/, '')}_${hash}`;
  }

  private tooMany(): DestinationError {
    const { schema, table } = this.table;
    return new DestinationError(
      `table ${schema}.${table} would get more than ${COLUMN_LIMIT} columns. The usual cause is an object whose member names are ` +
        `data: declare it as JSON, or remove "flatten".`,
    );
  }

  /** Returns the table as it is written now. */
  spec(): TableSpec {
    const columns = [...this.byName.values()].flatMap(
      ({ name, type, isDeclared, path }): [string, ColumnType][] =>
        type !== null && (isDeclared || path !== null) ? [[name, type]] : [],
    );
    const { primaryKey } = this.table;
    return {
      ...this.table,
      primaryKey: primaryKey.map((name) => this.byPath.get(JSON.stringify([name]))?.name ?? name),
      columns: Object.fromEntries(columns),
    };
  }

  /** Returns the column of a member; null if it has none. */
  columnOf(member: string): string | null {
    const column = this.byPath.get(JSON.stringify([member]));
    return column === undefined || column.type === null ? null : column.name;
  }

  /** Returns the column of a member, or the column of that name; null if there is neither. */
  find(name: string): string | null {
    const column = this.byPath.get(JSON.stringify([name])) ?? this.byName.get(this.rules.fold(name));
    return column?.isThere === true ? column.name : null;
  }

  get exists(): boolean {
    return this.stored.columns !== null;
  }
}

/** State of a member while a batch is examined. */
interface Known {
  column: Column;
  /** Whether it has no column, or its column cannot hold a value of the batch. */
  differs: boolean;
  /** Whether it has numbers that a database would round unless they are quoted. */
  isOdd: boolean;
  facts: Facts | null;
  /** The value that made the change necessary. */
  example: { raw: string; record: string } | null;
  /** The column's name as the start of a member in a rewritten line. */
  prefix: string;
}

/**
 * Adapts the table to a batch.
 * @param files of newline-delimited records; none: returns the table as it is.
 * @throws {RecordError} if the table is frozen and a record differs.
 * @throws {DestinationError} if the table cannot be changed to hold the records.
 */
export async function adaptTable(
  table: TableSpec,
  store: SchemaStore,
  files: readonly string[],
  longest: number,
): Promise<AdaptedBatch> {
  const inference = table.inference ?? { policy: 'freeze', flatten: 0, names: 'as_is' };
  const columns = new Columns(table, await store.read(), store);
  const isStrict = inference.policy !== 'evolve' && columns.isEstablished;
  const batch = new Batch(table, columns, inference.flatten);
  for (const file of files) batch.compareRecords(await readFile(file), isStrict);
  if (isStrict && inference.policy === 'freeze') batch.refuseDifferences();
  let changes: RecordedChange[] = [];
  if (!isStrict && files.length > 0) {
    if (batch.differs) for (const file of files) batch.collectFacts(await readFile(file));
    changes = await batch.decideChanges(store);
    const isNew = !columns.exists;
    if (isNew || changes.length > 0) await store.apply(columns.spec(), isNew, changes);
  }
  const made: string[] = [];
  const adapted: AdaptedBatch = {
    table: columns.spec(),
    files: [...files],
    longest,
    records: batch.records - batch.rejected.size,
    exists: columns.exists || changes.length > 0,
    changes: changes
      .filter(({ from, to }) => from !== to)
      .map(({ column, from, to }) => ({ column, from, to })),
    rejects: [],
    refused: batch.rejected,
    columnOf: (member) => columns.columnOf(member),
    discard: async () => void (await Promise.all(made.map((path) => rm(path, { force: true })))),
  };
  if (!batch.needsRewriting()) return adapted;
  try {
    for (const file of files) {
      const lines = batch.rewritten(await readFile(file));
      made.push(`${file}.rows`);
      await writeFile(`${file}.rows`, lines, { mode: 0o600 });
    }
    const [first] = files;
    if (batch.rejects.length > 0 && first !== undefined) {
      const path = `${first}.misfits`;
      made.push(path);
      adapted.rejects.push(path);
      await writeFile(path, batch.rejects.map((reject) => `${JSON.stringify(reject)}\n`).join(''), {
        mode: 0o600,
      });
    }
  } catch (thrown) {
    await adapted.discard();
    throw thrown;
  }
  return {
    ...adapted,
    files: files.map((file) => `${file}.rows`),
    longest: Math.max(longest, batch.longest),
  };
}

/** Whether the table can be created before the first record. */
export const hasKeys = ({ primaryKey, columns }: TableSpec): boolean =>
  primaryKey.every((name) => Object.hasOwn(columns, name));

/** Returns the table without inference: all of its columns are known. */
export function declaredOnly({ inference: _, ...table }: TableSpec): TableSpec {
  return table;
}

/** Whether a declared column has been widened since. */
export const hasEvolved = (table: TableSpec, declared: ColumnType, is: ColumnType | null): boolean =>
  table.inference !== undefined && is !== null && isAbove(is, declared);

/**
 * Returns a parent's stored table and the columns of its fields; null if the table does not exist yet.
 * @throws {DestinationError} if a field has no column.
 */
export function parentTable(
  { table, fields, stream }: ParentSpec,
  columns: Columns | null,
): { table: TableSpec; columnOf: ReadonlyMap<string, string> } | null {
  if (columns === null) return { table, columnOf: new Map(fields.map((name) => [name, name])) };
  if (!columns.exists) return null;
  const columnOf = new Map(
    fields.map((field): [string, string] => {
      const column = columns.find(field);
      if (column !== null) return [field, column];
      throw new DestinationError(
        `stream ${stream} has no column ${JSON.stringify(field)}, which a child stream uses: no record has had a ` +
          'value for it yet. To create the column now, declare it in "columns".',
      );
    }),
  );
  return { table: columns.spec(), columnOf };
}

class Batch {
  records = 0;
  /** Length of the longest rewritten line. */
  longest = 0;
  readonly rejects: Reject[] = [];
  private readonly walker: FieldWalker<Known>;
  private readonly known: Known[] = [];
  /** Reasons why the table cannot hold records, by their places in the batch. */
  readonly rejected = new Map<number, string>();
  private readonly differences: string[] = [];

  constructor(
    private readonly table: TableSpec,
    private readonly columns: Columns,
    levels: number,
  ) {
    this.walker = new FieldWalker(levels);
  }

  get differs(): boolean {
    return this.known.some(({ differs }) => differs);
  }

  /** Finds members without a column, and values that their columns cannot hold. */
  compareRecords(bytes: Buffer, isStrict: boolean): void {
    let reason: string | null = null;
    this.walker.walk(bytes, {
      value: (field, b, start, end) => {
        const known = field.known ?? this.addField(field);
        const { column } = known;
        if (column.type !== null && this.fits(known, column.type, b, start, end)) return;
        known.differs = true;
        if (!isStrict || reason !== null) return;
        const value = b
          .toString('utf8', start, Math.min(end, start + 4 * EXAMPLE_LENGTH))
          .slice(0, 2 * EXAMPLE_LENGTH);
        reason =
          column.type === null
            ? `member ${JSON.stringify(field.path.join('.'))} (here ${value}) has no column`
            : `column ${JSON.stringify(column.name)} cannot hold ${value} as ${column.type}`;
      },
      record: (b, start, end) => {
        const place = this.records++;
        if (reason === null) return;
        const record = b.toString('utf8', start, end);
        this.rejected.set(place, reason);
        if (this.table.inference?.policy === 'quarantine') this.rejects.push({ reason, record });
        if (this.differences.length < DIFFERENCES) {
          const said = `${reason} (record ${this.keyOf(record)})`;
          this.differences.push(said);
        }
        reason = null;
      },
    });
  }

  private addField(field: Field<Known>): Known {
    const column = this.columns.of(field.path);
    const prefix = Buffer.from(`${JSON.stringify(column.name)}:`).toString('latin1');
    const known = { column, differs: column.type === null, isOdd: false, facts: null, example: null, prefix };
    this.known.push(known);
    field.known = known;
    return known;
  }

  private fits(known: Known, type: ColumnType, b: Buffer, start: number, end: number): boolean {
    if (type === 'JSON') return true;
    const first = b[start] as number;
    const isNumber = first === 0x2d || (first >= 0x30 && first <= 0x39);
    if (isNumber && isOdd(b, start, end)) known.isOdd = true;
    if (type === 'STRING') return known.column.isDeclared || (first !== 0x7b && first !== 0x5b);
    const isShort = isNumber && !known.isOdd && end - start < 16;
    if (isShort && (type === 'LONG' || type === 'DOUBLE')) return true;
    if (type === 'UTC_DATETIME' && isPlainInstant(b, start, end)) return true;
    const raw = b.toString('latin1', start, end);
    return known.column.isDeclared ? takes(type, raw) : holds(type, raw);
  }

  /** Collects facts about the members that need a first or another column. */
  collectFacts(bytes: Buffer): void {
    let unnamed: Known[] = [];
    this.walker.walk(bytes, {
      value: ({ known }, b, start, end) => {
        if (known?.differs !== true) return;
        const raw = b.toString('utf8', start, end);
        (known.facts ??= new Facts()).addValue(raw);
        const { type } = known.column;
        const first = raw.charCodeAt(0);
        if ((first === 0x2d || (first >= 0x30 && first <= 0x39)) && isOdd(b, start, end)) known.isOdd = true;
        if (known.example !== null || (type !== null && holds(type, raw, kindOf(raw)))) return;
        known.example = { raw: raw.slice(0, EXAMPLE_LENGTH), record: '' };
        unnamed.push(known);
      },
      record: (b, start, end) => {
        if (unnamed.length === 0) return;
        const record = this.keyOf(b.toString('utf8', start, end));
        for (const { example } of unnamed) if (example !== null) example.record = record;
        unnamed = [];
      },
    });
  }

  /** Decides the changes to the table. */
  async decideChanges(store: SchemaStore): Promise<RecordedChange[]> {
    const changes: RecordedChange[] = [];
    for (const known of this.known) {
      const { column, facts } = known;
      const path = column.path ?? [column.name];
      const { name, type: from } = column;
      if (facts !== null) {
        const isKey = path.length === 1 && this.table.primaryKey.includes(path[0] ?? '');
        let to = facts.nextType(from, isKey);
        // Integers beyond 2^53 would be rounded.
        if (to === 'DOUBLE' && column.isThere && from !== 'FLOAT' && !(await store.survives(name)))
          to = facts.nextType(from, isKey, ['DOUBLE']);
        column.type = to;
        const { raw, record } = known.example ?? { raw: '', record: '' };
        changes.push({ column: name, path, from, to, example: raw, record });
      } else if (column.isAdopted && from !== null) {
        changes.push({ column: name, path, from, to: from, example: '', record: '' });
      }
      column.isAdopted = false;
    }
    return changes;
  }

  /** Whether the staged lines have to be rewritten for the table. */
  needsRewriting(): boolean {
    return (
      this.rejected.size > 0 ||
      this.known.some(({ column, isOdd: odd }) => {
        const { path, name, type } = column;
        const isRenamed = path !== null && (path.length > 1 || path[0] !== name);
        return isRenamed || (odd && isQuoted(type));
      })
    );
  }

  private place = 0;

  /** Returns the lines with each value under its column's name, without the records that the table cannot hold. */
  rewritten(bytes: Buffer): Buffer {
    const lines: string[] = [];
    let members: string[] = [];
    this.walker.walk(bytes, {
      value: ({ known }, b, start, end) => {
        if (known === null) return;
        const raw = b.toString('latin1', start, end);
        const first = raw.charCodeAt(0);
        const isNumber = first === 0x2d || (first >= 0x30 && first <= 0x39);
        members.push(known.prefix + (isNumber && isQuoted(known.column.type) ? `"${raw}"` : raw));
      },
      record: () => {
        if (!this.rejected.has(this.place++)) {
          const line = `{${members.join(',')}}\n`;
          this.longest = Math.max(this.longest, line.length);
          lines.push(line);
        }
        members = [];
      },
    });
    return Buffer.from(lines.join(''), 'latin1');
  }

  /** @throws {RecordError} if the table cannot hold a record. */
  refuseDifferences(): void {
    if (this.rejected.size === 0) return;
    const { schema, table } = this.table;
    const more = this.rejected.size - this.differences.length;
    throw new RecordError(
      `records differ from table ${schema}.${table}, which is frozen: ${this.differences.join('; ')}` +
        `${more > 0 ? `; and ${more} more ${more === 1 ? 'record' : 'records'}` : ''}. Set "misfits" to "evolve" to change the table, or to ` +
        `"quarantine" to store such records in _highwater_rejects; or declare "columns".`,
    );
  }

  private keyOf(record: string): string {
    const texts = memberTexts(record, new Map(this.table.primaryKey.map((name) => [name, [name]])));
    const parts = this.table.primaryKey.map((name) => texts.get(name) ?? 'null');
    return (parts.length === 1 ? (parts[0] ?? '') : `[${parts.join(',')}]`).slice(0, 2 * EXAMPLE_LENGTH);
  }
}

/** Whether numbers go into the column as text: as JSON numbers they would be rounded. */
const isQuoted = (type: ColumnType | null) => type === 'STRING' || type?.startsWith('DECIMAL') === true;

/** Whether a number has a fraction, an exponent, or more digits than a double keeps. */
function isOdd(b: Buffer, start: number, end: number): boolean {
  if (end - start > 15) return true;
  for (let i = start; i < end; i++) {
    const c = b[i] as number;
    // "." "e" "E"
    if (c === 0x2e || c === 0x65 || c === 0x45) return true;
  }
  return false;
}

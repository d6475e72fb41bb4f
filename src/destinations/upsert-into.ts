/**
 * Makes a destination of a store that can replace rows and one text per table in one transaction: holders, checkpoints,
 * moves, the log, and the values of records are handled here.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { DestinationError, DestinationGoneError } from '../errors.js';
import {
  BATCH,
  SYNCED_AT,
  type ColumnType,
  type Cursor,
  type Holder,
  type StreamKey,
  type TableSpec,
} from '../protocol.js';
import {
  cannotHold,
  claimOf,
  competingWith,
  conflict,
  doesNotFit,
  movedClaim,
  openWhenFree,
  refuseOtherTypes,
  sameKey,
  type StoredCheckpoint,
  type StreamLog,
  type StreamOfTable,
} from './checkpoints.js';
import type { CustomDestination } from './custom.js';
import type {
  HistoryEntry,
  History,
  HistoryRequest,
  OpenRequest,
  OpenResult,
  WriteOutcome,
  WriteRequest,
} from './destination.js';
import { keyText, otherKey, type Recorded } from './fingerprint.js';
import { compact, membersOf, valueOf, type ColumnValue } from './column-values.js';

/** The name of a table. */
export type TableName = Pick<TableSpec, 'schema' | 'table'>;

/** A change to a table: all of it is stored, or nothing. */
export interface StoreCommit {
  table: TableName;
  /** The stored text that this follows; null if the table must not exist yet. */
  before: string | null;
  /**
   * Returns the text to store in its place.
   * @param changed the number of rows that the change writes.
   */
  state: (changed: number) => string;
  primaryKey: readonly string[];
  /** All columns that the table has ever had; others have to be added. */
  columns: Readonly<Record<string, ColumnType>>;
  /**
   * Rows to insert, or to put in the place of those with the same primary key; no two of them share one. Columns that are
   * absent from a row keep their values. Numbers are decimal text, times ISO 8601 with six digits of a second and, where
   * they have a zone, `Z`; binary is base64, JSON is text without spaces.
   */
  rows: readonly Readonly<Record<string, ColumnValue>>[];
  /** Columns that do not make a row different: those with the time and the batch of its last write. */
  uncompared: readonly string[];
}

/** The part of a destination that stores rows; see {@link upsertInto}. */
export interface RowStore {
  /** Returns an identity of the database that stays the same, and that no other has: made and stored when it is first asked for. */
  identity(): Promise<string>;
  /** Returns the text of a table's last commit; null if there is no such table. */
  read(table: TableName): Promise<string | null>;
  /**
   * Makes a change in one transaction, unless another writer was faster: if the stored text is not `before`.
   * @returns the number of rows that are new, or differ in a compared column; only these are written. Null if the stored
   * text is not `before`: then nothing is changed.
   */
  commit(change: StoreCommit): Promise<number | null>;
  /** Closes all connections and files. */
  close(): Promise<void>;
}

/** A checkpoint in the text of a table. */
interface KeptCheckpoint extends StreamOfTable {
  id: string;
  cursor: Cursor | null;
  holder: Holder;
  updated: string;
  fingerprint?: Recorded;
}

type KeptEntry = HistoryEntry & StreamOfTable;

/** The text of a table, as JSON. */
interface TableState {
  highwater: 1;
  /** Tells apart texts that are otherwise the same. */
  version: number;
  columns: Record<string, ColumnType>;
  primaryKey: string[];
  checkpoints: KeptCheckpoint[];
  /** Commits and moves, newest first; those beyond {@link KEPT_ENTRIES} are forgotten. */
  entries: KeptEntry[];
  /** Numbers of all entries, by stream. */
  totals: Record<string, number>;
  hasRows: boolean;
}

/** Commits and moves that are kept for each table. */
const KEPT_ENTRIES = 1000;

const EMPTY: TableState = {
  highwater: 1,
  version: 0,
  columns: {},
  primaryKey: [],
  checkpoints: [],
  entries: [],
  totals: {},
  hasRows: false,
};

/**
 * Returns a destination that writes into a store. It supports upserts into declared columns, and `stamps`; name this
 * feature in the definition. A batch is held in memory while it is written. The last 1000 commits and moves of a table are
 * kept.
 */
export const upsertInto = (store: RowStore): CustomDestination => new UpsertDestination(store);

class UpsertDestination implements CustomDestination {
  constructor(private readonly store: RowStore) {}

  async openStream(request: OpenRequest): Promise<OpenResult> {
    const { key, table, expects } = request;
    const database = await this.store.identity();
    if (expects !== undefined && expects !== database)
      throw new DestinationGoneError(
        `the destination of table ${key.schema}.${key.table} is another database than the one that this sync has written`,
      );
    return openWhenFree(
      request,
      async () => {
        const { state } = await this.stateOf(key);
        refuseOthers(table, state);
        return storedIn(state, key);
      },
      (asked) => this.claim(request, asked, database),
    );
  }

  private async claim(
    request: OpenRequest,
    asked: ReadonlySet<string>,
    database: string,
  ): Promise<OpenResult | null> {
    const { key, table, holder } = request;
    for (;;) {
      const { text, state } = await this.stateOf(key);
      refuseOthers(table, state);
      refuseOtherKey(request, state);
      const claimed = claimOf(storedIn(state, key), request, asked);
      if (claimed === null) return null;
      const own = state.checkpoints.find((one) => sameKey(one, key));
      const recorded = own?.fingerprint ?? null;
      const moved = await movedClaim(claimed, own, request, logOf(state, key), { recorded, isGone: false });
      const { checkpoint, neighbours, takenOver, isNew, said, record, notes } = moved;
      const updated = new Date().toISOString();
      const fingerprint = record ?? own?.fingerprint;
      const kept = fingerprint !== undefined && { fingerprint };
      const mine: KeptCheckpoint =
        own !== undefined && !isNew
          ? { ...own, ...kept }
          : { ...streamOf(key), ...checkpoint, holder, updated, ...kept };
      const others = state.checkpoints
        .filter((one) => one !== own)
        .map((one) =>
          takenOver.some((other) => sameKey(other, one))
            ? { ...one, id: randomUUID(), holder, updated }
            : one,
        )
        .map((one) => withoutOtherKey(one, table));
      const entry = said === null ? null : moveEntry(request, checkpoint, own?.id ?? '', said, updated);
      const next = withEntry({ ...withColumns(state, table), checkpoints: [...others, mine] }, key, entry);
      const done = await this.commit(key, text, () => next, []);
      if (done !== null) return { checkpoint, database, neighbours, ...(notes.length > 0 && { notes }) };
    }
  }

  async write(request: WriteRequest): Promise<WriteOutcome> {
    const { key, table, base, next, cursor, fingerprint } = request;
    for (;;) {
      const { text, state } = await this.stateOf(key);
      const stored = state.checkpoints.find((one) => sameKey(one, key));
      if (stored?.id !== base) {
        const isIt = (one: KeptEntry) => one.id === next && one.base === base && one.moved === null;
        const earlier = state.entries.find((one) => sameKey(one, key) && isIt(one));
        if (earlier !== undefined) return { rows: earlier.rows, already: true };
        throw conflict(key, base, stored);
      }
      const updated = new Date().toISOString();
      const rows = request.records === 0 ? [] : await rowsOf(request, updated);
      const is = fingerprint !== undefined && cursor.ended !== null && { fingerprint: { is: fingerprint } };
      const mine: KeptCheckpoint = { ...stored, id: next, cursor, updated, ...is };
      const committed: TableState = {
        ...withColumns(state, table),
        checkpoints: state.checkpoints.map((one) => (one === stored ? mine : one)),
        hasRows: state.hasRows || rows.length > 0,
      };
      const entryOf = (changed: number): HistoryEntry => ({
        ...{ id: next, base, at: updated, cursor, workflowId: request.workflowId },
        ...{ pages: request.pages, records: request.records, rows: changed, moved: null },
      });
      const stateOf = (changed: number) => withEntry(committed, key, entryOf(changed));
      const changed = await this.commit(key, text, stateOf, rows, committed);
      if (changed !== null) return { rows: changed, already: false };
    }
  }

  async history({ key, limit }: HistoryRequest): Promise<History> {
    const { state } = await this.stateOf(key);
    const own = state.checkpoints.find((one) => sameKey(one, key));
    if (own === undefined) return { stored: null, total: 0, entries: [] };
    const { id, cursor, holder, updated: since } = own;
    const entries = entriesOf(state, key).slice(0, limit);
    return {
      stored: { checkpoint: { id, cursor }, holder, since },
      total: state.totals[textOf(key)] ?? 0,
      entries,
    };
  }

  close(): Promise<void> {
    return this.store.close();
  }

  private async stateOf(key: TableName): Promise<{ text: string | null; state: TableState }> {
    const stored = await this.store.read({ schema: key.schema, table: key.table });
    return { text: stored, state: stored === null ? EMPTY : (JSON.parse(stored) as TableState) };
  }

  private commit(
    { schema, table }: TableName,
    before: string | null,
    stateOf: (changed: number) => TableState,
    rows: StoreCommit['rows'],
    { primaryKey, columns } = stateOf(0),
  ): Promise<number | null> {
    return this.store.commit({
      table: { schema, table },
      before,
      state: (changed) => {
        const state = stateOf(changed);
        return JSON.stringify({ ...state, version: state.version + 1 });
      },
      primaryKey,
      columns,
      rows,
      uncompared: [SYNCED_AT, BATCH],
    });
  }
}

const streamOf = ({ strategy, source, range }: StreamOfTable): StreamOfTable => ({ strategy, source, range });
const textOf = (key: StreamOfTable): string => JSON.stringify([key.strategy, key.source, key.range]);

const storedIn = (state: TableState, key: StreamKey): StoredCheckpoint[] =>
  competingWith(
    key,
    state.checkpoints.map(({ strategy, source, range, id, cursor, holder, updated }) => ({
      key: { schema: key.schema, table: key.table, strategy, source, range },
      ...{ id, cursor, holder, updated },
    })),
  );

const entriesOf = (state: TableState, key: StreamOfTable): HistoryEntry[] =>
  state.entries
    .filter((one) => sameKey(one, key))
    .map(({ strategy: _, source: __, range: ___, ...entry }) => entry);

const logOf = (state: TableState, key: StreamOfTable): StreamLog => ({
  entries: ({ batch = '', until, limit }) => {
    const bound = until === undefined ? Infinity : Date.parse(until);
    const found = entriesOf(state, key).filter(
      ({ id, at }) => id.startsWith(batch) && Date.parse(at) <= bound,
    );
    return Promise.resolve(found.slice(0, limit));
  },
  hasMoved: (id) => Promise.resolve(entriesOf(state, key).some((one) => one.id === id && one.moved !== null)),
});

const moveEntry = (
  { holder }: OpenRequest,
  { id, cursor }: { id: string; cursor: Cursor | null },
  base: string,
  moved: string,
  at: string,
): HistoryEntry => ({
  ...{ id, base, at, cursor, workflowId: holder.workflowId, moved },
  ...{ pages: 0, records: 0, rows: 0 },
});

function withEntry(state: TableState, key: StreamOfTable, entry: HistoryEntry | null): TableState {
  if (entry === null) return state;
  const text = textOf(key);
  return {
    ...state,
    entries: [{ ...streamOf(key), ...entry }, ...state.entries].slice(0, KEPT_ENTRIES),
    totals: { ...state.totals, [text]: (state.totals[text] ?? 0) + 1 },
  };
}

/** The columns of a table, those of its stamps included. */
const columnsOf = ({ columns, stamps }: TableSpec): Record<string, ColumnType> => ({
  ...columns,
  ...(stamps === true && { [SYNCED_AT]: 'UTC_DATETIME', [BATCH]: 'STRING' }),
});

const withColumns = (state: TableState, table: TableSpec): TableState => ({
  ...state,
  columns: { ...state.columns, ...columnsOf(table) },
  primaryKey: table.primaryKey,
});

/** @throws {DestinationError} if the table has a column with another type. */
function refuseOthers(table: TableSpec, state: TableState): void {
  const differences = Object.entries(columnsOf(table)).flatMap(([name, type]) => {
    const is = Object.hasOwn(state.columns, name) ? state.columns[name] : undefined;
    return is === undefined || is === type ? [] : [`${name} is ${is}, but declared as ${type}`];
  });
  refuseOtherTypes(table, differences);
}

/** @throws {DestinationError} if rows were written by another primary key: the store has them by it. */
function refuseOtherKey({ table }: OpenRequest, state: TableState): void {
  if (!state.hasRows || state.primaryKey.length === 0) return;
  const isSame = [...state.primaryKey].sort().join('\n') === [...table.primaryKey].sort().join('\n');
  if (isSame) return;
  throw new DestinationError(
    `${keyText(state.primaryKey, table.primaryKey)}. This destination cannot change the key of table ${table.schema}.${table.table}, ` +
      'so nothing was written: sync into another table, or restore the key.',
  );
}

function withoutOtherKey({ fingerprint, ...rest }: KeptCheckpoint, table: TableSpec): KeptCheckpoint {
  const isKept = fingerprint !== undefined && otherKey([fingerprint], table) === null;
  return isKept ? { ...rest, fingerprint } : rest;
}

/**
 * Reads the rows of a batch; of records with the same key the last counts.
 * @throws {RecordError} if a record does not fit.
 */
async function rowsOf(
  { table, files, next }: WriteRequest,
  at: string,
): Promise<Record<string, ColumnValue>[]> {
  const rows = new Map<string, Record<string, ColumnValue>>();
  const stamps = table.stamps === true && { [SYNCED_AT]: `${at.slice(0, -1)}000Z`, [BATCH]: next };
  for (const path of await files()) {
    for await (const line of createInterface({ input: readable(path), crlfDelay: Infinity })) {
      if (line.trim() === '') continue;
      const row: Record<string, ColumnValue> = { ...rowOf(table, line), ...stamps };
      rows.set(JSON.stringify(table.primaryKey.map((name) => row[name])), row);
    }
  }
  return [...rows.values()];
}

function readable(path: string) {
  const stream = createReadStream(path);
  stream.on('error', () => undefined);
  return stream;
}

/** @throws {RecordError} */
function rowOf(table: TableSpec, record: string): Record<string, ColumnValue> {
  const members = membersOf(record);
  const row: Record<string, ColumnValue> = {};
  for (const [column, type] of Object.entries(table.columns)) {
    const raw = members.get(column) ?? 'null';
    const value = valueOf(type, raw);
    if (value === undefined)
      throw doesNotFit(keyOf(table, members), cannotHold(column, shownText(raw), type));
    Object.defineProperty(row, column, { value, enumerable: true, configurable: true, writable: true });
  }
  return row;
}

/** The key of a record for a message, also where it does not fit. */
const keyOf = ({ primaryKey }: TableSpec, members: ReadonlyMap<string, string>): string =>
  primaryKey.map((name) => shownText(members.get(name) ?? 'null')).join(', ');

const shownText = (raw: string): string => (raw.startsWith('"') ? String(JSON.parse(raw)) : compact(raw));

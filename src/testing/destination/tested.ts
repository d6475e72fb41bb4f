/** A destination under test, and what the claims about it share. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { CustomDestination } from '../../destinations/custom.js';
import type { OpenRequest, OpenResult, WriteOutcome, WriteRequest } from '../../destinations/destination.js';
import type { Cursor, Holder, Json, StreamKey, TableSpec } from '../../protocol.js';

/** A row, each value as text that does not depend on the destination; see {@link TestedDestination.rows}. */
export type Row = Record<string, string | null>;

/** A destination, with all that the suite needs to look at it from outside. */
export interface TestedDestination {
  destination: CustomDestination;
  /** Whether each write is announced before it is asked for. Default: no. */
  prepares?: boolean;
  /**
   * Returns all rows of a table in any order, also those that are marked as deleted; throws if there is no such table.
   * Numbers are decimal text, times ISO 8601 with six digits of a second and, where they have a zone, `Z`; binary is
   * base64, JSON is text without spaces.
   */
  rows: (table: TableSpec) => Promise<Row[]>;
  /** Returns the quarantined records of a table; needed for `quarantine`. */
  rejects?: (table: TableSpec) => Promise<{ reason: string; record: string }[]>;
  /** Returns the rows of a table that are not marked as deleted; needed for `deletes`. */
  live?: (table: TableSpec) => Promise<Row[]>;
  /** Counts the keys that are kept for passes in progress; absent: it is not checked that none are left. */
  remembered?: () => Promise<number>;
  /** Closes the destination, and opens the same database again, as a restart does. */
  reopen: () => Promise<TestedDestination>;
  close: () => Promise<void>;
}

/** A record as the source sends it: an object, or the JSON text where its digits matter. */
export type SourceRecord = { [name: string]: Json } | string;

export const COLUMNS: TableSpec['columns'] = { id: 'STRING', name: 'STRING', age: 'LONG' };

export const keyOf = (table: TableSpec, more: Partial<StreamKey> = {}): StreamKey => ({
  schema: table.schema,
  table: table.table,
  strategy: 'keyset',
  source: 'http://source/users',
  range: '',
  ...more,
});

export const holderOf = (workflowId: string, chain = `${workflowId}-chain`): Holder => ({
  workflowId,
  firstRunId: chain,
  runId: randomUUID(),
  namespace: 'default',
  cluster: 'localhost:7233',
});

export const cursorAt = (position: string): Cursor => ({
  pass: 1,
  mark: { last: 'm' },
  position: { at: position },
  ended: null,
  notes: [{ code: 'c', message: `it's "${position}"` }],
});

export const noHolderRuns = async () => false;
export const everyHolderRuns = async () => true;

/** A stream of a destination, with the defaults that most claims share. */
export class Stream {
  private files = 0;

  constructor(
    private readonly tested: TestedDestination,
    private readonly folder: (name: string) => string,
    readonly table: TableSpec,
    readonly key: StreamKey = keyOf(table),
  ) {}

  open(workflowId = 'w1', request: Partial<OpenRequest> = {}): Promise<OpenResult> {
    return this.tested.destination.openStream({
      key: this.key,
      table: this.table,
      holder: holderOf(workflowId),
      full: false,
      takeOver: false,
      isRunning: noHolderRuns,
      ...request,
    });
  }

  async write(
    base: string,
    next: string,
    parts: SourceRecord[] | SourceRecord[][],
    request: Partial<WriteRequest> = {},
  ): Promise<WriteOutcome> {
    const lists = (Array.isArray(parts[0]) ? parts : [parts]) as SourceRecord[][];
    const lines = lists.map((list) => list.map((r) => (typeof r === 'string' ? r : JSON.stringify(r))));
    const paths = await Promise.all(
      lines.map(async (list) => {
        const path = this.folder(`${next.replace(/\W/g, '')}-${this.files++}.ndjson`);
        await writeFile(path, list.map((line) => `${line}\n`).join(''));
        return path;
      }),
    );
    const whole: WriteRequest = {
      key: this.key,
      table: this.table,
      base,
      next,
      cursor: cursorAt(next),
      records: lines.flat().length,
      pages: 1,
      bytes: lines.flat().reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0),
      longest: Math.max(2, ...lines.flat().map((line) => Buffer.byteLength(line))),
      files: async () => paths,
      workflowId: 'w1',
      ...request,
    };
    if (this.tested.prepares === true) this.tested.destination.prepare?.(whole);
    return this.tested.destination.write(whole);
  }

  /** The rows, ordered by their keys. */
  async rows(): Promise<Row[]> {
    const rows = await this.tested.rows(this.table);
    const keyText = (row: Row) => JSON.stringify(this.table.primaryKey.map((name) => row[name]));
    return rows.sort((a, b) => (keyText(a) < keyText(b) ? -1 : 1));
  }

  /** The stored checkpoint, seen by its holder. */
  async checkpoint(workflowId = 'w1') {
    return (await this.open(workflowId)).checkpoint;
  }
}

/** The error of a promise that is rejected. */
export async function thrownBy(work: Promise<unknown>): Promise<Error> {
  const thrown: unknown = await work.then(
    () => new Error('nothing was thrown'),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(Error);
  return thrown as Error;
}

/** What a destination can do beside upserts; the claims about the rest are left out. */
export interface ContractOptions {
  /** The longest name of a table or column, in bytes. Default: 200. */
  longestName?: number;
  /**
   * Whether rows that are stored with the same values are not written again, nor counted; a destination that only adds
   * cannot tell. Default: true.
   */
  comparesRows?: boolean;
  /** Whether rows that are gone from the source can be marked or removed. Default: false. */
  deletes?: boolean;
  /** Whether records that do not fit can be quarantined. Default: false. */
  quarantine?: boolean;
  /** Whether the table of a stream can be read as the parents of another. Default: false. */
  parents?: boolean;
  /** Which part of the suite runs: `writes` leaves out what another variant of the same destination has proved. */
  part?: 'all' | 'writes';
}

/** A folder for the files of a suite; removed by `remove`. */
export interface Folder {
  file: (name: string) => string;
  remove: () => Promise<void>;
}

export async function makeFolder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), 'highwater-contract-'));
  return { file: (name) => join(path, name), remove: () => rm(path, { recursive: true, force: true }) };
}

/** A destination under test, and the table that a test has for itself. */
export class Suite {
  /** Longest name that the destination can have, in bytes. */
  readonly longestName: number;
  readonly deletes: boolean;
  readonly quarantine: boolean;
  readonly parents: boolean;
  tested!: TestedDestination;
  folder!: Folder;
  stream!: Stream;
  private readonly comparesRows: boolean;
  private readonly part: 'all' | 'writes';
  private tables = 0;

  constructor(options: ContractOptions) {
    this.longestName = options.longestName ?? 200;
    this.comparesRows = options.comparesRows ?? true;
    this.deletes = options.deletes ?? false;
    this.quarantine = options.quarantine ?? false;
    this.parents = options.parents ?? false;
    this.part = options.part ?? 'all';
  }

  streamOf(table: TableSpec, key: StreamKey = keyOf(table)): Stream {
    return new Stream(this.tested, this.folder.file, table, key);
  }

  /** Rows that a write counts, of the records that it brings. */
  counted(changed: number, brought: number): number {
    return this.comparesRows ? changed : brought;
  }

  /** Another table of this test. */
  tableOf(columns: TableSpec['columns'], primaryKey = ['id']): TableSpec {
    return { schema: 'main', table: `table${this.tables++}`, primaryKey, columns };
  }

  /** Describes claims that only the whole suite checks. */
  describeInFull(claims: string, body: () => void, isRun = true): void {
    if (this.part === 'all') describe.runIf(isRun)(claims, body);
  }
}

import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type {
  Destination,
  OpenRequest,
  OpenResult,
  StreamMove,
  WriteOutcome,
  WriteRequest,
} from '../../src/destinations/destination.js';
import {
  BatchLostError,
  CheckpointConflictError,
  DestinationError,
  MoveRefusedError,
  RecordError,
  StreamHeldError,
} from '../../src/errors.js';
import type { ColumnType, Cursor, Holder, Json, StreamKey, TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';

/** A row, each value as text that does not depend on the destination; see {@link TestedDestination.rows}. */
export type Row = Record<string, string | null>;

/** What a destination must offer so that the suite can look at it from outside. */
export interface TestedDestination {
  destination: Destination;
  /** Whether each write is announced before it is asked for. */
  prepares: boolean;
  /**
   * All rows of a table in any order. Numbers are decimal text, times ISO 8601 with six digits of a second and, where
   * they have a zone, `Z`; binary is base64, JSON is text
   * without spaces.
   */
  rows: (table: TableSpec) => Promise<Row[]>;
  /** Rows of a query, each value as it comes. */
  query: (sql: string) => Promise<unknown[][]>;
  /** What stands before the names of Highwater's own tables. */
  ownSchema: string;
  /** The same database once more, as after a restart; the one before is closed. */
  reopen: () => Promise<TestedDestination>;
  close: () => Promise<void>;
}

/** A record as the source sends it: an object, or the JSON text where its digits matter. */
export type SourceRecord = { [name: string]: Json } | string;

const COLUMNS: TableSpec['columns'] = { id: 'STRING', name: 'STRING', age: 'LONG' };

export const keyOf = (table: TableSpec, more: Partial<StreamKey> = {}): StreamKey => ({
  schema: table.schema,
  table: table.table,
  strategy: 'keyset',
  source: 'http://source/users',
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

const nobodyRuns = async () => false;
const everybodyRuns = async () => true;

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
      isRunning: nobodyRuns,
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
    if (this.tested.prepares) this.tested.destination.prepare(whole);
    return this.tested.destination.write(whole);
  }

  /** The rows, ordered by their keys. */
  async rows(): Promise<Row[]> {
    const rows = await this.tested.rows(this.table);
    const keyText = (row: Row) => JSON.stringify(this.table.primaryKey.map((name) => row[name]));
    return rows.sort((a, b) => (keyText(a) < keyText(b) ? -1 : 1));
  }

  /** What is stored, seen by the holder itself. */
  async checkpoint(workflowId = 'w1') {
    return (await this.open(workflowId)).checkpoint;
  }
}

/** What a promise was broken with. */
export async function thrownBy(work: Promise<unknown>): Promise<Error> {
  const thrown: unknown = await work.then(
    () => new Error('nothing was thrown'),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(Error);
  return thrown as Error;
}

export interface ContractOptions {
  longestName?: number;
  /** Rows that stand there with the same content are not written again; a destination that only adds cannot tell. */
  comparesRows?: boolean;
  /** What is gone from the source can be marked or removed. */
  deletes?: boolean;
  /** Which part of the suite runs: `writes` leaves out what another variant of the same destination has proved. */
  part?: 'all' | 'writes';
}

/** What every destination promises; see `docs/guarantees.md`. An implementation passes it whole. */
export function destinationContract(
  name: string,
  start: () => Promise<TestedDestination>,
  { longestName = 200, comparesRows = true, deletes = true, part = 'all' }: ContractOptions = {},
): void {
  const describeInFull = (claims: string, body: () => void, isRun = true) => {
    if (part === 'all') describe.runIf(isRun)(claims, body);
  };
  describe(`${name}, as a destination,`, () => {
    let folder: Awaited<ReturnType<typeof scratch>>;
    let tested: TestedDestination;
    /** The tables of each test have a name of their own, in one database. */
    let tests = 0;
    let stream: Stream;
    const streamOf = (table: TableSpec, key: StreamKey = keyOf(table)) =>
      new Stream(tested, folder.file, table, key);
    /** Rows that a write counts, of so many that it brings. */
    const counted = (changed: number, brought: number) => (comparesRows ? changed : brought);
    /** Another table of this test. */
    const tableOf = (columns: TableSpec['columns'], primaryKey = ['id']): TableSpec => ({
      schema: 'main',
      table: `table${tests++}`,
      primaryKey,
      columns,
    });

    beforeAll(async () => {
      folder = await scratch();
      tested = await start();
    });
    beforeEach(() => {
      stream = streamOf(tableOf(COLUMNS));
    });
    afterAll(async () => {
      await tested.close();
      await folder.remove();
    });

    describe('a write', () => {
      it('from the stored checkpoint is committed together with the one it makes', async () => {
        const { checkpoint } = await stream.open();
        expect(checkpoint.cursor).toBeNull();
        const outcome = await stream.write(checkpoint.id, 'c1', [
          { id: '1', name: 'one', age: 1 },
          { id: '2', name: 'two', age: 2 },
        ]);
        expect(outcome).toEqual({ rows: 2, already: false });
        expect(await stream.checkpoint()).toEqual({ id: 'c1', cursor: cursorAt('c1') });
        expect(await stream.rows()).toEqual([
          { id: '1', name: 'one', age: '1' },
          { id: '2', name: 'two', age: '2' },
        ]);
      });

      it('that was committed before is acknowledged, with its rows, without a look at its files', async () => {
        const { checkpoint } = await stream.open();
        // As in life: no two batches make the same one.
        const next = randomUUID();
        const records = [{ id: '1', name: 'one' }];
        await stream.write(checkpoint.id, next, records);
        const again = await stream.write(checkpoint.id, next, records, {
          files: () => Promise.reject(new Error('the files were asked for')),
        });
        expect(again).toEqual({ rows: 1, already: true });
        expect(await stream.rows()).toHaveLength(1);
        expect((await stream.checkpoint()).id).toBe(next);
      });

      it('that was committed before others is acknowledged, and stays as they left it', async () => {
        const { checkpoint } = await stream.open();
        const [first, second] = [randomUUID(), randomUUID()];
        const records = [{ id: '1', name: 'one' }, { id: '2' }];
        await stream.write(checkpoint.id, first, records);
        await stream.write(first, second, [{ id: '1', name: 'changed' }]);
        expect(await stream.write(checkpoint.id, first, records)).toEqual({ rows: 2, already: true });
        expect((await stream.checkpoint()).id).toBe(second);
        expect(await stream.rows()).toMatchObject([{ name: 'changed' }, { name: null }]);
        // Not one that others have made.
        const other = await thrownBy(stream.write(randomUUID(), first, records));
        expect(other).toBeInstanceOf(CheckpointConflictError);
      });

      it('from any other checkpoint is refused with the name of the holder, and nothing is written', async () => {
        const { checkpoint } = await stream.open('the-holder');
        await stream.write(checkpoint.id, 'c1', [{ id: '1', name: 'one' }]);
        for (const base of [checkpoint.id, 'unheard-of', '']) {
          const thrown = await thrownBy(
            stream.write(base, 'c2', [{ id: '1', name: 'changed' }, { id: '2' }], {
              files: () => Promise.reject(new Error('the files were asked for')),
            }),
          );
          expect(thrown).toBeInstanceOf(CheckpointConflictError);
          expect(thrown).toMatchObject({ base, stored: 'c1' });
          expect(thrown.message).toContain('workflow "the-holder"');
          expect(thrown.message).toContain(`main.${stream.table.table} (keyset)`);
        }
        expect(await stream.rows()).toEqual([{ id: '1', name: 'one', age: null }]);
        expect(await stream.checkpoint('the-holder')).toEqual({ id: 'c1', cursor: cursorAt('c1') });
      });

      it('to a stream that nobody has opened is refused', async () => {
        await stream.open();
        const other = streamOf(stream.table, keyOf(stream.table, { source: 'http://elsewhere' }));
        const thrown = await thrownBy(other.write('c0', 'c1', [{ id: '1' }]));
        expect(thrown).toBeInstanceOf(CheckpointConflictError);
        expect(thrown.message).toContain('(none)');
        expect(await stream.rows()).toEqual([]);
      });

      it('of two at once from one checkpoint is committed, and the other refused', async () => {
        const { checkpoint } = await stream.open();
        const outcomes = await Promise.allSettled(
          ['a', 'b', 'c'].map((writer) =>
            stream.write(checkpoint.id, writer, [
              { id: writer, name: writer },
              { id: 'shared', name: writer },
            ]),
          ),
        );
        const won = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? ['abc'[i]] : []));
        expect(won).toHaveLength(1);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(CheckpointConflictError);
        }
        const [writer = null] = won as string[];
        expect(await stream.rows()).toEqual([
          { id: writer, name: writer, age: null },
          { id: 'shared', name: writer, age: null },
        ]);
        expect((await stream.checkpoint()).id).toBe(writer);
      });

      it('of one batch twice at once is committed once', async () => {
        const { checkpoint } = await stream.open();
        const attempts = await Promise.all(
          [1, 2].map(() => stream.write(checkpoint.id, 'c1', [{ id: '1' }, { id: '2' }])),
        );
        expect(attempts.map((outcome) => outcome.rows)).toEqual([2, 2]);
        expect(attempts.filter((outcome) => outcome.already)).toHaveLength(1);
        expect(await stream.rows()).toHaveLength(2);
      });

      it('without records commits its cursor and asks for no files', async () => {
        const { checkpoint } = await stream.open();
        const files = () => Promise.reject(new Error('the files were asked for'));
        const outcome = await stream.write(checkpoint.id, 'c1', [], { records: 0, files });
        expect(outcome).toEqual({ rows: 0, already: false });
        expect(await stream.checkpoint()).toEqual({ id: 'c1', cursor: cursorAt('c1') });
      });

      it('whose files are lost says so, and the stream stays as it was', async () => {
        const { checkpoint } = await stream.open();
        const lost = new BatchLostError('gone');
        const failed = stream.write(checkpoint.id, 'c1', [{ id: '1' }], {
          files: () => Promise.reject(lost),
        });
        expect(await thrownBy(failed)).toBe(lost);
        expect(await stream.checkpoint()).toEqual(checkpoint);
        expect(await stream.write(checkpoint.id, 'c1', [{ id: '1' }])).toEqual({ rows: 1, already: false });
      });

      it('keeps every kind of cursor as it was', async () => {
        const { checkpoint } = await stream.open();
        const cursor: Cursor = {
          pass: 2 ** 40,
          mark: { id: '9007199254740993', text: `'"\\\n\u2028😀`, list: [null, true, 1.5, {}] },
          position: null,
          ended: 'max_id',
          notes: [],
        };
        await stream.write(checkpoint.id, 'c1', [], { records: 0, cursor });
        expect((await stream.checkpoint()).cursor).toEqual(cursor);
      });
    });

    describe('an upsert', () => {
      it('counts what is new or differs, and not what stands there already', async () => {
        const { checkpoint } = await stream.open();
        const records = Array.from({ length: 10 }, (_, i) => ({ id: String(i), name: `n${i}`, age: i }));
        expect((await stream.write(checkpoint.id, 'c1', records)).rows).toBe(10);
        expect((await stream.write('c1', 'c2', records)).rows).toBe(counted(0, 10));
        const changed = records.map((r, i) => (i < 3 ? { ...r, name: 'other' } : r));
        expect((await stream.write('c2', 'c3', [...changed, { id: 'new' }])).rows).toBe(counted(4, 11));
        expect(await stream.rows()).toHaveLength(11);
        expect((await stream.rows()).filter((row) => row['name'] === 'other')).toHaveLength(3);
      });

      it('of one key twice in a batch keeps the last, and counts one', async () => {
        const { checkpoint } = await stream.open();
        const first = await stream.write(checkpoint.id, 'c1', [
          { id: '1', name: 'first', age: 1 },
          { id: '2', name: 'only' },
          { id: '1', name: 'last' },
        ]);
        expect(first.rows).toBe(2);
        const rows = [
          { id: '1', name: 'last', age: null },
          { id: '2', name: 'only', age: null },
        ];
        expect(await stream.rows()).toEqual(rows);
        const back = [
          { id: '1', name: 'other' },
          { id: '1', name: 'last' },
        ];
        expect((await stream.write('c1', 'c2', back)).rows).toBe(counted(0, 1));
        expect(await stream.rows()).toEqual(rows);
      });

      it('of one key in many files keeps the last, however they are read', async () => {
        const { checkpoint } = await stream.open();
        const part = (n: number) =>
          Array.from({ length: 9000 }, (_, i) => ({ id: String(i), name: `part ${n}`, age: n }));
        const outcome = await stream.write(checkpoint.id, 'c1', [part(1), part(2), part(3)]);
        expect(outcome.rows).toBe(9000);
        const rows = await stream.rows();
        expect(rows).toHaveLength(9000);
        expect(new Set(rows.map((row) => row['name']))).toEqual(new Set(['part 3']));
      });

      it('sets to null what has become null, and what is left out', async () => {
        const { checkpoint } = await stream.open();
        await stream.write(checkpoint.id, 'c1', [
          { id: '1', name: 'one', age: 1 },
          { id: '2', name: 'two', age: 2 },
          { id: '3' },
        ]);
        const outcome = await stream.write('c1', 'c2', [
          { id: '1', name: null, age: 1 },
          { id: '2', age: 2 },
          { id: '3', name: null, age: null },
        ]);
        expect(outcome.rows).toBe(counted(2, 3));
        expect(await stream.rows()).toEqual([
          { id: '1', name: null, age: '1' },
          { id: '2', name: null, age: '2' },
          { id: '3', name: null, age: null },
        ]);
      });

      it('tells keys apart by every character', async () => {
        const keys = [
          '',
          ' ',
          'a',
          'A',
          'a ',
          'ä',
          'a\u0308',
          '1',
          '01',
          '1.0',
          "'",
          '"',
          '\\',
          'null',
          '%',
          '😀',
        ];
        const { checkpoint } = await stream.open();
        expect(
          (
            await stream.write(
              checkpoint.id,
              'c1',
              keys.map((id) => ({ id })),
            )
          ).rows,
        ).toBe(keys.length);
        expect(new Set((await stream.rows()).map((row) => row['id']))).toEqual(new Set(keys));
      });

      it('goes by all parts of a composite key', async () => {
        const composite = streamOf(tableOf({ a: 'STRING', v: 'STRING', b: 'LONG' }, ['b', 'a']));
        const { checkpoint } = await composite.open();
        await composite.write(checkpoint.id, 'c1', [
          { a: 'x', b: 1, v: '1' },
          { a: 'x', b: 2, v: '2' },
          { a: 'y', b: 1, v: '3' },
          { a: 'x', b: 1, v: '4' },
        ]);
        expect(
          (
            await composite.write('c1', 'c2', [
              { a: 'y', b: 1, v: '5' },
              { a: 'y', b: 2, v: '6' },
            ])
          ).rows,
        ).toBe(2);
        expect(await composite.rows()).toEqual([
          { a: 'x', b: '1', v: '4' },
          { a: 'y', b: '1', v: '5' },
          { a: 'x', b: '2', v: '2' },
          { a: 'y', b: '2', v: '6' },
        ]);
      });

      it('goes by a table that is nothing but its key', async () => {
        const keys = streamOf(tableOf({ a: 'STRING' }, ['a']));
        const { checkpoint } = await keys.open();
        expect((await keys.write(checkpoint.id, 'c1', [{ a: '1' }, { a: '1' }, { a: '2' }])).rows).toBe(2);
        expect((await keys.write('c1', 'c2', [{ a: '2' }, { a: '3' }])).rows).toBe(counted(1, 2));
        expect(await keys.rows()).toEqual([{ a: '1' }, { a: '2' }, { a: '3' }]);
      });

      it.each([
        ['numbers', 'LONG'],
        ['decimals', 'DECIMAL(38,0)'],
        ['text', 'STRING'],
      ] as const)('goes by %s, each digit of them', async (_, type) => {
        const numbers = streamOf(tableOf({ id: type, v: 'STRING' }));
        const { checkpoint } = await numbers.open();
        const ids = [
          '9007199254740992',
          '9007199254740993',
          '-9223372036854775808',
          '9223372036854775807',
          '0',
        ];
        const lines = (v: string) => ids.map((id) => `{"id": ${id}, "v": "${v}"}`);
        expect((await numbers.write(checkpoint.id, 'c1', lines('a'))).rows).toBe(5);
        expect((await numbers.write('c1', 'c2', lines('b'))).rows).toBe(5);
        expect(new Set((await numbers.rows()).map((row) => `${row['id']}${row['v']}`))).toEqual(
          new Set(ids.map((id) => `${id}b`)),
        );
      });
    });

    describeInFull('a value', () => {
      const VALUES: [ColumnType, string, string | null][] = [
        ['STRING', '""', ''],
        ['STRING', '"é 😀 日本 \\" \\\\ \\n \\t \' ; --"', 'é 😀 日本 " \\ \n \t \' ; --'],
        ['STRING', '"\\ud83d\\ude00 \\u00e9"', '😀 é'],
        ['STRING', '"NULL"', 'NULL'],
        ['STRING', '9007199254740993', '9007199254740993'],
        ['STRING', 'true', 'true'],
        ['BOOLEAN', 'true', 'true'],
        ['BOOLEAN', 'false', 'false'],
        ['SHORT', '-32768', '-32768'],
        ['INT', '2147483647', '2147483647'],
        ['LONG', '9007199254740993', '9007199254740993'],
        ['LONG', '-9223372036854775808', '-9223372036854775808'],
        ['LONG', '9223372036854775807', '9223372036854775807'],
        ['LONG', '"9007199254740993"', '9007199254740993'],
        ['FLOAT', '0.5', '0.5'],
        ['DOUBLE', '0.1', '0.1'],
        ['DOUBLE', '-1.7976931348623157e308', '-1.7976931348623157e+308'],
        ['DECIMAL(10,2)', '12345678.9', '12345678.90'],
        ['DECIMAL(38,0)', '12345678901234567890123456789012345678', '12345678901234567890123456789012345678'],
        [
          'DECIMAL(38,10)',
          '"1234567890123456789012345678.0123456789"',
          '1234567890123456789012345678.0123456789',
        ],
        ['DECIMAL(18,6)', '-0.000001', '-0.000001'],
        ['NAIVE_DATE', '"2024-02-29"', '2024-02-29'],
        ['NAIVE_DATE', '"0001-01-01"', '0001-01-01'],
        ['NAIVE_DATETIME', '"2024-02-29T23:59:59.123456"', '2024-02-29T23:59:59.123456'],
        ['UTC_DATETIME', '"2024-02-29T23:59:59.123456Z"', '2024-02-29T23:59:59.123456Z'],
        ['UTC_DATETIME', '"2024-03-01T01:29:59.000001+01:30"', '2024-02-29T23:59:59.000001Z'],
        ['UTC_DATETIME', '"0001-01-01T00:00:00Z"', '0001-01-01T00:00:00.000000Z'],
        ['UTC_DATETIME', '"9999-12-31T23:59:59.999999Z"', '9999-12-31T23:59:59.999999Z'],
        [
          'JSON',
          '{"a": {"n": 9007199254740993}, "b": [1, null, "é"]}',
          '{"a":{"n":9007199254740993},"b":[1,null,"é"]}',
        ],
        ['JSON', '"text"', '"text"'],
        ['JSON', '[]', '[]'],
        ['BINARY', '"AAECgP9oZWxsbw=="', 'AAECgP9oZWxsbw=='],
        ['BINARY', '""', ''],
      ];
      const columns: TableSpec['columns'] = {
        id: 'STRING',
        ...Object.fromEntries(VALUES.map(([type], i) => [`c${i}`, type])),
      };
      const members = VALUES.map(([, json], i) => `"c${i}": ${json}`).join(', ');
      const wanted = Object.fromEntries(VALUES.map(([, , text], i) => [`c${i}`, text]));

      it('of every type is stored exactly, and is the same the second time', async () => {
        const typed = streamOf(tableOf(columns));
        const { checkpoint } = await typed.open();
        expect((await typed.write(checkpoint.id, 'c1', [`{"id": "1", ${members}}`])).rows).toBe(1);
        expect(await typed.rows()).toEqual([{ id: '1', ...wanted }]);
        expect((await typed.write('c1', 'c2', [`{"id": "1", ${members}}`])).rows).toBe(counted(0, 1));
      });

      it('of every type may be null or absent, and come and go', async () => {
        const typed = streamOf(tableOf(columns));
        const { checkpoint } = await typed.open();
        const nulls = VALUES.map((_, i) => `"c${i}": null`).join(', ');
        const nothing = Object.fromEntries(VALUES.map((_, i) => [`c${i}`, null]));
        await typed.write(checkpoint.id, 'c1', [`{"id": "1", ${nulls}}`, '{"id": "2"}']);
        expect(await typed.rows()).toEqual([
          { id: '1', ...nothing },
          { id: '2', ...nothing },
        ]);
        expect(
          (await typed.write('c1', 'c2', [`{"id": "1", ${members}}`, `{"id": "2", ${nulls}}`])).rows,
        ).toBe(counted(1, 2));
        expect(await typed.rows()).toEqual([
          { id: '1', ...wanted },
          { id: '2', ...nothing },
        ]);
        expect((await typed.write('c2', 'c3', ['{"id": "1"}'])).rows).toBe(1);
      });

      it('of every type that comes or goes is a change', async () => {
        const typed = streamOf(tableOf(columns));
        const { checkpoint } = await typed.open();
        const each = VALUES.map(([, json], i) => `{"id": "${i}", "c${i}": ${json}}`);
        const none = VALUES.map((_, i) => `{"id": "${i}"}`);
        expect((await typed.write(checkpoint.id, 'c1', each)).rows).toBe(VALUES.length);
        expect((await typed.write('c1', 'c2', none)).rows).toBe(VALUES.length);
        expect((await typed.write('c2', 'c3', each)).rows).toBe(VALUES.length);
        expect((await typed.write('c3', 'c4', each)).rows).toBe(counted(0, VALUES.length));
      });

      it('of megabytes is stored whole', async () => {
        const { checkpoint } = await stream.open();
        const name = '0123456789é'.repeat(500_000);
        await stream.write(checkpoint.id, 'c1', [
          { id: '1', name },
          { id: '2', name: 'small' },
        ]);
        expect((await stream.rows()).map((row) => row['name']?.length)).toEqual([name.length, 5]);
      });

      it.each<[ColumnType, string, string]>([
        ['SHORT', '40000', '40000'],
        ['INT', '"twelve"', 'twelve'],
        ['LONG', '9223372036854775808', '9223372036854775808'],
        ['LONG', '{"a": 1}', '{\\"a\\":1}'],
        ['LONG', '"9007199254740993.5"', '9007199254740993.5'],
        ['INT', '"1.5"', '1.5'],
        ['BOOLEAN', '"maybe"', 'maybe'],
        ['DOUBLE', '"1,5"', '1,5'],
        ['DECIMAL(4,2)', '123.45', '123.45'],
        ['NAIVE_DATE', '"2023-02-29"', '2023-02-29'],
        ['NAIVE_DATETIME', '"yesterday"', 'yesterday'],
        ['UTC_DATETIME', '1700000000', '1700000000'],
        ['BINARY', '"not base64!"', 'not base64!'],
      ])(
        'that does not fit %s (%s) is named with its key and column, and nothing is written',
        async (type, json, shown) => {
          const misfits = streamOf({ ...stream.table, columns: { ...COLUMNS, odd: type } });
          const { checkpoint } = await misfits.open();
          await misfits.write(checkpoint.id, 'c1', [{ id: 'before', name: 'stays' }]);
          const thrown = await thrownBy(
            misfits.write('c1', 'c2', [
              { id: 'before', name: 'changed' },
              { id: 'good' },
              `{"id": "bad", "odd": ${json}}`,
            ]),
          );
          expect(thrown).toBeInstanceOf(RecordError);
          expect(thrown.message).toContain('primary key "bad"');
          expect(thrown.message).toContain('column "odd"');
          expect(thrown.message).toContain(`"${shown}" as ${type}`);
          // The transaction is gone whole: the old checkpoint stands, and takes the next batch.
          expect(await misfits.rows()).toEqual([{ id: 'before', name: 'stays', age: null, odd: null }]);
          expect(await misfits.checkpoint()).toEqual({ id: 'c1', cursor: cursorAt('c1') });
          expect(await misfits.write('c1', 'c3', [{ id: 'good' }])).toEqual({ rows: 1, already: false });
        },
      );

      it('that does not fit and is very long is shown cut', async () => {
        const { checkpoint } = await stream.open();
        const thrown = await thrownBy(
          stream.write(checkpoint.id, 'c1', [{ id: '1', age: 'x'.repeat(100_000) }]),
        );
        expect(thrown).toBeInstanceOf(RecordError);
        expect(thrown.message.length).toBeLessThan(600);
      });
    });

    describeInFull('a table', () => {
      it('with other column types is refused, and says which', async () => {
        await stream.open();
        const other = streamOf({ ...stream.table, columns: { id: 'STRING', name: 'JSON', age: 'STRING' } });
        const thrown = await thrownBy(other.open());
        expect(thrown).toBeInstanceOf(DestinationError);
        expect(thrown.message).toContain(`main.${stream.table.table}`);
        expect(thrown.message).toMatch(/name .*declared JSON.*age .*declared STRING/);
        await stream.open();
      });

      it('gets a column that is declared later, and keeps one that is not declared any more', async () => {
        const { checkpoint } = await stream.open();
        await stream.write(checkpoint.id, 'c1', [{ id: '1', name: 'one', age: 1 }]);
        const wider = streamOf({ ...stream.table, columns: { ...COLUMNS, email: 'STRING' } });
        expect((await wider.open()).checkpoint.id).toBe('c1');
        await wider.write('c1', 'c2', [{ id: '2', name: 'two', age: 2, email: 'e' }]);
        const narrower = streamOf({ ...stream.table, columns: { id: 'STRING', email: 'STRING' } });
        await narrower.open();
        expect(
          (
            await narrower.write('c2', 'c3', [
              { id: '1', email: 'new' },
              { id: '3', email: 'x' },
            ])
          ).rows,
        ).toBe(2);
        expect(await wider.rows()).toEqual([
          { id: '1', name: 'one', age: '1', email: 'new' },
          { id: '2', name: 'two', age: '2', email: 'e' },
          { id: '3', name: null, age: null, email: 'x' },
        ]);
      });

      const NAMES: [string, string][] = [
        ['a double quote', 'a"b""'],
        ['single quotes', "a'b''c"],
        ['a statement', 'x"; DROP TABLE "user"; --'],
        ['another statement', "x'); DROP TABLE user; --"],
        ['a reserved word', 'select'],
        ['another reserved word', 'table'],
        ['dots', 'a.b.c'],
        ['spaces', 'two  words'],
        ['non-Latin letters', 'таблица 表 जدول'],
        ['an emoji', '💥'],
        ['signs', '$1 %s {} \\ / ? * : `~'],
        ['a very long name', 'n'.repeat(longestName)],
        ['digits', '123'],
        ['capitals', 'UserName'],
        ['the name of a hidden column', 'rowid'],
        ['names used inside', 't'],
        ['more names used inside', 's'],
        ['the name of a temporary table', '_batch'],
        ['a column of a temporary table', 'read'],
        ['another column of a temporary table', 'stored'],
      ];

      it.each(NAMES)('may be called by %s, and so may its schema and columns', async (_, name) => {
        const named = streamOf({
          schema: name,
          table: name,
          primaryKey: [name],
          columns: { [name]: 'STRING', [`${name} value`]: 'LONG', other: 'STRING' },
        });
        const { checkpoint } = await named.open();
        const row = (id: string, value: number) => ({ [name]: id, [`${name} value`]: value, other: 'same' });
        await named.write(checkpoint.id, 'c1', [row('1', 1), row('2', 2), row('1', 3)]);
        expect(
          (await named.write('c1', 'c2', [row('2', 2), row('3', 3), row('3', 4), row('1', 5)])).rows,
        ).toBe(counted(2, 3));
        const stored = (id: string, value: number) => ({
          ...row(id, value),
          [`${name} value`]: String(value),
        });
        expect(await named.rows()).toEqual([stored('1', 5), stored('2', 2), stored('3', 4)]);
        expect((await named.checkpoint()).id).toBe('c2');
      });

      it.each(NAMES)('may have a column called by %s that is no key', async (_, name) => {
        const named = streamOf(tableOf({ id: 'STRING', [name]: 'STRING' }));
        const { checkpoint } = await named.open();
        // One value in every row: what is a row's own name inside would run together.
        const row = (id: string, value: string) => ({ id, [name]: value });
        await named.write(checkpoint.id, 'c1', [
          row('1', 'x'),
          row('2', 'x'),
          row('2', 'y'),
          row('3', 'x'),
          row('3', 'x'),
        ]);
        expect(await named.rows()).toEqual([row('1', 'x'), row('2', 'y'), row('3', 'x')]);
        expect((await named.write('c1', 'c2', [row('1', 'y'), row('2', 'y'), row('4', 'x')])).rows).toBe(
          counted(2, 3),
        );
        expect(await named.rows()).toEqual([row('1', 'y'), row('2', 'y'), row('3', 'x'), row('4', 'x')]);
        const misfit = streamOf(tableOf({ id: 'STRING', [name]: 'LONG' }));
        const opened = await misfit.open();
        const thrown = await thrownBy(misfit.write(opened.checkpoint.id, 'c1', [row('bad', 'x')]));
        expect(thrown.message).toContain(`column ${JSON.stringify(name)}`);
      });
    });

    describeInFull('a stream', () => {
      it('is opened the same again by every run of one chain', async () => {
        const first = await stream.open('w1');
        expect(await stream.open('w1')).toEqual(first);
        await stream.write(first.checkpoint.id, 'c1', [{ id: '1' }]);
        expect((await stream.open('w1')).checkpoint).toEqual({ id: 'c1', cursor: cursorAt('c1') });
        // Another run of the same chain: a continue-as-new, a retry.
        const holder = holderOf('w1');
        expect((await stream.open('w1', { holder })).checkpoint.id).toBe('c1');
        expect(await stream.write('c1', 'c2', [{ id: '2' }])).toEqual({ rows: 1, already: false });
      });

      it('opened by another chain of the same workflow makes what the one before has in hand stale', async () => {
        const before = await stream.open('w1');
        await stream.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
        // It is not asked whether the workflow runs: it is this very one.
        const after = await stream.open('w1', {
          holder: holderOf('w1', 'new-chain'),
          isRunning: everybodyRuns,
        });
        expect(after.checkpoint.cursor).toEqual(cursorAt('c1'));
        expect(after.checkpoint.id).not.toBe('c1');
        expect(await thrownBy(stream.write('c1', 'c2', [{ id: '2' }]))).toBeInstanceOf(
          CheckpointConflictError,
        );
        expect((await stream.write(after.checkpoint.id, 'c3', [{ id: '3' }])).already).toBe(false);
      });

      it('held by another running workflow is refused with its name, and goes on undisturbed', async () => {
        const { checkpoint } = await stream.open('the-first');
        const asked: Holder[] = [];
        const isRunning = async (holder: Holder) => {
          asked.push(holder);
          return true;
        };
        const thrown = await thrownBy(stream.open('the-second', { isRunning, full: true }));
        expect(thrown).toBeInstanceOf(StreamHeldError);
        expect(thrown).toMatchObject({ holder: 'the-first' });
        expect(thrown.message).toContain('"the-first"');
        expect(thrown.message).toContain('--take-over');
        expect(asked.map((holder) => holder.workflowId)).toEqual(['the-first']);
        expect(await stream.checkpoint('the-first')).toEqual(checkpoint);
        expect((await stream.write(checkpoint.id, 'c1', [{ id: '1' }])).rows).toBe(1);
      });

      it('of the same table by another strategy or source is refused too while its workflow runs', async () => {
        await stream.open('the-first');
        for (const more of [{ strategy: 'offset' as const }, { source: 'http://elsewhere' }]) {
          const other = streamOf(stream.table, keyOf(stream.table, more));
          const thrown = await thrownBy(other.open('the-second', { isRunning: everybodyRuns }));
          expect(thrown).toBeInstanceOf(StreamHeldError);
        }
      });

      it("of another table is nobody else's business", async () => {
        await stream.open('the-first');
        for (const table of [
          { ...stream.table, table: `${stream.table.table}2` },
          { ...stream.table, schema: 'other' },
        ]) {
          const { checkpoint, neighbours } = await streamOf(table).open('second', {
            isRunning: everybodyRuns,
          });
          expect([checkpoint.cursor, neighbours]).toEqual([null, []]);
        }
      });

      it('opened by several running workflows at once is held by one of them', async () => {
        const names = ['a', 'b', 'c'];
        for (const keys of [
          [{}, {}, {}],
          [{ strategy: 'offset' }, {}, { source: 'http://x' }],
        ] as Partial<StreamKey>[][]) {
          const table = tableOf(COLUMNS);
          const outcomes = await Promise.allSettled(
            names.map((name, i) =>
              streamOf(table, keyOf(table, keys[i])).open(name, { isRunning: everybodyRuns }),
            ),
          );
          expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
          for (const outcome of outcomes) {
            if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(StreamHeldError);
          }
        }
      });

      it('is taken over where that is asked for; the one before can write no more', async () => {
        const before = await stream.open('the-first');
        await stream.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
        const after = await stream.open('the-second', { takeOver: true, isRunning: everybodyRuns });
        expect(after.checkpoint.cursor).toEqual(cursorAt('c1'));
        const thrown = await thrownBy(stream.write('c1', 'c2', [{ id: '2' }]));
        expect(thrown).toBeInstanceOf(CheckpointConflictError);
        expect(thrown.message).toContain('"the-second"');
        expect((await stream.write(after.checkpoint.id, 'c3', [{ id: '3' }])).rows).toBe(1);
        expect((await stream.rows()).map((row) => row['id'])).toEqual(['1', '3']);
      });

      it('is taken over with every other strategy of its table', async () => {
        const offset = streamOf(stream.table, { ...stream.key, strategy: 'offset' });
        const before = await offset.open('the-first');
        await offset.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
        const after = await stream.open('the-second', { takeOver: true, isRunning: everybodyRuns });
        const thrown = await thrownBy(offset.write('c1', 'c2', [{ id: '2' }]));
        expect(thrown).toBeInstanceOf(CheckpointConflictError);
        expect(thrown.message).toContain('"the-second"');
        // Nobody else holds the table now, and the cursor of the other strategy is where it was.
        expect(await stream.open('the-second', { isRunning: everybodyRuns })).toEqual(after);
        expect((await offset.open('the-third')).checkpoint.cursor).toEqual(cursorAt('c1'));
      });

      it('of a workflow that has finished passes to the next one, which goes on from its cursor', async () => {
        const before = await stream.open('the-first');
        await stream.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
        const after = await stream.open('the-second');
        expect(after.checkpoint.cursor).toEqual(cursorAt('c1'));
        expect(after.checkpoint.id).not.toBe('c1');
        expect(after.database).toBe(before.database);
        // A write of the finished one that comes late.
        const thrown = await thrownBy(stream.write('c1', 'c2', [{ id: 'late' }]));
        expect(thrown).toBeInstanceOf(CheckpointConflictError);
        expect((await stream.rows()).map((row) => row['id'])).toEqual(['1']);
      });

      it('started over forgets its cursor once, not its rows, and not again when it is opened again', async () => {
        const before = await stream.open('w1');
        await stream.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
        const holder = holderOf('w2');
        const full = await stream.open('w2', { holder, full: true });
        expect(full.checkpoint.cursor).toBeNull();
        expect((await stream.open('w2', { holder, full: true })).checkpoint).toEqual(full.checkpoint);
        await stream.write(full.checkpoint.id, 'c2', [{ id: '2' }]);
        expect((await stream.open('w2', { holder, full: true })).checkpoint).toEqual({
          id: 'c2',
          cursor: cursorAt('c2'),
        });
        expect(await stream.rows()).toHaveLength(2);
      });

      it('is moved to any place where it stood, once, and what is in flight becomes stale', async () => {
        const { checkpoint } = await stream.open();
        const made: string[] = [checkpoint.id];
        const commit = async (id: string, base = made.at(-1) ?? '') => {
          await stream.write(base, id, [{ id }]);
          made.push(id);
        };
        const [a, b, c] = [`aa-${randomUUID()}`, `ab-${randomUUID()}`, randomUUID()] as const;
        for (const id of [a, b, c]) await commit(id);
        const before = await tested.destination.history({ key: stream.key, limit: 9 });
        expect(before.entries.map(({ id, rows, moved }) => [id, rows, moved])).toEqual([
          [c, 1, null],
          [b, 1, null],
          [a, 1, null],
        ]);
        expect(before.entries[1]).toMatchObject({ base: a, cursor: cursorAt(b), workflowId: 'w1', pages: 1 });
        expect(before.stored).toMatchObject({
          checkpoint: { id: c, cursor: cursorAt(c) },
          holder: { workflowId: 'w1' },
        });
        expect(Date.parse(before.stored?.since ?? '')).toBeGreaterThan(Date.now() - 60_000);
        // To a batch, by how its id begins.
        const move: StreamMove = { id: randomUUID(), to: { batch: b.slice(0, 8) }, said: 'rewound to b' };
        const moved = await stream.open('w1', { move });
        expect(moved.checkpoint).toEqual({ id: move.id, cursor: cursorAt(b) });
        expect(await thrownBy(stream.write(c, randomUUID(), [{ id: 'late' }]))).toBeInstanceOf(
          CheckpointConflictError,
        );
        // Again, as an attempt that comes late would: also once it has gone on from there.
        expect((await stream.open('w1', { move })).checkpoint).toEqual(moved.checkpoint);
        const d = randomUUID();
        await stream.write(move.id, d, [{ id: 'd' }]);
        expect((await stream.open('w1', { move })).checkpoint).toEqual({ id: d, cursor: cursorAt(d) });
        // To a time: that of a commit is still it; forward, too.
        const entries = async () => (await tested.destination.history({ key: stream.key, limit: 9 })).entries;
        const times = await entries();
        const timeOf = (id: string) => times.find((entry) => entry.id === id)?.at ?? '';
        const at = { id: randomUUID(), to: { time: timeOf(d) }, said: 'rewound to d' };
        expect((await stream.open('w1', { move: at })).checkpoint).toEqual({
          id: at.id,
          cursor: cursorAt(d),
        });
        // To the start, by another workflow, and to a state.
        const start: StreamMove = { id: randomUUID(), to: { start: true }, said: 'started over' };
        expect((await stream.open('w2', { move: start })).checkpoint).toEqual({ id: start.id, cursor: null });
        const set: StreamMove = { id: randomUUID(), to: { cursor: cursorAt('set') }, said: 'set' };
        expect((await stream.open('w2', { move: set })).checkpoint).toEqual({
          id: set.id,
          cursor: cursorAt('set'),
        });
        const here: StreamMove = { id: randomUUID(), to: { here: true }, said: 'here' };
        expect((await stream.open('w2', { move: here })).checkpoint).toEqual({
          id: here.id,
          cursor: cursorAt('set'),
        });
        const { entries: after, total } = await tested.destination.history({ key: stream.key, limit: 5 });
        expect(total).toBe(9);
        expect(
          after.map(({ base, cursor, moved: said, workflowId }) => [base, cursor, said, workflowId]),
        ).toEqual([
          [set.id, cursorAt('set'), 'here', 'w2'],
          [start.id, cursorAt('set'), 'set', 'w2'],
          [at.id, null, 'started over', 'w2'],
          [d, cursorAt(d), 'rewound to d', 'w1'],
          [move.id, cursorAt(d), null, 'w1'],
        ]);
        expect(await stream.rows()).toHaveLength(4);
      });

      it('is moved nowhere where it never stood, and stays as it was', async () => {
        const { checkpoint } = await stream.open();
        for (const id of ['same-1', 'same-2'])
          await stream.write(id === 'same-1' ? checkpoint.id : 'same-1', id, [{ id }]);
        const other = streamOf(stream.table, keyOf(stream.table, { source: 'http://elsewhere' }));
        const opened = await other.open();
        await other.write(opened.checkpoint.id, 'of-another', [{ id: '3' }]);
        const refused = async (to: StreamMove['to']) => {
          const thrown = await thrownBy(stream.open('w2', { move: { id: randomUUID(), to, said: '' } }));
          expect(thrown).toBeInstanceOf(MoveRefusedError);
          return thrown.message;
        };
        expect(await refused({ batch: 'same-' })).toMatch(/several batches .* "same-": give more of it/);
        expect(await refused({ batch: 'of-another' })).toMatch(
          /"of-another" is none of the batches of this stream/,
        );
        expect(await refused({ batch: '' })).toMatch(/none of the batches/);
        expect(await refused({ batch: "o'%_" })).toMatch(/none of the batches/);
        expect(await refused({ time: '2001-01-01T00:00:00Z' })).toMatch(
          /nothing was committed at 2001-01-01T00:00:00Z or before it/,
        );
        expect(await stream.checkpoint()).toEqual({ id: 'same-2', cursor: cursorAt('same-2') });
        expect(await tested.destination.history({ key: keyOf(tableOf(COLUMNS)), limit: 9 })).toEqual({
          stored: null,
          total: 0,
          entries: [],
        });
      });

      it('has a checkpoint for each strategy and source, and knows the others', async () => {
        const { checkpoint } = await stream.open();
        await stream.write(checkpoint.id, 'c1', [{ id: '1' }]);
        const offset = streamOf(stream.table, keyOf(stream.table, { strategy: 'offset' }));
        const opened = await offset.open();
        expect(opened.checkpoint.cursor).toBeNull();
        expect(opened.neighbours).toEqual([stream.key]);
        await offset.write(opened.checkpoint.id, 'o1', [{ id: '2' }]);
        expect((await stream.open()).checkpoint).toEqual({ id: 'c1', cursor: cursorAt('c1') });
        expect((await stream.open()).neighbours).toEqual([offset.key]);
        const elsewhere = streamOf(stream.table, keyOf(stream.table, { source: 'http://o\'ther/"users"' }));
        expect((await elsewhere.open()).neighbours).toHaveLength(2);
        expect((await elsewhere.open()).checkpoint.cursor).toBeNull();
      });
    });

    describeInFull(
      `a table whose rows may be gone from the source${deletes ? '' : ' (refused by this destination)'}`,
      () => {
        const at = (pass: number, isEnd: boolean, notes: Cursor['notes'] = []): { cursor: Cursor } => ({
          cursor: {
            pass,
            mark: null,
            position: isEnd ? null : 'x',
            ended: isEnd ? 'empty_page' : null,
            notes,
          },
        });
        const composite = { b: 'STRING', a: 'LONG', at: 'UTC_DATETIME' } as const;
        const rowsOf = (ids: number[]) =>
          ids.map((id) => ({ b: `it's ${id}`, a: id, at: '2026-01-01T00:00:00.000001Z' }));
        /** Writes a pass in two batches. */
        async function pass(of: Stream, number: number, ids: number[], notes: Cursor['notes'] = []) {
          const half = Math.ceil(ids.length / 2);
          const { id } = await of.checkpoint();
          const [first, last] = [randomUUID(), randomUUID()];
          await of.write(id, first, rowsOf(ids.slice(0, half)), at(number, false));
          return of.write(first, last, rowsOf(ids.slice(half)), at(number, true, notes));
        }
        const live = async (of: Stream) =>
          (
            await tested.query(
              `SELECT a::INTEGER FROM main.${of.table.table} ${of.table.deletes === 'soft' ? 'WHERE _highwater_deleted_at IS NULL' : ''} ORDER BY a`,
            )
          ).map(([a]) => a);

        it.each(['soft', 'hard'] as const)(
          'loses those that a whole pass has not met: %s',
          async (deletes) => {
            const of = streamOf({ ...tableOf(composite, ['b', 'at']), deletes });
            await of.open();
            expect(await pass(of, 1, [1, 2, 3, 4])).not.toHaveProperty('deleted');
            expect(await pass(of, 2, [1, 4, 5])).toMatchObject({ rows: 1, deleted: 2 });
            expect(await live(of)).toEqual([1, 4, 5]);
            expect(await of.rows()).toHaveLength(deletes === 'soft' ? 5 : 3);
            // Of those that are gone no stream that has them as parents is told.
            const parent = { stream: 'of', table: of.table, fields: ['a'] };
            const parents = await tested.destination.parents({ key: of.key, parent, after: null, limit: 9 });
            expect(parents?.map(({ fields }) => fields['a'])).toEqual([1, 4, 5]);
            // What comes back is there again.
            expect(await pass(of, 3, [1, 2, 4, 5])).not.toHaveProperty('deleted');
            expect(await live(of)).toEqual([1, 2, 4, 5]);
            // Nothing is remembered between passes.
            const seen = await tested.query(
              `SELECT count(*)::INTEGER FROM ${tested.ownSchema}_highwater_seen`,
            );
            expect(seen).toEqual([[0]]);
          },
        );

        it('keeps all of them where the pass is not known to be whole, or met nothing', async () => {
          const of = streamOf({ ...tableOf(composite, ['b']), deletes: 'hard' });
          await of.open();
          await pass(of, 1, [1, 2, 3]);
          await pass(of, 2, [1, 2], [{ code: 'answer_ignored', message: '' }]);
          expect(await live(of)).toEqual([1, 2, 3]);
          await pass(of, 3, []);
          expect(await live(of)).toEqual([1, 2, 3]);
          // One that was given up in the middle says nothing of the next.
          const { id } = await of.checkpoint();
          const given = randomUUID();
          await of.write(id, given, rowsOf([3]), at(4, false));
          await of.write(given, randomUUID(), rowsOf([1, 2]), at(5, true));
          expect(await live(of)).toEqual([1, 2]);
        });

        it('keeps all of them where a record of the pass was put aside: its key is not known', async () => {
          const of = streamOf({ ...tableOf(composite, ['b']), deletes: 'hard', quarantine: true });
          await of.open();
          await pass(of, 1, [1, 2, 3]);
          const { id } = await of.checkpoint();
          const bad = { b: "it's 3", a: 'three', at: null };
          expect(await of.write(id, randomUUID(), [...rowsOf([1]), bad], at(2, true))).toMatchObject({
            rejected: 1,
          });
          expect(await live(of)).toEqual([1, 2, 3]);
          await pass(of, 3, [1, 2]);
          expect(await live(of)).toEqual([1, 2]);
        });

        it.each([undefined, 'replace'] as const)(
          'that is moved into the middle of a pass keeps all of them in that pass (mode %s)',
          async (mode) => {
            const of = streamOf({
              ...tableOf(composite, ['b']),
              ...(mode === undefined ? { deletes: 'hard' as const } : { mode }),
            });
            const open = await of.open('w1');
            await of.write(open.checkpoint.id, randomUUID(), rowsOf([1, 2, 3, 4]), at(1, true));
            const [half, more, end] = [randomUUID(), randomUUID(), randomUUID()];
            const { id } = await of.checkpoint();
            await of.write(id, half, rowsOf([1]), at(2, false));
            await of.write(half, more, rowsOf([2]), at(2, false));
            const to = async (batch: string) => {
              const move: StreamMove = { id: randomUUID(), to: { batch }, said: 'rewound' };
              return (await of.open('w1', { move })).checkpoint.id;
            };
            // What it has met before the move is not known any more: 1 was met, and is there.
            await of.write(await to(half), end, rowsOf([3]), at(2, true));
            expect(await live(of)).toEqual([1, 2, 3, 4]);
            // The same where the pass had come to its end, and rows were lost by it.
            await pass(of, 3, [1, 2, 3]);
            expect(await live(of)).toEqual([1, 2, 3]);
            await of.write(await to(more), randomUUID(), rowsOf([2]), at(2, true));
            expect(await live(of)).toEqual([1, 2, 3]);
            // Between two passes nothing is lost by a move: the next is a whole one.
            await to(end);
            await pass(of, 3, [2, 3, 5]);
            expect(await live(of)).toEqual([2, 3, 5]);
          },
        );

        it('started over forgets what the pass before has met', async () => {
          const of = streamOf({ ...tableOf(composite, ['b']), deletes: 'hard' });
          await of.open('w1');
          await pass(of, 1, [1, 2, 3]);
          const { id } = await of.checkpoint();
          const half = await of.write(id, randomUUID(), rowsOf([3]), at(2, false));
          expect(half.rows).toBe(0);
          const full = await of.open('w2', { full: true });
          await of.write(full.checkpoint.id, randomUUID(), rowsOf([1, 2]), {
            ...at(2, true),
            workflowId: 'w2',
          });
          expect(await live(of)).toEqual([1, 2]);
        });
      },
      deletes,
    );

    describe('a table that puts misfits aside', () => {
      const COLUMNS_OF_ALL: TableSpec['columns'] = {
        id: 'STRING',
        whole: 'LONG',
        price: 'DECIMAL(10,2)',
        at: 'UTC_DATETIME',
        is: 'BOOLEAN',
        raw: 'BINARY',
        more: 'JSON',
      };
      const aside = async (of: Stream) =>
        (await tested.query(
          `SELECT reason, record FROM ${tested.ownSchema}_highwater_rejects WHERE "table" = '${of.table.table}' ORDER BY reason`,
        )) as [string, string][];
      const good = (id: string) =>
        `{"id": "${id}", "whole": 9007199254740993, "price": 1.5, "at": "2026-01-02T03:04:05.000006Z", "is": true, "raw": "AAEC", "more": {"a": [1]}}`;

      it('stores what fits, exactly, and keeps the rest with the reason', async () => {
        const of = streamOf({ ...tableOf(COLUMNS_OF_ALL), quarantine: true });
        const { checkpoint } = await of.open();
        const next = randomUUID();
        const outcome = await of.write(checkpoint.id, next, [
          good('1'),
          '{"id": "2", "whole": 1.5}',
          good('3'),
          '{"id": "4", "at": "yesterday", "more": {"it\'s": "x"}}',
          '{"id": "5", "is": "maybe"}',
          '{"id": "3", "whole": 3}',
        ]);
        expect(outcome).toEqual({ rows: 2, already: false, rejected: 3 });
        expect(await of.rows()).toEqual([
          {
            id: '1',
            whole: '9007199254740993',
            price: '1.50',
            at: '2026-01-02T03:04:05.000006Z',
            is: 'true',
            raw: 'AAEC',
            more: '{"a":[1]}',
          },
          { id: '3', whole: '3', price: null, at: null, is: null, raw: null, more: null },
        ]);
        const rejects = await aside(of);
        expect(rejects.map(([reason]) => reason)).toEqual([
          'column "at" cannot hold "yesterday" as UTC_DATETIME',
          'column "is" cannot hold "maybe" as BOOLEAN',
          expect.stringMatching(/^column "whole" cannot hold "?1\.5"? as LONG$/),
        ]);
        expect(JSON.parse(rejects[0]?.[1] ?? '')).toMatchObject({ id: '4', at: 'yesterday' });
        // Once more, as after a crash before the answer.
        expect(await of.write(checkpoint.id, next, [])).toEqual({ rows: 2, already: true, rejected: 3 });
        expect(await aside(of)).toHaveLength(3);
        // A batch where all fits has none.
        expect(await of.write(next, randomUUID(), [good('6')])).toEqual({ rows: 1, already: false });
      });

      it('keeps what the reader has put aside, with its batch or not at all', async () => {
        const of = streamOf({ ...stream.table, quarantine: true });
        const { checkpoint } = await of.open();
        const path = folder.file(`rejects-${randomUUID()}.ndjson`);
        const reject = {
          reason: 'it has no primary key: "id" is absent',
          record: '{"name": "it\'s \\"x\\""}',
        };
        await writeFile(path, `${JSON.stringify(reject)}\n`);
        const rejects = async () => [path];
        const stale = of.write('stale', randomUUID(), [], { rejects });
        expect(await thrownBy(stale)).toBeInstanceOf(CheckpointConflictError);
        expect(await aside(of)).toEqual([]);
        const outcome = await of.write(checkpoint.id, randomUUID(), [{ id: '1' }], { rejects });
        expect(outcome).toEqual({ rows: 1, already: false, rejected: 1 });
        expect(await aside(of)).toEqual([[reject.reason, reject.record]]);
      });
    });

    describeInFull('the parents of a stream', () => {
      const ended = (mark: Json): Cursor => ({
        pass: 1,
        mark,
        position: null,
        ended: 'empty_page',
        notes: [],
      });
      const marksFile = async (marks: Record<string, Json>) => {
        const path = folder.file(`marks-${randomUUID()}.ndjson`);
        const lines = Object.entries(marks).map(([parent, mark]) =>
          JSON.stringify({ parent: JSON.stringify([parent]), mark: JSON.stringify(mark) }),
        );
        await writeFile(path, lines.map((line) => `${line}\n`).join(''));
        return { marks: async () => [path] };
      };
      const of = (above: Stream, fields = ['name']) => ({
        parent: { stream: 'above', table: above.table, fields },
        key: stream.key,
        after: null,
        limit: 10,
      });
      /** A parent's table that has been read. */
      async function parentTable(
        columns: TableSpec['columns'],
        records: SourceRecord[],
        primaryKey = ['id'],
      ): Promise<Stream> {
        const above = streamOf(tableOf(columns, primaryKey));
        const { checkpoint } = await above.open();
        await above.write(checkpoint.id, randomUUID(), records, { cursor: ended(null) });
        return above;
      }

      it('are not there before a pass over them has ended', async () => {
        const above = streamOf(tableOf({ id: 'LONG', name: 'STRING' }));
        await stream.open();
        const { checkpoint } = await above.open();
        expect(await tested.destination.parents(of(above))).toBeNull();
        const half = randomUUID();
        await above.write(checkpoint.id, half, [{ id: 1, name: 'one' }]);
        expect(await tested.destination.parents(of(above))).toBeNull();
        await above.write(half, randomUUID(), [{ id: 2, name: 'two' }], { cursor: ended(null) });
        expect(await tested.destination.parents(of(above))).toHaveLength(2);
      });

      it('come in the order of their keys, from behind a key, a number at a time', async () => {
        const records = [10, 9, 2, 100].map((id) => ({ id, name: `n${id}` }));
        const above = await parentTable({ id: 'LONG', name: 'STRING' }, records);
        await stream.open();
        const first = await tested.destination.parents({ ...of(above), limit: 3 });
        expect(first?.map(({ key }) => key)).toEqual([['2'], ['9'], ['10']]);
        const rest = await tested.destination.parents({ ...of(above), after: ['10'], limit: 3 });
        expect(rest).toEqual([{ key: ['100'], fields: { name: 'n100' }, mark: null }]);
      });

      it('may have a key of several columns, and give values as they were', async () => {
        const columns = {
          b: 'STRING',
          a: 'LONG',
          at: 'UTC_DATETIME',
          big: 'LONG',
          is: 'BOOLEAN',
          d: 'DECIMAL(20,2)',
        } as const;
        const above = await parentTable(
          columns,
          [
            '{"b":"it\'s","a":2,"at":"2026-01-02T03:04:05.000006+01:00","big":9007199254740993,"is":true,"d":"1.50"}',
            '{"b":"a","a":3}',
            '{"b":"it\'s","a":1}',
          ],
          ['b', 'a'],
        );
        await stream.open();
        const fields = ['a', 'at', 'big', 'is', 'd'];
        const rows = (await tested.destination.parents(of(above, fields))) ?? [];
        expect(rows.map(({ key }) => key)).toEqual([
          ['a', '3'],
          ["it's", '1'],
          ["it's", '2'],
        ]);
        expect(rows[2]?.fields).toEqual({
          a: 2,
          at: '2026-01-02T02:04:05.000006Z',
          big: '9007199254740993',
          is: true,
          d: '1.50',
        });
        expect(rows[0]?.fields).toEqual({ a: 3, at: null, big: null, is: null, d: null });
        const rest = await tested.destination.parents({
          ...of(above),
          parent: { ...of(above).parent, fields: [] },
          after: ["it's", '1'],
        });
        expect(rest).toEqual([{ key: ["it's", '2'], fields: {}, mark: null }]);
      });

      it('have marks, kept with the batch that they came with or not at all', async () => {
        const above = await parentTable({ id: 'STRING', name: 'STRING' }, [{ id: 'p' }, { id: 'q' }]);
        const { checkpoint } = await stream.open();
        const marks = async () => (await tested.destination.parents(of(above)))?.map(({ mark }) => mark);
        const next = randomUUID();
        await stream.write(checkpoint.id, next, [], await marksFile({ p: { newest: '1' } }));
        expect(await marks()).toEqual([{ newest: '1' }, null]);
        const stale = stream.write(checkpoint.id, randomUUID(), [], await marksFile({ p: 'stale' }));
        expect(await thrownBy(stale)).toBeInstanceOf(CheckpointConflictError);
        const misfit = stream.write(
          next,
          randomUUID(),
          [{ id: '1', age: 'old' }],
          await marksFile({ p: 'no' }),
        );
        expect(await thrownBy(misfit)).toBeInstanceOf(RecordError);
        expect(await marks()).toEqual([{ newest: '1' }, null]);
        await stream.write(
          next,
          randomUUID(),
          [{ id: '1' }],
          await marksFile({ p: { newest: '2' }, q: null }),
        );
        expect(await marks()).toEqual([{ newest: '2' }, null]);
        // Another stream's parents have marks of their own.
        const other = streamOf(tableOf(COLUMNS));
        await other.open();
        expect(await tested.destination.parents({ ...of(above), key: other.key, limit: 1 })).toMatchObject([
          { mark: null },
        ]);
        await stream.open('w2', { full: true });
        expect(await marks()).toEqual([null, null]);
      });
    });

    it('keeps rows, checkpoints and its identity over a restart', async () => {
      const { checkpoint, database } = await stream.open();
      const next = randomUUID();
      await stream.write(checkpoint.id, next, [{ id: '1', name: 'one' }]);
      tested = await tested.reopen();
      stream = streamOf(stream.table);
      const again = await stream.open();
      expect(again).toMatchObject({ database, checkpoint: { id: next, cursor: cursorAt(next) } });
      expect(await stream.rows()).toEqual([{ id: '1', name: 'one', age: null }]);
      expect(await stream.write(checkpoint.id, next, [])).toEqual({ rows: 1, already: true });
    });

    it('is told from another database', async () => {
      const other = await start();
      try {
        const opened = await new Stream(other, folder.file, stream.table).open();
        expect(opened.database).not.toBe((await stream.open()).database);
      } finally {
        await other.close();
      }
    });
  });
}

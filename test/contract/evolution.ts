/** What every destination promises of a table that follows its source; see `docs/configuration.md`. */
import { readdir, readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { WriteOutcome } from '../../src/destinations/destination.js';
import { DestinationError, RecordError } from '../../src/errors.js';
import type { ColumnType, Inference, SchemaChange, TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { keyOf, Stream, thrownBy, type SourceRecord, type TestedDestination } from './tested.js';
import { runs } from '../helpers/long.js';

const EVOLVE: Inference = { policy: 'evolve', flatten: 0, names: 'as_is' };

export function evolutionContract(
  name: string,
  start: () => Promise<TestedDestination>,
  tells: { caseApart: boolean },
): void {
  describe(`${name}, as a table that follows its source,`, () => {
    let folder: Awaited<ReturnType<typeof scratch>>;
    let tested: TestedDestination;
    let tests = 0;
    let spec: TableSpec;
    const tableOf = (more: Partial<TableSpec> = {}): TableSpec => ({
      ...{ schema: 'main', table: `e${tests++}`, primaryKey: ['id'], columns: {}, inference: EVOLVE },
      ...more,
    });
    /** Writes batches one after the other, each in a stream as its process would be after a restart. */
    async function written(table: TableSpec, ...batches: SourceRecord[][]) {
      const stream = new Stream(tested, folder.file, table);
      let base = (await stream.open()).checkpoint.id;
      const outcomes: WriteOutcome[] = [];
      for (const [i, batch] of batches.entries()) {
        const next = `${table.table}-${base.slice(0, 8)}-${i}`;
        outcomes.push(await stream.write(base, next, batch));
        base = next;
      }
      return outcomes;
    }
    const changesOf = (changes: SchemaChange[] = []) =>
      Object.fromEntries(
        changes.map(({ column, from, to }) => [column, from === null ? to : `${from} → ${to}`]),
      );
    const rowsOf = (table: TableSpec, columns: TableSpec['columns']) =>
      new Stream(tested, folder.file, { ...table, columns }).rows();

    beforeAll(async () => {
      folder = await scratch();
      tested = await start();
    });
    beforeEach(() => {
      spec = tableOf();
    });
    afterAll(async () => {
      await tested.close();
      await folder.remove();
    });

    it('is made by the first records, with a column for each member that has a value', async () => {
      const [outcome] = await written(spec, [
        { id: 1, name: 'one', at: '2026-01-01T00:00:00Z', day: '2026-01-01', ok: true, none: null },
        '{"id":2,"price":1.5,"big":12345678901234567890,"fine":0.12345678901234567890123,"tags":["a",1],"naive":"2026-01-01T10:00:00.25"}',
      ]);
      const columns: Record<string, ColumnType> = {
        id: 'LONG',
        name: 'STRING',
        at: 'UTC_DATETIME',
        day: 'NAIVE_DATE',
        ok: 'BOOLEAN',
        price: 'DOUBLE',
        big: 'DECIMAL(38,0)',
        fine: 'DECIMAL(38,23)',
        tags: 'JSON',
        naive: 'NAIVE_DATETIME',
      };
      expect(outcome).toMatchObject({ rows: 2, already: false });
      expect(changesOf(outcome?.changes)).toEqual(columns);
      const nothing = Object.fromEntries(Object.keys(columns).map((column) => [column, null]));
      expect(await rowsOf(spec, columns)).toEqual([
        {
          ...nothing,
          ...{ id: '1', name: 'one', at: '2026-01-01T00:00:00.000000Z', day: '2026-01-01', ok: 'true' },
        },
        {
          ...nothing,
          ...{ id: '2', price: '1.5', big: '12345678901234567890', fine: '0.12345678901234567890123' },
          ...{ tags: '["a",1]', naive: '2026-01-01T10:00:00.250000' },
        },
      ]);
    });

    it('gets new columns in the middle of a pass; one that vanishes at the source stays, and is null', async () => {
      const [, second] = await written(
        spec,
        [
          { id: 1, old: 'x' },
          { id: 2, old: 'y' },
        ],
        [
          { id: 2, fresh: 7 },
          { id: 3, fresh: 8 },
        ],
      );
      expect(changesOf(second?.changes)).toEqual({ fresh: 'LONG' });
      expect(await rowsOf(spec, { id: 'LONG', old: 'STRING', fresh: 'LONG' })).toEqual([
        { id: '1', old: 'x', fresh: null },
        { id: '2', old: null, fresh: '7' },
        { id: '3', old: null, fresh: '8' },
      ]);
    });

    it.each<[string, string, ColumnType, string, ColumnType, string, string]>([
      ['a text among whole numbers', '9007199254740993', 'LONG', '"x"', 'STRING', '9007199254740993', 'x'],
      ['a fraction', '5', 'LONG', '1.25', 'DOUBLE', '5', '1.25'],
      [
        'a fraction beside what a DOUBLE rounds',
        '9007199254740993',
        'LONG',
        '1.25',
        'DECIMAL(38,2)',
        '9007199254740993.00',
        '1.25',
      ],
      [
        'more than 64 bits',
        '-5',
        'LONG',
        '9223372036854775808',
        'DECIMAL(38,0)',
        '-5',
        '9223372036854775808',
      ],
      ['more digits than any number has', '5', 'LONG', '1e400', 'STRING', '5', '1e400'],
      [
        'more digits than a DOUBLE has',
        '0.1',
        'DOUBLE',
        '0.12345678901234567890',
        'STRING',
        '0.1',
        '0.12345678901234567890',
      ],
      ['a text among fractions', '1000.5', 'DOUBLE', '"many"', 'STRING', '1000.5', 'many'],
      [
        'a time among dates',
        '"2026-02-28"',
        'NAIVE_DATE',
        '"2026-02-28T10:00:00"',
        'NAIVE_DATETIME',
        '2026-02-28T00:00:00.000000',
        '2026-02-28T10:00:00.000000',
      ],
      ['a word among dates', '"2026-02-28"', 'NAIVE_DATE', '"never"', 'STRING', '2026-02-28', 'never'],
      [
        'a day that is none',
        '"2026-02-28"',
        'NAIVE_DATE',
        '"2026-02-30"',
        'STRING',
        '2026-02-28',
        '2026-02-30',
      ],
      [
        'an offset among instants',
        '"2026-01-01T10:00:00Z"',
        'UTC_DATETIME',
        '"2026-01-01T10:00:00+02:00"',
        'STRING',
        '2026-01-01T10:00:00Z',
        '2026-01-01T10:00:00+02:00',
      ],
      [
        'nanoseconds',
        '"2026-01-01T10:00:00.5Z"',
        'UTC_DATETIME',
        '"2026-01-01T10:00:00.123456789Z"',
        'STRING',
        '2026-01-01T10:00:00.5Z',
        '2026-01-01T10:00:00.123456789Z',
      ],
      [
        'a time without a zone',
        '"2026-01-01T10:00:00Z"',
        'UTC_DATETIME',
        '"2026-01-01T10:00:00"',
        'STRING',
        '2026-01-01T10:00:00Z',
        '2026-01-01T10:00:00',
      ],
      ['a number among truths', 'true', 'BOOLEAN', '2', 'STRING', 'true', '2'],
      ['an object among texts', '"a \\"b\\""', 'STRING', '{"c":1.5}', 'JSON', '"a \\"b\\""', '{"c":1.5}'],
      [
        'a list among numbers',
        '12345678901234567890',
        'DECIMAL(38,0)',
        '[1]',
        'JSON',
        '12345678901234567890',
        '[1]',
      ],
      ['a text among objects', '{"a":1}', 'JSON', '"b"', 'JSON', '{"a":1}', '"b"'],
    ])(
      'is widened for %s, and what is there stays as it was',
      async (_, one, from, other, to, kept, added) => {
        const [, second] = await written(spec, [`{"id":1,"v":${one}}`], [`{"id":2,"v":${other}}`]);
        expect(changesOf(second?.changes)).toEqual(from === to ? {} : { v: `${from} → ${to}` });
        const rows = await rowsOf(spec, { id: 'LONG', v: to });
        // As numbers both are the same.
        const plain = (text: string | null | undefined) =>
          to === 'DOUBLE' ? text?.replace(/\.0$/, '') : text;
        expect(rows.map(({ v }) => plain(v))).toEqual([kept, added]);
        // The same in one batch, where nothing has to be widened.
        const together = tableOf();
        await written(together, [`{"id":1,"v":${one}}`, `{"id":2,"v":${other}}`]);
        expect(await rowsOf(together, { id: 'LONG' })).toHaveLength(2);
      },
    );

    it('keeps its primary key through a change of its type', async () => {
      const [, second, third] = await written(
        spec,
        [
          { id: 1, v: 'a' },
          { id: 2, v: 'b' },
        ],
        [{ id: 'x', v: 'c' }],
        [{ id: 2, v: 'changed' }],
      );
      expect(changesOf(second?.changes)).toEqual({ id: 'LONG → STRING' });
      expect(third).toMatchObject({ rows: 1 });
      expect(await rowsOf(spec, { id: 'STRING', v: 'STRING' })).toEqual([
        { id: '1', v: 'a' },
        { id: '2', v: 'changed' },
        { id: 'x', v: 'c' },
      ]);
    });

    it('writes down what was done, why, and with which batch; a batch that is written again does nothing more', async () => {
      const stream = new Stream(tested, folder.file, spec);
      const { checkpoint } = await stream.open();
      const one = await stream.write(checkpoint.id, `${spec.table}-1`, [{ id: 7, v: 1 }]);
      const again = await stream.write(checkpoint.id, `${spec.table}-1`, [{ id: 7, v: 1 }]);
      expect(again).toEqual({ ...one, already: true });
      await stream.write(`${spec.table}-1`, `${spec.table}-2`, [{ id: 8, v: 'x' }]);
      const recorded = await tested.query(
        `SELECT batch, "column", path, from_type, to_type, example, record FROM ${tested.ownSchema}_highwater_schema_changes
           WHERE "table" = '${spec.table}' ORDER BY changed_at, "column"`,
      );
      expect(recorded).toEqual([
        [`${spec.table}-1`, 'id', '["id"]', null, 'LONG', '7', '7'],
        [`${spec.table}-1`, 'v', '["v"]', null, 'LONG', '1', '7'],
        [`${spec.table}-2`, 'v', '["v"]', 'LONG', 'STRING', '"x"', '8'],
      ]);
    });

    it('is as it was where the write fails after the change', async () => {
      const stream = new Stream(tested, folder.file, spec);
      const { checkpoint } = await stream.open();
      await stream.write(checkpoint.id, `${spec.table}-1`, [{ id: 1, v: 1 }]);
      const failing = stream.write(`${spec.table}-1`, `${spec.table}-2`, [{ id: 2, v: 'x', w: 1 }], {
        marks: () => Promise.reject(new Error('a crash')),
      });
      expect((await thrownBy(failing)).message).toBe('a crash');
      expect(await rowsOf(spec, { id: 'LONG', v: 'LONG' })).toEqual([{ id: '1', v: '1' }]);
      await thrownBy(tested.query(`SELECT w FROM main.${spec.table}`));
      const { changes } = await stream.write(`${spec.table}-1`, `${spec.table}-2`, [{ id: 2, v: 'x', w: 1 }]);
      expect(changesOf(changes)).toEqual({ v: 'LONG → STRING', w: 'LONG' });
    });

    it('is not made of records that no column can hold', async () => {
      const thrown = await thrownBy(written(spec, ['{"id":1,"v":"x"}', String.raw`{"id":2,"v":"\ud800"}`]));
      expect(thrown).toBeInstanceOf(RecordError);
      await thrownBy(tested.query(`SELECT * FROM main.${spec.table}`));
    });

    it('is changed once by two writers that meet the same new member at once', async () => {
      await written(spec, [{ id: 0, v: 1 }]);
      const streams = ['a', 'b', 'c'].map(
        (source) => new Stream(tested, folder.file, spec, keyOf(spec, { source: `http://${source}` })),
      );
      const bases: string[] = [];
      for (const stream of streams) bases.push((await stream.open('w1')).checkpoint.id);
      const outcomes = await Promise.all(
        streams.map((stream, i) =>
          stream.write(bases[i] ?? '', `${spec.table}-${i}`, [
            { id: i + 1, fresh: i, v: i === 1 ? 'text' : i },
          ]),
        ),
      );
      const changes = outcomes.flatMap((outcome) => outcome.changes ?? []);
      expect(changesOf(changes)).toEqual({ fresh: 'LONG', v: 'LONG → STRING' });
      expect(changes).toHaveLength(2);
      expect(await rowsOf(spec, { id: 'LONG', v: 'STRING', fresh: 'LONG' })).toEqual([
        { id: '0', v: '1', fresh: null },
        { id: '1', v: '0', fresh: '0' },
        { id: '2', v: 'text', fresh: '1' },
        { id: '3', v: '2', fresh: '2' },
      ]);
    });

    it('is made once by writers that begin at once', async () => {
      const streams = ['a', 'b', 'c'].map(
        (source) => new Stream(tested, folder.file, spec, keyOf(spec, { source: `http://${source}` })),
      );
      const bases: string[] = [];
      for (const stream of streams) bases.push((await stream.open('w1')).checkpoint.id);
      await Promise.all(
        streams.map((stream, i) =>
          stream.write(bases[i] ?? '', `${spec.table}-${i}`, [{ id: i, [`v${i}`]: i }]),
        ),
      );
      expect(await rowsOf(spec, { id: 'LONG', v0: 'LONG', v1: 'LONG', v2: 'LONG' })).toEqual([
        { id: '0', v0: '0', v1: null, v2: null },
        { id: '1', v0: null, v1: '1', v2: null },
        { id: '2', v0: null, v1: null, v2: '2' },
      ]);
    });

    it('takes declared columns for what they are, until a value does not fit', async () => {
      const declared = tableOf({ columns: { id: 'LONG', n: 'SHORT', at: 'UTC_DATETIME' } });
      const [first, second] = await written(
        declared,
        [{ id: '1', n: '12', at: '2026-01-01T00:00:00+02:00', more: 1 }, '{"id":"4","n":2e3}'],
        [{ id: '2', n: 70000, at: '2026-01-01' }],
      );
      expect(changesOf(first?.changes)).toEqual({ more: 'LONG' });
      expect(changesOf(second?.changes)).toEqual({ n: 'SHORT → INT' });
      // What was declared once is not what the table has now, and the stream opens all the same.
      await written(declared, [{ id: '3', n: 1 }]);
      expect(await rowsOf(declared, { id: 'LONG', n: 'INT', at: 'UTC_DATETIME' })).toEqual([
        { id: '1', n: '12', at: '2025-12-31T22:00:00.000000Z' },
        { id: '2', n: '70000', at: '2026-01-01T00:00:00.000000Z' },
        { id: '3', n: '1', at: null },
        { id: '4', n: '2000', at: null },
      ]);
    });

    it('leaves a column alone that somebody else has added', async () => {
      await written(spec, [{ id: 1, v: 1 }]);
      await tested.query(`ALTER TABLE main.${spec.table} ADD COLUMN note TEXT`);
      await tested.query(`UPDATE main.${spec.table} SET note = 'mine'`);
      await written(spec, [{ id: 1, v: 2 }]);
      expect(await rowsOf(spec, { id: 'LONG', v: 'LONG', note: 'STRING' })).toEqual([
        { id: '1', v: '2', note: 'mine' },
      ]);
      await tested.query(`ALTER TABLE main.${spec.table} ADD COLUMN span INTERVAL`);
      const thrown = await thrownBy(written(spec, [{ id: 2, span: 5 }]));
      expect(thrown).toBeInstanceOf(DestinationError);
      expect(thrown.message).toMatch(/has a column "span" of type interval, which Highwater cannot write/i);
    });

    it('is not changed where it is frozen: the differences are named', async () => {
      const frozen = tableOf({ inference: { ...EVOLVE, policy: 'freeze' } });
      await written(frozen, [{ id: 1, v: 1 }]);
      const thrown = await thrownBy(
        written(frozen, [
          { id: 2, v: 2 },
          { id: 3, v: 'red' },
          { id: 4, color: 'blue' },
        ]),
      );
      expect(thrown).toBeInstanceOf(RecordError);
      expect(thrown.message).toContain('column "v" cannot hold "red" as LONG (record 3)');
      expect(thrown.message).toContain('member "color" (here "blue") has no column (record 4)');
      expect(thrown.message).toContain('Set "misfits" to "evolve"');
      expect(await rowsOf(frozen, { id: 'LONG', v: 'LONG' })).toEqual([{ id: '1', v: '1' }]);
    });

    it('puts aside what differs where that is asked for', async () => {
      const sorted = tableOf({ inference: { ...EVOLVE, policy: 'quarantine' }, quarantine: true });
      const [, second] = await written(
        sorted,
        [{ id: 1, v: 1 }],
        [{ id: 2, v: 2 }, { id: 3, v: 'red' }, { id: 4, v: 4, color: 'blue' }, { id: 5 }],
      );
      expect(second).toMatchObject({ rows: 2, rejected: 2 });
      expect(await rowsOf(sorted, { id: 'LONG', v: 'LONG' })).toEqual([
        { id: '1', v: '1' },
        { id: '2', v: '2' },
        { id: '5', v: null },
      ]);
      const rejects = await tested.query(
        `SELECT record, reason FROM ${tested.ownSchema}_highwater_rejects WHERE "table" = '${sorted.table}' ORDER BY record`,
      );
      expect(rejects).toEqual([
        ['{"id":3,"v":"red"}', 'column "v" cannot hold "red" as LONG'],
        ['{"id":4,"v":4,"color":"blue"}', 'member "color" (here "blue") has no column'],
      ]);
    });

    it('has the members of nested objects as columns, by choice', async () => {
      const flat = tableOf({ inference: { ...EVOLVE, flatten: 20 } });
      await written(
        flat,
        [{ id: 1, address: { city: 'Bonn', geo: { lat: 50.7 } }, tags: [{ a: 1 }] }],
        [{ id: 2, address: null, address__city: 'its own' }],
        [{ id: 3, address: 'Main Street' }],
      );
      expect(
        await rowsOf(flat, {
          ...{ id: 'LONG', address__city: 'STRING', address__geo__lat: 'DOUBLE', tags: 'JSON' },
          ...{ address__city_2: 'STRING', address: 'STRING' },
        }),
      ).toEqual([
        {
          ...{ id: '1', address__city: 'Bonn', address__geo__lat: '50.7', tags: '[{"a":1}]' },
          ...{ address__city_2: null, address: null },
        },
        {
          ...{ id: '2', address__city: null, address__geo__lat: null, tags: null },
          ...{ address__city_2: 'its own', address: null },
        },
        {
          ...{ id: '3', address__city: null, address__geo__lat: null, tags: null },
          ...{ address__city_2: null, address: 'Main Street' },
        },
      ]);
      const once = tableOf({ inference: { ...EVOLVE, flatten: 1 } });
      await written(once, [{ id: 1, a: { b: { c: 1 } } }]);
      expect(await rowsOf(once, { id: 'LONG', a__b: 'JSON' })).toEqual([{ id: '1', a__b: '{"c":1}' }]);
    });

    it('has names in snake case, by choice; two members never share a column', async () => {
      const snake = tableOf({ primaryKey: ['orderId'], inference: { ...EVOLVE, names: 'snake_case' } });
      await written(snake, [{ orderId: 1, createdAt: 'a' }], [{ orderId: 2, created_at: 'b' }]);
      await written(snake, [{ orderId: 1, createdAt: 'c', 'Created At': 'd' }]);
      const columns: TableSpec['columns'] = {
        ...{ order_id: 'LONG', created_at: 'STRING', created_at_2: 'STRING', created_at_3: 'STRING' },
      };
      expect(await rowsOf({ ...snake, primaryKey: ['order_id'] }, columns)).toEqual([
        { order_id: '1', created_at: 'c', created_at_2: null, created_at_3: 'd' },
        { order_id: '2', created_at: null, created_at_2: 'b', created_at_3: null },
      ]);
    });

    it('tells members apart that differ only by case', async () => {
      await written(spec, [{ id: 1, Name: 'A', name: 'a' }], [{ id: 2, name: 'b' }]);
      const columns: TableSpec['columns'] = tells.caseApart
        ? { id: 'LONG', Name: 'STRING', name: 'STRING' }
        : { id: 'LONG', Name: 'STRING', name_2: 'STRING' };
      const other = tells.caseApart ? 'name' : 'name_2';
      expect(await rowsOf(spec, columns)).toEqual([
        { id: '1', Name: 'A', [other]: 'a' },
        { id: '2', Name: null, [other]: 'b' },
      ]);
    });

    it('has a column for every name there may be', async () => {
      const long = 'ä'.repeat(150);
      const names = [
        '',
        ' spaced ',
        'a"b',
        "it's",
        'select',
        'x\u0000y',
        '_highwater_batch',
        '__proto__',
        long,
        `${long}x`,
      ];
      const record = `{"id":1,${names.map((one, i) => `${JSON.stringify(one)}:${i}`).join(',')}}`;
      const [outcome] = await written(spec, [record]);
      const columns = outcome?.changes?.map(({ column }) => column) ?? [];
      expect(new Set(columns).size).toBe(names.length + 1);
      const rows = await tested.query(`SELECT * FROM main.${spec.table}`);
      expect(rows[0]?.map(String)).toEqual(['1', ...names.map((_, i) => String(i))]);
      const again = await written(spec, [record]);
      expect(again[0]).toMatchObject({ rows: 0 });
    });

    it('has rows removed that a whole pass has not met, and none where nothing was ever there', async () => {
      for (const deletes of ['soft', 'hard'] as const) {
        const table = tableOf({ deletes });
        const stream = new Stream(tested, folder.file, table);
        const ended = { pass: 1, mark: null, position: null, ended: 'last_page' as const, notes: [] };
        let base = (await stream.open()).checkpoint.id;
        const next = (i: number) => `${table.table}-${i}`;
        await stream.write(base, next(0), [], { cursor: ended });
        base = next(0);
        await stream.write(base, next(1), [{ id: 1 }, { id: 2 }], { cursor: { ...ended, pass: 2 } });
        const outcome = await stream.write(next(1), next(2), [{ id: 2, v: 'new' }], {
          cursor: { ...ended, pass: 3 },
        });
        expect(outcome).toMatchObject({ deleted: 1 });
        const left = await tested.query(
          `SELECT id FROM main.${table.table} ${deletes === 'soft' ? 'WHERE _highwater_deleted_at IS NULL' : ''}`,
        );
        expect(left.map((row) => row.map(String))).toEqual([['2']]);
      }
    });

    it('is read as a parent by the names that records have', async () => {
      const parent = tableOf({ primaryKey: ['orderId'], inference: { ...EVOLVE, names: 'snake_case' } });
      const child = tableOf();
      const ask = (fields: string[]) =>
        tested.destination.parents({
          key: keyOf(child),
          parent: { stream: 'orders', table: parent, fields },
          after: null,
          limit: 10,
        });
      const ended = { pass: 1, mark: null, position: null, ended: 'last_page' as const, notes: [] };
      const stream = new Stream(tested, folder.file, parent);
      const { checkpoint } = await stream.open();
      await new Stream(tested, folder.file, child).open();
      await stream.write(checkpoint.id, `${parent.table}-0`, [], { cursor: ended });
      expect(await ask(['orderId'])).toEqual([]);
      await stream.write(`${parent.table}-0`, `${parent.table}-1`, [{ orderId: 5, shopName: 'x' }], {
        cursor: ended,
      });
      expect(await ask(['orderId', 'shopName'])).toEqual([
        { key: ['5'], mark: null, fields: { orderId: 5, shopName: 'x' } },
      ]);
      expect((await thrownBy(ask(['color']))).message).toContain('stream orders has no column "color"');
    });

    it('gives back whatever was put in, in any order, by any batches', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(VALUES, { maxLength: 5 }), { minLength: 1, maxLength: 4 }),
          async (batches) => {
            const table = tableOf();
            let id = 0;
            const records = batches.map((batch) => batch.map((raw) => ({ id: id++, raw })));
            const outcomes = await written(
              table,
              ...records.map((batch) => batch.map((record) => `{"id":${record.id},"v":${record.raw}}`)),
            );
            const changes = outcomes.flatMap((outcome) => outcome.changes ?? []);
            const type = changes.findLast(({ column }) => column === 'v')?.to;
            if (type === undefined) return;
            const rows = await rowsOf(table, { id: 'LONG', v: type });
            const found = new Map(rows.map((row) => [Number(row['id']), row['v'] ?? null]));
            for (const record of records.flat()) {
              expect(meaning(found.get(record.id) ?? null, type)).toEqual(
                meaning(type === 'JSON' ? record.raw : plainText(record.raw), type),
              );
            }
          },
        ),
        { numRuns: runs(60), endOnFailure: true, interruptAfterTimeLimit: 30_000 },
      );
    });

    it('leaves no file behind', async () => {
      const left = (await readdir(folder.file('.'))).filter((file) => !file.endsWith('.ndjson'));
      expect(left).toEqual([]);
      expect(await readFile(folder.file((await readdir(folder.file('.')))[0] ?? ''), 'utf8')).not.toBe('');
    });
  });
}

const VALUES = fc.oneof(
  fc.boolean().map(String),
  fc.integer().map(String),
  fc.bigInt({ min: -(10n ** 22n), max: 10n ** 22n }).map(String),
  fc
    .double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 })
    .map((value) => JSON.stringify(value)),
  fc.stringMatching(/^[1-9]\d{0,20}\.\d{1,20}$/),
  fc
    .date({
      min: new Date('1000-01-01T00:00:00Z'),
      max: new Date('9999-12-31T00:00:00Z'),
      noInvalidDate: true,
    })
    .chain((date) =>
      fc.constantFrom(date.toISOString(), date.toISOString().slice(0, 10), date.toISOString().slice(0, -1)),
    )
    .map((text) => JSON.stringify(text)),
  fc.string().map((text) => JSON.stringify(text)),
  fc.constantFrom('{"a":[1,"b"]}', '[]', '{}'),
);

/** A value's text as a column of text has it. */
const plainText = (raw: string) => (raw.startsWith('"') ? (JSON.parse(raw) as string) : raw);

/** What two spellings of one value have in common: numbers without their zeros, a day as its midnight. */
function meaning(text: string | null, type: ColumnType): unknown {
  if (text === null) return null;
  if (type === 'JSON') {
    const value = JSON.parse(text) as unknown;
    // A number or a time that was text in between is text.
    if (typeof value === 'object') return value;
    const plain = plainText(text);
    // DuckDB keeps of a number in JSON what a double keeps.
    return /^-?\d[\d.]*([eE][+-]?\d+)?$/.test(plain) ? Number(plain) : meaning(plain, 'STRING');
  }
  const number = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (number !== null) {
    const [, sign = '', whole = '', fraction = '', exponent = '0'] = number;
    const digits = BigInt(whole + fraction);
    if (digits === 0n) return 'number 0';
    const zeros = /0*$/.exec(String(digits))?.[0].length ?? 0;
    return `number ${sign}${String(digits).slice(0, String(digits).length - zeros)}e${Number(exponent) - fraction.length + zeros}`;
  }
  const time = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d:\d\d)(?:\.(\d+))?(Z?))?$/.exec(text);
  if (time === null) return text;
  const [, day, clock = '00:00:00', fraction = '', zone = ''] = time;
  return `time ${day} ${clock} ${fraction.padEnd(6, '0')} ${zone}`;
}

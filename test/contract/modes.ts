/** What every database promises of its ways of writing; part of the contract suite. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DestinationError } from '../../src/errors.js';
import type { Cursor, Json, TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { keyOf, Stream, type SourceRecord, type TestedDestination } from './tested.js';

const COLUMNS: TableSpec['columns'] = { id: 'LONG', name: 'STRING', more: 'JSON', at: 'UTC_DATETIME' };

const at = (
  pass: number,
  isEnd: boolean,
  { notes = [], ...more }: Partial<Cursor> = {},
): { cursor: Cursor } => ({
  cursor: {
    pass,
    mark: null,
    position: isEnd ? null : 'x',
    ended: isEnd ? 'empty_page' : null,
    notes,
    ...more,
  },
});

/** Writes from the stored checkpoint on. */
async function write(of: Stream, records: SourceRecord[], cursor = at(1, false), id: string = randomUUID()) {
  const { id: base } = await of.checkpoint();
  return { ...(await of.write(base, id, records, cursor)), base, id };
}

const record = (id: number, name: string | null, more: { [name: string]: Json } = {}) => ({
  id,
  name,
  ...more,
});

export function modesContract(name: string, start: () => Promise<TestedDestination>): void {
  describe(`${name}, in its ways of writing,`, () => claims(start));
}

function claims(start: () => Promise<TestedDestination>): void {
  let folder: Awaited<ReturnType<typeof scratch>>;
  let tested: TestedDestination;
  let tests = 0;
  beforeAll(async () => {
    folder = await scratch();
    tested = await start();
  });
  afterAll(async () => {
    await tested.close();
    await folder.remove();
  });
  const tableOf = (columns: TableSpec['columns'], primaryKey = ['id']): TableSpec => ({
    ...{ schema: 'main', table: `mode${tests++}`, primaryKey, columns },
  });
  const streamOf = (table: TableSpec) => new Stream(tested, folder.file, table);
  const open = async (more: Partial<TableSpec>, columns = COLUMNS, primaryKey?: string[]) => {
    const of = streamOf({ ...tableOf(columns, primaryKey), ...more });
    await of.open();
    return of;
  };
  const select = (of: Stream, columns: string, rest = '') =>
    tested.query(`SELECT ${columns} FROM main.${of.table.table} ${rest}`);
  const texts = async (of: Stream, columns: string, rest = '') =>
    (await select(of, columns, rest)).map((row) => row.map(String).join(' '));

  describe('rows that are stamped', () => {
    it('say when they were written last, and by which batch; those that stay the same, nothing new', async () => {
      const of = await open({ stamps: true });
      const first = await write(of, [record(1, 'a'), record(2, 'b')]);
      const before = await texts(of, 'CAST(_highwater_synced_at AS VARCHAR)', 'ORDER BY id');
      const second = await write(of, [record(1, 'a'), record(2, 'c'), record(3, 'd')]);
      expect(await texts(of, 'id, _highwater_batch', 'ORDER BY id')).toEqual([
        `1 ${first.id}`,
        `2 ${second.id}`,
        `3 ${second.id}`,
      ]);
      const after = await texts(of, 'CAST(_highwater_synced_at AS VARCHAR)', 'ORDER BY id');
      expect(after[0]).toBe(before[0]);
      expect((after[1] ?? '') > (before[1] ?? '')).toBe(true);
      expect(Math.abs(Date.now() - Date.parse(after[2] ?? ''))).toBeLessThan(60_000);
      const logged = await tested.query(
        `SELECT count(*)::INTEGER FROM main.${of.table.table} AS t JOIN ${tested.ownSchema}_highwater_batches AS b ON b.id = t._highwater_batch`,
      );
      expect(logged).toEqual([[3]]);
    });

    it('may be so later: a table gets the columns when they are asked for, and rows of before have none', async () => {
      const of = await open({});
      await write(of, [record(1, 'a')]);
      const later = streamOf({ ...of.table, stamps: true });
      await later.open('w2');
      const { checkpoint } = await later.open('w2');
      await later.write(checkpoint.id, 'b2', [record(2, 'b')], { ...at(1, false), workflowId: 'w2' });
      expect(await texts(of, 'id, _highwater_batch', 'ORDER BY id')).toEqual(['1 null', '2 b2']);
    });
  });

  describe('a table that is appended to', () => {
    it('has every version of a record in order, and what is read again unchanged once', async () => {
      const of = await open({ mode: 'append', stamps: true });
      const versions = (...names: (string | null)[]) => names.map((name) => record(1, name));
      expect((await write(of, [...versions('a'), record(2, 'x')])).rows).toBe(2);
      // The boundary is read again; the same content comes back later.
      expect((await write(of, [...versions('a', 'b', 'b', 'a'), record(2, 'x')])).rows).toBe(2);
      expect((await write(of, [...versions('a', null, null), record(3, 'y')])).rows).toBe(2);
      expect((await write(of, versions(null))).rows).toBe(0);
      expect(await texts(of, 'name', 'WHERE id = 1 ORDER BY _highwater_sequence')).toEqual([
        'a',
        'b',
        'a',
        'null',
      ]);
      const all = await texts(of, 'id', 'ORDER BY _highwater_sequence');
      expect(all).toEqual(['1', '2', '1', '1', '1', '3']);
    });

    it('goes by all parts of a key, and by every value of a record', async () => {
      const of = await open({ mode: 'append' }, { ...COLUMNS, b: 'DOUBLE', c: 'BOOLEAN', d: 'BINARY' }, [
        'id',
        'name',
      ]);
      const base = {
        id: 1,
        name: 'n',
        more: { a: [1, null] },
        at: '2026-01-01T00:00:00Z',
        b: 0.1,
        c: null,
        d: null,
      };
      const others = [
        { ...base, more: { a: [1, 2] } },
        { ...base, at: '2026-01-01T00:00:00.000001Z' },
        { ...base, b: 0.2 },
        { ...base, c: false },
        { ...base, d: 'AA==' },
      ];
      expect((await write(of, [base])).rows).toBe(1);
      expect(
        (
          await write(of, [
            { ...base, at: '2026-01-01T01:00:00+01:00' },
            { ...base, name: 'm' },
          ])
        ).rows,
      ).toBe(1);
      expect((await write(of, others)).rows).toBe(5);
      expect((await write(of, [others[4] ?? base])).rows).toBe(0);
    });

    it('has each batch once, however often it is written', async () => {
      const of = await open({ mode: 'append', stamps: true });
      const { base, id } = await write(of, [record(1, 'a'), record(1, 'b')]);
      expect(await of.write(base, id, [record(1, 'a'), record(1, 'b')])).toMatchObject({
        already: true,
        rows: 2,
      });
      expect(await select(of, 'count(*)::INTEGER')).toEqual([[2]]);
    });

    it('puts misfits aside as well', async () => {
      const of = await open({ mode: 'append', quarantine: true });
      const written = await write(of, [record(1, 'a'), { id: 1, name: 'b', at: 'never' }, record(1, 'c')]);
      expect(written).toMatchObject({ rows: 2, rejected: 1 });
      expect(await texts(of, 'name', 'ORDER BY _highwater_sequence')).toEqual(['a', 'c']);
    });
  });

  describe('a table with its history', () => {
    const versions = (of: Stream) =>
      texts(of, 'id, name, _highwater_valid_to IS NULL', 'ORDER BY id, _highwater_valid_from');
    const yes = (rows: string[]) => rows.map((row) => row.replace(/\bt$/, 'true').replace(/\bf$/, 'false'));

    it('says of each version from when until when it was valid', async () => {
      const of = await open({ mode: 'history', stamps: true });
      expect((await write(of, [record(1, 'a'), record(2, 'x')])).rows).toBe(2);
      expect((await write(of, [record(1, 'a'), record(2, 'y'), record(3, 'z')])).rows).toBe(2);
      expect((await write(of, [record(2, 'w'), record(2, 'x')])).rows).toBe(1);
      expect(yes(await versions(of))).toEqual(['1 a true', '2 x false', '2 y false', '2 x true', '3 z true']);
      // Where one ends the next begins.
      const gaps = await tested.query(
        `SELECT count(*)::INTEGER FROM main.${of.table.table} AS a JOIN main.${of.table.table} AS b
           ON a.id = b.id AND a._highwater_valid_to = b._highwater_valid_from`,
      );
      expect(gaps).toEqual([[2]]);
    });

    it('ends the version of what is gone, and begins another when it comes back', async () => {
      const of = await open({ mode: 'history', deletes: 'soft', stamps: true });
      await write(of, [record(1, 'a'), record(2, 'b')], at(1, true));
      expect(await write(of, [record(1, 'a')], at(2, true))).toMatchObject({ rows: 0, deleted: 1 });
      expect(yes(await versions(of))).toEqual(['1 a true', '2 b false']);
      const parent = { stream: 'of', table: of.table, fields: ['name'] };
      const parents = await tested.destination.parents({
        key: of.key,
        parent,
        after: null,
        limit: 9,
      });
      expect(parents?.map(({ fields }) => fields['name'])).toEqual(['a']);
      expect((await write(of, [record(1, 'a'), record(2, 'b')], at(3, true))).rows).toBe(1);
      expect(yes(await versions(of))).toEqual(['1 a true', '2 b false', '2 b true']);
    });

    it('of nothing but its key has one version of each', async () => {
      const of = await open({ mode: 'history' }, { id: 'LONG' });
      await write(of, [{ id: 1 }]);
      expect((await write(of, [{ id: 1 }, { id: 2 }])).rows).toBe(1);
      expect(await select(of, 'count(*)::INTEGER')).toEqual([[2]]);
    });
  });

  describe('a table that is replaced', () => {
    const names = (of: Stream) => texts(of, 'name', 'ORDER BY id');
    const aside = async () =>
      (
        await tested.query(
          `SELECT count(*)::INTEGER FROM information_schema.tables WHERE table_name LIKE '%highwater_aside%'`,
        )
      )[0]?.[0];

    it('is as it was until a pass has ended, and then what the pass has read', async () => {
      const of = await open({ mode: 'replace', stamps: true });
      expect((await write(of, [record(1, 'a'), record(2, 'b')], at(1, false))).rows).toBe(0);
      expect(await names(of)).toEqual([]);
      const first = await write(of, [record(3, 'c')], at(1, true));
      expect(first).toMatchObject({ rows: 3 });
      expect(await names(of)).toEqual(['a', 'b', 'c']);
      await write(of, [record(1, 'a'), record(3, 'x')], at(2, false));
      expect(await names(of)).toEqual(['a', 'b', 'c']);
      // The restart of a worker in between changes nothing.
      expect(await write(of, [record(3, 'C'), record(4, 'd')], at(2, true))).toMatchObject({
        rows: 2,
        deleted: 1,
      });
      expect(await names(of)).toEqual(['a', 'C', 'd']);
      expect(await texts(of, '_highwater_batch', 'WHERE id = 1')).toEqual([first.id]);
      expect(await aside()).toBe(0);
    });

    it('ends with a batch that holds nothing, too', async () => {
      const of = await open({ mode: 'replace' });
      await write(of, [record(1, 'a')], at(1, true));
      await write(of, [record(2, 'b')], at(2, false));
      expect(await write(of, [], at(2, true))).toMatchObject({ rows: 1, deleted: 1 });
      expect(await names(of)).toEqual(['b']);
    });

    it('forgets what a pass has read that was given up', async () => {
      const of = await open({ mode: 'replace' });
      await write(of, [record(1, 'a')], at(1, true));
      await write(of, [record(7, 'given up')], at(2, false));
      const { checkpoint } = await of.open('w2', { full: true });
      await of.write(checkpoint.id, randomUUID(), [record(1, 'b')], { ...at(1, true), workflowId: 'w2' });
      expect(await names(of)).toEqual(['b']);
    });

    it('loses nothing where the pass is not known to be whole, or met nothing', async () => {
      const of = await open({ mode: 'replace', quarantine: true });
      await write(of, [record(1, 'a'), record(2, 'b'), record(3, 'c')], at(1, true));
      await write(of, [record(1, 'A')], at(2, true, { notes: [{ code: 'answer_ignored', message: '' }] }));
      expect(await names(of)).toEqual(['A', 'b', 'c']);
      await write(of, [], at(3, true));
      expect(await names(of)).toEqual(['A', 'b', 'c']);
      await write(of, [record(1, 'a'), { id: 2, at: 'never' }], at(4, false));
      await write(of, [record(4, 'd')], at(4, true));
      expect(await names(of)).toEqual(['a', 'b', 'c', 'd']);
    });

    it('loses nothing to the pass in which the mode was changed', async () => {
      const of = await open({});
      await write(of, [record(1, 'a'), record(2, 'b')], at(1, false));
      const replaced = streamOf({ ...of.table, mode: 'replace' });
      await replaced.open('w1');
      await write(replaced, [record(3, 'c')], at(1, true));
      expect(await names(of)).toEqual(['a', 'b', 'c']);
      await write(replaced, [record(3, 'c')], at(2, true));
      expect(await names(of)).toEqual(['c']);
    });
  });

  describe('a record that says that it is gone', () => {
    const columns: TableSpec['columns'] = { id: 'LONG', name: 'STRING', gone: 'BOOLEAN' };
    const mark = { deletes: 'soft', deletedField: 'gone', unseen: 'stay' } as const;

    it('is marked, and is there again when it says so', async () => {
      const of = await open({ ...mark, stamps: true }, columns);
      const gone = (value: boolean | null) => [{ id: 1, name: 'a', gone: value }];
      const isMarked = async () =>
        (await select(of, '_highwater_deleted_at IS NOT NULL', 'WHERE id = 1'))[0]?.[0];
      expect(await write(of, [...gone(null), { id: 2, name: 'b', gone: true }])).toMatchObject({
        rows: 2,
        deleted: 1,
      });
      expect(await isMarked()).toBe(false);
      expect(await write(of, gone(true), at(1, true))).toMatchObject({ rows: 1, deleted: 1 });
      const [when] = await texts(of, '_highwater_deleted_at', 'WHERE id = 1');
      expect(await write(of, gone(true), at(2, true))).not.toHaveProperty('deleted');
      expect(await texts(of, '_highwater_deleted_at', 'WHERE id = 1')).toEqual([when]);
      // Nor when it changes after its end.
      const changed = [{ id: 1, name: 'after', gone: true }];
      expect(await write(of, changed, at(2, true))).not.toHaveProperty('deleted');
      expect(await texts(of, '_highwater_deleted_at', 'WHERE id = 1')).toEqual([when]);
      await write(of, gone(false), at(3, true));
      expect(await isMarked()).toBe(false);
      // What a pass has not met stays as it is.
      await write(of, [], at(4, true));
      expect(await select(of, 'count(*)::INTEGER', 'WHERE _highwater_deleted_at IS NULL')).toEqual([[1]]);
    });

    it('is removed', async () => {
      const of = await open({ ...mark, deletes: 'hard' }, columns);
      await write(of, [record(1, 'a'), record(2, 'b')]);
      const last = [
        { id: 1, name: 'x', gone: true },
        { id: 2, name: 'c', gone: true },
        { id: 2, name: 'd', gone: false },
        { id: 3, gone: true },
      ];
      expect(await write(of, last)).toMatchObject({ rows: 1, deleted: 1 });
      expect(await texts(of, 'name')).toEqual(['d']);
    });

    it('ends its version in a history', async () => {
      const of = await open({ ...mark, mode: 'history' }, columns);
      await write(of, [record(1, 'a')]);
      expect(await write(of, [{ id: 1, name: 'x', gone: true }])).toMatchObject({ rows: 0, deleted: 1 });
      expect(await write(of, [{ id: 1, name: 'x', gone: true }])).not.toHaveProperty('deleted');
      expect(await select(of, 'name', 'WHERE _highwater_valid_to IS NULL')).toEqual([]);
      await write(of, [record(1, 'b')]);
      expect(await texts(of, 'name', 'WHERE _highwater_valid_to IS NULL')).toEqual(['b']);
    });

    it.each([
      ['STRING', ['yes', 'true', 'D'], ['', 'false', 'No', '0', null]],
      ['LONG', [1, -3], [0, null]],
      ['DECIMAL(9,2)', [0.01], [0, null]],
      ['UTC_DATETIME', ['2026-01-01T00:00:00Z'], [null]],
      ['NAIVE_DATE', ['2026-01-01'], [null]],
    ] as const)('may say so by a %s', async (type, gone, here) => {
      const of = await open({ ...mark, deletes: 'hard' }, { ...columns, gone: type });
      const records = [...gone, ...here].map((value, id) => ({ id, name: 'n', gone: value }));
      expect((await write(of, records)).rows).toBe(here.length);
    });
  });

  describe('a pass that reads a window again', () => {
    it('loses what it has not met there, and nothing before it', async () => {
      const of = await open({ deletes: 'hard', unseen: { column: 'at' } });
      const on = (day: number) => ({
        id: day,
        name: 'n',
        at: `2026-01-${String(day).padStart(2, '0')}T00:00:00Z`,
      });
      const since = (text: string) => ({ since: text });
      await write(of, [on(1), on(2), on(3), on(4), on(5)], at(1, true, since('0001-01-01T00:00:00Z')));
      const window = at(2, true, since('2026-01-02T00:00:00Z'));
      // What is of the very time that was asked for may have been left out.
      expect(await write(of, [on(4)], window)).toMatchObject({ deleted: 2 });
      expect(await texts(of, 'id', 'ORDER BY id')).toEqual(['1', '2', '4']);
      // Of a pass that does not say what it asked for nothing is known.
      expect(await write(of, [on(4)], at(3, true))).not.toHaveProperty('deleted');
      const cut = { ...since('2026-01-01T00:00:00Z'), notes: [{ code: 'answer_cut', message: '' }] };
      expect(await write(of, [on(4)], at(4, true, cut))).not.toHaveProperty('deleted');
      expect(await write(of, [on(4)], at(5, true, since('2025-12-31T00:00:00Z')))).toMatchObject({
        deleted: 2,
      });
    });
  });

  it.each([
    ['append', 'upsert'],
    ['history', 'upsert'],
    ['upsert', 'append'],
    ['upsert', 'history'],
    ['append', 'replace'],
    ['history', 'append'],
  ] as const)('a table with rows of mode %s is refused for mode %s', async (is, wanted) => {
    const { mode: _mode, ...table } = tableOf(COLUMNS);
    const spec = (mode: string): TableSpec =>
      mode === 'upsert' ? table : { ...table, mode: mode as NonNullable<TableSpec['mode']> };
    const of = streamOf(spec(is));
    await of.open();
    await write(of, [record(1, 'a')]);
    const other = streamOf(spec(wanted)).open('w2');
    await expect(other).rejects.toThrow(DestinationError);
    await expect(other).rejects.toThrow(`was written in mode ${is}, but mode ${wanted} is configured`);
  });

  describe('a table that follows its source', () => {
    const inference = { policy: 'evolve', flatten: 0, names: 'snake_case' } as const;
    const following = (more: Partial<TableSpec>) => open({ inference, stamps: true, ...more }, {});

    it('is replaced by a pass in the middle of which columns come and widen', async () => {
      const of = await following({ mode: 'replace' });
      await write(of, [{ id: 1, someName: 'a', n: 1 }], at(1, true));
      await write(of, [{ id: 1, someName: 'b', n: 2 }], at(2, false));
      const last = await write(of, [{ id: 'x-2', someName: 'c', n: 'two', isNew: true }], at(2, true));
      expect(last).toMatchObject({ rows: 2 });
      expect(last).not.toHaveProperty('deleted');
      expect(await texts(of, 'id, some_name, n, is_new', 'ORDER BY some_name')).toEqual([
        '1 b 2 null',
        'x-2 c two true',
      ]);
      await write(of, [{ id: 1, someName: 'd' }], at(3, true));
      expect(await texts(of, 'id, some_name, n', 'ORDER BY some_name')).toEqual(['1 d null']);
    });

    it('finds its rows again when the type of their key has changed', async () => {
      const of = await following({ deletes: 'soft' });
      await write(of, [record(1, 'a'), record(2, 'b')], at(1, true));
      await write(of, [record(2, 'c'), { id: 'x', name: 'd' }, { id: 'y', name: 'e' }], at(2, false));
      expect((await write(of, [record(1, 'f'), { id: 'x', name: 'g' }], at(2, true))).rows).toBe(2);
      expect(await texts(of, 'id, name', 'ORDER BY name')).toEqual(['2 c', 'y e', '1 f', 'x g']);
      expect(await write(of, [{ id: 'x', name: 'g' }], at(3, true))).toMatchObject({ rows: 0, deleted: 3 });
    });

    it.each(['append', 'history'] as const)('keeps its versions in mode %s', async (mode) => {
      const of = await following({ mode });
      await write(of, [record(1, 'a'), record(2, 'b')]);
      expect((await write(of, [record(1, 'a', { extra: 7 }), record(2, 'b')])).rows).toBe(1);
      expect((await write(of, [record(1, 'a', { extra: 7 }), record(2, 'b', { extra: 'seven' })])).rows).toBe(
        1,
      );
      const found = await texts(of, 'id, extra', 'ORDER BY id, _highwater_synced_at, extra');
      expect(found.sort()).toEqual(['1 7', '1 null', '2 null', '2 seven']);
    });

    it('removes what says that it is gone', async () => {
      const of = await open(
        { inference, deletes: 'hard', deletedField: 'gone', unseen: 'stay' },
        { gone: 'BOOLEAN' },
      );
      await write(of, [record(1, 'a'), record(2, 'b')]);
      expect(await write(of, [{ id: 2, name: 'b', gone: true, more: {} }])).toMatchObject({ deleted: 1 });
      expect(await texts(of, 'id')).toEqual(['1']);
    });
  });

  describe('deletes', () => {
    it('that are switched on in the middle of a pass delete nothing in it', async () => {
      const of = await open({});
      await write(of, [record(1, 'a'), record(2, 'b')], at(1, false));
      const deleting = streamOf({ ...of.table, deletes: 'hard' });
      await deleting.open('w1');
      await write(deleting, [record(3, 'c')], at(1, true));
      expect(await texts(of, 'id', 'ORDER BY id')).toEqual(['1', '2', '3']);
      await write(deleting, [record(3, 'c')], at(2, true));
      expect(await texts(of, 'id')).toEqual(['3']);
    });

    it('and modes that would remove the rows of another source are refused', async () => {
      const of = await open({});
      await write(of, [record(1, 'a')], at(1, true));
      const key = keyOf(of.table, { source: 'http://elsewhere/users' });
      for (const more of [{ deletes: 'soft' }, { mode: 'replace' }] as const) {
        const other = new Stream(tested, folder.file, { ...of.table, ...more }, key);
        await expect(other.open('w2')).rejects.toThrow(
          /also has rows of another source \(http:\/\/source\/users\)/,
        );
      }
      const other = new Stream(tested, folder.file, { ...of.table, deletes: 'hard' }, key);
      const { checkpoint } = await other.open('w2', { takeOver: true });
      await other.write(checkpoint.id, randomUUID(), [record(2, 'b')], { ...at(1, true), workflowId: 'w2' });
      expect(await texts(of, 'id')).toEqual(['2']);
    });

    it('of a window do nothing once its column is none of instants any more', async () => {
      const of = await open({ deletes: 'hard', unseen: { column: 'at' } }, { id: 'LONG', at: 'STRING' });
      await write(
        of,
        [
          { id: 1, at: '2026-01-02' },
          { id: 2, at: 'soon' },
        ],
        at(1, true, { since: '0001-01-01T00:00:00Z' }),
      );
      const later = await write(of, [{ id: 2, at: 'soon' }], at(2, true, { since: '2026-01-01T00:00:00Z' }));
      expect(later).not.toHaveProperty('deleted');
    });

    it('by a field that has become JSON go by what it says', async () => {
      const of = await open(
        { deletes: 'hard', deletedField: 'gone', unseen: 'stay' },
        { id: 'LONG', gone: 'JSON' },
      );
      const said = [true, { by: 'me' }, false, null, 0, ''];
      expect(
        (
          await write(
            of,
            said.map((gone, id) => ({ id, gone })),
          )
        ).rows,
      ).toBe(4);
    });
  });

  it('a table that was emptied takes another mode for good', async () => {
    for (const [before, after] of [
      ['append', undefined],
      ['history', undefined],
      ['history', 'append'],
    ] as const) {
      const of = await open({ mode: before });
      await write(of, [record(1, 'a')]);
      await tested.query(`DELETE FROM main.${of.table.table}`);
      const { mode: _mode, ...table } = of.table;
      const spec: TableSpec = after === undefined ? table : { ...table, mode: after };
      for (const workflow of ['w2', 'w3']) {
        const now = streamOf(spec);
        const { checkpoint } = await now.open(workflow);
        await now.write(checkpoint.id, randomUUID(), [record(1, workflow)], {
          ...at(1, false),
          workflowId: workflow,
        });
      }
      const names = (await texts(of, 'name')).sort();
      expect(names).toEqual(after === 'append' ? ['w2', 'w3'] : ['w3']);
    }
  });

  it('a table without rows takes any mode', async () => {
    const table = tableOf(COLUMNS);
    await streamOf(table).open();
    const of = streamOf({ ...table, mode: 'history' });
    await of.open('w2');
    const { checkpoint } = await of.open('w2');
    await of.write(checkpoint.id, 'n1', [record(1, 'a')], { ...at(1, false), workflowId: 'w2' });
    await of.write('n1', 'n2', [record(1, 'b')], { ...at(1, false), workflowId: 'w2' });
    expect(await texts(of, 'name', 'ORDER BY _highwater_valid_from')).toEqual(['a', 'b']);
  });
}

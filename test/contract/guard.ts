/** What every database promises of passes that would remove many rows at once; part of the contract suite. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TooManyDeletesError } from '../../src/errors.js';
import type { Cursor, DeletesDecision, MaxDeletes, TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { Stream, thrownBy, type SourceRecord, type TestedDestination } from './tested.js';

const COLUMNS: TableSpec['columns'] = {
  ...{ id: 'LONG', name: 'STRING', gone: 'BOOLEAN', at: 'UTC_DATETIME' },
};

/** The ways in which rows go by absence. */
const WAYS: [name: string, table: Partial<TableSpec>, live: string][] = [
  ['hard', { deletes: 'hard' }, ''],
  ['soft', { deletes: 'soft' }, 'WHERE _highwater_deleted_at IS NULL'],
  ['history', { deletes: 'soft', mode: 'history' }, 'WHERE _highwater_valid_to IS NULL'],
  ['replace', { mode: 'replace' }, ''],
];

const pass = (
  number: number,
  ended = true,
  { notes = [], ...more }: Partial<Cursor> = {},
): { cursor: Cursor } => ({
  cursor: {
    ...{ pass: number, mark: null, position: ended ? null : 'x', ended: ended ? 'empty_page' : null, notes },
    ...more,
  },
});

/** Records 0 to `count`, without the first few. */
const records = (count: number, without = 0): SourceRecord[] =>
  Array.from({ length: count - without }, (_, i) => ({ id: i + without, name: `n${i + without}` }));

export function guardContract(name: string, start: () => Promise<TestedDestination>): void {
  describe(`${name}, of a pass that would remove many rows,`, () => claims(start));
}

function claims(start: () => Promise<TestedDestination>): void {
  let folder: Awaited<ReturnType<typeof scratch>>;
  let tested: TestedDestination;
  let tables = 0;
  beforeAll(async () => {
    folder = await scratch();
    tested = await start();
  });
  afterAll(async () => {
    await tested.close();
    await folder.remove();
  });
  const open = async (more: Partial<TableSpec>, maxDeletes?: MaxDeletes) => {
    const of = new Stream(tested, folder.file, {
      ...{ schema: 'main', table: `guard${tables++}`, primaryKey: ['id'], columns: COLUMNS },
      ...more,
      ...(maxDeletes !== undefined && { maxDeletes }),
    });
    await of.open();
    return of;
  };
  const write = async (
    of: Stream,
    batch: SourceRecord[],
    cursor: { cursor: Cursor },
    deletes?: DeletesDecision,
  ) => {
    const { id } = await of.checkpoint();
    const decision = deletes === undefined ? {} : { deletes };
    return of.write(id, randomUUID(), batch, { ...cursor, ...decision });
  };
  const count = async (of: Stream, where = '') =>
    Number((await tested.query(`SELECT count(*) FROM main.${of.table.table} ${where}`))[0]?.[0]);
  const refused = async (work: Promise<unknown>) => {
    const thrown = await thrownBy(work);
    expect(thrown).toBeInstanceOf(TooManyDeletesError);
    return thrown as TooManyDeletesError;
  };

  describe.each(WAYS)('%s', (way, table, live) => {
    /** A table of so many rows, as the first pass has left it. */
    const filled = async (rows: number, maxDeletes?: MaxDeletes, more: Partial<TableSpec> = {}) => {
      const of = await open({ ...table, ...more }, maxDeletes);
      await write(of, records(rows), pass(1));
      return of;
    };

    const limits = [
      // Left out: 10 % of the rows, and at least 20.
      [undefined, 100, 20, 20],
      [undefined, 210, 21, 21],
      [undefined, 25, 20, 20],
      [{ rows: 3 }, 10, 3, 3],
      [{ rows: 0 }, 10, 0, 0],
      [{ percent: 50 }, 10, 5, 5],
      [{ percent: 2.5 }, 100, 2, 2],
      [{ percent: 0.29 }, 10_000, 29, 29],
    ] as const;
    // The limit is counted alike in every way: the first one tries them all.
    it.each(way === WAYS[0]?.[0] ? limits : limits.slice(0, 1))(
      'max_deletes %o of %i rows lets %i go, and not one more',
      async (limit, rows, at, allowed) => {
        const of = await filled(rows, limit);
        const before = await of.checkpoint();
        const thrown = await refused(write(of, records(rows, at + 1), pass(2)));
        const how = way === 'soft' ? 'marked' : way === 'history' ? 'ended' : 'removed';
        expect(thrown.details).toEqual({
          table: `main.${of.table.table}`,
          ...{ how, deletes: at + 1, rows, allowed, pass: 2 },
        });
        expect(await count(of, live)).toBe(rows);
        expect(await of.checkpoint()).toEqual(before);
        const within = await write(of, records(rows, at), pass(2));
        expect(within.deleted ?? 0).toBe(at);
        expect(await count(of, live)).toBe(rows - at);
      },
    );

    it('counts the rows that a batch removed once more where its acknowledgement was lost', async () => {
      const of = await filled(10, { rows: 5 });
      const { id } = await of.checkpoint();
      const [next, batch] = [randomUUID(), records(10, 3)];
      const first = await of.write(id, next, batch, pass(2));
      expect(first.deleted).toBe(3);
      expect(await of.write(id, next, batch, pass(2))).toEqual({ ...first, already: true });
    });

    it('lets all go with max_deletes: any', async () => {
      const of = await filled(60, 'any');
      expect(await write(of, records(60, 59), pass(2))).toMatchObject({ deleted: 59 });
      expect(await count(of, live)).toBe(1);
    });

    it('has nothing to ask about an empty table', async () => {
      const of = await open(table, { rows: 0 });
      expect((await write(of, records(50), pass(1))).deleted ?? 0).toBe(0);
      expect(await count(of, live)).toBe(50);
    });

    it('counts the rows of all batches of a pass, and commits none of its last', async () => {
      const of = await filled(100);
      await write(of, records(40), pass(2, false));
      const middle = await of.checkpoint();
      const last = [
        { id: 40, name: 'changed' },
        { id: 1000, name: 'new' },
      ];
      const { details } = await refused(write(of, last, pass(2)));
      expect(details).toMatchObject({ deletes: 59, rows: 100 });
      expect(await of.checkpoint()).toEqual(middle);
      expect(await count(of, live)).toBe(100);
      expect(await count(of, `WHERE name IN ('changed', 'new')`)).toBe(0);
      // The source has found them again.
      const again = await write(of, records(100, 40), pass(2));
      expect(again.deleted ?? 0).toBe(0);
    });

    it('lets as many go as were approved, and asks again about more', async () => {
      const of = await filled(100);
      await refused(write(of, records(100, 30), pass(2)));
      const { details, message } = await refused(write(of, records(100, 31), pass(2), { approved: 30 }));
      expect(details).toMatchObject({ deletes: 31, rows: 100, allowed: 30 });
      expect(message).toContain('At most 30 may go without approval (the approved number)');
      expect(await write(of, records(100, 30), pass(2), { approved: 30 })).toMatchObject({ deleted: 30 });
      expect(await count(of, live)).toBe(70);
      // It was about that pass only.
      await refused(write(of, records(100, 60), pass(3)));
    });

    it('removes nothing where that was rejected, and asks again in the next pass', async () => {
      const of = await filled(100);
      const written = await write(of, records(101, 30), pass(2), 'withheld');
      expect(written).not.toHaveProperty('deleted');
      expect(await count(of, live)).toBe(101);
      expect((await of.checkpoint()).cursor).toMatchObject({ pass: 2, ended: 'empty_page' });
      const { details } = await refused(write(of, records(101, 30), pass(3)));
      expect(details).toMatchObject({ deletes: 30, rows: 101 });
    });

    it('asks nothing of a pass that is not known to be whole', async () => {
      const of = await filled(100);
      const cut = pass(2, true, { notes: [{ code: 'answer_cut', message: '' }] });
      expect((await write(of, records(100, 60), cut)).deleted ?? 0).toBe(0);
      expect(await count(of, live)).toBe(100);
    });

    it('keeps all rows where the pass met fewer different records than the source counts, and says so', async () => {
      const of = await filled(50);
      // Page 1 came in place of page 5: 50 records, of which 10 came twice.
      const twice = [...records(40), ...records(10)];
      const first = await write(of, twice.slice(0, 30), pass(2, false));
      expect(first.notes).toBeUndefined();
      const outcome = await write(of, twice.slice(30), pass(2, true, { counted: 50 }));
      expect(outcome.deleted).toBeUndefined();
      expect(outcome.notes).toMatchObject([{ code: 'records_missing' }]);
      expect(outcome.notes?.[0]?.message).toContain(
        'counts 50 records, but this pass found only 40 different ones',
      );
      const { cursor } = await of.checkpoint();
      expect(cursor?.notes).toEqual(outcome.notes);
      expect(await count(of, live)).toBe(50);
      const whole = await write(of, records(50, 10), pass(3, true, { counted: 40 }));
      expect(whole).toMatchObject({ deleted: 10 });
      expect(await count(of, live)).toBe(40);
    });

    it('does not guard records that say themselves that they are gone', async () => {
      const more = way === 'replace' ? { deletes: 'hard' as const } : {};
      const of = await filled(100, { rows: 2 }, { deletedField: 'gone', ...more });
      const said = (from: number, to: number) =>
        records(to, from).map((record) => ({ ...(record as object), gone: true }));
      await write(of, said(0, 30), pass(2, false));
      const { details } = await refused(write(of, [...said(30, 40), ...records(100, 43)], pass(2)));
      expect(details).toMatchObject({ deletes: 3, rows: way === 'replace' ? 100 : 70 });
      await write(of, [...said(30, 40), ...records(100, 42)], pass(2));
      expect(await count(of, live)).toBe(58);
    });
  });

  it('does not count rows again that are marked already', async () => {
    const of = await open({ deletes: 'soft' });
    await write(of, records(100), pass(1));
    expect(await write(of, records(100, 20), pass(2))).toMatchObject({ deleted: 20 });
    expect(await write(of, records(100, 40), pass(3))).toMatchObject({ deleted: 20 });
    const { details, message } = await refused(write(of, records(100, 61), pass(4)));
    expect(details).toMatchObject({ how: 'marked', deletes: 21, rows: 60 });
    expect(message).toBe(
      `this pass would mark 21 of the 60 rows of table main.${of.table.table} as deleted: its source no longer has them. ` +
        'At most 20 may go without approval (max_deletes defaults to 10% of the rows, but at least 20). ' +
        'Nothing was removed, and the last batch of the pass is not committed.',
    );
  });

  it('guards the window that replay reads again, by the rows of the whole table', async () => {
    const of = await open({ deletes: 'hard', unseen: { column: 'at' } }, { percent: 10 });
    const on = (id: number) => ({
      ...{ id, name: 'n', at: new Date(Date.UTC(2026, 0, 1, id)).toISOString() },
    });
    const all = Array.from({ length: 50 }, (_, id) => on(id));
    const since = (hours: number) => ({ since: new Date(Date.UTC(2026, 0, 1, hours)).toISOString() });
    await write(of, all, pass(1, true, since(-1)));
    const { details } = await refused(write(of, [on(49)], pass(2, true, since(42))));
    expect(details).toMatchObject({ how: 'removed', deletes: 6, rows: 50, allowed: 5 });
    expect(await write(of, [on(49)], pass(2, true, since(43)))).toMatchObject({ deleted: 5 });
  });

  it('guards a table that follows its source', async () => {
    const inference = { policy: 'evolve', flatten: 0, names: 'as_is' } as const;
    const of = await open({ deletes: 'hard', inference, columns: {} }, { rows: 1 });
    await write(of, records(10), pass(1));
    const { details } = await refused(
      write(of, [...records(10, 2), { id: 'x', name: 'a key of another type' }], pass(2)),
    );
    expect(details).toMatchObject({ deletes: 2, rows: 10, allowed: 1 });
    expect(await write(of, records(10, 1), pass(2))).toMatchObject({ deleted: 1 });
  });
}

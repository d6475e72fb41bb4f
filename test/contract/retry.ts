/** What every destination that can try rejects again promises. */
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RetryOutcome, RetryRequest } from '../../src/destinations/sql/retry.js';
import { DestinationError } from '../../src/errors.js';
import type { TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { Stream, thrownBy, type TestedDestination } from './tested.js';

export function retryContract(name: string, start: () => Promise<TestedDestination>): void {
  describe(`${name}, asked to retry quarantined records,`, () => {
    let folder: Awaited<ReturnType<typeof scratch>>;
    let tested: TestedDestination;
    let tests = 0;
    let table: TableSpec;
    let stream: Stream;
    const again = async (more: Partial<RetryRequest> = {}): Promise<RetryOutcome> => {
      const outcome = await tested.destination.retry?.({
        table,
        cursorField: '',
        overwrite: false,
        ...more,
      });
      if (outcome === undefined) throw new Error('it cannot');
      return outcome;
    };
    const rejects = async () =>
      (
        await tested.query(
          `SELECT record, reason FROM ${tested.ownSchema}_highwater_rejects WHERE "table" = '${table.table}' ORDER BY record`,
        )
      ).map((row) => row.map(String));
    const following = (policy: 'evolve' | 'quarantine' | 'freeze'): TableSpec => ({
      ...table,
      inference: { policy, flatten: 0, names: 'as_is' },
    });

    beforeAll(async () => {
      folder = await scratch();
      tested = await start();
    });
    beforeEach(() => {
      table = {
        ...{ schema: 'main', table: `r${tests++}`, primaryKey: ['id'], quarantine: true },
        columns: { id: 'LONG', at: 'UTC_DATETIME', amount: 'LONG' },
      };
      stream = new Stream(tested, folder.file, table);
    });
    afterAll(async () => {
      await tested.close();
      await folder.remove();
    });
    /** The first batch: what fits, and two that do not. */
    async function begun() {
      const { checkpoint } = await stream.open();
      await stream.write(checkpoint.id, `${table.table}-1`, [
        { id: 1, at: '2026-01-01T00:00:00Z', amount: 1 },
        { id: 2, at: '2026-01-02T00:00:00Z', amount: 'a lot' },
        { id: 3, at: '2026-01-03T00:00:00Z', amount: 'some' },
      ]);
      return `${table.table}-1`;
    }

    it('leaves those that still do not fit, with their reasons', async () => {
      await begun();
      const before = await rejects();
      expect(await again()).toEqual({ records: 2, retried: 0, rows: 0 });
      expect(await rejects()).toEqual(before);
      expect(before).toHaveLength(2);
    });

    it('marks those that say that they are gone', async () => {
      table = {
        ...table,
        columns: { ...table.columns, gone: 'BOOLEAN' },
        ...{ deletes: 'soft', deletedField: 'gone', unseen: 'stay' },
      };
      stream = new Stream(tested, folder.file, table);
      const { checkpoint } = await stream.open();
      await stream.write(checkpoint.id, `${table.table}-1`, [
        { id: 1, amount: 1, gone: false },
        { id: 2, amount: 'a lot', gone: true },
      ]);
      expect(await again({ table: following('evolve') })).toMatchObject({ retried: 1 });
      const marked = `SELECT count(*)::INTEGER, count(_highwater_deleted_at)::INTEGER FROM main.${table.table}`;
      expect(await tested.query(marked)).toEqual([[2, 1]]);
    });

    it('finds rows by a key that has become text', async () => {
      const { checkpoint } = await stream.open();
      await stream.write(checkpoint.id, `${table.table}-1`, [
        { id: 1, amount: 1 },
        { id: 'x', amount: 2 },
      ]);
      expect(await again({ table: following('evolve') })).toMatchObject({ retried: 1, rows: 1 });
      const evolved = new Stream(tested, folder.file, following('evolve'));
      const later = await evolved.write(`${table.table}-1`, `${table.table}-2`, [
        { id: 'x', amount: 3 },
        { id: 1, amount: 3 },
      ]);
      expect(later.rows).toBe(2);
      expect(await tested.query(`SELECT count(*)::INTEGER FROM main.${table.table}`)).toEqual([[2]]);
    });

    it('writes those that fit the table by now, once, and moves no checkpoint', async () => {
      const base = await begun();
      expect(await again({ table: following('evolve') })).toEqual({ records: 2, retried: 2, rows: 2 });
      expect(await rejects()).toEqual([]);
      expect(await again({ table: following('evolve') })).toEqual({ records: 0, retried: 0, rows: 0 });
      const rows = await tested.rows({ ...table, columns: { id: 'LONG', amount: 'STRING' } });
      expect(rows.sort((a, b) => Number(a['id']) - Number(b['id']))).toEqual([
        { id: '1', amount: '1' },
        { id: '2', amount: 'a lot' },
        { id: '3', amount: 'some' },
      ]);
      const follower = new Stream(tested, folder.file, following('evolve'));
      expect(await follower.write(base, `${table.table}-2`, [{ id: 4, amount: 'x' }])).toMatchObject({
        rows: 1,
      });
    });

    it('writes what fits and leaves the rest', async () => {
      await begun();
      await tested.query(
        `UPDATE ${tested.ownSchema}_highwater_rejects SET record = '{"id":2,"amount":5}' WHERE "table" = '${table.table}' AND record LIKE '%a lot%'`,
      );
      expect(await again()).toEqual({ records: 2, retried: 1, rows: 1 });
      expect((await rejects()).map(([, reason]) => reason)).toEqual([
        'column "amount" cannot hold "some" as LONG',
      ]);
      expect(await stream.rows()).toMatchObject([{ id: '1' }, { id: '2', amount: '5' }]);
    });

    it('forgets records that the source could not make rows of, once a batch has their keys', async () => {
      const { checkpoint } = await stream.open();
      const file = folder.file(`${table.table}.rejects`);
      const refused = ['2', '"3"', '4', '77777777777777777'].map((id) => ({
        reason: 'the hook failed',
        record: `{"_highwater_refused":true,"id":${id}}`,
      }));
      const others = [
        { reason: 'the hook failed', record: '{"_highwater_refused":true,"name":"without a key"}' },
        { reason: 'does not fit', record: '{"id":2,"amount":"a lot"}' },
      ];
      await writeFile(file, [...refused, ...others].map((one) => `${JSON.stringify(one)}\n`).join(''));
      const [first, second] = [`${table.table}-1`, `${table.table}-2`];
      await stream.write(checkpoint.id, first, [{ id: 1, amount: 1 }], { rejects: async () => [file] });
      expect(await again()).toMatchObject({ records: 6, retried: 0 });
      const [[reason] = []] = (await rejects())
        .filter(([record]) => record?.includes(':4'))
        .map(([, why]) => [why]);
      expect(reason).toMatch(/could not be made: correct the hook or the expression.*"highwater resync"/);
      const outcome = await stream.write(first, second, [
        { id: 2, amount: 2 },
        { id: 3, amount: 3 },
        { id: '77777777777777777', amount: 7 },
      ]);
      expect(outcome.rows).toBe(3);
      expect((await rejects()).map(([record]) => record)).toEqual(
        [others[0]?.record, refused[2]?.record, others[1]?.record].sort(),
      );
    });

    it('never puts an older record in the place of a newer row, unless that is asked for', async () => {
      const base = await begun();
      await stream.write(base, `${table.table}-2`, [
        { id: 2, at: '2026-02-01T00:00:00Z', amount: 22 },
        { id: 3, at: '2026-01-01T00:00:00Z', amount: 33 },
      ]);
      const asked = { table: following('evolve'), cursorField: 'at' };
      expect(await again(asked)).toEqual({ records: 2, retried: 1, rows: 1 });
      const now = () => tested.rows({ ...table, columns: { id: 'LONG', amount: 'STRING' } });
      expect(await now()).toEqual(
        expect.arrayContaining([
          { id: '2', amount: '22' },
          { id: '3', amount: 'some' },
        ]),
      );
      expect((await rejects())[0]?.[1]).toContain('has a row with this key that may be newer');
      // Nothing tells without a cursor field.
      expect(await again({ table: following('evolve') })).toEqual({ records: 1, retried: 0, rows: 0 });
      expect(await again({ ...asked, overwrite: true })).toEqual({ records: 1, retried: 1, rows: 1 });
      expect(await now()).toContainEqual({ id: '2', amount: 'a lot' });
      expect(await rejects()).toEqual([]);
    });

    it('takes the last of several with one key, and leaves what has none', async () => {
      await begun();
      const own = `${tested.ownSchema}_highwater_rejects`;
      for (const record of [
        '{"amount":1}',
        '{"id":9,"amount":1}',
        '{"id":9,"amount":2}',
        '{"id":8,"amount":1.0}',
      ]) {
        await tested.query(
          `INSERT INTO ${own} (batch, "schema", "table", strategy, source, "range", reason, record, rejected_at)
             VALUES ('b', 'main', '${table.table}', 'keyset', 's', '', 'why', '${record}', now())`,
        );
      }
      expect(await again()).toEqual({ records: 6, retried: 3, rows: 2 });
      expect(await stream.rows()).toMatchObject([
        { id: '1' },
        { id: '8', amount: '1' },
        { id: '9', amount: '2' },
      ]);
      expect((await rejects()).map(([, reason]) => reason)).toContain(
        'record 0 has no primary key: "id" is absent or null',
      );
    });

    it('does not fail for a frozen table', async () => {
      const frozen = { ...following('freeze'), columns: {} };
      await begun();
      expect(await again({ table: frozen })).toEqual({ records: 2, retried: 0, rows: 0 });
      expect(await rejects()).toHaveLength(2);
    });

    it('keeps the record as the source sent it, whatever the names in the table', async () => {
      table = { ...table, columns: {}, inference: { policy: 'quarantine', flatten: 5, names: 'snake_case' } };
      stream = new Stream(tested, folder.file, table);
      const { checkpoint } = await stream.open();
      await stream.write(checkpoint.id, `${table.table}-1`, [
        { id: 1, fullName: 'a', place: { townName: 'x' } },
      ]);
      await stream.write(`${table.table}-1`, `${table.table}-2`, [
        { id: 2, fullName: 'b', place: { townName: 'y', more: 1 } },
      ]);
      expect(await rejects()).toHaveLength(1);
      expect(await again()).toMatchObject({ records: 1, retried: 0 });
      const evolved = {
        ...table,
        inference: { ...following('evolve').inference, flatten: 5, names: 'snake_case' },
      };
      expect(await again({ table: evolved as TableSpec })).toEqual({ records: 1, retried: 1, rows: 1 });
      const columns: TableSpec['columns'] = {
        ...{ id: 'LONG', full_name: 'STRING', place__town_name: 'STRING', place__more: 'LONG' },
      };
      expect(await tested.rows({ ...table, columns })).toContainEqual({
        ...{ id: '2', full_name: 'b', place__town_name: 'y', place__more: '1' },
      });
    });

    it('takes thousands, in parts', async () => {
      const { checkpoint } = await stream.open();
      const records = Array.from({ length: 12_000 }, (_, id) => ({
        id,
        amount: id % 2 === 0 ? 'even' : `o${id}`,
      }));
      const { rejected } = await stream.write(checkpoint.id, `${table.table}-1`, records);
      expect(rejected).toBe(12_000);
      expect(await again({ table: following('evolve') })).toEqual({
        records: 12_000,
        retried: 12_000,
        rows: 12_000,
      });
    });

    it('goes beside a stream that writes, and neither undoes the other', async () => {
      let base = await begun();
      const evolving = new Stream(tested, folder.file, following('evolve'));
      const writes = (async () => {
        for (let i = 2; i < 12; i++) {
          const next = `${table.table}-${i}`;
          await evolving.write(base, next, [{ id: 100 + i, amount: i }]);
          base = next;
        }
      })();
      const outcomes = await Promise.all([
        again({ table: following('evolve') }),
        again({ table: following('evolve') }),
        writes,
      ]);
      expect(outcomes[0].retried + outcomes[1].retried).toBe(2);
      const rows = await tested.rows({ ...table, columns: { id: 'LONG', amount: 'STRING' } });
      expect(rows).toHaveLength(13);
      expect(await rejects()).toEqual([]);
    });

    it('is refused where the table has other types than declared, and nothing is lost', async () => {
      await begun();
      const thrown = await thrownBy(
        again({ table: { ...table, columns: { ...table.columns, amount: 'STRING' } } }),
      );
      expect(thrown).toBeInstanceOf(DestinationError);
      expect(await rejects()).toHaveLength(2);
    });
  });
}

/** What every database promises of ranges that are read beside a sync. */
import { writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ConcludeRequest, Ranges, RangeWrite } from '../../src/destinations/destination.js';
import { CheckpointConflictError } from '../../src/errors.js';
import type { RangeFound, RangePlan, StreamKey, TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { cursorAt, keyOf, Stream, thrownBy, type SourceRecord, type TestedDestination } from './tested.js';

const at = (second: number) => `2026-01-01T00:00:${String(second).padStart(2, '0')}Z`;
/** A record: its key, when it was changed (seconds), and what it holds. */
const rec = (id: number, second: number | null, name: string, more: object = {}): SourceRecord => ({
  ...{ id: String(id), name, at: second === null ? null : at(second) },
  ...more,
});

export function rangesContract(name: string, start: () => Promise<TestedDestination>): void {
  describe(`${name}, read beside its sync,`, () => {
    let folder: Awaited<ReturnType<typeof scratch>>;
    let tested: TestedDestination;
    let tests = 0;
    let table: TableSpec;
    let main: Stream;
    let last = '';
    let batches = 0;

    const ranges = (): Ranges => {
      if (tested.destination.ranges === undefined) throw new Error('it cannot');
      return tested.destination.ranges;
    };
    const use = (more: Partial<TableSpec> = {}) => {
      table = {
        ...{ schema: 'main', table: `r${tests++}`, primaryKey: ['id'], stamps: true },
        columns: { id: 'STRING', name: 'STRING', at: 'UTC_DATETIME' },
        ...more,
      };
      main = new Stream(tested, folder.file, table);
    };
    /** A batch of the sync, the first of a new pass. */
    const sync = async (...records: SourceRecord[]) => {
      if (last === '') last = (await main.open()).checkpoint.id;
      const next = `${table.table}-m${batches++}`;
      await main.write(last, next, records, {
        cursor: { ...cursorAt(next), pass: batches, ended: 'empty_page', position: null },
      });
      last = next;
    };

    /** A range of the table, as a workflow reads it. */
    class Beside {
      base = '';
      readonly key: StreamKey;
      readonly stream: Stream;
      plan: RangePlan = {
        ...{ kind: 'audit', from: null, to: null, repair: false, removeExtra: false, keys: 10 },
        ...{ began: '', reached: null },
      };
      private began = '';

      constructor(more: Partial<RangePlan> = {}) {
        Object.assign(this.plan, more);
        const { kind, from, to } = this.plan;
        this.key = keyOf(table, { range: `${kind} ${from ?? ''}..${to ?? ''}` });
        this.stream = new Stream(tested, folder.file, table, this.key);
      }

      async open(workflowId = 'beside') {
        this.plan.began = await ranges().now(this.key);
        const opened = await this.stream.open(workflowId, { full: this.plan.kind === 'audit' });
        this.base = opened.checkpoint.id;
        return opened;
      }

      /** From here on what is read may be older than what the table has. */
      async fetch() {
        this.began = await ranges().now(this.key);
        // Clocks show milliseconds here and there.
        await delay(3);
      }

      async write(records: SourceRecord[], beyond: SourceRecord[] = [], more: Partial<RangeWrite> = {}) {
        if (this.began === '') await this.fetch();
        const next = `${table.table}-b${batches++}`;
        const file = folder.file(`${next}.beyond`);
        await writeFile(file, beyond.map((record) => `${JSON.stringify(record)}\n`).join(''));
        const { kind, repair } = this.plan;
        const range: RangeWrite = {
          ...{ kind, writes: kind === 'backfill' || repair, began: this.began },
          cursor: { field: 'at', format: 'timestamp' },
          ...(beyond.length > 0 && { beyond: () => Promise.resolve([file]) }),
          ...more,
        };
        const outcome = await this.stream.write(this.base, next, records, { range, workflowId: 'beside' });
        this.base = next;
        this.began = '';
        return outcome;
      }

      conclude(scope: ConcludeRequest['scope'] = null, removes = true): Promise<RangeFound> {
        const newest = { field: 'at', format: 'timestamp' as const };
        return ranges().conclude({ key: this.key, table, range: this.plan, scope, removes, newest });
      }
    }
    const backfill = async (more: Partial<RangePlan> = {}) => {
      const beside = new Beside({ kind: 'backfill', ...more });
      await beside.open();
      return beside;
    };
    const audit = async (more: Partial<RangePlan> = {}) => {
      const beside = new Beside(more);
      await beside.open();
      return beside;
    };
    const names = async (where = 'true') =>
      (await tested.query(`SELECT id, name FROM main.${table.table} WHERE ${where} ORDER BY id, name`)).map(
        ([id, value]) => `${String(id)} ${String(value)}`,
      );
    const kept = async () => {
      const counted = await Promise.all(
        ['checkpoints', 'differences', 'seen'].map(async (own) => {
          const from = `${tested.ownSchema}_highwater_${own} WHERE "table" = '${table.table}' AND "range" <> ''`;
          return Number((await tested.query(`SELECT count(*) FROM ${from}`))[0]?.[0]);
        }),
      );
      return counted.reduce((sum, one) => sum + one, 0);
    };
    const found = (count: number, keys: string[], repaired = 0) => ({ count, keys, repaired });
    const EQUAL = {
      ...{ missing: found(0, []), stale: found(0, []), extra: found(0, []) },
      ...{ changed: 0, extraUnknown: null },
    };

    beforeAll(async () => {
      folder = await scratch();
      tested = await start();
    });
    afterAll(async () => {
      await tested.close();
      await folder.remove();
    });
    beforeEach(() => {
      last = '';
      use();
    });

    it('writes what the table has not, or has in an older version, and leaves newer ones', async () => {
      await sync(rec(1, 1, 'old'), rec(2, 9, 'newer'), rec(3, 3, 'same'), rec(4, 4, 'damaged'));
      await delay(3);
      const range = await backfill();
      const outcome = await range.write([
        rec(1, 2, 'new'),
        rec(2, 8, 'older'),
        rec(3, 3, 'same'),
        rec(4, 4, 'whole'),
        rec(5, 5, 'late'),
      ]);
      expect(outcome).toMatchObject({ rows: 3, left: 1 });
      expect(await names()).toEqual(['1 new', '2 newer', '3 same', '4 whole', '5 late']);
    });

    it('leaves rows that the sync wrote since they were asked for, unless they are known to be older', async () => {
      await sync(rec(1, 1, 'a'), rec(2, 1, 'a'), rec(3, 1, 'a'), rec(4, null, 'a'));
      const range = await backfill();
      await range.fetch();
      await sync(rec(1, 1, 'b'), rec(2, 3, 'b'), rec(3, 2, 'b'), rec(4, null, 'b'), rec(6, 1, 'b'));
      const outcome = await range.write([
        rec(1, 1, 'x'),
        rec(2, 2, 'x'),
        rec(3, 3, 'x'),
        rec(4, null, 'x'),
        rec(5, 1, 'x'),
      ]);
      expect(outcome).toMatchObject({ rows: 2, left: 3 });
      expect(await names()).toEqual(['1 b', '2 b', '3 x', '4 b', '5 x', '6 b']);
    });

    it('takes what it has written itself for no version of the sync', async () => {
      await sync(rec(1, 1, 'a'));
      const range = await backfill();
      await range.fetch();
      await range.write([rec(2, null, 'first')]);
      const outcome = await range.write([rec(2, null, 'second')], [], { began: range.plan.began });
      expect(outcome).toMatchObject({ rows: 1 });
      expect(await names()).toEqual(['1 a', '2 second']);
    });

    it('where rows do not say when they were written, goes by whether anything was', async () => {
      use({ stamps: undefined as never });
      delete table.stamps;
      main = new Stream(tested, folder.file, table);
      await sync(rec(1, 1, 'a'), rec(2, 1, 'a'));
      await delay(3);
      const range = await backfill();
      expect(await range.write([rec(1, 1, 'x')])).toMatchObject({ rows: 1 });
      await range.fetch();
      await sync(rec(3, 1, 'b'));
      expect(await range.write([rec(1, 1, 'y'), rec(2, 2, 'y')])).toMatchObject({ rows: 1, left: 1 });
      expect(await names()).toEqual(['1 x', '2 y', '3 b']);
      const looked = await audit();
      await looked.write([rec(1, 1, 'x'), rec(2, 2, 'y')]);
      await sync(rec(4, 1, 'b'));
      expect(await looked.conclude()).toMatchObject({
        extra: null,
        extraUnknown: expect.stringContaining('stamps') as unknown,
      });
    });

    it.each(['STRING', 'LONG', 'UTC_DATETIME'] as const)('tells the newer version by a %s', async (type) => {
      use({ columns: { id: 'LONG', name: 'STRING', at: type } });
      const value = (n: number) => (type === 'UTC_DATETIME' ? at(n) : type === 'LONG' ? n : String(n));
      const row = (id: number, n: number, text: string) => ({ id, name: text, at: value(n) });
      const format = type === 'UTC_DATETIME' ? 'timestamp' : 'integer';
      await sync(row(1, 9, 'a'), row(2, 10, 'a'));
      await delay(3);
      const range = await backfill();
      const outcome = await range.write([row(1, 10, 'x'), row(2, 9, 'x')], [], {
        cursor: { field: 'at', format },
      });
      expect(outcome).toMatchObject({ rows: 1, left: 1 });
      expect(await names()).toEqual(['1 x', '2 a']);
    });

    it('does not bring back what the sync removes meanwhile', async () => {
      use({ deletes: 'hard' });
      await sync(rec(1, 1, 'a'), rec(2, 2, 'a'), rec(3, 3, 'a'));
      const range = await backfill();
      const looked = await audit();
      await range.fetch();
      await looked.fetch();
      await sync(rec(1, 1, 'a'), rec(2, 2, 'a'));
      expect(await names()).toEqual(['1 a', '2 a']);
      expect(await range.write([rec(3, 4, 'again'), rec(4, 4, 'new')])).toMatchObject({ rows: 1, left: 1 });
      expect(await names()).toEqual(['1 a', '2 a', '4 new']);
      await looked.write([rec(1, 1, 'a'), rec(2, 2, 'a'), rec(3, 3, 'a')]);
      expect(await looked.conclude()).toEqual({ ...EQUAL, changed: 1 });
      await ranges().forget(range.key);
      await ranges().forget(looked.key);
      expect(await kept()).toBe(0);
    });

    it('knows which records say themselves that they are gone', async () => {
      use({
        columns: { id: 'STRING', name: 'STRING', at: 'UTC_DATETIME', gone: 'BOOLEAN' },
        ...{ deletes: 'hard', deletedField: 'gone', unseen: 'stay' },
      });
      await sync(rec(1, 1, 'a'), rec(2, 2, 'a'), rec(3, 3, 'a'));
      const range = await backfill();
      await range.fetch();
      await sync(rec(3, 4, 'a', { gone: true }));
      expect(await range.write([rec(3, 3, 'a')])).toMatchObject({ rows: 0, left: 1 });
      await delay(3);
      const looked = await audit();
      await looked.write([rec(1, 1, 'a'), rec(2, 3, 'a', { gone: true }), rec(3, 4, 'a', { gone: true })]);
      expect(await looked.conclude()).toEqual({ ...EQUAL, extra: found(1, ['2']) });
      const mended = await audit({ repair: true });
      await mended.write([rec(1, 1, 'a'), rec(2, 3, 'a', { gone: true }), rec(3, 4, 'a', { gone: true })]);
      expect(await mended.conclude()).toMatchObject({ extra: found(1, ['2'], 1) });
      expect(await names()).toEqual(['1 a']);
    });

    it('sees keys that stand twice, and keeps the newest row of each where it repairs', async (context) => {
      // PostgreSQL keeps them apart by itself.
      if (tested.ownSchema !== '') context.skip();
      await sync(rec(1, 1, 'a'), rec(2, 2, 'a'), rec(3, 3, 'a'));
      await tested.query(
        `INSERT INTO main.${table.table} (id, name, "at") VALUES ('2', 'older', '2020-01-01T00:00:00Z'), ('2', 'old', '2021-01-01T00:00:00Z'), ('3', 'a', (SELECT "at" FROM main.${table.table} WHERE id = '3'))`,
      );
      const looked = await audit();
      await looked.write([rec(1, 1, 'a'), rec(2, 2, 'a'), rec(3, 3, 'a')]);
      expect(await looked.conclude()).toMatchObject({ twice: found(2, ['2', '3']) });
      expect(await names()).toHaveLength(6);
      const mended = await audit({ repair: true });
      expect(await mended.conclude('nothing was read')).toMatchObject({ twice: found(2, ['2', '3'], 2) });
      expect(await names()).toEqual(['1 a', '2 a', '3 a']);
    });

    it('of rows that are marked as deleted, those that are marked since stay so', async () => {
      use({ deletes: 'soft' });
      await sync(rec(1, 1, 'a'), rec(2, 2, 'a'), rec(3, 3, 'a'));
      await sync(rec(1, 1, 'a'), rec(3, 3, 'a'));
      await delay(3);
      const range = await backfill();
      await range.fetch();
      await sync(rec(1, 1, 'a'));
      expect(await range.write([rec(2, 4, 'back'), rec(3, 4, 'late')])).toMatchObject({ rows: 1, left: 1 });
      expect(await names('_highwater_deleted_at IS NULL')).toEqual(['1 a', '2 back']);
      await delay(3);
      const looked = await audit({ repair: true });
      await looked.write([rec(1, 1, 'a'), rec(3, 4, 'late')]);
      expect(await looked.conclude()).toMatchObject({
        ...{ stale: found(1, ['3'], 1), extra: found(1, ['2'], 1), missing: found(0, []) },
      });
      expect(await names('_highwater_deleted_at IS NULL')).toEqual(['1 a', '3 late']);
    });

    it('in a history begins a version where the record is newer, and none of what has ended since', async () => {
      use({ mode: 'history', deletes: 'soft' });
      await sync(rec(1, 1, 'a'), rec(2, 5, 'a'), rec(3, 1, 'a'));
      await delay(3);
      const range = await backfill();
      await range.fetch();
      await sync(rec(1, 1, 'a'), rec(2, 5, 'a'));
      expect(await range.write([rec(1, 2, 'b'), rec(2, 4, 'older'), rec(3, 2, 'b')])).toMatchObject({
        rows: 1,
        left: 2,
      });
      expect(await names('_highwater_valid_to IS NULL')).toEqual(['1 b', '2 a']);
      expect(await names()).toEqual(['1 a', '1 b', '2 a', '3 a']);
      const looked = await audit();
      await looked.write([rec(1, 2, 'b'), rec(2, 5, 'a')]);
      expect(await looked.conclude()).toEqual(EQUAL);
    });

    it('to a table that is appended to adds no version that is older than the last', async () => {
      use({ mode: 'append' });
      await sync(rec(1, 1, 'a'), rec(1, 3, 'b'), rec(2, 1, 'a'));
      await delay(3);
      const range = await backfill();
      expect(await range.write([rec(1, 2, 'x'), rec(2, 2, 'x'), rec(3, 1, 'x')])).toMatchObject({
        rows: 2,
        left: 1,
      });
      const looked = await audit();
      await looked.write([rec(1, 3, 'b'), rec(2, 2, 'x'), rec(3, 1, 'x')]);
      expect(await looked.conclude()).toEqual(EQUAL);
    });

    it('finds what is missing, stale and extra, and nothing of what the sync does meanwhile', async () => {
      await sync(...[1, 2, 3, 4, 5, 6].map((id) => rec(id, id, 'a')));
      await tested.query(`DELETE FROM main.${table.table} WHERE id = '1'`);
      await tested.query(`UPDATE main.${table.table} SET name = 'damaged' WHERE id = '2'`);
      await delay(3);
      const looked = await audit();
      await looked.fetch();
      await sync(rec(3, 9, 'b'), rec(7, 9, 'b'));
      await looked.write(
        [1, 2, 3, 4].map((id) => rec(id, id, 'a')),
        [rec(6, 20, 'ahead')],
      );
      await looked.write([rec(8, 8, 'a'), rec(9, 8, 'a')]);
      await sync(rec(8, 8, 'a'));
      expect(await looked.conclude()).toEqual({
        ...{ missing: found(2, ['1', '9']), stale: found(1, ['2']), extra: found(1, ['5']) },
        ...{ changed: 2, extraUnknown: null },
      });
      expect(await looked.conclude()).toMatchObject({ missing: found(2, ['1', '9']) });
      expect(await names("id IN ('2', '5')")).toEqual(['2 damaged', '5 a']);
      const ofTwo = await audit({ from: 'a', keys: 1 });
      await ofTwo.write(
        [1, 2, 3, 4].map((id) => rec(id, id, 'a')),
        [rec(6, 20, 'ahead')],
      );
      expect((await ofTwo.conclude()).extra).toEqual(found(3, ['5']));
      await ranges().forget(looked.key);
      await ranges().forget(ofTwo.key);
      expect(await kept()).toBe(0);
    });

    it('sees that a row was written since it was found stale', async () => {
      await sync(rec(1, 1, 'a'), rec(2, 2, 'a'));
      await delay(3);
      const looked = await audit();
      await looked.write([rec(1, 1, 'x'), rec(2, 2, 'x')]);
      await sync(rec(2, 3, 'b'));
      expect(await looked.conclude()).toEqual({ ...EQUAL, stale: found(1, ['1']), changed: 1 });
    });

    it('compares only the rows of a range', async () => {
      await sync(...[1, 2, 3, 4, 5].map((id) => rec(id, id, 'a')), rec(6, null, 'a'));
      await delay(3);
      const scope = { field: 'at', format: 'timestamp', from: at(2), to: at(4) } as const;
      const looked = await audit();
      await looked.write([rec(2, 2, 'a')], [rec(5, 5, 'a')]);
      expect((await looked.conclude(scope)).extra).toEqual(found(2, ['3', '4']));
      const cannot = await audit({ from: 'b' });
      await cannot.write([rec(2, 2, 'a')]);
      expect((await cannot.conclude({ ...scope, field: 'nobody' })).extraUnknown).toContain(
        'no comparable column for nobody',
      );
      expect((await cannot.conclude('it is so')).extraUnknown).toBe('it is so');
      expect((await cannot.conclude('it is so')).extra).toBeNull();
    });

    it('repairs, and is equal then', async () => {
      await sync(...[1, 2, 3, 4].map((id) => rec(id, id, 'a')), rec(5, 9, 'newer'));
      await tested.query(`DELETE FROM main.${table.table} WHERE id = '1'`);
      await tested.query(`UPDATE main.${table.table} SET name = 'damaged' WHERE id = '2'`);
      await delay(3);
      const records = [...[1, 2, 3].map((id) => rec(id, id, 'a')), rec(5, 8, 'older')];
      const before = await tested.query(
        `SELECT * FROM ${tested.ownSchema}_highwater_checkpoints WHERE "table" = '${table.table}'`,
      );
      const mend = async (more: Partial<RangePlan> = {}) => {
        const mended = await audit({ repair: true, ...more });
        const { rows } = await mended.write(records);
        const told = { rows, ...(await mended.conclude()) };
        await ranges().forget(mended.key);
        return told;
      };
      // Nothing says what becomes of row 4, and row 5 has a newer version than the source.
      expect(await mend()).toMatchObject({
        ...{ rows: 2, missing: found(1, ['1'], 1), stale: found(2, ['2', '5'], 1), extra: found(1, ['4']) },
      });
      expect(await mend({ removeExtra: true })).toMatchObject({
        rows: 0,
        stale: found(1, ['5']),
        extra: found(1, ['4'], 1),
      });
      expect(await names()).toEqual(['1 a', '2 a', '3 a', '5 newer']);
      const after = await tested.query(
        `SELECT * FROM ${tested.ownSchema}_highwater_checkpoints WHERE "table" = '${table.table}'`,
      );
      expect(after).toEqual(before);
    });

    it('removes nothing when the source had nothing at all', async () => {
      use({ deletes: 'hard' });
      await sync(rec(1, 1, 'a'));
      await delay(3);
      const looked = await audit({ repair: true });
      expect(await looked.conclude(null, false)).toMatchObject({ extra: found(1, ['1'], 0) });
      expect(await names()).toEqual(['1 a']);
    });

    it('does not remove by absence what a range does not hold', async () => {
      use({ deletes: 'hard' });
      await sync(rec(1, 1, 'a'), rec(2, 2, 'a'));
      await delay(3);
      const range = await backfill();
      const next = `${table.table}-end`;
      await range.stream.write(range.base, next, [rec(2, 3, 'b')], {
        cursor: { ...cursorAt(next), ended: 'range_end', position: null },
        range: {
          kind: 'backfill',
          writes: true,
          began: range.plan.began,
          cursor: { field: 'at', format: 'timestamp' },
        },
      });
      expect(await names()).toEqual(['1 a', '2 b']);
    });

    it('has a checkpoint of its own: neither knows the other', async () => {
      await sync(rec(1, 1, 'a'));
      const range = new Beside({ kind: 'backfill', from: at(1) });
      const everybodyRuns = async () => true;
      const opened = await range.stream.open('beside', { isRunning: everybodyRuns });
      expect(opened).toMatchObject({ checkpoint: { cursor: null }, neighbours: [] });
      expect((await ranges().stands(main.key))?.id).toBe(last);
      // A sync of another strategy is refused for the sync, not for the range.
      const again = await main.open('w1', { isRunning: everybodyRuns });
      expect(again).toMatchObject({ checkpoint: { id: last }, neighbours: [] });
      const refused = await thrownBy(range.stream.open('other', { isRunning: everybodyRuns }));
      expect(refused.message).toContain('"beside"');
      const taken = await range.stream.open('other');
      expect(
        await thrownBy(range.stream.write(opened.checkpoint.id, 'stale', [rec(1, 1, 'x')])),
      ).toBeInstanceOf(CheckpointConflictError);
      expect(
        (await ranges().kept(keyOf(table, { range: 'audit ..' }))).map(({ key, holder }) => [
          key.range,
          holder.workflowId,
        ]),
      ).toEqual([[range.key.range, 'other']]);
      // It goes on where it was when the same range is asked for again.
      const next = `${table.table}-r`;
      await range.stream.write(taken.checkpoint.id, next, [rec(2, 2, 'b')], {
        range: { kind: 'backfill', writes: true, began: await ranges().now(range.key), cursor: null },
      });
      expect((await range.stream.open('third')).checkpoint.cursor).toEqual(cursorAt(next));
      await ranges().forget(range.key);
      await ranges().forget(range.key);
      expect(await kept()).toBe(0);
      expect((await main.open()).checkpoint.id).toBe(last);
    });

    it('compares a table that follows its source as it stands, and changes none of its columns', async () => {
      use({
        columns: {},
        primaryKey: ['user_id'],
        inference: { policy: 'evolve', flatten: 0, names: 'snake_case' },
      });
      const row = (userId: number, name: string, more: object = {}) => ({
        userId,
        name,
        updatedAt: at(userId),
        ...more,
      });
      await sync(row(1, 'a'), row(2, 'a'), row(3, 'a'));
      await delay(3);
      const cursor = { field: 'updatedAt', format: 'timestamp' } as const;
      const looked = await audit();
      await looked.write([row(1, 'x')], [row(2, 'ahead')], { cursor });
      const scope = { ...cursor, from: at(1), to: at(3) };
      expect(await looked.conclude(scope)).toMatchObject({ stale: found(1, ['1']), extra: found(1, ['3']) });
      const other = await audit({ from: 'c' });
      await other.write([row(1, 'a', { more: 1 }), row(2, 'a'), row(3, 'a')], [], { cursor });
      expect(await other.conclude(scope)).toMatchObject({
        extra: null,
        extraUnknown: expect.stringContaining('records with unknown keys are quarantined (1)') as unknown,
      });
      expect(
        await tested.query(
          `SELECT count(*)::INTEGER FROM information_schema.columns WHERE table_name = '${table.table}' AND column_name = 'more'`,
        ),
      ).toEqual([[0]]);
      const range = await backfill();
      expect(await range.write([row(1, 'b', { more: 1 })], [], { cursor })).toMatchObject({
        rows: 1,
        changes: [{ column: 'more' }],
      });
    });

    it('says what cannot be', () => {
      const refusal: Ranges['refusal'] = (...asked) => ranges().refusal(...asked);
      const replaced: TableSpec = { ...table, mode: 'replace' };
      expect(refusal('backfill', replaced, true)).toContain('mode replace');
      expect(refusal('audit', replaced, true)).toContain('an audit cannot repair it');
      expect(refusal('audit', replaced, false)).toBeNull();
      expect(refusal('backfill', table, true)).toBeNull();
    });
  });
}

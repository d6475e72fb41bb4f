/** Claims about rows that are gone from the source. */
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import type { StreamMove } from '../../../destinations/destination.js';
import type { Cursor } from '../../../protocol.js';
import { type Stream, type Suite } from '../tested.js';

export function deleteClaims(suite: Suite): void {
  suite.describeInFull(
    `a table whose rows may be gone from the source${suite.deletes ? '' : ' (refused by this destination)'}`,
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
      const live = async (of: Stream) => {
        const rows = (await suite.tested.live?.(of.table)) ?? [];
        return rows.map(({ a }) => Number(a)).sort((one, other) => one - other);
      };

      it.each(['soft', 'hard'] as const)('loses those that a whole pass has not met: %s', async (deletes) => {
        const of = suite.streamOf({ ...suite.tableOf(composite, ['b', 'at']), deletes });
        await of.open();
        expect(await pass(of, 1, [1, 2, 3, 4])).not.toHaveProperty('deleted');
        expect(await pass(of, 2, [1, 4, 5])).toMatchObject({ rows: 1, deleted: 2 });
        expect(await live(of)).toEqual([1, 4, 5]);
        expect(await of.rows()).toHaveLength(deletes === 'soft' ? 5 : 3);
        // Of those that are gone no stream that has them as parents is told.
        const parent = { stream: 'of', table: of.table, fields: ['a'] };
        const parents = await suite.tested.destination.parents?.({
          key: of.key,
          parent,
          after: null,
          limit: 9,
        });
        expect(parents?.map(({ fields }) => fields['a'])).toEqual([1, 4, 5]);
        // What comes back is there again.
        expect(await pass(of, 3, [1, 2, 4, 5])).not.toHaveProperty('deleted');
        expect(await live(of)).toEqual([1, 2, 4, 5]);
        // Nothing is remembered between passes.
        if (suite.tested.remembered !== undefined) expect(await suite.tested.remembered()).toBe(0);
      });

      it('keeps all of them where the pass is not known to be whole, or met nothing', async () => {
        const of = suite.streamOf({ ...suite.tableOf(composite, ['b']), deletes: 'hard' });
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
        const of = suite.streamOf({ ...suite.tableOf(composite, ['b']), deletes: 'hard', quarantine: true });
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
          const of = suite.streamOf({
            ...suite.tableOf(composite, ['b']),
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
        const of = suite.streamOf({ ...suite.tableOf(composite, ['b']), deletes: 'hard' });
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
    suite.deletes,
  );
}

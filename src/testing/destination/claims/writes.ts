/** Claims about a write: rows and checkpoint, both or neither. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { BatchLostError, CheckpointConflictError } from '../../../errors.js';
import type { Cursor } from '../../../protocol.js';
import { cursorAt, keyOf, thrownBy, type Suite } from '../tested.js';

export function writeClaims(suite: Suite): void {
  describe('a write', () => {
    it('from the stored checkpoint is committed together with the one it makes', async () => {
      const { checkpoint } = await suite.stream.open();
      expect(checkpoint.cursor).toBeNull();
      const outcome = await suite.stream.write(checkpoint.id, 'c1', [
        { id: '1', name: 'one', age: 1 },
        { id: '2', name: 'two', age: 2 },
      ]);
      expect(outcome).toEqual({ rows: 2, already: false });
      expect(await suite.stream.checkpoint()).toEqual({ id: 'c1', cursor: cursorAt('c1') });
      expect(await suite.stream.rows()).toEqual([
        { id: '1', name: 'one', age: '1' },
        { id: '2', name: 'two', age: '2' },
      ]);
    });

    it('that was committed before is acknowledged, with its rows, without a look at its files', async () => {
      const { checkpoint } = await suite.stream.open();
      // As in life: no two batches make the same one.
      const next = randomUUID();
      const records = [{ id: '1', name: 'one' }];
      await suite.stream.write(checkpoint.id, next, records);
      const again = await suite.stream.write(checkpoint.id, next, records, {
        files: () => Promise.reject(new Error('the files were asked for')),
      });
      expect(again).toEqual({ rows: 1, already: true });
      expect(await suite.stream.rows()).toHaveLength(1);
      expect((await suite.stream.checkpoint()).id).toBe(next);
    });

    it('that was committed before others is acknowledged, and stays as they left it', async () => {
      const { checkpoint } = await suite.stream.open();
      const [first, second] = [randomUUID(), randomUUID()];
      const records = [{ id: '1', name: 'one' }, { id: '2' }];
      await suite.stream.write(checkpoint.id, first, records);
      await suite.stream.write(first, second, [{ id: '1', name: 'changed' }]);
      expect(await suite.stream.write(checkpoint.id, first, records)).toEqual({ rows: 2, already: true });
      expect((await suite.stream.checkpoint()).id).toBe(second);
      expect(await suite.stream.rows()).toMatchObject([{ name: 'changed' }, { name: null }]);
      // Not one that others have made.
      const other = await thrownBy(suite.stream.write(randomUUID(), first, records));
      expect(other).toBeInstanceOf(CheckpointConflictError);
    });

    it('from any other checkpoint is refused with the name of the holder, and nothing is written', async () => {
      const { checkpoint } = await suite.stream.open('the-holder');
      await suite.stream.write(checkpoint.id, 'c1', [{ id: '1', name: 'one' }]);
      for (const base of [checkpoint.id, 'unheard-of', '']) {
        const thrown = await thrownBy(
          suite.stream.write(base, 'c2', [{ id: '1', name: 'changed' }, { id: '2' }], {
            files: () => Promise.reject(new Error('the files were asked for')),
          }),
        );
        expect(thrown).toBeInstanceOf(CheckpointConflictError);
        expect(thrown).toMatchObject({ base, stored: 'c1' });
        expect(thrown.message).toContain('workflow "the-holder"');
        expect(thrown.message).toContain(`main.${suite.stream.table.table} (keyset)`);
      }
      expect(await suite.stream.rows()).toEqual([{ id: '1', name: 'one', age: null }]);
      expect(await suite.stream.checkpoint('the-holder')).toEqual({ id: 'c1', cursor: cursorAt('c1') });
    });

    it('from any other checkpoint changes no table', async () => {
      const { checkpoint } = await suite.stream.open();
      await suite.stream.write(checkpoint.id, 'c1', [{ id: '1' }]);
      const { table } = suite.stream;
      const wider = suite.streamOf(
        { ...table, columns: { ...table.columns, extra: 'STRING' } },
        suite.stream.key,
      );
      const unmade = suite.streamOf({ ...table, table: `${table.table}_unmade` }, suite.stream.key);
      for (const other of [wider, unmade])
        expect(await thrownBy(other.write('stale', 'c2', [{ id: '2' }]))).toBeInstanceOf(
          CheckpointConflictError,
        );
      expect(Object.keys((await suite.stream.rows())[0] ?? {})).toEqual(Object.keys(table.columns));
      await expect(suite.tested.rows(unmade.table)).rejects.toThrow();
    });

    it('to a stream that nobody has opened is refused', async () => {
      await suite.stream.open();
      const other = suite.streamOf(
        suite.stream.table,
        keyOf(suite.stream.table, { source: 'http://elsewhere' }),
      );
      const thrown = await thrownBy(other.write('c0', 'c1', [{ id: '1' }]));
      expect(thrown).toBeInstanceOf(CheckpointConflictError);
      expect(thrown.message).toContain('(none)');
      expect(await suite.stream.rows()).toEqual([]);
    });

    it('of two at once from one checkpoint is committed, and the other refused', async () => {
      const { checkpoint } = await suite.stream.open();
      const outcomes = await Promise.allSettled(
        ['a', 'b', 'c'].map((writer) =>
          suite.stream.write(checkpoint.id, writer, [
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
      expect(await suite.stream.rows()).toEqual([
        { id: writer, name: writer, age: null },
        { id: 'shared', name: writer, age: null },
      ]);
      expect((await suite.stream.checkpoint()).id).toBe(writer);
    });

    it('of one batch twice at once is committed once', async () => {
      const { checkpoint } = await suite.stream.open();
      const attempts = await Promise.all(
        [1, 2].map(() => suite.stream.write(checkpoint.id, 'c1', [{ id: '1' }, { id: '2' }])),
      );
      expect(attempts.map((outcome) => outcome.rows)).toEqual([2, 2]);
      expect(attempts.filter((outcome) => outcome.already)).toHaveLength(1);
      expect(await suite.stream.rows()).toHaveLength(2);
    });

    it('without records commits its cursor and asks for no files', async () => {
      const { checkpoint } = await suite.stream.open();
      const files = () => Promise.reject(new Error('the files were asked for'));
      const outcome = await suite.stream.write(checkpoint.id, 'c1', [], { records: 0, files });
      expect(outcome).toEqual({ rows: 0, already: false });
      expect(await suite.stream.checkpoint()).toEqual({ id: 'c1', cursor: cursorAt('c1') });
    });

    it('whose files are lost says so, and the stream stays as it was', async () => {
      const { checkpoint } = await suite.stream.open();
      const lost = new BatchLostError('gone');
      const failed = suite.stream.write(checkpoint.id, 'c1', [{ id: '1' }], {
        files: () => Promise.reject(lost),
      });
      expect(await thrownBy(failed)).toBe(lost);
      expect(await suite.stream.checkpoint()).toEqual(checkpoint);
      expect(await suite.stream.write(checkpoint.id, 'c1', [{ id: '1' }])).toEqual({
        rows: 1,
        already: false,
      });
    });

    it('keeps every kind of cursor as it was', async () => {
      const { checkpoint } = await suite.stream.open();
      const cursor: Cursor = {
        pass: 2 ** 40,
        mark: { id: '9007199254740993', text: `'"\\\n\u2028😀`, list: [null, true, 1.5, {}] },
        position: null,
        ended: 'max_id',
        notes: [],
      };
      await suite.stream.write(checkpoint.id, 'c1', [], { records: 0, cursor });
      expect((await suite.stream.checkpoint()).cursor).toEqual(cursor);
    });
  });
}

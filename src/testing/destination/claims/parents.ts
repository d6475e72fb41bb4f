/** Claims about the parents of a stream. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { CheckpointConflictError, RecordError } from '../../../errors.js';
import type { Cursor, Json, TableSpec } from '../../../protocol.js';
import { COLUMNS, type Stream, thrownBy, type SourceRecord, type Suite } from '../tested.js';

export function parentClaims(suite: Suite): void {
  suite.describeInFull(
    'the parents of a stream',
    () => {
      const ended = (mark: Json): Cursor => ({
        pass: 1,
        mark,
        position: null,
        ended: 'empty_page',
        notes: [],
      });
      const marksFile = async (marks: Record<string, Json>) => {
        const path = suite.folder.file(`marks-${randomUUID()}.ndjson`);
        const lines = Object.entries(marks).map(([parent, mark]) =>
          JSON.stringify({ parent: JSON.stringify([parent]), mark: JSON.stringify(mark) }),
        );
        await writeFile(path, lines.map((line) => `${line}\n`).join(''));
        return { marks: async () => [path] };
      };
      const of = (above: Stream, fields = ['name']) => ({
        parent: { stream: 'above', table: above.table, fields },
        key: suite.stream.key,
        after: null,
        limit: 10,
      });
      /** A parent's table that has been read. */
      async function parentTable(
        columns: TableSpec['columns'],
        records: SourceRecord[],
        primaryKey = ['id'],
      ): Promise<Stream> {
        const above = suite.streamOf(suite.tableOf(columns, primaryKey));
        const { checkpoint } = await above.open();
        await above.write(checkpoint.id, randomUUID(), records, { cursor: ended(null) });
        return above;
      }

      it('are not there before a pass over them has ended', async () => {
        const above = suite.streamOf(suite.tableOf({ id: 'LONG', name: 'STRING' }));
        await suite.stream.open();
        const { checkpoint } = await above.open();
        expect(await suite.tested.destination.parents?.(of(above))).toBeNull();
        const half = randomUUID();
        await above.write(checkpoint.id, half, [{ id: 1, name: 'one' }]);
        expect(await suite.tested.destination.parents?.(of(above))).toBeNull();
        await above.write(half, randomUUID(), [{ id: 2, name: 'two' }], { cursor: ended(null) });
        expect(await suite.tested.destination.parents?.(of(above))).toHaveLength(2);
      });

      it('come in the order of their keys, from behind a key, a number at a time', async () => {
        const records = [10, 9, 2, 100].map((id) => ({ id, name: `n${id}` }));
        const above = await parentTable({ id: 'LONG', name: 'STRING' }, records);
        await suite.stream.open();
        const first = await suite.tested.destination.parents?.({ ...of(above), limit: 3 });
        expect(first?.map(({ key }) => key)).toEqual([['2'], ['9'], ['10']]);
        const rest = await suite.tested.destination.parents?.({ ...of(above), after: ['10'], limit: 3 });
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
        await suite.stream.open();
        const fields = ['a', 'at', 'big', 'is', 'd'];
        const rows = (await suite.tested.destination.parents?.(of(above, fields))) ?? [];
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
        const rest = await suite.tested.destination.parents?.({
          ...of(above),
          parent: { ...of(above).parent, fields: [] },
          after: ["it's", '1'],
        });
        expect(rest).toEqual([{ key: ["it's", '2'], fields: {}, mark: null }]);
      });

      it('have marks, kept with the batch that they came with or not at all', async () => {
        const above = await parentTable({ id: 'STRING', name: 'STRING' }, [{ id: 'p' }, { id: 'q' }]);
        const { checkpoint } = await suite.stream.open();
        const marks = async () =>
          (await suite.tested.destination.parents?.(of(above)))?.map(({ mark }) => mark);
        const next = randomUUID();
        await suite.stream.write(checkpoint.id, next, [], await marksFile({ p: { newest: '1' } }));
        expect(await marks()).toEqual([{ newest: '1' }, null]);
        const stale = suite.stream.write(checkpoint.id, randomUUID(), [], await marksFile({ p: 'stale' }));
        expect(await thrownBy(stale)).toBeInstanceOf(CheckpointConflictError);
        const misfit = suite.stream.write(
          next,
          randomUUID(),
          [{ id: '1', age: 'old' }],
          await marksFile({ p: 'no' }),
        );
        expect(await thrownBy(misfit)).toBeInstanceOf(RecordError);
        expect(await marks()).toEqual([{ newest: '1' }, null]);
        await suite.stream.write(
          next,
          randomUUID(),
          [{ id: '1' }],
          await marksFile({ p: { newest: '2' }, q: null }),
        );
        expect(await marks()).toEqual([{ newest: '2' }, null]);
        // Another stream's parents have marks of their own.
        const other = suite.streamOf(suite.tableOf(COLUMNS));
        await other.open();
        expect(
          await suite.tested.destination.parents?.({ ...of(above), key: other.key, limit: 1 }),
        ).toMatchObject([{ mark: null }]);
        await suite.stream.open('w2', { full: true });
        expect(await marks()).toEqual([null, null]);
      });
    },
    suite.parents,
  );
}

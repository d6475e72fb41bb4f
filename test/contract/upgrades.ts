/** What an older version has written, opened by this one; part of the contract suite. */
import { expect, it } from 'vitest';
import { DestinationError } from '../../src/errors.js';
import type { TableSpec } from '../../src/protocol.js';
import { cursorAt, holderOf, keyOf, Stream, type TestedDestination } from './tested.js';

/** @param start the destination as version 1 has left it: three rows of `user`, read by keyset in one pass. */
export function upgradesFromVersion1(
  schema: string,
  start: () => Promise<{
    tested: TestedDestination;
    file: (name: string) => string;
    end: () => Promise<void>;
  }>,
): void {
  const table: TableSpec = {
    ...{ schema, table: 'user', primaryKey: ['id'] },
    columns: { id: 'STRING', name: 'STRING', updatedAt: 'UTC_DATETIME' },
  };

  it('that version 1 has made goes on where it stood, with all that came since', async () => {
    const { tested, file, end } = await start();
    try {
      const spec: TableSpec = { ...table, stamps: true, quarantine: true, deletes: 'soft' };
      const of = new Stream(tested, file, spec);
      // Before anybody has opened it with this version.
      const { stored, entries } = await tested.destination.history({ key: keyOf(spec), limit: 9 });
      expect(stored?.holder.workflowId).toBe('users');
      expect(entries.map(({ id, rows }) => [id, rows])).toEqual([['batch-1', 3]]);
      const opened = await of.open('users');
      expect(opened.checkpoint.cursor).toMatchObject({
        pass: 1,
        mark: { last_updated_at: '2026-01-03T00:00:00Z' },
        ended: 'no_next_token',
      });
      expect((await of.rows()).map(({ name }) => name)).toEqual(['name 1', 'name 2', 'name 3']);
      const rows = [
        { id: 'user-2', name: 'name 2', updatedAt: '2026-01-02T00:00:00Z' },
        { id: 'user-3', name: 'new', updatedAt: '2026-01-04T00:00:00Z' },
        { id: 'user-4', name: 'name 4', updatedAt: 'never' },
      ];
      const ended = { ...cursorAt('x'), pass: 2, position: null, ended: 'empty_page' as const, notes: [] };
      expect(
        await of.write(opened.checkpoint.id, 'batch-2', rows.slice(0, 2), { cursor: ended }),
      ).toMatchObject({
        rows: 1,
        deleted: 1,
      });
      const aside = await of.write('batch-2', 'batch-3', rows.slice(2), { cursor: cursorAt('y') });
      expect(aside).toMatchObject({ rows: 0, rejected: 1 });
      const own = `${schema}._highwater_meta`;
      expect(await tested.query(`SELECT value FROM ${own} WHERE name = 'version'`)).toEqual([['2']]);
      expect(await tested.query(`SELECT count(*)::INTEGER FROM ${schema}._highwater_batches`)).toEqual([[3]]);
    } finally {
      await end();
    }
  });

  it('that a newer version has made is refused, untouched', async () => {
    const { tested, file, end } = await start();
    try {
      await tested.query(`UPDATE ${schema}._highwater_meta SET value = '99' WHERE name = 'version'`);
      const opening = new Stream(tested, file, { ...table, stamps: true }, keyOf(table)).open('w9', {
        holder: holderOf('w9'),
      });
      await expect(opening).rejects.toThrow(DestinationError);
      await expect(opening).rejects.toThrow(/newer Highwater .* version 99, and this one knows version 2/);
      const columns = await tested.query(
        `SELECT column_name FROM information_schema.columns WHERE table_schema = '${schema}' AND table_name = 'user' ORDER BY ordinal_position`,
      );
      expect(columns.flat()).toEqual(['id', 'name', 'updatedAt']);
    } finally {
      await end();
    }
  });
}

/** What an older version has written, opened by this one; part of the contract suite. */
import { expect, it } from 'vitest';
import type { Ranges } from '../../src/destinations/destination.js';
import { DestinationError } from '../../src/errors.js';
import type { TableSpec } from '../../src/protocol.js';
import { cursorAt, holderOf, keyOf, Stream, type TestedDestination } from './tested.js';

interface Started {
  tested: TestedDestination;
  file: (name: string) => string;
  end: () => Promise<void>;
}

/** @param start the destination as version 1 has left it: three rows of `user`, read by keyset in one pass. */
export function upgradesFromVersion1(schema: string, start: () => Promise<Started>): void {
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
      expect(await tested.query(`SELECT value FROM ${own} WHERE name = 'version'`)).toEqual([['3']]);
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
      await expect(opening).rejects.toThrow(
        /newer Highwater .* version 99, and this Highwater supports version 3/,
      );
      const columns = await tested.query(
        `SELECT column_name FROM information_schema.columns WHERE table_schema = '${schema}' AND table_name = 'user' ORDER BY ordinal_position`,
      );
      expect(columns.flat()).toEqual(['id', 'name', 'updatedAt']);
    } finally {
      await end();
    }
  });
}

/**
 * @param start the destination as version 2 has left it: a pass over `user` that has ended, a backfill of it and an
 *   audit that have not, and a pass over `team`, whose source has a "#" of its own.
 */
export function upgradesFromVersion2(
  schema: string,
  start: () => Promise<Started>,
  { isSql }: { isSql: boolean },
): void {
  const user: TableSpec = {
    ...{ schema, table: 'user', primaryKey: ['id'], stamps: true },
    columns: { id: 'STRING', name: 'STRING', updatedAt: 'UTC_DATETIME' },
  };
  const team: TableSpec = { ...user, table: 'team' };
  const BACKFILL = 'backfill 2026-01-02T00:00:00Z..';
  const AUDIT = 'audit ..';
  const row = (n: number, name = `name ${n}`) => ({
    id: `user-${n}`,
    name,
    updatedAt: `2026-01-0${n}T00:00:00Z`,
  });
  const rangesOf = ({ destination: { ranges } }: TestedDestination): Ranges => {
    if (ranges === undefined) throw new Error('it cannot');
    return ranges;
  };

  it('that version 2 has made goes on with its syncs and with its ranges', async () => {
    const { tested, file, end } = await start();
    try {
      const ranges = rangesOf(tested);
      const main = new Stream(tested, file, user);
      const backfill = new Stream(tested, file, user, keyOf(user, { range: BACKFILL }));
      const teams = new Stream(tested, file, team, keyOf(team, { source: '${vault:kv/api#url}/teams' }));

      const { stored, entries } = await tested.destination.history({ key: backfill.key, limit: 9 });
      expect(stored?.holder.workflowId).toBe('backfill');
      expect(entries.map(({ id }) => id)).toEqual(['backfill-1']);
      const kept = (await ranges.kept(main.key)).map(({ key, holder }) => [
        key.source,
        key.range,
        holder.workflowId,
      ]);
      const ofAudit = isSql ? [['http://source/users', AUDIT, 'audit']] : [];
      expect(kept).toEqual([...ofAudit, ['http://source/users', BACKFILL, 'backfill']]);

      const opened = await main.open('users');
      expect([opened.checkpoint.cursor?.ended, opened.neighbours, opened.notes]).toEqual([
        'no_next_token',
        [],
        undefined,
      ]);
      const again = await teams.open('teams');
      expect(again.checkpoint.cursor?.ended).toBe('no_next_token');
      const beside = await backfill.open('backfill');
      expect(beside.checkpoint.cursor?.position).toEqual({ at: '3' });

      // The log takes an id for the sync and for its range.
      const range = {
        kind: 'backfill' as const,
        writes: true,
        began: await ranges.now(backfill.key),
        cursor: { field: 'updatedAt', format: 'timestamp' as const },
      };
      await main.write(opened.checkpoint.id, 'same', [row(4)]);
      await backfill.write(beside.checkpoint.id, 'same', [row(5)], { range });
      expect((await main.rows()).map(({ name }) => name).sort()).toEqual([
        'backfill',
        'name 1',
        'name 2',
        'name 4',
        'name 5',
      ]);
      await ranges.forget(backfill.key);
      expect((await ranges.kept(main.key)).map(({ key }) => key.range)).toEqual(isSql ? [AUDIT] : []);
    } finally {
      await end();
    }
  });

  it('that version 2 has made takes a batch whose stream version 2 has opened', async () => {
    const { tested, file, end } = await start();
    try {
      const written = await new Stream(tested, file, user).write('batch-1', 'batch-2', [row(4)]);
      expect(written).toMatchObject({ rows: 1, already: false });
    } finally {
      await end();
    }
  });

  it.runIf(isSql)('that version 2 has made concludes its audit by what that had found', async () => {
    const { tested, end } = await start();
    try {
      const key = keyOf(user, { range: AUDIT });
      const plan = {
        ...{ kind: 'audit' as const, from: null, to: null, repair: false, removeExtra: false, keys: 9 },
        ...{ began: await rangesOf(tested).now(key), reached: null },
      };
      const request = { key, table: user, range: plan, scope: null, removes: true };
      const found = await rangesOf(tested).conclude(request);
      expect(found.stale).toMatchObject({ count: 1, keys: ['user-3'] });
      expect(found.extra).toMatchObject({ count: 1, keys: ['user-1'] });
      await rangesOf(tested).forget(key);
      for (const own of ['seen', 'differences'])
        expect(await tested.query(`SELECT * FROM ${schema}._highwater_${own}`)).toEqual([]);
    } finally {
      await end();
    }
  });
}

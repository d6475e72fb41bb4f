/** What every destination promises where the configuration or the table has changed; part of the contract suite. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OpenRequest } from '../../src/destinations/destination.js';
import type { Fingerprint } from '../../src/destinations/fingerprint.js';
import { DestinationError, DestinationGoneError, TableGoneError } from '../../src/errors.js';
import type { Cursor, StreamKey, TableSpec } from '../../src/protocol.js';
import { scratch } from '../helpers/harness.js';
import { keyOf, Stream, type TestedDestination, thrownBy } from './tested.js';

export interface DriftOptions {
  /** Takes the rows of a table away from outside, as by hand. */
  dropTable: (tested: TestedDestination, table: TableSpec) => Promise<void>;
  /** The destination is one of SQL: the table can be made anew, and emptied. */
  isSql: boolean;
}

const FINGERPRINT: Fingerprint = {
  primaryKey: ['id'],
  cursor: { field: 'updatedAt', format: 'timestamp' },
  parent: null,
  columns: { id: 'id', name: 'name' },
  infers: false,
  where: null,
  start: null,
  request: { method: 'GET', 'params.status': 'open' },
  readsAll: false,
};
const COLUMNS: TableSpec['columns'] = { id: 'STRING', name: 'STRING' };

const inPass = (pass: number): Cursor => ({
  ...{ pass, mark: { last: 'm' }, position: { at: 'p' }, ended: null, notes: [] },
});
const ended = (pass: number): Cursor => ({ ...inPass(pass), position: null, ended: 'empty_page' });

/** A configuration by which a stream is opened and written. */
interface Configured {
  stream: Stream;
  open: (more?: Partial<OpenRequest>, workflowId?: string) => ReturnType<Stream['open']>;
  write: (base: string, cursor: Cursor, ids: string[]) => Promise<string>;
}

export function driftContract(
  name: string,
  start: () => Promise<TestedDestination>,
  options: DriftOptions,
): void {
  describe(`${name}, opened by another configuration or without its table,`, () => {
    let folder: Awaited<ReturnType<typeof scratch>>;
    let tested: TestedDestination;
    let tests = 0;
    let table: TableSpec;
    beforeAll(async () => {
      folder = await scratch();
      tested = await start();
    });
    beforeEach(() => {
      table = {
        ...{ schema: 'main', table: `drift${tests++}`, primaryKey: ['id'], columns: COLUMNS, stamps: true },
      };
    });
    afterAll(async () => {
      await tested.close();
      await folder.remove();
    });

    const configured = (
      fingerprint: Partial<Fingerprint> = {},
      spec: Partial<TableSpec> = {},
      of: Partial<StreamKey> = {},
    ): Configured => {
      const whole = { ...table, ...spec };
      const stream = new Stream(tested, folder.file, whole, keyOf(whole, of));
      const is = { ...FINGERPRINT, primaryKey: whole.primaryKey, ...fingerprint };
      return {
        stream,
        open: (more = {}, workflowId = 'w1') => stream.open(workflowId, { fingerprint: is, ...more }),
        write: async (base, cursor, ids) => {
          const next = randomUUID();
          const records = ids.map((id) => ({ id, name: `name ${id}` }));
          await stream.write(base, next, records, { cursor, fingerprint: is });
          return next;
        },
      };
    };
    /** Opens a stream and writes a whole pass. */
    const synced = async (of: Configured, ids = ['1', '2']) => {
      const { checkpoint, database } = await of.open();
      return { checkpoint: await of.write(checkpoint.id, ended(1), ids), database };
    };
    const codes = (opened: Awaited<ReturnType<Stream['open']>>) =>
      (opened.notes ?? []).map(({ code }) => code);

    it('says nothing where nothing has changed, nor where nothing was recorded', async () => {
      const { checkpoint } = await configured().stream.open();
      await configured().stream.write(checkpoint.id, 'c1', [{ id: '1' }]);
      const opened = await configured().open();
      expect(opened.notes).toBeUndefined();
      expect(opened.checkpoint.id).toBe('c1');
      expect((await configured().open()).notes).toBeUndefined();
      expect(codes(await configured({ where: '@.a == 1' }).open())).toEqual(['configuration_changed']);
    });

    it('does not use a mark of another cursor field, and says so until the pass has ended', async () => {
      const { checkpoint } = await synced(configured());
      const by = configured({ cursor: { field: 'modified', format: 'epoch_s' } });
      const opened = await by.open({}, 'w2');
      expect(opened.checkpoint.cursor).toBeNull();
      expect(opened.checkpoint.id).not.toBe(checkpoint);
      expect(opened.notes).toMatchObject([
        {
          code: 'cursor_field_changed',
          message: expect.stringMatching(
            /^the cursor field was updatedAt \(timestamp\) and is now modified \(epoch_s\)\. .* everything is read again/,
          ) as string,
        },
      ]);
      // The same opening once more, as after a crash, and once there is a cursor of the new field.
      const again = await by.open({}, 'w2');
      expect(again.checkpoint).toEqual(opened.checkpoint);
      expect(codes(again)).toEqual(['cursor_field_changed']);
      const half = await by.write(opened.checkpoint.id, inPass(1), ['1']);
      const resumed = await by.open({}, 'w2');
      expect(resumed.checkpoint.id).toBe(half);
      expect(codes(resumed)).toEqual(['cursor_field_changed']);
      await by.write(half, ended(1), ['2']);
      expect((await by.open({}, 'w2')).notes).toBeUndefined();
      const { entries } = await tested.destination.history({ key: by.stream.key, limit: 9 });
      expect(entries.map(({ moved }) => moved)).toContain(
        'started over: the cursor field was updatedAt (timestamp) and is now modified (epoch_s)',
      );
    });

    it('does not use it either when only the format is another one, or the configuration takes its place', async () => {
      await synced(configured());
      const by = configured({ cursor: { field: 'updatedAt', format: 'epoch_ms' } });
      const opened = await by.open({
        move: { id: randomUUID(), to: { here: true }, said: 'configuration changed' },
      });
      expect(opened.checkpoint.cursor).toBeNull();
      expect(codes(opened)).toEqual(['cursor_field_changed']);
    });

    it('takes a state that is given for the new cursor field', async () => {
      await synced(configured());
      const by = configured({ cursor: { field: 'modified', format: 'timestamp' } });
      const move = { id: randomUUID(), to: { cursor: ended(1) }, said: 'set' };
      const opened = await by.open({ move });
      expect(opened).toMatchObject({ checkpoint: { id: move.id, cursor: ended(1) } });
      expect(opened.notes).toBeUndefined();
    });

    it('names what older rows lack until a pass has ended, and nothing where all is read again', async () => {
      const { checkpoint } = await synced(configured());
      const by = configured({
        where: "@.status == 'open'",
        start: '2020-01-01T00:00:00Z',
        request: { method: 'GET', 'params.status': 'all', 'params.archived': 'true' },
        columns: { id: 'id', name: 'profile.name', email: 'email' },
      });
      const opened = await by.open();
      expect(opened.checkpoint.id).toBe(checkpoint);
      expect(opened.notes).toEqual([
        {
          code: 'configuration_changed',
          message:
            'the configuration has changed: params.status was "open" and is now "all"; params.archived was not set and is ' +
            'now "true"; "where" was not set and is now "@.status == \'open\'"; column name was read from name and is ' +
            'now read from profile.name; column email is new. The sync continues from its high-water mark, so rows read ' +
            'before lack the change. "highwater resync" reads everything again, "highwater backfill" a range.',
        },
      ]);
      expect(codes(await by.open({}, 'w2'))).toEqual(['configuration_changed']);
      const full = await by.open({ full: true }, 'w3');
      expect(full.notes).toBeUndefined();
      expect(full.checkpoint.cursor).toBeNull();
      await by.write(full.checkpoint.id, ended(1), ['1']);
      expect((await configured({ readsAll: true }).open({}, 'w4')).notes).toBeUndefined();
      expect(codes(await configured().open({}, 'w4'))).toEqual([]);
    });

    it('says nothing any more once a pass has ended, or the configuration is set back', async () => {
      const { checkpoint } = await synced(configured());
      const by = configured({ where: '@.a == 1' });
      expect(codes(await by.open())).toEqual(['configuration_changed']);
      expect((await configured().open()).notes).toBeUndefined();
      expect(codes(await by.open())).toEqual(['configuration_changed']);
      await by.write(checkpoint, ended(2), ['3']);
      expect((await by.open()).notes).toBeUndefined();
    });

    it('says that an earlier start is one, and nothing of a later one', async () => {
      await synced(configured({ start: '2026-01-01T00:00:00Z' }));
      expect((await configured({ start: '2026-06-01T00:00:00+02:00' }).open()).notes).toBeUndefined();
      for (const start of ['2026-01-01T00:00:00+01:00', null])
        expect(codes(await configured({ start }).open()), String(start)).toEqual(['configuration_changed']);
    });

    it('refuses another primary key before any row is touched, for a range too, and takes it when all is read again', async () => {
      const columns: TableSpec['columns'] = { ...COLUMNS, uuid: 'STRING' };
      const { checkpoint } = await synced(configured({}, { columns }), ['1', '2']);
      const by = configured({}, { columns, primaryKey: ['uuid'] });
      const before = await configured({}, { columns }).stream.rows();
      const refused = await thrownBy(by.open());
      expect(refused).toBeInstanceOf(DestinationError);
      expect(refused.message).toMatch(
        /^the primary key was id and is now uuid\. Records would be stored twice in table main\.drift\d+.* nothing was written\. .*"highwater resync" .*another table/,
      );
      // Nor by another strategy or source of the same table, nor beside the sync.
      for (const other of [{ source: 'http://elsewhere/users' }, { range: 'backfill 1..2' }])
        expect(await thrownBy(configured({}, { columns, primaryKey: ['uuid'] }, other).open())).toMatchObject(
          {
            message: expect.stringContaining('the primary key was id and is now uuid') as string,
          },
        );
      expect(await configured({}, { columns }).stream.rows()).toEqual(before);
      expect((await configured({}, { columns }).open()).checkpoint.id).toBe(checkpoint);

      const opened = await by.open({ full: true }, 'w2');
      expect(opened.checkpoint.cursor).toBeNull();
      expect(opened.notes).toBeUndefined();
      const records = [
        { id: '1', uuid: 'a', name: 'one' },
        { id: '2', uuid: 'b', name: 'two' },
        { id: '2', uuid: 'c', name: 'two again' },
      ];
      const is = { ...FINGERPRINT, primaryKey: ['uuid'] };
      await by.stream.write(opened.checkpoint.id, randomUUID(), records, {
        cursor: ended(1),
        fingerprint: is,
      });
      expect((await by.stream.rows()).map(({ uuid }) => uuid)).toEqual(['a', 'b', 'c']);
      expect((await by.open({}, 'w2')).notes).toBeUndefined();
      expect((await thrownBy(configured({}, { columns }).open())).message).toContain(
        'the primary key was uuid and is now id',
      );
    });

    it('takes any primary key for a table without rows', async () => {
      const columns: TableSpec['columns'] = { ...COLUMNS, uuid: 'STRING' };
      const { checkpoint } = await configured({}, { columns }).open();
      await configured({}, { columns }).write(checkpoint.id, ended(1), []);
      const by = configured({}, { columns, primaryKey: ['uuid'] });
      const opened = await by.open();
      await by.stream.write(opened.checkpoint.id, 'c1', [
        { id: '1', uuid: 'a' },
        { id: '1', uuid: 'b' },
      ]);
      expect(await by.stream.rows()).toHaveLength(2);
    });

    it('starts a table over that was dropped, and says so until the pass has ended', async () => {
      const of = configured();
      const { checkpoint, database } = await synced(of);
      await options.dropTable(tested, table);
      const opened = await of.open({ expects: database });
      expect(opened.checkpoint.cursor).toBeNull();
      expect(opened.checkpoint.id).not.toBe(checkpoint);
      expect(codes(opened)).toEqual(['table_gone']);
      expect(codes(await of.open({}, 'w2'))).toEqual(['table_gone']);
      const stale = await thrownBy(of.write(checkpoint, ended(2), ['3']));
      expect(stale.name).toBe('CheckpointConflictError');
      const { checkpoint: now } = await of.open({}, 'w2');
      await of.write(now.id, ended(1), ['1', '2']);
      expect((await of.stream.rows()).map(({ id }) => id)).toEqual(['1', '2']);
      expect((await of.open({}, 'w2')).notes).toBeUndefined();
      const { entries } = await tested.destination.history({ key: of.stream.key, limit: 9 });
      expect(entries.map(({ moved }) => moved)).toContain('started over: the table was gone');
    });

    it('starts it over where nothing was recorded, for each stream of the table, and with a move at once', async () => {
      const of = configured();
      const other = configured({}, {}, { source: 'http://elsewhere/users' });
      for (const one of [of, other]) {
        const { checkpoint } = await one.stream.open();
        await one.stream.write(checkpoint.id, randomUUID(), [{ id: '1' }], { cursor: ended(1) });
      }
      await options.dropTable(tested, table);
      const move = { id: randomUUID(), to: { here: true as const }, said: 'configuration changed' };
      const opened = await of.open({ move });
      expect(opened.checkpoint.cursor).toBeNull();
      expect(codes(opened)).toEqual(['table_gone']);
      expect((await other.open()).checkpoint.cursor).toBeNull();
    });

    it('is refused where another database is expected, and nothing is made', async () => {
      const of = configured();
      const refused = await thrownBy(of.open({ expects: randomUUID() }));
      expect(refused).toBeInstanceOf(DestinationGoneError);
      expect(refused.message).toMatch(/not the one that this sync has written .*"highwater resume"/);
      expect((await tested.destination.history({ key: of.stream.key, limit: 1 })).stored).toBeNull();
    });

    if (options.isSql) sqlClaims();

    function sqlClaims(): void {
      it('refuses a batch for a table that was dropped meanwhile, also where columns follow from records', async () => {
        for (const inference of [undefined, { policy: 'evolve', flatten: 0, names: 'as_is' } as const]) {
          const columns: TableSpec['columns'] = inference === undefined ? COLUMNS : {};
          const of = configured({}, { columns, ...(inference !== undefined && { inference }) });
          const { checkpoint } = await synced(of);
          await options.dropTable(tested, table);
          const refused = await thrownBy(of.write(checkpoint, ended(2), ['3']));
          expect(refused).toBeInstanceOf(TableGoneError);
          const opened = await of.open();
          expect(opened.checkpoint.cursor).toBeNull();
          await of.write(opened.checkpoint.id, ended(1), ['1']);
          table = { ...table, table: `drift${tests++}` };
        }
      });

      it('does not take a table for gone that has not been made yet, as there was no record', async () => {
        const inference = { policy: 'evolve', flatten: 0, names: 'as_is' } as const;
        const of = configured({}, { columns: {}, inference });
        const { checkpoint } = await synced(of, []);
        const opened = await of.open();
        expect(opened.checkpoint.id).toBe(checkpoint);
        expect(opened.notes).toBeUndefined();
        await of.write(checkpoint, ended(2), ['1']);
      });

      it('says that a table was emptied by hand, and goes on', async () => {
        const of = configured();
        const { checkpoint } = await synced(of);
        await tested.query(`DELETE FROM main.${table.table}`);
        const opened = await of.open();
        expect(opened.checkpoint.id).toBe(checkpoint);
        expect(opened.notes).toMatchObject([
          {
            code: 'table_empty',
            message: expect.stringMatching(/is empty, although 2 rows .* resync/) as string,
          },
        ]);
        const deleting = configured({}, { deletes: 'hard' });
        expect((await deleting.open()).notes).toBeUndefined();
      });

      it('keeps each row once under another primary key, the one that was written last', async () => {
        const wide = { columns: { ...COLUMNS, region: 'STRING' as const } };
        const of = configured({}, { ...wide, primaryKey: ['id', 'region'] });
        const { checkpoint } = await of.open();
        const first = randomUUID();
        const row = (id: string, region: string) => ({ id, region, name: region });
        await of.stream.write(checkpoint.id, first, [row('1', 'eu'), row('2', 'eu')]);
        await of.stream.write(first, randomUUID(), [row('1', 'us')]);
        const by = configured({}, { ...wide, primaryKey: ['id'] });
        const opened = await by.open({ full: true }, 'w2');
        expect((await by.stream.rows()).map(({ id, region }) => [id, region])).toEqual([
          ['1', 'us'],
          ['2', 'eu'],
        ]);
        await by.stream.write(opened.checkpoint.id, randomUUID(), [{ id: '1', name: 'now' }]);
        expect((await by.stream.rows()).map(({ id, region }) => [id, region])).toEqual([
          ['1', null],
          ['2', 'eu'],
        ]);
      });

      it('keeps the primary key of a table that keeps every version', async () => {
        for (const mode of ['append', 'history'] as const) {
          await synced(configured({}, { mode }));
          const refused = await thrownBy(
            configured({}, { mode, primaryKey: ['name'] }).open({ full: true }, 'w2'),
          );
          expect(refused.message).toMatch(/every version is kept.* sync into another table/);
          table = { ...table, table: `drift${tests++}` };
        }
      });
    }
  });
}

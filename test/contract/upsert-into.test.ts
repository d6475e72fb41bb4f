/** A destination of a store of rows passes the contract; its own are stamps, the log's length and keys that stay. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readFileSync } from 'node:fs';
import { type ColumnValue, valueOf } from '../../src/destinations/column-values.js';
import { type RowStore, upsertInto } from '../../src/destinations/upsert-into.js';
import { DestinationError } from '../../src/errors.js';
import type { ColumnType, TableSpec } from '../../src/protocol.js';
import { destinationContract } from '../../src/testing/destination/contract.js';
import {
  makeFolder,
  Stream,
  thrownBy,
  type TestedDestination,
} from '../../src/testing/destination/tested.js';

type Rows = Map<string, Record<string, ColumnValue>>;

/** A store that forgets all when the test ends. */
class MemoryStore implements RowStore {
  private readonly id = randomUUID();
  readonly tables = new Map<string, { state: string; rows: Rows }>();

  static nameOf = ({ schema, table }: Pick<TableSpec, 'schema' | 'table'>) => JSON.stringify([schema, table]);

  identity = () => Promise.resolve(this.id);

  read: RowStore['read'] = (table) =>
    Promise.resolve(this.tables.get(MemoryStore.nameOf(table))?.state ?? null);

  commit: RowStore['commit'] = ({ table, before, state, primaryKey, rows, uncompared }) => {
    const name = MemoryStore.nameOf(table);
    const stored = this.tables.get(name);
    if ((stored?.state ?? null) !== before) return Promise.resolve(null);
    const next: Rows = new Map(stored?.rows);
    let changed = 0;
    for (const row of rows) {
      const key = JSON.stringify(primaryKey.map((column) => row[column]));
      const old = next.get(key);
      const differs = Object.entries(row).some(
        ([column, value]) => !uncompared.includes(column) && value !== (old?.[column] ?? null),
      );
      if (old !== undefined && !differs) continue;
      changed++;
      next.set(key, { ...old, ...row });
    }
    this.tables.set(name, { state: state(changed), rows: next });
    return Promise.resolve(changed);
  };

  close = () => Promise.resolve();
}

function tested(store = new MemoryStore()): TestedDestination {
  return {
    destination: upsertInto(store),
    rows: async (table) => {
      const found = store.tables.get(MemoryStore.nameOf(table));
      if (found === undefined) throw new Error('there is no such table');
      return [...found.rows.values()].map((row) =>
        Object.fromEntries(Object.keys(table.columns).map((name) => [name, row[name] ?? null])),
      );
    },
    reopen: () => Promise.resolve(tested(store)),
    close: () => store.close(),
  };
}

destinationContract('a store of rows', () => Promise.resolve(tested()));

describe('a store of rows', () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let store: MemoryStore;
  const table: TableSpec = {
    ...{ schema: 'main', table: 't', primaryKey: ['id'] },
    columns: { id: 'STRING', name: 'STRING' },
  };
  const streamOf = (spec: TableSpec) => new Stream(tested(store), folder.file, spec);

  beforeEach(async () => {
    folder = await makeFolder();
    store = new MemoryStore();
  });
  afterEach(() => folder.remove());

  it('stamps rows with time and batch of the write that changed them', async () => {
    const stream = streamOf({ ...table, stamps: true });
    const { checkpoint } = await stream.open();
    await stream.write(checkpoint.id, 'b1', [{ id: '1' }, { id: '2' }]);
    await stream.write('b1', 'b2', [{ id: '1' }, { id: '2', name: 'two' }]);
    const rows = [...(store.tables.get(MemoryStore.nameOf(table))?.rows.values() ?? [])];
    expect(rows.map((row) => row['_highwater_batch'])).toEqual(['b1', 'b2']);
    for (const row of rows)
      expect(row['_highwater_synced_at']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  });

  it('keeps the last 1000 commits, and counts all', async () => {
    const stream = streamOf(table);
    let base = (await stream.open()).checkpoint.id;
    for (let i = 0; i < 1005; i++) {
      await stream.write(base, `b${i}`, [], { records: 0 });
      base = `b${i}`;
    }
    const history = await tested(store).destination.history({ key: stream.key, limit: 2000 });
    expect([history.total, history.entries.length]).toEqual([1005, 1000]);
    expect(history.entries[0]?.id).toBe('b1004');
  });

  it('refuses another primary key once it has rows, also where everything is read again', async () => {
    const stream = streamOf(table);
    const { checkpoint } = await stream.open();
    await stream.write(checkpoint.id, 'b1', [{ id: '1', name: 'one' }]);
    const thrown = await thrownBy(streamOf({ ...table, primaryKey: ['name'] }).open('w1', { full: true }));
    expect(thrown).toBeInstanceOf(DestinationError);
    expect(thrown.message).toContain(
      'the primary key was id and is now name. This destination cannot change',
    );
  });
});

describe('a value of a column', () => {
  const document = readFileSync(new URL('../../docs/schema.md', import.meta.url), 'utf8');
  const [, body = ''] = /<!-- values -->(.*?)<!-- \/values -->/s.exec(document) ?? [];
  const lines = body
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => {
      const [, type = '', taken = '', refused = ''] = line.split(/(?<!\\)\|/);
      return [type.replaceAll(/[` ]/g, '') as ColumnType, taken, refused] as const;
    });

  it.each(lines)('of %s is the one of the table in docs/schema.md', (type, taken, refused) => {
    for (const [, json = '', value] of taken.matchAll(/`([^`]+)` = `([^`]*)`/g))
      expect([json, valueOf(type, json)]).toEqual([json, value]);
    for (const [, json = ''] of refused.matchAll(/`([^`]+)`/g))
      expect([json, valueOf(type, json)]).toEqual([json, undefined]);
  });
});

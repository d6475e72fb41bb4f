import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { DuckDbFile } from '../../src/destinations/duckdb/file.js';
import { joined, numeral, sql } from '../../src/destinations/sql/sql.js';
import { scratch } from '../helpers/harness.js';

const removes: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const remove of removes.splice(0)) await remove();
});

/** Reads that keep a transaction open for a while, as the openings of other streams do. */
async function readNowAndThen(file: DuckDbFile, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    await file.read(async (connection) => {
      await connection.run(sql`BEGIN`);
      await connection.run(sql`SELECT 1 FROM t0`);
      await delay(300);
      await connection.run(sql`COMMIT`);
    });
    await delay(50);
  }
}

it.each(['while nothing else reads', 'while others read'])(
  'tables with many columns and few rows fill no memory, however many there are, %s',
  async (how) => {
    const folder = await scratch();
    removes.push(folder.remove);
    const file = new DuckDbFile(folder.file('wide.duckdb'), {
      ...{ memoryLimit: '128MiB', threads: 1, idleMilliseconds: 60_000 },
    });
    const columns = joined(Array.from({ length: 200 }, (_, i) => sql`c${numeral(i)} VARCHAR`));
    const stop = new AbortController();
    let reads = Promise.resolve();
    for (let i = 0; i < 40; i++) {
      if (i === 1 && how === 'while others read') reads = readNowAndThen(file, stop.signal);
      await file.transaction((connection) =>
        connection.run(sql`CREATE TABLE t${numeral(i)} (id BIGINT PRIMARY KEY, ${columns})`),
      );
      await file.transaction((connection) =>
        connection.run(sql`INSERT INTO t${numeral(i)} (id) VALUES (1), (2)`),
      );
    }
    stop.abort();
    await reads;
    const tables = Array.from({ length: 40 }, (_, i) => `SELECT id FROM t${i}`).join(' UNION ALL ');
    const found = await file.read(async (_, connection) =>
      (await connection.runAndReadAll(`SELECT count(*)::INTEGER FROM (${tables})`)).getRows(),
    );
    expect(found).toEqual([[80]]);
    await file.close();
  },
);

it('the memory limit is never lowered: DuckDB refuses a limit below what it uses, and ends the transaction', async () => {
  const folder = await scratch();
  removes.push(folder.remove);
  const file = new DuckDbFile(folder.file('full.duckdb'), {
    ...{ memoryLimit: '1GiB', longRecordsMemory: '1MiB', threads: 1, idleMilliseconds: 60_000 },
  });
  const limit = await file.transaction(async (connection) => {
    await connection.run(
      sql`CREATE TABLE t AS SELECT range AS id, repeat('x', 500) || range AS text FROM range(100000)`,
    );
    await file.makeRoomFor(connection, 100_000_000);
    return connection.rows(sql`SELECT current_setting('memory_limit') AS memory`);
  });
  expect(JSON.stringify(limit)).toContain('1.0 GiB');
  await file.close();
});

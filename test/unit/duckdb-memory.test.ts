import { afterEach, expect, it } from 'vitest';
import { DuckDbFile } from '../../src/destinations/duckdb-file.js';
import { joined, numeral, sql } from '../../src/destinations/sql.js';
import { scratch } from '../helpers/harness.js';

const removes: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const remove of removes.splice(0)) await remove();
});

it('tables with many columns and few rows fill no memory, however many there are', async () => {
  const folder = await scratch();
  removes.push(folder.remove);
  const file = new DuckDbFile(folder.file('wide.duckdb'), {
    ...{ memoryLimit: '128MiB', threads: 1, idleMilliseconds: 60_000 },
  });
  const columns = joined(Array.from({ length: 200 }, (_, i) => sql`c${numeral(i)} VARCHAR`));
  for (let i = 0; i < 40; i++) {
    await file.transaction((connection) =>
      connection.run(sql`CREATE TABLE t${numeral(i)} (id BIGINT PRIMARY KEY, ${columns})`),
    );
    await file.transaction((connection) =>
      connection.run(sql`INSERT INTO t${numeral(i)} (id) VALUES (1), (2)`),
    );
  }
  const tables = Array.from({ length: 40 }, (_, i) => `SELECT id FROM t${i}`).join(' UNION ALL ');
  const found = await file.read(async (_, connection) =>
    (await connection.runAndReadAll(`SELECT count(*)::INTEGER FROM (${tables})`)).getRows(),
  );
  expect(found).toEqual([[80]]);
  await file.close();
});

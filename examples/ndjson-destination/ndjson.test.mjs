/** The contract of destinations: `npx vitest run`. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { destinationContract } from 'highwater/testing';
import ndjson, { readTable } from './index.mjs';

const context = { name: 'ndjson', beside: join(tmpdir(), 'ndjson'), mask: (text) => text };

/** Opens a folder; `rows` is how the suite looks at it from outside. */
async function opened(folder) {
  const destination = await ndjson.open({ address: folder }, context);
  return {
    destination,
    rows: async (table) => {
      const rows = [];
      for await (const row of readTable(folder, table))
        rows.push(Object.fromEntries(Object.keys(table.columns).map((name) => [name, row[name] ?? null])));
      return rows;
    },
    reopen: async () => {
      await destination.close();
      return opened(folder);
    },
    close: async () => {
      await destination.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

destinationContract('ndjson', async () => opened(await mkdtemp(join(tmpdir(), 'ndjson-'))));

/**
 * A destination for small tables that people look at: a folder with a file of JSON lines for each table, one row a line, by
 * its primary key. `destination: ndjson:./tables`.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { defineDestination, upsertInto } from 'highwater';
import { z } from 'zod';

export default defineDestination({
  name: 'ndjson',
  options: z.strictObject({ address: z.string().min(1, 'needs a folder, such as ndjson:./tables') }),
  features: ['stamps'],
  locate: ({ address }) => resolve(address),
  open: ({ address }) => upsertInto(new Folder(resolve(address))),
});

/**
 * A table is a folder. Its versions are files `1.json`, `2.json`, …, of which the last counts: it names the file with the
 * rows. Only one writer can make a version, so that is the transaction.
 */
class Folder {
  constructor(path) {
    this.path = path;
  }

  async identity() {
    const path = join(this.path, 'identity');
    await mkdir(this.path, { recursive: true });
    // Another writer may have been faster.
    await putIfAbsent(path, [randomUUID()]);
    return readFile(path, 'utf8').then((text) => text.trim());
  }

  async read(table) {
    return (await latest(this.folderOf(table)))?.state ?? null;
  }

  async commit({ table, before, state, primaryKey, rows, uncompared }) {
    const folder = this.folderOf(table);
    await mkdir(folder, { recursive: true });
    const last = await latest(folder);
    if ((last?.state ?? null) !== before) return null;
    const changed = { count: 0 };
    let file = last?.file ?? null;
    // The rows are copied line by line, so that a table may be larger than memory.
    if (rows.length > 0) {
      file = `rows-${randomUUID()}.ndjson`;
      await write(join(folder, file), merged(folder, last, { primaryKey, rows, uncompared, changed }));
    }
    const version = (last?.version ?? 0) + 1;
    const text = JSON.stringify({ file, state: state(changed.count) });
    const isMade = await putIfAbsent(join(folder, `${version}.json`), [text]);
    if (isMade) await removeOld(folder, version, file);
    else if (rows.length > 0) await rm(join(folder, file), { force: true });
    return isMade ? changed.count : null;
  }

  async close() {}

  folderOf({ schema, table }) {
    return join(this.path, encodeURIComponent(schema), encodeURIComponent(table));
  }
}

/** Returns the last version of a table; null if there is none. */
async function latest(folder) {
  for (;;) {
    const names = await readdir(folder).catch(() => []);
    const version = Math.max(0, ...names.map((name) => Number(/^(\d+)\.json$/.exec(name)?.[1] ?? 0)));
    if (version === 0) return null;
    const text = await readFile(join(folder, `${version}.json`), 'utf8').catch(() => null);
    // Removed by another writer since the folder was listed.
    if (text !== null) return { version, ...JSON.parse(text) };
  }
}

/** Yields the lines of a table after a change, and counts those that are new or differ. */
async function* merged(folder, last, { primaryKey, rows, uncompared, changed }) {
  const keyOf = (row) => JSON.stringify(primaryKey.map((name) => row[name] ?? null));
  const next = new Map(rows.map((row) => [keyOf(row), row]));
  for await (const row of last === null ? [] : rowsIn(folder, last)) {
    const key = keyOf(row);
    const newer = next.get(key) ?? {};
    next.delete(key);
    const differs = Object.keys(newer).some(
      (name) => !uncompared.includes(name) && newer[name] !== (row[name] ?? null),
    );
    if (differs) changed.count++;
    yield JSON.stringify(differs ? { ...row, ...newer } : row);
  }
  for (const row of next.values()) {
    changed.count++;
    yield JSON.stringify(row);
  }
}

async function* rowsIn(folder, { file }) {
  if (file === null) return;
  const lines = createInterface({ input: createReadStream(join(folder, file)), crlfDelay: Infinity });
  for await (const line of lines) yield JSON.parse(line);
}

/** Yields the rows of a table. @throws if there is no such table. */
export async function* readTable(path, { schema, table }) {
  const folder = new Folder(resolve(path)).folderOf({ schema, table });
  const last = await latest(folder);
  if (last === null) throw new Error(`there is no table ${schema}.${table} in ${path}`);
  yield* rowsIn(folder, last);
}

/** Writes lines to a new file, and waits until they are on the disk. */
async function write(path, lines) {
  const file = await open(path, 'wx');
  try {
    for await (const line of lines) await file.write(`${line}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes a file with all of its lines at once. @returns false if it is there already. */
async function putIfAbsent(path, lines) {
  const temporary = `${path}.${randomUUID()}.new`;
  await write(temporary, lines);
  try {
    await link(temporary, path);
    return true;
  } catch (thrown) {
    if (thrown.code !== 'EEXIST') throw thrown;
    return false;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Removes older versions, but not the one before: someone may be reading it. */
async function removeOld(folder, version, file) {
  const before = await readFile(join(folder, `${version - 1}.json`), 'utf8').catch(() => null);
  const kept = [file, before === null ? null : JSON.parse(before).file];
  for (const name of await readdir(folder)) {
    const number = Number(/^(\d+)\.json$/.exec(name)?.[1] ?? version);
    const isOldVersion = number < version - 1;
    if (isOldVersion) {
      const old = await readFile(join(folder, name), 'utf8').catch(() => null);
      const rows = old === null ? null : JSON.parse(old).file;
      if (rows !== null && !kept.includes(rows)) await rm(join(folder, rows), { force: true });
      await rm(join(folder, name), { force: true });
    }
  }
}

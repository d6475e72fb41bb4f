/** Rows that are made of an answer's records, before the scanner checks them. */
import { expect, it } from 'vitest';
import { readableBody } from '../../src/sources/body.js';

async function rowsOf(body: string, shape: object, columns: string[], size = Infinity): Promise<unknown> {
  const chunks = (async function* () {
    for (let at = 0; at < body.length; at += size) yield Buffer.from(body.slice(at, at + size));
  })();
  const spec = { records: [], format: 'json', shape } as unknown as Parameters<typeof readableBody>[1];
  const identity = { primaryKey: ['id'], cursorField: 'at' };
  const { bytes } = readableBody(chunks, spec, columns, [], {}, undefined, identity);
  const found: Buffer[] = [];
  for await (const chunk of bytes) found.push(chunk);
  return JSON.parse(Buffer.concat(found).toString());
}

it('A record that the filter leaves out keeps its key and its cursor value where columns are inferred, too', async () => {
  const shape = { from: {}, parent: {}, where: '@.n > 1', rest: true };
  const body = '[{"id":1,"at":"x","n":1},{"id":2,"at":"y","n":2}]';
  expect(await rowsOf(body, shape, [])).toEqual([
    { id: 1, at: 'x' },
    { id: 2, at: 'y', n: 2 },
  ]);
});

it.each([1, 7, 60, 150])('No row is lost where the answer comes in pieces of %i bytes', async (size) => {
  const shape = { from: { copy: ['v'] }, parent: {}, where: null };
  const records = Array.from({ length: 20 }, (_, i) => ({ id: i, v: 'x'.repeat(i * 13) }));
  const rows = records.map(({ id, v }) => ({ id, copy: v }));
  expect(await rowsOf(JSON.stringify(records), shape, ['id', 'copy'], size)).toEqual(rows);
  expect(await rowsOf('[]', shape, ['id', 'copy'], size)).toEqual([]);
});

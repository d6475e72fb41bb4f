/** Rows of the demo API's records for `COPY … FROM STDIN (FORMAT binary)`, as fast as they can be made in JavaScript. */
import { once } from 'node:events';
import type { Client } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { REFERENCE_COLUMNS } from '../src/config/reference-source.js';
import { RecordSpans } from '../src/destinations/postgres/record-spans.js';
import { lastRecords, rowColumns } from '../src/destinations/postgres/rows.js';
import type { TableSpec } from '../src/protocol.js';

export const TABLE: TableSpec = {
  ...{ schema: 'public', table: 'user', primaryKey: ['id'], columns: REFERENCE_COLUMNS },
};
const COLUMNS = rowColumns(TABLE, () => false);
const NAMES = COLUMNS.map(({ name }) => name);
const TYPES: Record<string, string> = { STRING: 'text', UTC_DATETIME: 'timestamptz' };
export const DEFINITION = COLUMNS.map(({ name, type }) => `"${name}" ${TYPES[type]}`).join(', ');

const CHUNK_BYTES = 1024 * 1024;
const HEADER = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
const END = Buffer.from([0xff, 0xff]);

/** Copies records into a table, in the order of their keys, which is faster for its index. @param bytes lines or list items. */
export async function copyRecords(client: Client, table: string, bytes: Buffer): Promise<void> {
  const spans = new RecordSpans(NAMES, new Int32Array(0), 1e8);
  spans.add(bytes, 0, bytes.length);
  const keys = lastRecords({ bytes, spans, isLast: true }, COLUMNS, TABLE);
  if (keys === null) throw new Error('records have no keys that can be ordered');
  const copy = client.query(copyFrom(`COPY ${table} FROM STDIN (FORMAT binary)`));
  copy.write(HEADER);
  let chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let at = 0;
  const room = 100 + spans.longest + COLUMNS.length * 16;
  for (const row of keys.last) {
    if (at + room > chunk.length) {
      if (!copy.write(chunk.subarray(0, at))) await once(copy, 'drain');
      chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      at = 0;
    }
    at = chunk.writeInt16BE(COLUMNS.length, at);
    for (const [i, { format }] of COLUMNS.entries()) {
      const span = (row * COLUMNS.length + i) * 2;
      const [start, end] = [spans.places[span] as number, spans.places[span + 1] as number];
      const after = start === 0 ? at + 4 : format.write(bytes, start, Math.abs(end), end < 0, chunk, at + 4);
      chunk.writeInt32BE(start === 0 ? -1 : after - at - 4, at);
      at = after;
    }
  }
  copy.write(chunk.subarray(0, at));
  copy.end(END);
  await once(copy, 'finish');
}

/** The cursor value of records that have several cursor fields. */
import type { PageRecords } from '../protocol.js';
import type { Values } from '../strategies/index.js';
import { RecordScanner } from './record-scanner.js';

/** Several cursor fields, and which of a record's values counts. */
export interface CursorFields {
  names: readonly string[];
  /** @param texts of the fields, in their order; null where a record has none. */
  pick: (texts: readonly (string | null)[]) => string | null;
}

/** The greatest value; where none can be read the first that is there, so that the run says what is wrong with it. */
export function greatestOf({ isValue, compare }: Values): CursorFields['pick'] {
  return (texts) => {
    const there = texts.filter((text) => text !== null);
    const readable = there.filter(isValue);
    if (readable.length === 0) return there[0] ?? null;
    return readable.reduce((most, text) => (compare(text, most) > 0 ? text : most));
  };
}

/**
 * The records of a page with their cursor values. Each field is looked for in a scan of its own, as the scanner that cuts
 * records out of a page takes one.
 * @param lines the records as newline-delimited JSON, without those that were rejected.
 * @param rejected their places.
 */
export function withCursorValues(
  lines: Buffer,
  part: PageRecords,
  rejected: readonly number[],
  { names, pick }: CursorFields,
): PageRecords {
  const columns = names.map((name) => valuesIn(lines, name));
  const isRejected = new Set(rejected);
  let line = 0;
  const values = Array.from({ length: part.records }, (_, i) => {
    if (isRejected.has(i)) return null;
    const texts = columns.map((column) => column[line] ?? null);
    line++;
    return pick(texts);
  });
  return { ...part, values };
}

const LINE_END = 0x0a;
const COMMA = 0x2c;

function valuesIn(lines: Buffer, name: string): (string | null)[] {
  const values: (string | null)[] = [];
  const scanner = new RecordScanner({
    records: [],
    primaryKey: [],
    cursorField: name,
    columns: [name],
    remembers: { keys: 'none', values: 'all' },
    recordLimit: Infinity,
    sink: (_, scanned) => void values.push(...scanned.values),
  });
  // No line end stands inside a record.
  const list = Buffer.concat([Buffer.from('['), lines, Buffer.from(']')]);
  for (let at = list.indexOf(LINE_END); at !== -1; at = list.indexOf(LINE_END, at + 1)) {
    list[at] = at === list.length - 2 ? 0x20 : COMMA;
  }
  scanner.push(list);
  scanner.end();
  return values;
}

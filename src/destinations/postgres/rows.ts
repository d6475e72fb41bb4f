/** Rows of records in PostgreSQL's binary format: elements of an array of a composite type. */
import type { ColumnType, TableSpec } from '../../protocol.js';
import { KEYS_LIMIT, lastOfEachKey, type LastKeys } from './key-order.js';
import { NOTHING, type RecordSpans } from './record-spans.js';
import type { Segment } from './segments.js';
import { formatOf, REFUSED, TEXT, VALUE_ROOM, writeInt32, writeInt64, type Format } from './wire.js';

/** Thrown for a value that only PostgreSQL knows to convert. */
export class RefusedValueError extends Error {
  constructor(readonly column: RowColumn) {
    super(`the values of column ${JSON.stringify(column.name)} are sent as text`);
  }
}

/** A column of the rows that are sent. */
export interface RowColumn {
  name: string;
  type: ColumnType;
  format: Format;
  /** Whether its values are sent as text, for PostgreSQL to convert. */
  isText: boolean;
}

/** Returns the columns of a table's rows. @param isSentAsText whether PostgreSQL is to convert the values of a column. */
export function rowColumns(
  { columns }: TableSpec,
  isSentAsText: (name: string, type: ColumnType) => boolean,
): RowColumn[] {
  return Object.entries(columns).map(([name, type]) => {
    const format = isSentAsText(name, type) ? null : formatOf(type);
    return { name, type, format: format ?? TEXT, isText: format === null };
  });
}

/** Length, number of columns, and the place. */
const ROW_ROOM = 4 + 4 + 16;
/** Type and length of a value. */
const HEAD_ROOM = 8;
const PLACE_TYPE = 20;

/** Writes the records of segments as rows. */
export class RowWriter {
  constructor(
    private readonly columns: readonly RowColumn[],
    /** Whether rows begin with the place of their record. */
    private readonly hasPlace: boolean,
  ) {}

  /** Returns the most bytes that a row of a segment takes. */
  roomFor({ spans }: Segment): number {
    return ROW_ROOM + this.columns.length * (HEAD_ROOM + VALUE_ROOM) + spans.longest;
  }

  /**
   * Writes a row.
   * @param row the number of the record in the segment.
   * @param place the place of the record, if rows have one.
   * @returns the place after it.
   * @throws {RefusedValueError | UnencodableError}
   */
  write({ bytes, spans }: Segment, row: number, place: number, into: Buffer, at: number): number {
    const { columns, hasPlace } = this;
    const { places } = spans;
    let p = writeInt32(columns.length + (hasPlace ? 1 : 0), into, at + 4);
    if (hasPlace) p = writeInt64(place, into, writeInt32(8, into, writeInt32(PLACE_TYPE, into, p)));
    let span = row * columns.length * 2;
    for (let i = 0; i < columns.length; i++, span += 2) {
      const column = columns[i] as RowColumn;
      const { format } = column;
      const start = places[span] as number;
      p = writeInt32(format.oid, into, p);
      if (start === NOTHING) {
        p = writeInt32(-1, into, p);
        continue;
      }
      const end = places[span + 1] as number;
      const after = format.write(bytes, start, Math.abs(end), end < 0, into, p + 4);
      if (after === REFUSED) throw new RefusedValueError(column);
      writeInt32(after - p - 4, into, p);
      p = after;
    }
    writeInt32(p - at - 4, into, at);
    return p;
  }

  /**
   * Checks that records of a segment can be written.
   * @throws {RefusedValueError | UnencodableError}
   */
  check(segment: Segment, rows: Iterable<number>): void {
    const into = Buffer.allocUnsafe(this.roomFor(segment));
    for (const row of rows) this.write(segment, row, 0, into, 0);
  }
}

/** Bytes after the text of a key column. */
const KEY_END = 1;

/**
 * Finds the last record of each key, in the order of the keys; null if equal keys may have different bytes, or a record
 * lacks a part of its key.
 * @throws {RefusedValueError | UnencodableError}
 */
export function lastRecords(
  { bytes, spans }: Segment,
  columns: readonly RowColumn[],
  { primaryKey }: TableSpec,
): LastKeys | null {
  const parts = primaryKey.map((name) => columns.findIndex((column) => column.name === name));
  const keyed = parts.map((part) => columns[part]);
  const areComparable = keyed.every(
    (column) => column !== undefined && !column.isText && column.format.isCanonical,
  );
  if (!areComparable || spans.rows >= KEYS_LIMIT) return null;
  const total = keyLength(spans, columns.length, parts);
  if (total === null) return null;
  const into = Buffer.allocUnsafe(total);
  const starts = new Uint32Array(spans.rows + 1);
  let p = 0;
  for (let row = 0; row < spans.rows; row++) {
    starts[row] = p;
    for (let k = 0; k < parts.length; k++) {
      const column = keyed[k] as RowColumn;
      const { format } = column;
      const span = (row * columns.length + (parts[k] as number)) * 2;
      const end = spans.places[span + 1] as number;
      const at = p;
      p = format.write(bytes, spans.places[span] as number, Math.abs(end), end < 0, into, at);
      if (p === REFUSED) throw new RefusedValueError(column);
      // Negative numbers come first.
      if (format.isSigned) into[at] = (into[at] as number) ^ 0x80;
      // No text contains it, so that no key begins with another one.
      else if (format === TEXT) into[p++] = 0;
    }
  }
  starts[spans.rows] = p;
  return lastOfEachKey({ bytes: into, starts, count: spans.rows });
}

/** Returns the most bytes that the keys take; null if a record lacks a part of its key. */
function keyLength(spans: RecordSpans, columns: number, parts: readonly number[]): number | null {
  let length = 0;
  for (let row = 0; row < spans.rows; row++) {
    for (const part of parts) {
      const span = (row * columns + part) * 2;
      const start = spans.places[span] as number;
      if (start === NOTHING) return null;
      length += Math.abs(spans.places[span + 1] as number) - start + VALUE_ROOM + KEY_END;
    }
  }
  return length;
}

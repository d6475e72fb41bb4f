/** Reads staged files into memory, as much at a time as there is room for. */
import { open, stat } from 'node:fs/promises';
import { RecordSpans } from './record-spans.js';

/** The most that a segment holds. */
interface SegmentLimits {
  /** A single record may have more. */
  bytes: number;
  /** Values, there or not. */
  values: number;
}

const LIMITS: SegmentLimits = { bytes: 32 * 1024 * 1024, values: 2 * 1024 * 1024 };
/** Bytes that are read, and whose records are looked at, without a pause for other work. */
const READ_BYTES = 1024 * 1024;
const LINE_END = 0x0a;

/** Records in memory. */
export interface Segment {
  bytes: Buffer;
  spans: RecordSpans;
  /** Whether there are no records behind these. */
  isLast: boolean;
}

/** Memory that is used again for the next batch: V8 collects garbage whenever a lot of new memory is asked for. */
export class SegmentMemory {
  private spare: { bytes: Buffer; places: Int32Array } | null = null;

  constructor(readonly limits: SegmentLimits = LIMITS) {}

  /** Returns memory that nothing else uses until it is given back. */
  take(bytes: number): { bytes: Buffer; places: Int32Array } {
    const { spare } = this;
    this.spare = null;
    const places = spare?.places ?? new Int32Array(0);
    return spare !== null && spare.bytes.length >= bytes
      ? spare
      : { bytes: Buffer.allocUnsafeSlow(bytes), places };
  }

  giveBack(bytes: Buffer, places: Int32Array): void {
    if (bytes.length <= this.limits.bytes + 1) this.spare = { bytes, places };
  }
}

/**
 * Yields the records of files in their order.
 * @param names of the members that have a column.
 */
export async function* segmentsOf(
  files: readonly string[],
  names: readonly string[],
  memory: SegmentMemory,
): AsyncGenerator<Segment, void, undefined> {
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  // One byte more than there is to read: full means that there is more.
  const { bytes, places } = memory.take(Math.min(memory.limits.bytes, total) + 1);
  const room = new Room(bytes, places, names, memory.limits.values);
  try {
    for (const file of files) {
      const handle = await open(file, 'r');
      try {
        for (;;) {
          while (room.isFull) {
            if (room.spans.rows > 0) yield room.segment(false);
            room.makeRoom();
          }
          const { bytesRead } = await handle.read(room.bytes, room.filled, room.readable, null);
          if (bytesRead === 0) break;
          room.filled += bytesRead;
          room.scanLines();
        }
      } finally {
        await handle.close();
      }
      // The last line may lack its end.
      while (!room.scanTo(room.filled)) {
        yield room.segment(false);
        room.makeRoom();
      }
    }
    yield room.segment(true);
  } finally {
    memory.giveBack(room.bytes, room.spans.places);
  }
}

/** The bytes of a segment, and the records in them that have been found. */
class Room {
  spans: RecordSpans;
  filled = 0;
  private scanned = 0;
  /** Whether there is no room for the values of the next record. */
  private isCrowded = false;

  constructor(
    public bytes: Buffer,
    places: Int32Array,
    private readonly names: readonly string[],
    private readonly values: number,
  ) {
    this.spans = new RecordSpans(names, places, values);
  }

  /** Whether nothing can be read before the records found have left. */
  get isFull(): boolean {
    return this.isCrowded || this.filled === this.bytes.length;
  }

  get readable(): number {
    return Math.min(READ_BYTES, this.bytes.length - this.filled);
  }

  /** Returns the records found so far. */
  segment(isLast: boolean): Segment {
    return { bytes: this.bytes, spans: this.spans, isLast };
  }

  /** Finds the records in lines that are whole. */
  scanLines(): void {
    const end = this.bytes.subarray(this.scanned, this.filled).lastIndexOf(LINE_END) + 1;
    if (end > 0) this.scanTo(this.scanned + end);
  }

  /** @returns whether all records up to the end have been found. */
  scanTo(end: number): boolean {
    this.scanned = this.spans.add(this.bytes, this.scanned, end);
    this.isCrowded = this.scanned < end;
    return !this.isCrowded;
  }

  /** Lets the records go that have been found. */
  makeRoom(): void {
    if (this.scanned === 0) {
      // One line fills it all.
      const bytes = Buffer.allocUnsafeSlow(this.bytes.length * 2);
      this.bytes.copy(bytes, 0, 0, this.filled);
      this.bytes = bytes;
    } else {
      this.bytes.copyWithin(0, this.scanned, this.filled);
      this.filled -= this.scanned;
      this.scanned = 0;
      this.spans = new RecordSpans(this.names, this.spans.places, this.values);
    }
    this.scanLines();
  }
}

/** Sends rows to the server as arrays, each the only parameter of a statement. */
import { one, type Sql } from '../sql/sql.js';
import { exchangeMessages } from './lines.js';
import type { RowWriter } from './rows.js';
import type { Segment } from './segments.js';
import type { PostgresSession } from './session.js';

/** Bytes of rows that are sent at a time. The server holds as many in memory (`work_mem` is 4 MB by default). */
const CHUNK_BYTES = 1024 * 1024;
/** Bytes of the Bind message and of the array's header before the rows, and those behind them. */
const MESSAGE_HEAD = 17;
const ARRAY_HEAD = 20;
const HEAD = MESSAGE_HEAD + ARRAY_HEAD;
const TAIL = 2;
const BIND = 0x42;

/**
 * Runs a statement with rows as its parameter `$1`, as often as there are rows for it: each time one array of a composite type.
 *
 * This is as fast as COPY. A COPY that waits for its client ignores `statement_timeout` and
 * `idle_in_transaction_session_timeout`, so a frozen worker would hold its locks for good.
 */
export class RowSender {
  private chunk = new Chunk();
  /** The chunk before, and its statement. */
  private other = new Chunk();
  private sent: Promise<void> = Promise.resolve();

  /** @param elementType object id of the rows' type. */
  constructor(
    private readonly session: PostgresSession,
    private readonly writer: RowWriter,
    private readonly statement: Sql,
    private readonly elementType: number,
  ) {}

  /** Has the statement parsed, for all that is sent. No other statement may run before the last row is sent. */
  async prepare(): Promise<void> {
    const text = one(this.statement);
    // Apart from the rows: until a Bind is complete, the transaction counts as idle.
    await exchangeMessages(this.session, (connection) =>
      connection.parse({ name: '', text, types: [] }, true),
    );
  }

  /**
   * Sends records of a segment, while the server works on those before.
   * @param order the records, by their numbers; null: all.
   * @param firstPlace the place of the segment's first record.
   */
  async send(segment: Segment, order: Uint32Array | null, firstPlace: number): Promise<void> {
    const room = this.writer.roomFor(segment);
    const count = order?.length ?? segment.spans.rows;
    try {
      for (let i = 0; i < count; i++) {
        const row = order === null ? i : (order[i] as number);
        if (!this.chunk.hasRoom(room)) await this.flush(room);
        this.chunk.add((into, at) => this.writer.write(segment, row, firstPlace + row, into, at));
      }
      await this.flush(0);
      await this.sent;
    } finally {
      // The chunk is overwritten only once it has left.
      await this.sent.catch(() => undefined);
    }
  }

  private async flush(room: number): Promise<void> {
    const { chunk, other } = this;
    await this.sent;
    if (chunk.rows > 0) {
      const message = chunk.end(this.elementType);
      this.sent = exchangeMessages(this.session, (connection) => {
        connection.stream.write(message);
        connection.execute({}, true);
      });
      this.sent.catch(() => undefined);
      this.chunk = other;
      this.other = chunk;
    }
    this.chunk.begin(room);
  }
}

/** A Bind message with an array of rows. */
class Chunk {
  rows = 0;
  private bytes = Buffer.alloc(0);
  private at = HEAD;

  hasRoom(room: number): boolean {
    return this.at + room + TAIL <= this.bytes.length;
  }

  begin(room: number): void {
    const wanted = Math.max(CHUNK_BYTES, HEAD + room + TAIL);
    if (this.bytes.length < wanted) this.bytes = Buffer.allocUnsafeSlow(wanted);
    this.at = HEAD;
    this.rows = 0;
  }

  add(write: (into: Buffer, at: number) => number): void {
    this.at = write(this.bytes, this.at);
    this.rows++;
  }

  /** Completes the message and returns it. */
  end(elementType: number): Buffer {
    const { bytes, at, rows } = this;
    bytes[0] = BIND;
    let p = bytes.writeInt32BE(at + TAIL - 1, 1);
    // Of the unnamed statement, into the unnamed portal.
    p = bytes.writeInt16BE(0, p);
    // One parameter, in binary format.
    for (const number of [1, 1, 1]) p = bytes.writeInt16BE(number, p);
    p = bytes.writeInt32BE(at - MESSAGE_HEAD, p);
    // One dimension, no nulls, the type of the elements, their number, the first index.
    for (const number of [1, 0]) p = bytes.writeInt32BE(number, p);
    p = bytes.writeUInt32BE(elementType, p);
    for (const number of [rows, 1]) p = bytes.writeInt32BE(number, p);
    // All results as text.
    bytes.writeInt16BE(0, at);
    return bytes.subarray(0, at + TAIL);
  }
}

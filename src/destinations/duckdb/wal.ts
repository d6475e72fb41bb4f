/**
 * Checks that a write-ahead log belongs to the DuckDB file beside it. DuckDB silently replays any log with the right
 * name: an older copy of the file beside a newer log would lose the data that they do not share.
 *
 * The first transaction of every log that Highwater writes names the state of the file that the log builds on. A log
 * without this mark was written by another program or an older version; nothing is known about it.
 */
import { readSync } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { DestinationError } from '../../errors.js';

const MARK = 'highwater: log of ';
/** Offsets of the two headers after the main one; the one written last counts. */
const HEADERS = [4096, 8192] as const;
const HEADER_BYTES = 24;
/** Enough for the mark, in the first transaction, and for the note of a checkpoint, the last entry. */
const END_BYTES = 8192;
/** A program that has the file open may be about to remove the log. */
const CHECKPOINT_MILLISECONDS = 500;

interface FileState {
  /** Checksum of the header in hexadecimal, different for every checkpoint. */
  checksum: string;
  iteration: bigint;
  /** Position of the file's metadata; a checkpoint writes it to the log before removing the log. */
  metadata: bigint;
}

const logOf = (path: string) => `${path}.wal`;

/**
 * Returns the row that marks a log which does not exist yet; null if the file has a log.
 * @param file a descriptor that stays open as long as DuckDB has the file open: closing any descriptor of a file
 *   releases this process's lock on it (POSIX), and another program could then write to it.
 */
export async function markOfNewLog(path: string, file: number): Promise<string | null> {
  const log = await stat(logOf(path)).catch(() => null);
  if (log !== null && log.size > 0) return null;
  const state = latestOf(
    HEADERS.map((offset) => {
      const header = Buffer.alloc(HEADER_BYTES);
      return header.subarray(0, readSync(file, header, 0, HEADER_BYTES, offset));
    }),
  );
  return state === null ? null : MARK + textOf(state);
}

/**
 * Refuses a file beside a log of another state or another file.
 * @throws {DestinationError}
 */
export async function refuseOtherLog(path: string): Promise<void> {
  if (await hasItsLog(path)) return;
  await delay(CHECKPOINT_MILLISECONDS);
  if (!(await hasItsLog(path))) throw otherLog(path);
}

/** Whether the log beside a file belongs to it, or may do. */
async function hasItsLog(path: string): Promise<boolean> {
  const ends = await withFile(logOf(path), async (log) => {
    const { size } = await log.stat();
    return { first: await bytesAt(log, 0), last: await bytesAt(log, Math.max(0, size - END_BYTES)) };
  });
  if (ends === null) return true;
  const at = ends.first.indexOf(MARK);
  const state = await stateOf(path);
  if (at === -1 || state === null) return true;
  const wanted = textOf(state);
  const named = ends.first.toString('latin1', at + MARK.length, at + MARK.length + wanted.length);
  // A crash between a checkpoint and the removal of its log leaves the newer file beside it; DuckDB handles that.
  return named === wanted || ends.last.includes(checkpointEntry(state.metadata));
}

/** Returns the error for a log that does not belong to its file. */
export const otherLog = (path: string, said = ''): DestinationError =>
  new DestinationError(
    `the destination ${path} does not belong to the log beside it, ${logOf(path)}: the log builds on another ` +
      'state of the file (for example, the file was restored from a backup). Nothing was read or written. To keep ' +
      'the file, move the log away: the sync then reads again what only the log contained. Otherwise restore ' +
      `a file and a log that belong together.${said === '' ? '' : ` DuckDB says: ${said}`}`,
  );

const textOf = ({ checksum, iteration }: FileState) =>
  `${checksum} ${iteration.toString(16).padStart(16, '0')}`;

/** Reads the state of a file that DuckDB does not have open in this process; see {@link markOfNewLog}. */
async function stateOf(path: string): Promise<FileState | null> {
  return withFile(path, async (file) => {
    const headers: Buffer[] = [];
    for (const offset of HEADERS) headers.push(await bytesAt(file, offset, HEADER_BYTES));
    return latestOf(headers);
  });
}

/** Returns the state in the newer header; null if one is cut short. */
function latestOf(headers: readonly Buffer[]): FileState | null {
  let latest: FileState | null = null;
  for (const header of headers) {
    if (header.length < HEADER_BYTES) return null;
    const iteration = header.readBigUInt64LE(8);
    if (latest !== null && iteration <= latest.iteration) continue;
    latest = { checksum: header.toString('hex', 0, 8), iteration, metadata: header.readBigUInt64LE(16) };
  }
  return latest;
}

/** Returns the log entry that records where a checkpoint has written the metadata. */
function checkpointEntry(metadata: bigint): Buffer {
  const type = [0x64, 0x00, 0x63, 0x65, 0x00];
  return Buffer.from(
    metadata === 0n ? [...type, 0x65, 0x00] : [...type, 0x64, 0x00, ...leb128(metadata), 0x65],
  );
}

function leb128(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    const low = Number(rest & 0x7fn);
    if (rest < 0x80n) return [...bytes, low];
    bytes.push(low | 0x80);
  }
}

async function bytesAt(file: FileHandle, position: number, length = END_BYTES): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

/** Opens a file for reading; null if it does not exist. */
async function withFile<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T | null> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw thrown;
  }
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

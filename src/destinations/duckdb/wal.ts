/**
 * Tells whether a write-ahead log belongs to the DuckDB file that it lies beside. DuckDB replays any log of that name, in
 * silence: an older copy of the file beside a newer log loses what the two do not share.
 *
 * The first transaction of every log that Highwater writes names the state of the file that the log builds upon. A log
 * without such a mark was written by another program, or by an older version; nothing is known of it.
 */
import { readSync } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { DestinationError } from '../../errors.js';

const MARK = 'highwater: log of ';
/** Two headers follow the main one, each in a block of its own; the one that was written last counts. */
const HEADERS = [4096, 8192] as const;
const HEADER_BYTES = 24;
/** The mark is in the first transaction; the note of a checkpoint is the last entry. */
const END_BYTES = 8192;
/** A program that has the file open may just be about to remove the log. */
const CHECKPOINT_MILLISECONDS = 500;

interface FileState {
  /** The checksum of the header in hexadecimal: another one for every checkpoint. */
  checksum: string;
  iteration: bigint;
  /** Where the file's metadata begins; a checkpoint names it in the log before it removes the log. */
  metadata: bigint;
}

const logOf = (path: string) => `${path}.wal`;

/**
 * The row that marks a log which does not exist yet; null where the file has a log.
 * @param file a descriptor of the file that stays open for as long as DuckDB has it open: closing any descriptor of a file
 *   gives up the lock that this process has on it (POSIX), and another program could write to it then.
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
 * Refuses a file that lies beside the log of another state of it, or of another file.
 * @throws {DestinationError}
 */
export async function refuseOtherLog(path: string): Promise<void> {
  if (await hasItsLog(path)) return;
  await delay(CHECKPOINT_MILLISECONDS);
  if (!(await hasItsLog(path))) throw otherLog(path);
}

/** Whether the log beside a file is not known to be another one's. */
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
  // A crash between a checkpoint and the removal of its log leaves the newer file beside it: DuckDB knows that.
  return named === wanted || ends.last.includes(checkpointEntry(state.metadata));
}

/** The refusal of a log that does not belong to its file. */
export const otherLog = (path: string, said = ''): DestinationError =>
  new DestinationError(
    `the destination ${path} does not belong to the log beside it, ${logOf(path)}: the log was written on top of another ` +
      'state of the file, such as a newer one than the copy that was restored. Nothing was read or written. If the file is ' +
      'the one to keep, move the log away and go on: what only the log had is read again from the source. Else restore ' +
      `the file and the log that belong together.${said === '' ? '' : ` DuckDB says: ${said}`}`,
  );

const textOf = ({ checksum, iteration }: FileState) =>
  `${checksum} ${iteration.toString(16).padStart(16, '0')}`;

/** Only for a file that DuckDB does not have open in this process; see {@link markOfNewLog}. */
async function stateOf(path: string): Promise<FileState | null> {
  return withFile(path, async (file) => {
    const headers: Buffer[] = [];
    for (const offset of HEADERS) headers.push(await bytesAt(file, offset, HEADER_BYTES));
    return latestOf(headers);
  });
}

/** The state that the newer one of the headers tells; null where one is cut short. */
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

/** How a log says that a checkpoint has written the file's metadata there. */
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

/** Null where there is no such file. */
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

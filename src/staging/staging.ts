import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rm, rmdir, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BatchLostError, isStorageFull, messageOf, StorageFullError } from '../errors.js';
import { faultPoint } from '../faults.js';
import type { StagedFile, StreamKey } from '../protocol.js';

/** A part of this size is read by one thread of the destination; smaller parts share the work better. */
const PART_BYTES = 4 * 1024 * 1024;
/** Lines wait until there are this many bytes of them: a call to the disk costs as much as scanning a page. */
const WRITE_BYTES = 1024 * 1024;

/** The folder of all that is staged beside a destination. */
export const stagingFolder = (destination: string): string => `${destination}.staging`;

/**
 * Keeps batches between fetch and write: files of newline-delimited JSON beside the destination. A cache,
 * never the truth: what is missing or damaged is fetched again.
 */
export class Staging {
  private readonly folder: string;

  constructor(destination: string, stream: StreamKey) {
    const name = createHash('sha256').update(JSON.stringify(stream)).digest('hex').slice(0, 16);
    this.folder = join(stagingFolder(destination), name);
  }

  /** Starts a batch; `id` is the checkpoint that it will make. */
  begin(id: string): StagedWriter {
    return new StagedWriter(this.folder, id);
  }

  /**
   * Checks that a staged file is there, whole and unaltered.
   * @returns its path.
   * @throws {BatchLostError}
   */
  async verify(file: StagedFile): Promise<string> {
    const path = this.path(file);
    let bytes = 0;
    let sum = 0;
    const buffer = spareReading ?? Buffer.allocUnsafeSlow(2 * PART_BYTES);
    spareReading = null;
    try {
      const handle = await open(path, 'r');
      try {
        for (;;) {
          // As a rule a part is read at once.
          const { bytesRead } = await handle.read(buffer, 0, buffer.length);
          if (bytesRead === 0) break;
          sum = crc32(buffer.subarray(0, bytesRead), sum);
          bytes += bytesRead;
        }
      } finally {
        await handle.close();
        spareReading = buffer;
      }
    } catch (thrown) {
      throw new BatchLostError(`the staged file ${path} is gone: ${messageOf(thrown)}`);
    }
    if (bytes !== file.bytes || sum !== file.crc32) {
      throw new BatchLostError(
        `the staged file ${path} is damaged: ${bytes} of ${file.bytes} bytes, checksum ${sum === file.crc32 ? 'right' : 'wrong'}`,
      );
    }
    return path;
  }

  async discard(files: readonly StagedFile[]): Promise<void> {
    await Promise.all(files.map((file) => rm(this.path(file), { force: true })));
    // The folders go with the last file; where another batch waits they stay.
    await rmdir(this.folder)
      .then(() => rmdir(dirname(this.folder)))
      .catch(() => undefined);
  }

  /** Removes everything this stream has staged: what is not committed is fetched again. */
  async clear(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
    await rmdir(dirname(this.folder)).catch(() => undefined);
  }

  /** Names come from workflow history, and must not lead out of the folder. */
  private path(file: StagedFile): string {
    return join(this.folder, basename(file.name));
  }

  /** Names of the files that wait. */
  async list(): Promise<string[]> {
    return stat(this.folder).then(
      () => readdir(this.folder),
      () => [],
    );
  }
}

/** Memory that is used again: new memory for each part makes V8 collect garbage. Null while it is in use. */
let spareReading: Buffer | null = null;

/** Writes one batch's records into part files. */
export class StagedWriter {
  private readonly finished: StagedFile[] = [];
  /** The current part; `file` counts what waits to be written as well. */
  private current: { handle: FileHandle; file: StagedFile } | null = null;
  /** Bytes not yet written. */
  private waiting: Buffer | null = null;
  private waitingBytes = 0;
  /** Why a write failed: what it should have written is gone, and nothing can be added. */
  private failure: unknown = null;
  /** Bytes taken so far. */
  bytes = 0;

  constructor(
    private readonly folder: string,
    private readonly id: string,
  ) {}

  /** Appends whole lines; `lines` need not end with a line end. The buffer is the caller's again once they are taken. */
  async append(lines: Buffer): Promise<void> {
    this.current ??= await this.part();
    const { file, handle } = this.current;
    const length = lines.length + 1;
    if (this.waitingBytes + length > WRITE_BYTES) await this.flush(handle);
    if (length > WRITE_BYTES) await this.writeOut(handle, [lines, NEWLINE], length);
    else {
      this.waiting ??= Buffer.allocUnsafeSlow(WRITE_BYTES);
      lines.copy(this.waiting, this.waitingBytes);
      this.waiting[this.waitingBytes + lines.length] = NEWLINE_BYTE;
      this.waitingBytes += length;
    }
    file.crc32 = crc32(NEWLINE, crc32(lines, file.crc32));
    file.bytes += length;
    this.bytes += length;
    if (file.bytes >= PART_BYTES) await this.closePart();
  }

  private async flush(handle: FileHandle): Promise<void> {
    if (this.failure !== null) throw this.failure;
    const { waiting, waitingBytes } = this;
    if (waiting === null || waitingBytes === 0) return;
    this.waitingBytes = 0;
    await this.writeOut(handle, [waiting.subarray(0, waitingBytes)], waitingBytes);
  }

  private async writeOut(handle: FileHandle, buffers: Buffer[], bytes: number): Promise<void> {
    try {
      const { bytesWritten } = await handle.writev(buffers);
      // On a disk that runs full the first write is only cut short; the next one says why.
      if (bytesWritten < bytes) await handle.writeFile(Buffer.concat(buffers).subarray(bytesWritten));
    } catch (thrown) {
      this.failure = this.refused(thrown);
      throw this.failure;
    }
  }

  /** Remembers where the batch stands, for {@link rollback}. */
  mark(): StagedMark {
    return {
      parts: this.finished.length,
      bytes: this.bytes,
      current: this.current === null ? null : { ...this.current.file },
    };
  }

  /** Takes back what was appended since the mark. */
  async rollback(mark: StagedMark): Promise<void> {
    const { current } = mark;
    if (this.finished.length > mark.parts || current === null) {
      // The part at the mark has been closed since, or none was open: open parts are only closed by size or end.
      await this.closePart();
      const kept = current === null ? mark.parts : mark.parts + 1;
      for (const file of this.finished.splice(kept)) await rm(join(this.folder, file.name), { force: true });
      const reopened = current === null ? undefined : this.finished.pop();
      if (reopened !== undefined) {
        this.current = { handle: await open(join(this.folder, reopened.name), 'r+'), file: reopened };
      }
    }
    if (this.current !== null && current !== null) {
      await this.flush(this.current.handle);
      await this.current.handle.truncate(current.bytes);
      const { handle } = this.current;
      await handle.close();
      this.current = { handle: await open(join(this.folder, current.name), 'a'), file: { ...current } };
    }
    this.bytes = mark.bytes;
  }

  /** Ends the batch. */
  async end(): Promise<StagedFile[]> {
    faultPoint('stage.before');
    await this.closePart();
    faultPoint('stage.after');
    return this.finished;
  }

  /** Removes what has been written. */
  async abandon(): Promise<void> {
    this.waitingBytes = 0;
    this.failure = null;
    await this.closePart();
    await Promise.all(this.finished.map((file) => rm(join(this.folder, file.name), { force: true })));
  }

  private async part(): Promise<{ handle: FileHandle; file: StagedFile }> {
    const file = { name: `${this.id}-${this.finished.length}.ndjson`, bytes: 0, crc32: 0 };
    const create = () => open(join(this.folder, file.name), 'w', 0o600);
    const handle = await create()
      .catch(async () => {
        await mkdir(this.folder, { recursive: true, mode: 0o700 });
        return create();
      })
      .catch((thrown: unknown) => {
        throw this.refused(thrown);
      });
    return { handle, file };
  }

  private refused(thrown: unknown): unknown {
    return isStorageFull(thrown)
      ? new StorageFullError(`staged batches in ${this.folder}`, messageOf(thrown))
      : thrown;
  }

  private async closePart(): Promise<void> {
    if (this.current === null) return;
    const { handle, file } = this.current;
    this.current = null;
    this.finished.push(file);
    try {
      await this.flush(handle);
    } finally {
      await handle.close();
    }
  }
}

/** A place in a batch being staged. */
export interface StagedMark {
  parts: number;
  bytes: number;
  current: StagedFile | null;
}

const NEWLINE_BYTE = 0x0a;
const NEWLINE = Buffer.from([NEWLINE_BYTE]);

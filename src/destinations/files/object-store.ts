import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DestinationError, isStorageFull, messageOf, StorageFullError } from '../../errors.js';
import type { Mask } from '../../secrets/masking.js';

/**
 * Where files lie: a folder, or a bucket. Keys have slashes between their parts. What is put is there whole or not at
 * all, also after a power cut, and what is listed after that has it.
 */
export interface ObjectStore {
  /** For people: no secret in it. */
  readonly name: string;
  /** The folder of this machine in which {@link fileOf} has its paths. */
  readonly folder: string;
  /** Null where it is not there. */
  get(key: string): Promise<Buffer | null>;
  /** Takes a local file, which may be gone afterwards. */
  put(key: string, file: string): Promise<void>;
  /** Of several that put one key at once, one is told true: on this every commit rests. */
  putIfAbsent(key: string, body: string): Promise<boolean>;
  /** The keys directly below a prefix that ends with a slash, in order. */
  list(prefix: string): Promise<string[]>;
  /** Names of the folders directly below a prefix that ends with a slash. */
  folders(prefix: string): Promise<string[]>;
  /** What is gone already is no error. */
  delete(keys: readonly string[]): Promise<void>;
  /** A path where it can be read on this machine. */
  fileOf(key: string): Promise<string>;
  close(): Promise<void>;
}

/** Where a store keeps what is on its way. */
export const TEMPORARY = '_highwater/tmp';

/** Files in a folder of this machine, or of a disk that several share. */
export class LocalStore implements ObjectStore {
  /** @param mask hides what references in its address gave. */
  constructor(
    private readonly root: string,
    private readonly mask: Mask = (text) => text,
  ) {}

  get name(): string {
    return this.mask(`files:${this.root}`);
  }

  get folder(): string {
    return this.root;
  }

  get(key: string): Promise<Buffer | null> {
    return this.explained(() => readFile(this.path(key)).catch(nullWhereAbsent));
  }

  put(key: string, file: string): Promise<void> {
    return this.explained(async () => {
      const path = this.path(key);
      await synchronised(file);
      await this.makeFolder(dirname(path));
      await rename(file, path).catch(async (thrown: unknown) => {
        // A folder below may lie on another disk.
        if ((thrown as NodeJS.ErrnoException).code !== 'EXDEV') throw thrown;
        const near = `${path}.${randomUUID()}`;
        await copyFile(file, near);
        await synchronised(near);
        await rename(near, path);
      });
      await synchronised(dirname(path));
    });
  }

  putIfAbsent(key: string, body: string): Promise<boolean> {
    return this.explained(async () => {
      const path = this.path(key);
      const temporary = join(this.root, TEMPORARY, randomUUID());
      await this.makeFolder(dirname(temporary));
      await this.makeFolder(dirname(path));
      try {
        const handle = await open(temporary, 'wx');
        try {
          await handle.writeFile(body);
          await handle.sync();
        } finally {
          await handle.close();
        }
        // Unlike a rename it never takes the place of another.
        await link(temporary, path);
      } catch (thrown) {
        const { code = '' } = thrown as NodeJS.ErrnoException;
        if (code === 'EEXIST') return false;
        if (['EPERM', 'ENOTSUP', 'ENOSYS', 'EOPNOTSUPP'].includes(code)) {
          throw new DestinationError(
            `the file system of ${this.name} has no hard links, which commits rest on: ${this.mask(messageOf(thrown))}`,
          );
        }
        throw thrown;
      } finally {
        await unlink(temporary).catch(() => undefined);
      }
      await synchronised(dirname(path));
      return true;
    });
  }

  list(prefix: string): Promise<string[]> {
    return this.explained(async () => {
      const found = await this.entries(prefix);
      return found.filter((entry) => entry.isFile()).map((entry) => `${prefix}${entry.name}`);
    });
  }

  folders(prefix: string): Promise<string[]> {
    return this.explained(async () => {
      const found = await this.entries(prefix);
      return found.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    });
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) await rm(this.path(key), { force: true });
  }

  fileOf(key: string): Promise<string> {
    return Promise.resolve(this.path(key));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private path(key: string): string {
    return join(this.root, ...key.split('/'));
  }

  private async entries(prefix: string) {
    const found = await readdir(this.path(prefix), { withFileTypes: true }).catch(nullWhereAbsent);
    return (found ?? []).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** A folder that a power cut does not take away again. */
  private async makeFolder(path: string): Promise<void> {
    const first = await mkdir(path, { recursive: true });
    if (first === undefined) return;
    for (let made = path; made.length >= first.length; made = dirname(made))
      await synchronised(dirname(made));
  }

  private async explained<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      if (isStorageFull(thrown))
        throw new StorageFullError(`the destination ${this.name}`, this.mask(messageOf(thrown)));
      const { code = '' } = thrown as NodeJS.ErrnoException;
      if (['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG', 'ELOOP'].includes(code))
        throw new DestinationError(
          `the destination ${this.name} cannot be used: ${this.mask(messageOf(thrown))}`,
        );
      throw thrown;
    }
  }
}

/** Waits until the disk has a file, or a folder's list of names. */
async function synchronised(path: string): Promise<void> {
  const isFolder = (await stat(path)).isDirectory();
  // Windows has no handle of a folder, and writes only what is open for writing.
  if (process.platform === 'win32' && isFolder) return;
  const handle = await open(path, isFolder ? 'r' : 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function nullWhereAbsent(thrown: unknown): null {
  if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw thrown;
}

/** Pieces of a file, to be hashed or sent. */
export const piecesOf = (file: string) => createReadStream(file, { highWaterMark: 1024 * 1024 });

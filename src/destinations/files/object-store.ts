import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DestinationError, isStorageFull, messageOf, StorageFullError } from '../../errors.js';
import type { Mask } from '../../secrets/masking.js';

/**
 * A folder or bucket of objects. Keys are paths with slashes. An object is written completely or not at all, even
 * through a power cut, and later listings include it.
 */
export interface ObjectStore {
  /** The store's name in messages, without secrets. */
  readonly name: string;
  /** Local folder that contains the paths of {@link fileOf}. */
  readonly folder: string;
  /** Returns an object; null if it does not exist. */
  get(key: string): Promise<Buffer | null>;
  /** Uploads a local file, or moves it. */
  put(key: string, file: string): Promise<void>;
  /**
   * Writes an object unless the key exists. Of concurrent writers exactly one gets true; every commit rests on this.
   */
  putIfAbsent(key: string, body: string): Promise<boolean>;
  /** Lists the keys directly below a prefix that ends with a slash, in order. */
  list(prefix: string): Promise<string[]>;
  /** Lists the folders directly below a prefix that ends with a slash. */
  folders(prefix: string): Promise<string[]>;
  /** Deletes objects; missing ones are ignored. */
  delete(keys: readonly string[]): Promise<void>;
  /** Returns a local path from which the object can be read. */
  fileOf(key: string): Promise<string>;
  close(): Promise<void>;
}

/** Folder for files that are still being written. */
export const TEMPORARY = '_highwater/tmp';

/** Files in a local folder or on a shared disk. */
export class LocalStore implements ObjectStore {
  /** @param mask hides the values of references in the address. */
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
    return this.explainErrors(() => readFile(this.path(key)).catch(nullIfAbsent));
  }

  put(key: string, file: string): Promise<void> {
    return this.explainErrors(async () => {
      const path = this.path(key);
      await syncToDisk(file);
      await this.makeFolder(dirname(path));
      await rename(file, path).catch(async (thrown: unknown) => {
        // A folder below may be on another disk.
        if ((thrown as NodeJS.ErrnoException).code !== 'EXDEV') throw thrown;
        const near = `${path}.${randomUUID()}`;
        await copyFile(file, near);
        await syncToDisk(near);
        await rename(near, path);
      });
      await syncToDisk(dirname(path));
    });
  }

  putIfAbsent(key: string, body: string): Promise<boolean> {
    return this.explainErrors(async () => {
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
        // Unlike a rename, a link never replaces an existing file.
        await link(temporary, path);
      } catch (thrown) {
        const { code = '' } = thrown as NodeJS.ErrnoException;
        if (code === 'EEXIST') return false;
        if (['EPERM', 'ENOTSUP', 'ENOSYS', 'EOPNOTSUPP'].includes(code)) {
          throw new DestinationError(
            `the file system of ${this.name} does not support hard links, which commits need: ${this.mask(messageOf(thrown))}`,
          );
        }
        throw thrown;
      } finally {
        await unlink(temporary).catch(() => undefined);
      }
      await syncToDisk(dirname(path));
      return true;
    });
  }

  list(prefix: string): Promise<string[]> {
    return this.explainErrors(async () => {
      const found = await this.entries(prefix);
      return found.filter((entry) => entry.isFile()).map((entry) => `${prefix}${entry.name}`);
    });
  }

  folders(prefix: string): Promise<string[]> {
    return this.explainErrors(async () => {
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
    const found = await readdir(this.path(prefix), { withFileTypes: true }).catch(nullIfAbsent);
    return (found ?? []).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Creates a folder durably. */
  private async makeFolder(path: string): Promise<void> {
    const first = await mkdir(path, { recursive: true });
    if (first === undefined) return;
    for (let made = path; made.length >= first.length; made = dirname(made)) await syncToDisk(dirname(made));
  }

  private async explainErrors<T>(work: () => Promise<T>): Promise<T> {
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

/** Waits until a file, or a folder's list of names, is on disk. */
async function syncToDisk(path: string): Promise<void> {
  const isFolder = (await stat(path)).isDirectory();
  // Windows has no handles of folders, and syncs only files that are open for writing.
  if (process.platform === 'win32' && isFolder) return;
  const handle = await open(path, isFolder ? 'r' : 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function nullIfAbsent(thrown: unknown): null {
  if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw thrown;
}

/** Reads a file in pieces, for hashing or sending. */
export const piecesOf = (file: string) => createReadStream(file, { highWaterMark: 1024 * 1024 });

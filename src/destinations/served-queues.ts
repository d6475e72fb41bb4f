/**
 * The task queues that the workers of this machine poll for their destinations, in files of the state folder. After a
 * crash, the next worker polls the dead worker's queues at once; otherwise each sync first waits in vain for an answer.
 */
import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, lstat, mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { isRunning, processStart } from './processes.js';

/** A queue, and the destination that its activities write to. */
export interface ServedQueue {
  queue: string;
  /** As a configuration names it, which holds no secrets; null: the worker's own destination. */
  destination: string | null;
}

/** What a worker takes syncs from. Only a worker of the same can continue them. */
export interface SyncOrigin {
  taskQueue: string;
  namespace: string;
  /** Id of the Temporal server, or its address if it does not tell. */
  cluster: string;
}

/**
 * Queues of destinations, as `DestinationHost` names them: of a database file by a hash of its path, of all others by a
 * part of a UUID. A worker polls no other queue because a file says so.
 */
const QUEUE = /^highwater-destination-[^\p{Cc}]*-(?:[0-9a-f]{12}|[0-9a-f]{8}-[0-9a-f]{3})$/u;

const text = z.string().max(4096);
const entrySchema = z.strictObject({
  queue: z.string().max(1000).regex(QUEUE),
  destination: text.nullable(),
  taskQueue: text,
  namespace: text,
  cluster: text,
  host: text,
  pid: z.int().positive(),
  processStart: z.string().nullable(),
  since: z.number(),
});

type Entry = z.infer<typeof entrySchema>;

/** Syncs of a worker that died longer ago have been continued or ended by hand. */
const FORGOTTEN_MILLISECONDS = 24 * 60 * 60 * 1000;
/** An entry is shorter; a longer file is not one. */
const MOST_BYTES = 64 * 1024;
/** Queues taken over from a series of crashes; each costs a poller. */
const MOST_TAKEN = 16;

/** All methods are best effort: without the file a sync continues a few seconds later. */
export class ServedQueues {
  /** @param folder for the files; created if missing. */
  constructor(
    private readonly folder: string,
    private readonly origin: SyncOrigin,
  ) {}

  /** Writes down that this process polls a queue. @returns a function that removes the note. */
  async add({ queue, destination }: ServedQueue): Promise<() => Promise<void>> {
    const entry: Entry = {
      queue,
      destination,
      ...this.origin,
      host: hostname(),
      pid: process.pid,
      processStart: processStart(process.pid),
      since: Date.now(),
    };
    const name = createHash('sha256').update(`${queue}\n${process.pid}`).digest('hex').slice(0, 16);
    const file = join(this.folder, `${name}.json`);
    const draft = join(this.folder, `${name}.${randomUUID()}`);
    try {
      await this.makeFolder();
      await writeFile(draft, JSON.stringify(entry), { mode: 0o600 });
      await rename(draft, file);
    } catch {
      await rm(draft, { force: true }).catch(() => undefined);
    }
    return () => rm(file, { force: true }).catch(() => undefined);
  }

  /** Creates the folder, or takes the rights on it from other users, whose entries no worker would trust. */
  private async makeFolder(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const info = await lstat(this.folder);
    if (info.isDirectory() && isOwn(info.uid) && (info.mode & 0o077) !== 0) await chmod(this.folder, 0o700);
  }

  /** Takes over the queues of dead workers. Each is given to one caller only. */
  async takeOver(): Promise<ServedQueue[]> {
    const taken: ServedQueue[] = [];
    const files = (await this.isTrusted()) ? await readdir(this.folder).catch(() => []) : [];
    for (const file of files) {
      const path = join(this.folder, file);
      const entry = await readEntry(path);
      if (entry === null || entry.host !== hostname() || isRunning(entry)) continue;
      const isForgotten = Date.now() - entry.since > FORGOTTEN_MILLISECONDS;
      if (!isForgotten && (!this.isOfOrigin(entry) || taken.length >= MOST_TAKEN)) continue;
      // A rename succeeds for one process only.
      const mine = `${path}.${process.pid}`;
      const isMine = await rename(path, mine).then(
        () => true,
        () => false,
      );
      await rm(mine, { force: true }).catch(() => undefined);
      if (isMine && !isForgotten) taken.push({ queue: entry.queue, destination: entry.destination });
    }
    return taken;
  }

  /** Whether only this user can have written the files of the folder. */
  private async isTrusted(): Promise<boolean> {
    const info = await lstat(this.folder).catch(() => null);
    return info !== null && info.isDirectory() && isOnlyOurs(info);
  }

  private isOfOrigin({ taskQueue, namespace, cluster }: Entry): boolean {
    const { origin } = this;
    return taskQueue === origin.taskQueue && namespace === origin.namespace && cluster === origin.cluster;
  }
}

/** Whether a user id is that of this process; Windows has no such ids. */
const isOwn = (uid: number): boolean => process.getuid === undefined || uid === process.getuid();

/** Whether this user owns a file or folder, and no other user may write it. */
const isOnlyOurs = ({ uid, mode }: { uid: number; mode: number }): boolean =>
  process.getuid === undefined || (isOwn(uid) && (mode & 0o022) === 0);

/** Reads an entry; null for a file that is not one, or that another user may have written. */
async function readEntry(path: string): Promise<Entry | null> {
  if (!path.endsWith('.json')) return null;
  try {
    // Neither waits for the other end of a pipe, nor follows a link out of the folder.
    const file = await open(
      path,
      constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0),
    );
    try {
      // Checks the open file, because its path may lead to another one by now.
      const info = await file.stat();
      if (!info.isFile() || info.size > MOST_BYTES || !isOnlyOurs(info)) return null;
      return entrySchema.parse(JSON.parse(await file.readFile('utf8')));
    } finally {
      await file.close();
    }
  } catch {
    return null;
  }
}

/**
 * The task queues that the workers of this machine poll for their destinations, in files of the state folder. After a
 * crash, the next worker polls the dead worker's queues at once; otherwise each sync first waits in vain for an answer.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
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

const entrySchema = z.strictObject({
  queue: z.string(),
  destination: z.string().nullable(),
  taskQueue: z.string(),
  namespace: z.string(),
  cluster: z.string(),
  host: z.string(),
  pid: z.int(),
  processStart: z.string().nullable(),
  since: z.number(),
});

type Entry = z.infer<typeof entrySchema>;

/** Syncs of a worker that died longer ago have been continued or ended by hand. */
const FORGOTTEN_MILLISECONDS = 24 * 60 * 60 * 1000;
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
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      await writeFile(draft, JSON.stringify(entry), { mode: 0o600 });
      await rename(draft, file);
    } catch {
      await rm(draft, { force: true }).catch(() => undefined);
    }
    return () => rm(file, { force: true }).catch(() => undefined);
  }

  /** Takes over the queues of dead workers. Each is given to one caller only. */
  async takeOver(): Promise<ServedQueue[]> {
    const taken: ServedQueue[] = [];
    const files = await readdir(this.folder).catch(() => []);
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

  private isOfOrigin({ taskQueue, namespace, cluster }: Entry): boolean {
    const { origin } = this;
    return taskQueue === origin.taskQueue && namespace === origin.namespace && cluster === origin.cluster;
  }
}

async function readEntry(path: string): Promise<Entry | null> {
  if (!path.endsWith('.json')) return null;
  try {
    return entrySchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return null;
  }
}

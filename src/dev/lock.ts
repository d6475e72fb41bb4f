import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A holder refreshes the file's time every second; after this time without a refresh it counts as dead. */
const STALE_MS = 10_000;

/**
 * Runs `work` while holding a lock file, so that one of several processes works at a time. Others wait; the lock of a
 * dead holder is taken over.
 *
 * Call `stillHeld` before a step that must not be done twice: taking over a lock takes two steps on disk, so it may,
 * very rarely, be lost to a third process.
 *
 * @param onWait called once, with the holder's process id, if the lock has to be waited for
 */
export async function withLock<T>(
  file: string,
  work: (stillHeld: () => boolean) => Promise<T>,
  onWait: (holder: number) => void = () => {},
): Promise<T> {
  const mine = `${process.pid} ${randomUUID()}`;
  const stillHeld = () => readHolder(file) === mine;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  let told = false;
  while (!takeLock(file, mine)) {
    const held = readHolder(file);
    if (held !== null && isStale(file, held)) {
      breakLock(file, held);
      continue;
    }
    if (held && !told) {
      onWait(Number.parseInt(held, 10));
      told = true;
    }
    await sleep(100);
  }
  const beat = setInterval(() => {
    if (stillHeld()) utimesSync(file, new Date(), new Date());
  }, 1000).unref();
  try {
    return await work(stillHeld);
  } finally {
    clearInterval(beat);
    if (stillHeld()) rmSync(file, { force: true });
  }
}

function takeLock(file: string, mine: string): boolean {
  try {
    writeFileSync(file, mine, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function readHolder(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

function isStale(file: string, held: string): boolean {
  const holder = Number.parseInt(held, 10);
  if (holder > 0 && !processExists(holder)) return true;
  try {
    return Date.now() - statSync(file).mtimeMs > STALE_MS; // the holder's id may have been reused
  } catch {
    return false;
  }
}

function breakLock(file: string, stale: string): void {
  const aside = `${file}.${randomUUID()}`;
  try {
    renameSync(file, aside);
  } catch {
    return; // another process was faster
  }
  // Another process may have broken the stale lock and taken its own since it was read: then restore that one.
  const taken = readFileSync(aside, 'utf8');
  if (taken !== stale) takeLock(file, taken);
  rmSync(aside, { force: true });
}

/** Whether a process with this id exists, of any user. */
export function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'; // EPERM: it exists and is another user's
  }
}

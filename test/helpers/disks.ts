/** File systems of a size of their own, which run full. */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { TestContext } from 'vitest';
import { scratch } from './harness.js';

const run = promisify(execFile);

export async function mount({ onTestFinished }: TestContext, path: string, size: string): Promise<void> {
  await mkdir(path, { recursive: true });
  await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]);
  onTestFinished(() => void run('umount', ['-l', path]).catch(() => undefined));
}

export const makeRoom = (path: string) => run('mount', ['-o', 'remount,size=256m', path]);

/** Why this user may not mount: no root, or a container that forbids it; null where it may. */
export async function mountProblem(): Promise<string | null> {
  const { path, remove } = await scratch();
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path]);
    await run('umount', [path]);
    return null;
  } catch {
    return ' (skipped: this user may not mount a file system)';
  } finally {
    await remove();
  }
}

/** Processes of this machine, told apart although their ids are reused. */
import { readFileSync } from 'node:fs';

/** A process of this machine. */
export interface ProcessRecord {
  pid: number;
  /** Start time as the kernel tells it; null if it does not. */
  processStart: string | null;
}

/** Returns whether a process still runs. */
export const isRunning = ({ pid, processStart: start }: ProcessRecord): boolean =>
  isAlive(pid) && processStart(pid) === start;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Reads field 22 of /proc/PID/stat, after the name, which may contain anything; null if there is no such file. */
export function processStart(pid: number): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

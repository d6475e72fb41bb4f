/** Reads the CPU time of other processes from /proc; empty on systems other than Linux. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** Clock ticks per second, the same on every Linux. */
const TICKS = 100;

/** Returns CPU seconds by thread name; threads with the same name are added up. */
export function cpuOf(pid: number): Map<string, number> {
  const seconds = new Map<string, number>();
  const tasks = `/proc/${pid}/task`;
  for (const task of existsSync(tasks) ? readdirSync(tasks) : []) {
    let stat: string;
    try {
      stat = readFileSync(`${tasks}/${task}/stat`, 'utf8');
    } catch {
      continue; // It has ended meanwhile.
    }
    const end = stat.lastIndexOf(')');
    const name = Number(task) === pid ? 'main thread' : stat.slice(stat.indexOf('(') + 1, end);
    const fields = stat.slice(end + 2).split(' ');
    seconds.set(name, (seconds.get(name) ?? 0) + (Number(fields[11]) + Number(fields[12])) / TICKS);
  }
  return seconds;
}

/** Returns the CPU seconds of a process, including threads that have ended. */
export function cpuSecondsOf(pid: number): number {
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : '';
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return stat === '' ? NaN : (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** Returns the CPU seconds of a process's children, including those that have ended. */
export function cpuSecondsOfChildren(pid: number): number {
  let seconds = 0;
  for (const name of existsSync('/proc') ? readdirSync('/proc') : []) {
    if (!/^\d+$/.test(name)) continue;
    let stat: string;
    try {
      stat = readFileSync(`/proc/${name}/stat`, 'utf8');
    } catch {
      continue; // It has ended meanwhile.
    }
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // Of the process itself, what the children took that have ended.
    if (Number(name) === pid) seconds += (Number(fields[13]) + Number(fields[14])) / TICKS;
    if (Number(fields[1]) === pid) seconds += (Number(fields[11]) + Number(fields[12])) / TICKS;
  }
  return seconds;
}

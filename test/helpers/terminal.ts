import { spawnSync } from 'node:child_process';

/** Makes a terminal for the command that follows, of the size that a terminal has at first: none. */
const PTY = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';

/** Why no terminal can be made here, or null. */
export function terminalMissing(): string | null {
  const { status } = spawnSync('python3', ['-c', 'import pty'], { stdio: 'ignore' });
  return status === 0 ? null : 'there is no python3 with pty';
}

/** Program and arguments that run a command on a terminal of its own; its output comes with CR LF. */
export function onTerminal(command: string[], columns = 80): [program: string, args: string[]] {
  const sized = ['sh', '-c', `stty cols ${columns} rows 24 && exec "$0" "$@"`, ...command];
  return ['python3', ['-c', PTY, ...sized]];
}

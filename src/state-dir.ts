import { homedir } from 'node:os';
import { join } from 'node:path';

/** The folder for state of this machine: `HIGHWATER_HOME`, or `highwater` in the user's folder for state. */
export function stateDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.HIGHWATER_HOME) return env.HIGHWATER_HOME;
  if (env.XDG_STATE_HOME) return join(env.XDG_STATE_HOME, 'highwater');
  const home = env.HOME ?? homedir();
  const base = env.LOCALAPPDATA ?? join(home, 'AppData', 'Local');
  return process.platform === 'win32' ? join(base, 'highwater') : join(home, '.local', 'state', 'highwater');
}

import { Script } from 'node:vm';

const WORK = Symbol.for('highwater.limited-work');
const CALL = new Script(`globalThis[Symbol.for('highwater.limited-work')]()`);

/**
 * Runs work that does not wait, and ends it in the middle where it takes too long.
 * @returns whether it came to its end.
 */
export function endsWithin(milliseconds: number, work: () => void): boolean {
  const slot = globalThis as { [WORK]?: () => void };
  slot[WORK] = work;
  try {
    CALL.runInThisContext({ timeout: milliseconds });
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw thrown;
    return false;
  } finally {
    delete slot[WORK];
  }
}

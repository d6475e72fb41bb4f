import { setTimeout as delay } from 'node:timers/promises';
import { SyncFailedError, type SyncHandle } from '../client.js';
import type { Progress, SyncResult } from '../protocol.js';
import { note, progressLine } from './output.js';

const QUIET_MILLISECONDS = 2000;
const EVERY_MILLISECONDS = 2000;

/**
 * Waits for a sync, showing how far it is whenever it takes longer than two seconds.
 * @throws {SyncFailedError} also when the sync waits for a decision, which nothing here can make.
 */
export async function followSync(handle: SyncHandle): Promise<SyncResult> {
  const done = new AbortController();
  const result = handle.result().finally(() => done.abort());
  let giveUp: (error: SyncFailedError) => void = () => undefined;
  const asks = new Promise<never>((_, reject) => (giveUp = reject));
  const showing = show(handle, done.signal, ({ status, trouble }) => {
    if (status !== 'blocked' || trouble?.deletes === undefined) return;
    giveUp(new SyncFailedError(handle.workflowId, trouble.type, trouble.message, trouble.deletes));
    done.abort();
  });
  try {
    return await Promise.race([result, asks]);
  } finally {
    await showing;
  }
}

async function show(
  handle: SyncHandle,
  signal: AbortSignal,
  look: (progress: Progress) => void,
): Promise<void> {
  const terminal = process.stderr.isTTY === true;
  let shown = '';
  const say = (line: string) => {
    if (line === shown) return;
    shown = line;
    if (terminal) process.stderr.write(`\r\u001b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    else note(line);
  };
  for (let wait = QUIET_MILLISECONDS; ; wait = EVERY_MILLISECONDS) {
    await delay(wait, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) break;
    const trouble = await handle.trouble().catch(() => null);
    if (trouble !== null) say(`retrying (attempt ${trouble.attempt}): ${firstLine(trouble.message)}`);
    else
      await handle.progress().then(
        (progress) => {
          say(progressLine(progress));
          look(progress);
        },
        () => undefined,
      );
  }
  if (terminal && shown !== '') process.stderr.write('\r\u001b[K');
}

const firstLine = (text: string) => text.split('\n')[0] ?? '';

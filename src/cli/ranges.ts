/** Common parts of `backfill` and `audit`: where a range is read, and how the command waits for it. */
import { existsSync } from 'node:fs';
import { AlreadyRunningError, SyncFailedError, type HighwaterClient, type RangeHandle } from '../client.js';
import { asConfiguration, loadPlans, type Configuration } from '../config/index.js';
import type { Note, RangeResult } from '../protocol.js';
import { connected } from './asking.js';
import { followSync } from './follow.js';
import { note, print, webUiLink, wrapped } from './output.js';

/** Options of both commands. */
export interface RangeCommandOptions {
  from?: string;
  to?: string;
  stream?: string;
  taskQueue?: string;
  wait: boolean;
  json?: boolean;
}

export interface EndedRange {
  stream: string;
  pages: number;
  warnings: Note[];
  range: RangeResult;
}

/** A path, or the id of a sync: what ends as a file does is meant as one, so that a slip is not taken for an id. */
async function subject(given: string): Promise<string | Configuration> {
  const isFile = existsSync(given) || /\.(jsonc?|ya?ml)$/i.test(given);
  return isFile ? asConfiguration((await loadPlans(given)).configuration) : given;
}

/**
 * Starts a range, or joins the one that is running, and waits for its end.
 * @returns null if the command does not wait.
 */
export function ranged(
  given: string,
  options: RangeCommandOptions,
  start: (client: HighwaterClient, of: string | Configuration) => Promise<RangeHandle>,
): Promise<EndedRange | null> {
  return connected(async ({ client, server, to }) => {
    const of = await subject(given);
    let handle: RangeHandle;
    try {
      handle = await start(client, of);
    } catch (thrown) {
      if (!(thrown instanceof AlreadyRunningError) || !options.wait) throw thrown;
      note(`Joined "${thrown.workflowId}", which was already running.`);
      handle = client.range(thrown.workflowId);
    }
    const { workflowId } = handle;
    const runId = await handle.runId();
    const webUi = webUiLink(server.uiUrl, to.namespace, workflowId, runId);
    if (!options.wait) {
      if (options.json === true) print(JSON.stringify({ workflowId, runId, webUi }));
      else {
        print(`Started ${workflowId}`);
        if (webUi !== null) print(`Web UI: ${webUi}`);
        print(`Status: npx highwater status ${workflowId}`);
      }
      return null;
    }
    const interrupt = () => {
      note(`\nIt continues in the background; "npx highwater cancel ${workflowId}" ends it.`);
      process.exit(130);
    };
    process.once('SIGINT', interrupt);
    process.once('SIGTERM', interrupt);
    try {
      const { status, streams } = await followSync(handle);
      const [stream] = streams;
      if (status === 'stopped' || stream?.range === undefined)
        throw new SyncFailedError(workflowId, 'Stopped', 'it was stopped before it finished');
      const { range, pages, warnings } = stream;
      if (options.json === true)
        print(JSON.stringify({ workflowId, runId, webUi, stream: stream.stream, pages, ...range, warnings }));
      else if (webUi !== null) note(`Web UI: ${webUi}`);
      return { stream: stream.stream, pages, warnings, range };
    } finally {
      process.removeListener('SIGINT', interrupt);
      process.removeListener('SIGTERM', interrupt);
    }
  });
}

export const printNotes = (warnings: readonly Note[]): void => {
  for (const { message } of warnings) print(wrapped(`note: ${message}`, 2));
};

/** `2026-01-01T00:00:00Z to the end`. */
export const endsText = ({ from, to }: Pick<RangeResult, 'from' | 'to'>): string =>
  from === null && to === null ? 'everything' : `${from ?? 'the beginning'} to ${to ?? 'the end'}`;

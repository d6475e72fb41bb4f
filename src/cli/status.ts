import { WorkflowNotFoundError } from '@temporalio/common';
import { Command } from 'commander';
import { HighwaterClient } from '../client.js';
import { cursorText, note, print, progressLine, summary, webUiLink } from './output.js';
import { runningServer } from './server.js';

export function statusCommand(): Command {
  return new Command('status')
    .description('Show a sync: how far it is, its cursor, what it waits for, or how it ended.')
    .argument('<id>', 'the workflow id')
    .option('--json', 'print one JSON object')
    .addHelpText('after', '\nExample:\n  highwater status users')
    .action(status);
}

/** A query needs a worker; without one it would wait for long. */
const QUERY_MILLISECONDS = 5000;

async function status(id: string, options: { json?: boolean }): Promise<void> {
  const { server, to } = await runningServer();
  const client = await HighwaterClient.connect(to);
  try {
    const handle = client.sync(id);
    const [state, runId] = await Promise.all([handle.status(), handle.runId()]).catch((thrown: unknown) => {
      if (thrown instanceof WorkflowNotFoundError) throw new Error(`there is no sync with the id "${id}"`);
      throw thrown;
    });
    const link = webUiLink(server.uiUrl, to.namespace, id, runId);
    if (state === 'RUNNING') {
      const deadline = Date.now() + QUERY_MILLISECONDS;
      // Both to their end: one that is still being tried again when the connection closes would crash.
      const [progress, cursor] = await client.temporal.withDeadline(deadline, () =>
        Promise.allSettled([handle.progress(), handle.state()]),
      );
      const asked =
        progress.status === 'fulfilled' && cursor.status === 'fulfilled'
          ? { progress: progress.value, state: cursor.value }
          : null;
      const trouble = await handle.trouble();
      if (options.json === true) {
        print(
          JSON.stringify({
            id,
            runId,
            status: state,
            progress: asked?.progress ?? null,
            state: asked?.state ?? null,
            trouble,
            webUi: link,
          }),
        );
        return;
      }
      if (asked === null) note('running, but no worker answers: start one with "npx highwater worker"');
      else {
        print(progressLine(asked.progress));
        print(`cursor: ${cursorText(asked.state)}`);
        for (const { message } of asked.progress.warnings) print(`note: ${message}`);
      }
      if (trouble !== null) print(`trying again (attempt ${trouble.attempt}): ${trouble.message}`);
    } else {
      const outcome = await handle.result().then(
        (result) => ({ result, error: null }),
        (thrown: unknown) => ({
          result: null,
          error: thrown instanceof Error ? thrown.message : String(thrown),
        }),
      );
      if (options.json === true) {
        print(JSON.stringify({ id, runId, status: state, ...outcome, webUi: link }));
        return;
      }
      print(state.toLowerCase());
      if (outcome.result !== null) print(summary(outcome.result.streams));
      else print(outcome.error ?? '');
    }
    if (link !== null) print(`Web UI: ${link}`);
  } finally {
    await client.close();
  }
}

import { WorkflowUpdateRPCTimeoutOrCancelledError } from '@temporalio/client';
import { Command } from 'commander';
import type { Json } from '../protocol.js';
import { SETTINGS, settingsText } from '../settings.js';
import { connected } from './asking.js';
import { print, shellWord } from './output.js';

export function setCommand(): Command {
  const names = Object.entries(SETTINGS).map(
    ([name, { means, kind }]) =>
      `  ${name.padEnd(20)} ${kind === 'duration' ? `${means}, such as 15m` : means}`,
  );
  return new Command('set')
    .description('Change settings of a running sync, from the next batch on.')
    .argument('<id>', 'the workflow id; ID/STREAM for one of several streams')
    .argument('<key=value...>', 'the settings; the value "default" restores the configuration\'s value')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Settings:
${names.join('\n')}

Settings last until the sync ends. If one of them is invalid, none is changed.

Examples:
  highwater set users interval=5m
  highwater set users page_size=50 rate=2
  highwater set users rate=default --json`,
    )
    .action((id: string, pairs: string[], options: { json?: boolean }) =>
      connected(async ({ client }) => {
        const wanted = Object.fromEntries(pairs.map(pair));
        const handle = client.sync(id);
        await handle.mustRun();
        const settings = await client.temporal
          .withDeadline(Date.now() + ANSWER_MILLISECONDS, () => handle.set(wanted))
          .catch((thrown: unknown) => {
            if (!(thrown instanceof WorkflowUpdateRPCTimeoutOrCancelledError)) throw thrown;
            throw new Error(
              `no worker answers for "${id}". Start a worker ("highwater status ${shellWord(id)}" names the task queue), then repeat the command`,
            );
          });
        if (options.json === true) print(JSON.stringify({ id, settings }));
        else print(`${id}: ${settingsText(settings) || 'as configured'}`);
      }),
    );
}

const ANSWER_MILLISECONDS = 8000;

function pair(text: string): [string, Json] {
  const at = text.indexOf('=');
  if (at < 1) throw new Error(`${JSON.stringify(text)} is not a setting; write one such as interval=15m`);
  return [text.slice(0, at), text.slice(at + 1)];
}

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { messageOf } from '../errors.js';
import { createLogger, installRuntime } from '../logger.js';
import { dataConverterFrom } from '../payloads/converter.js';
import { replay, situationOf, WOULD_STAND_STILL, type History } from '../replaying.js';
import { workflowCode } from '../worker.js';
import { connected } from './asking.js';
import { eventsOf } from './history.js';
import { outputWidth, print, wrapped } from './output.js';

interface Replayed {
  what: string;
  events: number;
  safe: boolean;
  reason: string | null;
  /** The content of its history, and how it ends. */
  situation: string;
}

export function replayCommand(): Command {
  return new Command('replay')
    .description(
      'Check whether this version is safe to deploy: replay histories of syncs with its workflows.',
    )
    .argument('[file-or-id...]', 'the output of "temporal workflow show --output json", or the id of a sync')
    .option('--running', 'all running syncs')
    .option('--json', 'print a JSON array of objects')
    .addHelpText(
      'after',
      `
Writes nothing and runs no activity. The exit code is 1 if any sync could not continue with this version.

Examples:
  highwater replay users
  highwater replay users.json --json
  highwater replay --running`,
    )
    .action(replayAll);
}

async function replayAll(given: string[], options: { running?: boolean; json?: boolean }): Promise<void> {
  if (given.length === 0 && options.running !== true)
    throw new Error('give a file, the id of a sync, or --running');
  const outcomes: Replayed[] = [];
  let isInstalled = false;
  const add = async (what: string, history: History) => {
    // Not before it is used: it keeps the process up until its last worker ends. What goes wrong is said here.
    if (!isInstalled) installRuntime(createLogger('silent'));
    isInstalled = true;
    const dataConverter = await dataConverterFrom();
    const { events, broken } = await replay({ ...workflowCode(dataConverter), dataConverter }, history, what);
    const situation = situationOf(history);
    outcomes.push({ what, events, safe: broken === null, reason: broken?.reason ?? null, situation });
  };
  for (const file of given.filter((name) => existsSync(name))) await add(file, await historyIn(file));
  const ids = given.filter((name) => !existsSync(name));
  if (ids.length > 0 || options.running === true) {
    await connected(async ({ client }) => {
      const query = 'WorkflowType = "sync" AND ExecutionStatus = "Running"';
      if (options.running === true)
        for await (const { workflowId } of client.temporal.workflow.list({ query })) ids.push(workflowId);
      for (const id of new Set(ids)) {
        // Refuses an id that is not there with words of ours.
        await client.sync(id).status();
        await add(id, { events: await eventsOf(client, { workflowId: id }) });
      }
    });
  }
  const broken = outcomes.filter(({ safe }) => !safe);
  if (options.json === true) print(JSON.stringify(outcomes));
  else {
    for (const { what, events, safe, reason, situation } of outcomes) {
      const said = safe ? `${events} events replayed` : (reason ?? '');
      print(wrapped(`${safe ? '✓' : '✗'} ${what}: ${said}`, 2, outputWidth()));
      if (!safe) print(wrapped(`  (${situation}) With this version ${WOULD_STAND_STILL}.`, 2, outputWidth()));
    }
    print(
      outcomes.length === 0
        ? 'No sync is running: this version is safe to deploy.'
        : broken.length === 0
          ? 'Safe to deploy: syncs with these histories continue with this version.'
          : `Not safe to deploy: ${broken.length} of ${outcomes.length} could not continue with this version. Stop them while a worker of their own version runs (when started again they continue from their checkpoint), or pin them to their version: docs/deploying.md.`,
    );
  }
  if (broken.length > 0) process.exitCode = 1;
}

async function historyIn(file: string): Promise<History> {
  try {
    const history = JSON.parse(await readFile(file, 'utf8')) as { events?: unknown };
    if (!Array.isArray(history.events)) throw new Error('it has no "events" array');
    return history;
  } catch (thrown) {
    throw new Error(
      `${file} is not the output of "temporal workflow show --output json": ${messageOf(thrown)}`,
      { cause: thrown },
    );
  }
}

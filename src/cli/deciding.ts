import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowUpdateRPCTimeoutOrCancelledError } from '@temporalio/client';
import { Command } from 'commander';
import { standingText } from '../sync-condition.js';
import { askSyncs, connected, type Connected } from './asking.js';
import { ownStanding } from './control.js';
import { count, counted, print, shellWord, visible } from './output.js';

/** A decision about rows that a pass would remove. */
export interface Decision {
  name: 'approve' | 'reject';
  description: string;
  help: string;
  /** Says what happens to a number of rows. */
  said: (rows: string) => string;
}

const ANSWER_MILLISECONDS = 8000;
const POLL_MILLISECONDS = 200;
const WAIT_SECONDS = 15;

export function decisionCommand(decision: Decision): Command {
  const { name } = decision;
  return new Command(name)
    .description(decision.description)
    .argument('<id>', 'the workflow id (decides for all waiting streams), or ID/STREAM for one of them')
    .option('--no-wait', 'return at once, without waiting until the sync continues')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `\n${decision.help}\n"highwater status ID" shows the table and the number of rows.\n\nExamples:\n  highwater ${name} users\n  highwater ${name} shop/orders --json`,
    )
    .action((id: string, options: { wait: boolean; json?: boolean }) =>
      connected((to) => decide(decision, to, id, options)),
    );
}

async function decide(
  { name, said }: Decision,
  { client }: Connected,
  id: string,
  options: { wait: boolean; json?: boolean },
): Promise<void> {
  const handle = client.sync(id);
  await handle.mustRun();
  const { streams } = await client.temporal
    .withDeadline(Date.now() + ANSWER_MILLISECONDS, () => handle[name]())
    .catch((thrown: unknown) => {
      if (!(thrown instanceof WorkflowUpdateRPCTimeoutOrCancelledError)) throw thrown;
      throw new Error(
        `no worker answers for "${visible(id)}". Start a worker ("highwater status ${shellWord(id)}" names the task queue), then run "highwater ${name} ${shellWord(id)}" again`,
      );
    });
  const [before] = await askSyncs(client, [handle], { milliseconds: 3000 });
  const isParent = (before?.progress.streams.length ?? 0) > 0;
  const ids = streams.map(({ stream }) => (isParent ? `${id}/${stream}` : id));
  const outcomes = options.wait
    ? await Promise.all(ids.map((one) => goesOn(client, one)))
    : ids.map(() => null);
  const isDone = outcomes.every((outcome) => outcome !== null && outcome.status !== 'blocked');
  if (options.json === true) {
    const status = outcomes.length === 1 ? (outcomes[0]?.status ?? null) : null;
    print(JSON.stringify({ id, asked: name, done: isDone, status, streams }));
    return;
  }
  for (const [i, { table, deletes, rows }] of streams.entries()) {
    const what = `${count(deletes)} of the ${counted(rows, 'row')} of table ${table}`;
    print(`${ids[i] ?? id}: ${said(what)}`);
    const line = outcomes[i]?.line ?? null;
    if (line !== null) print(`${ids[i] ?? id}: ${line}`);
  }
}

/** Waits for a while until a sync no longer waits for a decision, or asks the next one. */
async function goesOn(
  client: Connected['client'],
  id: string,
): Promise<{ status: string; line: string } | null> {
  const handle = client.sync(id);
  const deadline = Date.now() + WAIT_SECONDS * 1000;
  for (;;) {
    const ended = await handle.status();
    if (ended !== 'RUNNING') {
      const how = await handle.result().then(
        ({ status }) => status,
        () => ended.toLowerCase(),
      );
      return { status: how, line: how };
    }
    const [answer] = await askSyncs(client, [handle], { milliseconds: 3000 });
    const progress = answer?.progress ?? null;
    const isOver = progress !== null && !['blocked', 'opening'].includes(progress.status);
    if (progress !== null && (isOver || Date.now() > deadline))
      return { status: progress.status, line: `now ${visible(standingText(ownStanding(progress, id)))}` };
    if (Date.now() > deadline) return null;
    await delay(POLL_MILLISECONDS);
  }
}

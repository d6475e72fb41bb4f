import { Command } from 'commander';
import { readsOtherwise } from '../activities/moves.js';
import { loadPlans, plansFrom, type Plans } from '../config/index.js';
import { ChangeRefusedError } from '../errors.js';
import { connected } from './asking.js';
import { note, print } from './output.js';
import { answered } from './places.js';

export function configureCommand(): Command {
  return new Command('configure')
    .description('Let a sync go on with another configuration, while it runs.')
    .argument('<id>', 'the workflow id')
    .argument('<configuration>', 'JSON (comments allowed) or YAML: the whole of it')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
It holds from the next batch on, also for a sync that waits for the configuration to be mended. Another table,
strategy, source or destination is another sync: stop the one that runs, and start the other.

Examples:
  highwater configure users users.json
  highwater configure shop shop.yaml --json`,
    )
    .action((id: string, file: string, options: { json?: boolean }) =>
      connected(async ({ client }) => {
        const { configuration, plans } = await loadPlans(file);
        const handle = client.sync(id);
        await handle.mustRun();
        const stream = await client.streamOf(id);
        const done = await answered(client, id, async (sync) => {
          compare(plansFrom(await sync.configuration()), plans, stream);
          return sync.configure(configuration);
        });
        const { plans: all } = plans;
        if (options.json === true) print(JSON.stringify({ id, ...done }));
        else {
          for (const { message } of all.flatMap((plan) => plan.notes)) note(`note: ${message}`);
          const when = done.done ? 'goes on with it' : 'goes on with it as soon as its stream can be opened';
          print(`${id}: ${when}`);
        }
      }),
    );
}

/**
 * Says what is not the same sync any more, for all streams at once.
 * @param stream the only one that the sync reads; null: all.
 * @throws {ChangeRefusedError}
 */
function compare({ plans: before }: Plans, { plans: after }: Plans, stream: string | null): void {
  const compared = stream === null ? after : after.filter((plan) => plan.stream === stream);
  const problems = compared.flatMap((plan) => {
    const from =
      before.find(({ stream }) => stream === plan.stream) ?? (before.length === 1 ? before[0] : undefined);
    if (from === undefined) return [`stream ${plan.stream} would be added`];
    try {
      // Where a destination lies its worker knows.
      readsOtherwise({ plan: from, destination: '' }, { plan, destination: '' });
      return [];
    } catch (thrown) {
      if (thrown instanceof ChangeRefusedError) return thrown.problems;
      throw thrown;
    }
  });
  if (problems.length > 0) throw new ChangeRefusedError(problems);
}

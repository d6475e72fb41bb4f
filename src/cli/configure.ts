import { Command } from 'commander';
import { fingerprintOf } from '../plan/fingerprint.js';
import { readsOtherwise } from '../plan/moves.js';
import { asConfiguration, loadPlans, plansFrom, type Plans } from '../config/index.js';
import { changesBetween, notesOfChanges } from '../destinations/fingerprint.js';
import { ChangeRefusedError } from '../errors.js';
import type { Note } from '../protocol.js';
import { connected } from './asking.js';
import { note, print } from './output.js';
import { answered } from './places.js';

export function configureCommand(): Command {
  return new Command('configure')
    .description('Change the configuration of a running sync.')
    .argument('<id>', 'the workflow id')
    .argument(
      '<configuration>',
      'the complete new configuration: JSON (comments allowed), YAML, or a program',
    )
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
It takes effect with the next batch; a sync that is blocked by its old configuration continues with the new one.
A new table, strategy, source or destination needs a new sync: stop the running one and start another.

Examples:
  highwater configure users users.json
  highwater configure shop shop.yaml --json`,
    )
    .action((id: string, file: string, options: { json?: boolean }) =>
      connected(async ({ client }) => {
        const { configuration, plans } = await loadPlans(file);
        const handle = client.sync(id);
        await handle.mustRun();
        const drifted: Note[] = [];
        const stream = await client.streamOf(id);
        const done = await answered(client, id, async (sync) => {
          const before = plansFrom(await sync.configuration(), undefined, false, client.extensions);
          compare(before, plans, stream);
          drifted.push(...drift(before, plans));
          return sync.configure(asConfiguration(configuration));
        });
        const { plans: all } = plans;
        if (options.json === true)
          print(JSON.stringify({ id, ...done, ...(drifted.length > 0 && { warnings: drifted }) }));
        else {
          for (const { message } of [...all.flatMap((plan) => plan.notes), ...drifted])
            note(`note: ${message}`);
          const when = done.done
            ? 'now uses the new configuration'
            : 'will use the new configuration as soon as its stream can be opened';
          print(`${id}: ${when}`);
        }
      }),
    );
}

/** The consequences for rows that were read before; the sync itself reports them too. */
const drift = ({ plans: before }: Plans, { plans: after }: Plans): Note[] =>
  after.flatMap((plan) => {
    const from =
      before.find(({ stream }) => stream === plan.stream) ?? (before.length === 1 ? before[0] : undefined);
    if (from === undefined) return [];
    const is = fingerprintOf(plan);
    const notes = notesOfChanges(changesBetween(fingerprintOf(from), is), is);
    return after.length === 1
      ? notes
      : notes.map(({ code, message }) => ({ code, message: `${plan.stream}: ${message}` }));
  });

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
      // Only its worker knows where a destination lies.
      readsOtherwise({ plan: from, destination: '' }, { plan, destination: '' });
      return [];
    } catch (thrown) {
      if (thrown instanceof ChangeRefusedError) return thrown.problems;
      throw thrown;
    }
  });
  if (problems.length > 0) throw new ChangeRefusedError(problems);
}

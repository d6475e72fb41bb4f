import { Command, InvalidArgumentError } from 'commander';
import { loadPlans, planNamed, plansFrom } from '../config/index.js';
import { ConfigurationError, HighwaterError, messageOf } from '../errors.js';
import { discover, type Discovery } from '../inspect/discover.js';
import { draft } from '../inspect/draft.js';
import { counted, note, print, probedFrom } from './output.js';

interface Options {
  stream?: string;
  sample: number;
  json?: boolean;
}

/** Some streams could not be read; which and why has been said. */
class DiscoverFailedError extends HighwaterError {
  override readonly name = 'DiscoverFailedError';
}

export function discoverCommand(): Command {
  return new Command('discover')
    .description(
      'Read a few pages of each stream and print the configuration with columns, primary key and cursor field. Writes nothing.',
    )
    .argument(
      '<configuration>',
      'a file: JSON (comments allowed) or YAML; columns and primary_key may be missing',
    )
    .option('--stream <name>', 'only this stream')
    .option('--sample <n>', 'number of records to read of each stream', sampleSize, 200)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  highwater discover github.yaml > github-with-columns.yaml
  highwater discover github.yaml --stream issues --sample 1000 --json`,
    )
    .action(run);
}

function sampleSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size >= 1 && size <= 100_000) return size;
  throw new InvalidArgumentError('Give a whole number from 1 to 100000.');
}

async function run(file: string, options: Options): Promise<void> {
  const { configuration, plans } = await loadPlans(file, true);
  const chosen = options.stream === undefined ? plans.plans : [planNamed(plans, options.stream)];
  const found = new Map<string, Discovery>();
  const failed: { stream: string; error: unknown }[] = [];
  for (const plan of chosen) {
    try {
      const discovery = await discover(plan, options.sample, plans.plans, await probedFrom(plan));
      found.set(plan.stream, discovery);
      if (options.json !== true) for (const request of discovery.requests) note(request);
    } catch (error) {
      failed.push({ stream: plan.stream, error });
    }
  }
  const [first] = failed;
  if (first !== undefined && found.size === 0) throw first.error;

  const { text, configuration: filled, notes } = draft(configuration, plans.plans, found);
  if (options.json === true) {
    const streams = [...found].map(([stream, discovery]) => ({ stream, ...discovery }));
    const errors = failed.map(({ stream, error }) => ({ stream, message: messageOf(error) }));
    print(
      JSON.stringify({
        status: failed.length === 0 ? 'found' : 'incomplete',
        streams,
        errors,
        notes,
        configuration: filled,
      }),
    );
  } else {
    print(text.trimEnd());
    for (const line of notes) note(`note: ${line}`);
    for (const { stream, error } of failed) note(`${stream}: ${messageOf(error)}`);
    for (const line of leftOver(filled)) note(`still missing: ${line}`);
  }
  if (failed.length > 0) {
    throw new DiscoverFailedError(
      `could not read ${failed.length} of ${counted(chosen.length, 'stream')}: ${failed.map(({ stream }) => stream).join(', ')}`,
    );
  }
}

/** The problems for which a sync would still be refused. */
function leftOver(configuration: unknown): string[] {
  try {
    plansFrom(configuration);
    return [];
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError)) throw thrown;
    return thrown.problems.map(({ path, message }) => `${path}: ${message}`);
  }
}

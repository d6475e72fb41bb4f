import { Command } from 'commander';
import { loadPlans } from '../config/index.js';
import { note, print } from './output.js';

export function configCommand(): Command {
  return new Command('config')
    .description('Check a configuration and print it as plain JSON, the form that the Temporal CLI needs.')
    .argument('<configuration>', 'a file: JSON (comments allowed), YAML, or a program')
    .option('--json', 'on one line')
    .addHelpText(
      'after',
      `
Example:
  highwater config configuration.json > plain.json
  temporal workflow start --type sync --task-queue highwater \\
    --workflow-id users --input-file plain.json`,
    )
    .action(async (file: string, options: { json?: boolean }) => {
      const { configuration, plans } = await loadPlans(file);
      for (const { message } of plans.plans.flatMap((plan) => plan.notes)) note(`note: ${message}`);
      print(JSON.stringify(configuration, null, options.json === true ? 0 : 2));
    });
}

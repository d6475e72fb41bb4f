import { Command } from 'commander';
import { jsonSchema } from '../config/index.js';
import { print } from './output.js';

export function schemaCommand(): Command {
  return new Command('schema')
    .description('Print the JSON Schema of the configuration, for completion and checks in editors.')
    .option('--json', 'on one line')
    .addHelpText('after', '\nExample:\n  highwater schema > highwater.schema.json')
    .action((options: { json?: boolean }) =>
      print(JSON.stringify(jsonSchema(), null, options.json === true ? 0 : 2)),
    );
}

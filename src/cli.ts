#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { configCommand } from './cli/config.js';
import { demoCommand } from './cli/demo.js';
import { devCommand } from './cli/dev.js';
import { fail } from './cli/output.js';
import { queryCommand } from './cli/query.js';
import { runCommand } from './cli/run.js';
import { startCommand } from './cli/start.js';
import { statusCommand } from './cli/status.js';
import { workerCommand } from './cli/worker.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('highwater')
  .description('Durable incremental sync of any paginated HTTP API into a database, on Temporal.')
  .version(version)
  .configureHelp({ sortSubcommands: false })
  .showHelpAfterError('(see highwater --help)')
  .addHelpText('after', '\nExit codes: 0 done · 1 failed, with the reason · 130 interrupted');

for (const command of [
  runCommand(),
  workerCommand(),
  startCommand(),
  statusCommand(),
  queryCommand(),
  configCommand(),
  devCommand(),
  demoCommand(),
]) {
  program.addCommand(command);
}

program.parseAsync().catch(fail);

#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { endWithReader, fail, fitted } from './cli/output.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const EXIT_CODES = '\nExit codes: 0 done · 1 failed, with the reason · 130 interrupted';

const program = new Command('highwater')
  .description('Durable incremental sync of any paginated HTTP API into a database, on Temporal.')
  .version(version)
  .configureHelp({ sortSubcommands: false })
  .showHelpAfterError('(see highwater --help)')
  .addHelpText('after', EXIT_CODES);

/** One file a command, loaded when it is asked for: most of the start-up time is modules of the Temporal SDK. */
const commands = {
  run: async () => (await import('./cli/run.js')).runCommand(),
  worker: async () => (await import('./cli/worker.js')).workerCommand(),
  start: async () => (await import('./cli/start.js')).startCommand(),
  status: async () => (await import('./cli/status.js')).statusCommand(),
  list: async () => (await import('./cli/list.js')).listCommand(),
  pause: async () => (await import('./cli/pause.js')).pauseCommand(),
  resume: async () => (await import('./cli/resume.js')).resumeCommand(),
  trigger: async () => (await import('./cli/trigger.js')).triggerCommand(),
  approve: async () => (await import('./cli/approve.js')).approveCommand(),
  reject: async () => (await import('./cli/reject.js')).rejectCommand(),
  set: async () => (await import('./cli/set.js')).setCommand(),
  configure: async () => (await import('./cli/configure.js')).configureCommand(),
  state: async () => (await import('./cli/state.js')).stateCommand(),
  resync: async () => (await import('./cli/resync.js')).resyncCommand(),
  stop: async () => (await import('./cli/stop.js')).stopCommand(),
  cancel: async () => (await import('./cli/cancel.js')).cancelCommand(),
  backfill: async () => (await import('./cli/backfill.js')).backfillCommand(),
  audit: async () => (await import('./cli/audit.js')).auditCommand(),
  schedule: async () => (await import('./cli/schedule.js')).scheduleCommand(),
  logs: async () => (await import('./cli/logs.js')).logsCommand(),
  query: async () => (await import('./cli/query.js')).queryCommand(),
  rejects: async () => (await import('./cli/rejects.js')).rejectsCommand(),
  check: async () => (await import('./cli/check.js')).checkCommand(),
  preview: async () => (await import('./cli/preview.js')).previewCommand(),
  init: async () => (await import('./cli/init.js')).initCommand(),
  discover: async () => (await import('./cli/discover.js')).discoverCommand(),
  'import-state': async () => (await import('./cli/import-state.js')).importStateCommand(),
  doctor: async () => (await import('./cli/doctor.js')).doctorCommand(),
  replay: async () => (await import('./cli/replay.js')).replayCommand(),
  'codec-server': async () => (await import('./cli/codec-server.js')).codecServerCommand(),
  schema: async () => (await import('./cli/schema.js')).schemaCommand(),
  config: async () => (await import('./cli/config.js')).configCommand(),
  dev: async () => (await import('./cli/dev.js')).devCommand(),
  demo: async () => (await import('./cli/demo.js')).demoCommand(),
};

const asked = Object.entries(commands).filter(([name]) => name === process.argv[2]);
const wanted = asked.length === 0 ? Object.entries(commands) : asked;
const loaded = process.argv[2] === '--version' ? [] : await Promise.all(wanted.map(([, load]) => load()));
for (const command of loaded) {
  program.addCommand(command);
  for (const one of [command, ...command.commands])
    one
      .addHelpText('after', one.name() === 'audit' ? '' : EXIT_CODES)
      .configureOutput({ writeOut: (text) => void process.stdout.write(fitted(text)) });
}

endWithReader();
program.parseAsync().catch(fail);

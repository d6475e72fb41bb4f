import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { fitted } from './output.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const EXIT_CODES = '\nExit codes: 0 done · 1 failed, with the reason · 130 interrupted';

/** The commands, each loaded when it is used: most of the start-up time is modules of the Temporal SDK. */
const commands = {
  run: async () => (await import('./run.js')).runCommand(),
  worker: async () => (await import('./worker.js')).workerCommand(),
  start: async () => (await import('./start.js')).startCommand(),
  status: async () => (await import('./status.js')).statusCommand(),
  list: async () => (await import('./list.js')).listCommand(),
  pause: async () => (await import('./pause.js')).pauseCommand(),
  resume: async () => (await import('./resume.js')).resumeCommand(),
  trigger: async () => (await import('./trigger.js')).triggerCommand(),
  approve: async () => (await import('./approve.js')).approveCommand(),
  reject: async () => (await import('./reject.js')).rejectCommand(),
  set: async () => (await import('./set.js')).setCommand(),
  configure: async () => (await import('./configure.js')).configureCommand(),
  state: async () => (await import('./state.js')).stateCommand(),
  resync: async () => (await import('./resync.js')).resyncCommand(),
  stop: async () => (await import('./stop.js')).stopCommand(),
  cancel: async () => (await import('./cancel.js')).cancelCommand(),
  backfill: async () => (await import('./backfill.js')).backfillCommand(),
  audit: async () => (await import('./audit.js')).auditCommand(),
  schedule: async () => (await import('./schedule.js')).scheduleCommand(),
  logs: async () => (await import('./logs.js')).logsCommand(),
  query: async () => (await import('./query.js')).queryCommand(),
  rejects: async () => (await import('./rejects.js')).rejectsCommand(),
  check: async () => (await import('./check.js')).checkCommand(),
  preview: async () => (await import('./preview.js')).previewCommand(),
  init: async () => (await import('./init.js')).initCommand(),
  discover: async () => (await import('./discover.js')).discoverCommand(),
  'import-state': async () => (await import('./import-state.js')).importStateCommand(),
  doctor: async () => (await import('./doctor.js')).doctorCommand(),
  replay: async () => (await import('./replay.js')).replayCommand(),
  'codec-server': async () => (await import('./codec-server.js')).codecServerCommand(),
  schema: async () => (await import('./schema.js')).schemaCommand(),
  config: async () => (await import('./config.js')).configCommand(),
  dev: async () => (await import('./dev.js')).devCommand(),
  demo: async () => (await import('./demo.js')).demoCommand(),
};

/**
 * Returns the command line.
 * @param word the first argument: if it is a command, only that one is loaded.
 */
export async function programFor(word: string | undefined): Promise<Command> {
  const program = new Command('highwater')
    .description('Durable incremental sync of any paginated HTTP API into a database, on Temporal.')
    .version(version)
    .configureHelp({ sortSubcommands: false })
    .showHelpAfterError('(see highwater --help)')
    .addHelpText('after', EXIT_CODES);
  const asked = Object.entries(commands).filter(([name]) => name === word);
  const wanted = asked.length === 0 ? Object.entries(commands) : asked;
  const loaded = word === '--version' ? [] : await Promise.all(wanted.map(([, load]) => load()));
  for (const command of loaded) {
    program.addCommand(command);
    for (const one of [command, ...command.commands])
      one
        .addHelpText('after', one.name() === 'audit' ? '' : EXIT_CODES)
        .configureOutput({ writeOut: (text) => void process.stdout.write(fitted(text)) });
  }
  return program;
}

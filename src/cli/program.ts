import { Command } from 'commander';
import { readPackageJson } from '../package-json.js';
import { readOverview, type OverviewLine } from './overview.js';

const { version } = readPackageJson();

const EXIT_CODES = '\nExit codes: 0 done · 1 failed, with the reason · 130 interrupted';

const CONNECTION = `
Connection: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY and
TEMPORAL_TLS_… name a Temporal server; otherwise commands use the local one, on
HIGHWATER_TEMPORAL_PORT (7233). NO_COLOR switches colours off.
`;

/** The commands by task. Each is loaded when it is used: most of the start-up time is modules of the Temporal SDK. */
export const COMMANDS = {
  'Start here': {
    demo: async () => (await import('./demo.js')).demoCommand(),
    init: async () => (await import('./init.js')).initCommand(),
    discover: async () => (await import('./discover.js')).discoverCommand(),
    check: async () => (await import('./check.js')).checkCommand(),
    preview: async () => (await import('./preview.js')).previewCommand(),
    run: async () => (await import('./run.js')).runCommand(),
    record: async () => (await import('./record.js')).recordCommand(),
    test: async () => (await import('./test.js')).testCommand(),
  },
  'Run and operate': {
    dev: async () => (await import('./dev.js')).devCommand(),
    worker: async () => (await import('./worker.js')).workerCommand(),
    start: async () => (await import('./start.js')).startCommand(),
    pause: async () => (await import('./pause.js')).pauseCommand(),
    resume: async () => (await import('./resume.js')).resumeCommand(),
    trigger: async () => (await import('./trigger.js')).triggerCommand(),
    stop: async () => (await import('./stop.js')).stopCommand(),
    cancel: async () => (await import('./cancel.js')).cancelCommand(),
    schedule: async () => (await import('./schedule.js')).scheduleCommand(),
  },
  'Change and repair': {
    set: async () => (await import('./set.js')).setCommand(),
    configure: async () => (await import('./configure.js')).configureCommand(),
    state: async () => (await import('./state.js')).stateCommand(),
    resync: async () => (await import('./resync.js')).resyncCommand(),
    backfill: async () => (await import('./backfill.js')).backfillCommand(),
    audit: async () => (await import('./audit.js')).auditCommand(),
    approve: async () => (await import('./approve.js')).approveCommand(),
    reject: async () => (await import('./reject.js')).rejectCommand(),
    rejects: async () => (await import('./rejects.js')).rejectsCommand(),
  },
  Inspect: {
    list: async () => (await import('./list.js')).listCommand(),
    status: async () => (await import('./status.js')).statusCommand(),
    logs: async () => (await import('./logs.js')).logsCommand(),
    query: async () => (await import('./query.js')).queryCommand(),
    ui: async () => (await import('./ui.js')).uiCommand(),
    report: async () => (await import('./report.js')).reportCommand(),
    doctor: async () => (await import('./doctor.js')).doctorCommand(),
  },
  'Set up': {
    'import-state': async () => (await import('./import-state.js')).importStateCommand(),
    config: async () => (await import('./config.js')).configCommand(),
    schema: async () => (await import('./schema.js')).schemaCommand(),
    replay: async () => (await import('./replay.js')).replayCommand(),
    mcp: async () => (await import('./mcp.js')).mcpCommand(),
    'codec-server': async () => (await import('./codec-server.js')).codecServerCommand(),
  },
} satisfies Record<string, Record<string, () => Promise<Command>>>;

/** Options of commands with many, by what they are about. */
const OPTION_GROUPS: { [heading: string]: readonly string[] } = {
  'Task queue and version:': ['task-queue', 'deployment', 'build-id'],
  'What configurations may use:': [
    ...['trust', 'allow-env', 'allow-files', 'allow-secrets', 'allow-destinations', 'allow-hosts'],
  ],
  'Probes and metrics:': ['health-port', 'metrics-port'],
};
/** Fewer options are one group. */
const MANY_OPTIONS = 9;

function groupOptions({ options }: Command): void {
  if (options.length < MANY_OPTIONS) return;
  for (const [group, names] of Object.entries(OPTION_GROUPS))
    for (const option of options) if (names.includes(option.name())) option.helpGroup(group);
}

/** Returns a group's heading in the help. */
const heading = (group: keyof typeof COMMANDS): string => `${group}:`;

const programAlone = (): Command =>
  new Command('highwater')
    .description('Durable incremental sync of any paginated HTTP API into a database, on Temporal.')
    .version(version)
    .configureHelp({ sortSubcommands: false, subcommandTerm: shortTerm })
    .addHelpCommand(
      new Command('help')
        .argument('[command]')
        .description('Show the help of a command.')
        .helpGroup(heading('Set up')),
    )
    .showHelpAfterError('(see highwater --help)')
    .addHelpText('after', `${CONNECTION}${EXIT_CODES}`);

/** Columns of commands in the overview: descriptions have room beside them on a terminal of 80. */
const LONGEST_TERM = 26;

/** Returns a command with its arguments, as far as they have room. */
function shortTerm(command: Command): string {
  const shown = command.registeredArguments.map((argument) => {
    const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
    return argument.required ? `<${name}>` : `[${name}]`;
  });
  const whole = [command.name(), ...shown].join(' ');
  return whole.length <= LONGEST_TERM ? whole : `${command.name()} …`;
}

/**
 * Returns the command line for its first words. If they name a command, only that one is loaded; otherwise the overview
 * answers, which needs none of them.
 */
export async function programFor(words: readonly string[]): Promise<Command> {
  if (words[0] === '--version') return programAlone();
  const name = words[0] === 'help' ? words[1] : words[0];
  const found = ALL.find((one) => one.name === name);
  if (found !== undefined) return programOf([found]);
  const overview = readOverview();
  return overview === null ? wholeProgram() : overviewProgram(overview);
}

/** Returns the command line with all commands. */
export const wholeProgram = (): Promise<Command> => programOf(ALL);

const ALL = (Object.keys(COMMANDS) as (keyof typeof COMMANDS)[]).flatMap((group) =>
  Object.entries(COMMANDS[group]).map(([name, load]) => ({ group, name, load })),
);

async function programOf(wanted: typeof ALL): Promise<Command> {
  const { fitted } = await import('./output.js');
  const program = programAlone();
  const loaded = wanted.map(async ({ group, load }) => (await load()).helpGroup(heading(group)));
  for (const command of await Promise.all(loaded)) {
    program.addCommand(command);
    for (const one of [command, ...command.commands]) {
      groupOptions(one);
      one
        .addHelpText('after', one.name() === 'audit' ? '' : EXIT_CODES)
        .configureOutput({ writeOut: (text) => void process.stdout.write(fitted(text)) });
    }
  }
  return program;
}

/** Returns a command line that shows its help, and knows which commands there are. */
function overviewProgram(overview: readonly OverviewLine[]): Command {
  const terms = new Map(overview.map(({ name, term }) => [name, term]));
  const program = programAlone();
  program.configureHelp({
    sortSubcommands: false,
    subcommandTerm: (command) => terms.get(command.name()) ?? `${command.name()} [command]`,
  });
  for (const { group, name, description } of overview)
    program.addCommand(new Command(name).description(description).helpGroup(group));
  return program;
}

/** Returns the lines of the overview. Loads all commands. */
export async function overviewLines(): Promise<OverviewLine[]> {
  const program = await wholeProgram();
  const help = program.createHelp();
  return program.commands.map((command) => ({
    group: command.helpGroup(),
    name: command.name(),
    term: help.subcommandTerm(command),
    description: help.subcommandDescription(command),
  }));
}

import { Command, Option, InvalidArgumentError } from 'commander';
import { DEFAULT_TASK_QUEUE } from '../client.js';
import { asConfiguration, loadPlans, parseDuration } from '../config/index.js';
import { type ListedSchedule, ScheduleExistsError, type SyncSchedule } from '../schedules.js';
import { isPolled } from '../task-queue.js';
import { connected, type Connected } from './asking.js';
import { collect, note, print, shellWord, since, table, visible, wrapped, type Cell } from './output.js';
import { lastResultText, scheduleStanding } from './schedules.js';
import { TONES } from './terminal.js';
import { noWorkerText } from './workers.js';

interface CreateOptions {
  id?: string;
  every?: string;
  cron?: string[];
  timeZone?: string;
  jitter?: string;
  catchUp: string;
  taskQueue: string;
  paused?: boolean;
  json?: boolean;
}

export function scheduleCommand(): Command {
  const schedule = new Command('schedule').description(
    'Manage schedules: Temporal starts a sync of one pass at set times.',
  );
  schedule.addHelpText(
    'after',
    '\nExamples:\n  highwater schedule create users.yaml --every 15m\n  highwater schedule list --json\n  highwater schedule create --help',
  );
  schedule.addCommand(createCommand());
  schedule.addCommand(listCommand());
  schedule.addCommand(
    actionCommand(
      'pause',
      'Start no more syncs until "resume"; a running one continues.',
      async (schedule) => {
        await schedule.pause('highwater schedule pause');
        return 'paused';
      },
    ),
  );
  schedule.addCommand(
    actionCommand('resume', 'Start syncs again from the next scheduled time on.', async (schedule) => {
      await schedule.resume('highwater schedule resume');
      return 'resumed';
    }),
  );
  schedule.addCommand(
    actionCommand(
      'trigger',
      'Start a sync now, unless one of this schedule is running.',
      async (schedule) => {
        await schedule.trigger();
        return 'triggered';
      },
    ),
  );
  schedule.addCommand(
    actionCommand(
      'delete',
      'Delete the schedule; a running sync continues, and table and checkpoint stay.',
      async (schedule) => {
        await schedule.delete();
        return 'deleted';
      },
    ),
  );
  return schedule;
}

function createCommand(): Command {
  return new Command('create')
    .description('Start a sync of one pass on a schedule.')
    .argument('<configuration>', 'a file: JSON (comments allowed), YAML, or a program')
    .option('--id <schedule-id>', 'the schedule id (default: as the workflow id of "start")')
    .option('--every <duration>', 'the interval, such as 15m or 1h', asDuration)
    .option('--cron <expression>', 'a cron expression such as "0 6 * * MON-FRI"; may be repeated', collect)
    .option('--time-zone <name>', 'the time zone of --cron, such as Europe/Berlin (default: UTC)')
    .option('--jitter <duration>', 'start later by a random time of at most this long', asDuration)
    .addOption(
      new Option(
        '--catch-up <duration>',
        'after an outage of the server, start syncs missed within this time',
      )
        .argParser(asDuration)
        .default('1h', '1h'),
    )
    .addOption(
      new Option('--task-queue <name>', 'the task queue of the worker')
        .default(DEFAULT_TASK_QUEUE)
        .env('HIGHWATER_TASK_QUEUE'),
    )
    .option('--paused', 'create it paused; "schedule resume" starts it')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
If the previous sync is still running at a scheduled time, that time is skipped.

Examples:
  highwater schedule create users.yaml --every 15m --jitter 30s
  highwater schedule create users.yaml --id nightly --cron "0 3 * * *" --time-zone Europe/Berlin`,
    )
    .action((file: string, options: CreateOptions) => connected((to) => create(to, file, options)));
}

async function create({ client }: Connected, file: string, options: CreateOptions): Promise<void> {
  const { every, cron = [] } = options;
  if ((every === undefined) === (cron.length === 0)) throw new Error('give either --every or --cron');
  const { configuration, plans } = await loadPlans(file);
  if (plans.plans.some(({ intervalSeconds }) => intervalSeconds !== null))
    note('note: "interval" is ignored: each sync of a schedule makes one pass');
  const schedule = await client.schedules
    .create(asConfiguration(configuration), options)
    .catch((thrown: unknown) => {
      if (!(thrown instanceof ScheduleExistsError)) throw thrown;
      throw new Error(
        `the schedule "${thrown.scheduleId}" already exists; delete it first, or choose another --id`,
        { cause: thrown },
      );
    });
  const { id, nextRun: next } = await schedule.describe();
  if (options.json === true) print(JSON.stringify({ id, nextRun: next, paused: options.paused === true }));
  else {
    print(
      `Created the schedule ${id}; ${options.paused === true ? 'it is paused' : `first sync at ${next ?? '?'}`}`,
    );
    print('Its syncs: npx highwater list');
    if ((await isPolled(client, options.taskQueue)) === false)
      note(`! ${noWorkerText(options.taskQueue, 'its syncs begin')}`);
  }
}

function listCommand(): Command {
  return new Command('list')
    .description('List the schedules: paused or active, their times, how the last sync ended, and the next.')
    .option('--json', 'print a JSON array of objects')
    .addHelpText('after', '\nExample:\n  highwater schedule list')
    .action((options: { json?: boolean }) =>
      connected(async ({ client }) => {
        const found = await client.schedules.list();
        if (options.json === true) {
          print(JSON.stringify(found));
          return;
        }
        if (found.length === 0) {
          print('There are no schedules; "highwater schedule create" creates one.');
          return;
        }
        printSchedules(found, Date.now());
      }),
    );
}

function printSchedules(found: readonly ListedSchedule[], now: number): void {
  const standings = found.map((schedule) => scheduleStanding(schedule, now));
  print(
    table(
      ['schedule', 'status', 'when', 'last sync', 'result', 'next'],
      found.map((schedule, i): Cell[] => {
        const { id, when, lastRun, nextRun } = schedule;
        const { word = '', level = 'well' } = standings[i] ?? {};
        return [
          id,
          { text: word, tone: TONES[level] },
          when,
          lastRun === null ? '' : `${since(lastRun, now)} ago`,
          lastResultText(schedule),
          nextRun === null ? '' : `in ${since(nextRun, now)}`,
        ];
      }),
    ),
  );
  for (const [i, { id, lastId }] of found.entries()) {
    const standing = standings[i];
    if (standing?.word !== 'failing') continue;
    print(wrapped(visible(`✗ ${id}: ${standing.what}`), 2));
    print(
      wrapped(
        `  next: "highwater status ${shellWord(lastId ?? id)}" shows all of it; the next sync tries again`,
        6,
      ),
    );
  }
}

function actionCommand(
  name: string,
  description: string,
  act: (schedule: SyncSchedule) => Promise<string>,
): Command {
  return new Command(name)
    .description(description)
    .argument('<id>', 'the schedule id')
    .option('--json', 'print one JSON object')
    .addHelpText('after', `\nExample:\n  highwater schedule ${name} users`)
    .action((id: string, options: { json?: boolean }) =>
      connected(async ({ client }) => {
        const outcome = await act(client.schedules.get(id));
        if (options.json === true) print(JSON.stringify({ id, schedule: outcome }));
        else print(`${id}: ${outcome}`);
      }),
    );
}

function asDuration(text: string): string {
  const seconds = parseDuration(text);
  if (seconds !== null && seconds > 0) return text;
  throw new InvalidArgumentError('Give a duration such as 30s, 15m, 2h or 1d.');
}

import { Command } from 'commander';
import type { ListedSync } from '../client.js';
import { askSyncs, connected, type Answer, type Connected } from './asking.js';
import {
  asLimit,
  counted,
  note,
  outputWidth,
  print,
  roughly,
  since,
  table,
  visible,
  wrapped,
} from './output.js';
import { firstLine } from './report.js';

interface Options {
  running?: boolean;
  query?: string;
  limit: number;
  json?: boolean;
}

export function listCommand(): Command {
  return new Command('list')
    .description('List the syncs: status, last pass, rows, lag, and the next pass.')
    .option('--running', 'only running syncs')
    .option(
      '--query <query>',
      "a filter in Temporal's query language; Highwater's search attributes work too",
    )
    .option('--limit <n>', 'show at most this many', asLimit, 50)
    .option('--json', 'print a JSON array of objects')
    .addHelpText(
      'after',
      `
For a schedule, only its latest sync is shown. "lag" is the time since the table last held everything in the source.

Examples:
  highwater list
  highwater list --running --json
  highwater list --query 'HighwaterStatus = "failing" OR HighwaterStatus = "blocked"'`,
    )
    .action((options: Options) => connected((to) => list(to, options)));
}

async function list({ client }: Connected, options: Options): Promise<void> {
  const found = await client.list({
    limit: options.limit,
    runningOnly: options.running === true,
    ...(options.query !== undefined && { query: options.query }),
  });
  const running = found.filter(({ execution }) => execution === 'RUNNING');
  const unreadable: Error[] = [];
  const answers = await askSyncs(
    client,
    running.map(({ id }) => client.sync(id)),
    { onUnreadable: (error) => unreadable.push(error) },
  );
  const byId = new Map(running.map(({ id }, i) => [id, answers[i] ?? null]));
  const lines = found.map((sync) => lineOf(sync, byId.get(sync.id) ?? null));
  if (options.json === true) {
    print(JSON.stringify(lines));
    return;
  }
  if (lines.length === 0) {
    print('There are no syncs.');
    return;
  }
  print(screen(lines, Date.now(), outputWidth()));
  for (const { id, reason } of lines)
    if (reason !== null) print(wrapped(visible(`${id}: ${firstLine(reason, 500)}`), 2, outputWidth()));
  const silent = answers.filter((answer) => answer === null).length - unreadable.length;
  if (silent > 0) say(`no worker answers for ${counted(silent, 'sync')}; the list shows what Temporal knows`);
  const [first] = unreadable;
  if (first !== undefined) {
    say(
      `the answers of ${counted(unreadable.length, 'sync')} cannot be read here; the list shows what Temporal knows. ${first.message}`,
    );
  }
}

const say = (text: string): void => note(wrapped(text, 2, outputWidth()));

/** When a sync goes on; "due" where that time has passed. */
const nextText = (nextRun: string, now: number) =>
  Date.parse(nextRun) <= now ? 'due' : `in ${since(nextRun, now)}`;

/** Below this, what can be done without is left out. */
const NARROW = 64;

function screen(lines: Line[], now: number, limit: number): string {
  const columns: [string, (line: Line) => string | number][] = [
    ['sync', ({ id }) => id],
    ['status', ({ status }) => status],
    ['strategy', ({ strategy }) => strategy],
    ['last pass', ({ lastPassEnd }) => (lastPassEnd === null ? '' : `${since(lastPassEnd, now)} ago`)],
    ['rows', ({ rows }) => rows ?? ''],
    ...(lines.some(({ deleted }) => (deleted ?? 0) > 0)
      ? [['deleted', ({ deleted }) => deleted ?? ''] as [string, (line: Line) => string | number]]
      : []),
    ['lag', ({ lagSeconds }) => (lagSeconds === null ? '' : roughly(lagSeconds))],
    ['next', ({ nextRun }) => (nextRun === null ? '' : nextText(nextRun, now))],
  ];
  const shown = columns.filter(([name]) => limit >= NARROW || !['strategy', 'last pass'].includes(name));
  return table(
    shown.map(([name]) => name),
    lines.map((line) => shown.map(([, cell]) => cell(line))),
    limit,
  );
}

interface Line {
  id: string;
  status: string;
  stream: string;
  strategy: string;
  lastPassEnd: string | null;
  rows: number | null;
  /** Rows marked or removed as deleted; null where no worker says. */
  deleted: number | null;
  lagSeconds: number | null;
  nextRun: string | null;
  /** Why it does not go on. */
  reason: string | null;
  schedule: string | null;
}

/** The sync's own report; else the facts that Temporal has. */
function lineOf(sync: ListedSync, answer: Answer | null): Line {
  const { id, attributes, schedule } = sync;
  const progress = answer?.progress ?? null;
  const isRunning = sync.execution === 'RUNNING';
  const complete = progress?.completeAsOf ?? null;
  const lag = complete === null ? attributes.lagSeconds : (Date.now() - Date.parse(complete)) / 1000;
  return {
    id,
    status: isRunning
      ? (progress?.status ?? attributes.status ?? 'running')
      : attributes.status === 'stopped'
        ? 'stopped'
        : sync.execution.toLowerCase(),
    stream: progress?.stream ?? attributes.stream ?? '',
    strategy: progress?.strategy ?? attributes.strategy ?? '',
    lastPassEnd: progress?.recent[0]?.ended ?? attributes.lastPassEnd,
    rows: progress === null ? attributes.rows : progress.totals.rows,
    deleted: progress?.totals.deleted ?? null,
    // The report of a sync that has ended was true when it ended.
    lagSeconds: lag === null || !isRunning ? null : Math.round(lag),
    nextRun: progress?.waiting?.until ?? sync.nextRun,
    reason: progress?.trouble?.message ?? null,
    schedule,
  };
}

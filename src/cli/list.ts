import { Command } from 'commander';
import type { ListedSync, Work } from '../client.js';
import {
  LEVELS,
  type Level,
  standingInList,
  standingOf,
  standingOfSeveral,
  standingText,
  tally,
  type Standing,
} from '../sync-condition.js';
import { familiesOf, type Related } from '../sync-families.js';
import { isPolled } from '../task-queue.js';
import { askSyncs, connected, type Answer, type Connected } from './asking.js';
import { outcomeOf } from './look.js';
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
  type Cell,
} from './output.js';
import { MARKS, paint, TONES } from './terminal.js';

interface Options {
  running?: boolean;
  query?: string;
  streams?: boolean;
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
    .option('--streams', 'a line for each stream of a sync of several')
    .option('--limit <n>', 'show at most this many', asLimit, 50)
    .option('--json', 'print a JSON array of objects')
    .addHelpText(
      'after',
      `
The first line says whether all syncs are healthy; the lines below the table say what to do about the others. The streams
of a sync share one line unless --streams is given. A failure that ended the sync more than a day ago counts as ended. For a schedule, only the latest sync is shown. "lag" is the time since the table last held everything in the source.

Examples:
  highwater list
  highwater list --running --json
  highwater list --query 'HighwaterStatus = "failing" OR HighwaterStatus = "blocked"'`,
    )
    .action((options: Options) => connected((to) => list(to, options)));
}

async function list({ client }: Connected, options: Options): Promise<void> {
  const now = Date.now();
  const found = await client.list({
    limit: options.limit,
    runningOnly: options.running === true,
    ...(options.query !== undefined && { query: options.query }),
  });
  const running = found.filter(({ execution }) => execution === 'RUNNING');
  const handles = running.map(({ id }) => client.sync(id));
  const unreadable: Error[] = [];
  const works = await Promise.all(handles.map((handle) => handle.work().catch(() => null)));
  const polled = await polledQueues(
    client,
    works.flatMap((work) => work?.taskQueue ?? []),
  );
  // A sync without a worker cannot answer: asking it would only take until the question expires.
  const canAnswer = works.map((work) => work === null || polled.get(work.taskQueue) !== false);
  const [answers, failures] = await Promise.all([
    askSyncs(
      client,
      handles.filter((_, i) => canAnswer[i]),
      { onUnreadable: (error) => unreadable.push(error) },
    ),
    failuresOf(client, found),
  ]);
  const answering = running.filter((_, i) => canAnswer[i]);
  const answerOf = new Map(answering.map(({ id }, i) => [id, answers[i] ?? null]));
  const asked = new Map(
    running.map(({ id }, i) => [id, { answer: answerOf.get(id) ?? null, work: works[i] ?? null }]),
  );
  const lines = found.map((sync): Line => {
    const { answer = null, work = null } = asked.get(sync.id) ?? {};
    const isPolled = work === null ? null : (polled.get(work.taskQueue) ?? null);
    return lineOf(sync, { answer, work, isPolled, error: failures.get(sync.id) ?? null }, now);
  });
  const shown = rolled(lines);
  if (options.json === true) {
    print(JSON.stringify(options.streams === true ? lines : shown));
    return;
  }
  if (lines.length === 0) {
    print('There are no syncs; "highwater start" starts one.');
    return;
  }
  print(overview(shown));
  print(screen(options.streams === true ? lines : shown, now, outputWidth()));
  for (const line of shown) for (const text of reasons(line)) print(text);
  const [first] = unreadable;
  if (first !== undefined) {
    say(
      `the answers of ${counted(unreadable.length, 'sync')} cannot be read here; the list shows what Temporal knows. ${first.message}`,
    );
  }
}

/** Failed syncs whose reasons are asked for. */
const FAILURES_SHOWN = 20;

async function failuresOf(client: Client, found: readonly ListedSync[]): Promise<Map<string, string>> {
  const failed = found.filter(({ execution }) => execution === 'FAILED').slice(0, FAILURES_SHOWN);
  const errors = await Promise.all(
    failed.map(async ({ id }) => [id, (await outcomeOf(client.sync(id)).catch(() => null))?.error] as const),
  );
  return new Map(errors.flatMap(([id, error]) => (error == null ? [] : [[id, error]])));
}

async function polledQueues(client: Client, queues: readonly string[]): Promise<Map<string, boolean | null>> {
  const names = [...new Set(queues)];
  return new Map(await Promise.all(names.map(async (name) => [name, await isPolled(client, name)] as const)));
}

type Client = Connected['client'];

const say = (text: string): void => note(wrapped(text, 2, outputWidth()));

/** `5 syncs: 3 up to date, 1 retrying`, with the mark of the worst. */
function overview(lines: readonly Line[]): string {
  const has = (level: Level) => lines.some(({ standing }) => standing.level === level);
  const worst = LEVELS.findLast((level) => has(level) && (level !== 'over' || !has('well'))) ?? 'well';
  const syncs = lines.filter(({ range }) => range === null);
  const words = tally(syncs.map(({ standing: { word } }) => word)).join(', ');
  const ranges = tally(lines.flatMap(({ range }) => range?.kind ?? []));
  const all = [`${counted(syncs.length, 'sync')}${words === '' ? '' : `: ${words}`}`, ...ranges].join(' · ');
  const isWell = worst === 'well' || worst === 'over' ? '' : '; see below the table';
  return paint(TONES[worst], wrapped(`${MARKS[worst]} ${all}${isWell}`, 2));
}

/** Lines about the problem of a sync and the next step; none for a healthy one. */
function reasons({ id, standing }: Line): string[] {
  const { level, todo } = standing;
  if (level === 'well' || level === 'over') return [];
  const text = wrapped(visible(`${MARKS[level]} ${id}: ${standingText(standing)}`), 2);
  return todo === null ? [text] : [text, wrapped(visible(`  next: ${todo}`), 6)];
}

/** Time of the next pass; "due" if it has passed. */
const nextText = (nextRun: string, now: number) =>
  Date.parse(nextRun) <= now ? 'due' : `in ${since(nextRun, now)}`;

/** Below this, what can be done without is left out. */
const NARROW = 64;

function screen(lines: readonly Line[], now: number, limit: number): string {
  const isListed = new Set(lines.map(({ id }) => id));
  const columns: [string, (line: Line) => Cell][] = [
    ['sync', ({ id, parent, range }) => (isListed.has(parent ?? range?.sync ?? '') ? `  ${id}` : id)],
    ['status', ({ status, standing: { level } }) => ({ text: status, tone: TONES[level] })],
    ['strategy', ({ strategy }) => strategy],
    ['last pass', ({ lastPassEnd }) => (lastPassEnd === null ? '' : `${since(lastPassEnd, now)} ago`)],
    ['rows', ({ rows }) => rows ?? ''],
    ...(lines.some(({ deleted }) => (deleted ?? 0) > 0)
      ? [['deleted', ({ deleted }) => deleted ?? ''] as [string, (line: Line) => Cell]]
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

export interface Line extends Related {
  status: string;
  standing: Standing;
  /** Number of streams of a sync of several. */
  streams: number;
  stream: string;
  strategy: string;
  lastPassEnd: string | null;
  rows: number | null;
  /** Rows marked or removed as deleted; null where no worker says. */
  deleted: number | null;
  lagSeconds: number | null;
  nextRun: string | null;
  /** Why the sync makes no progress. */
  reason: string | null;
  schedule: string | null;
}

/** Facts about a listed sync beside Temporal's own list. */
export interface Known {
  answer: Answer | null;
  work: Work | null;
  isPolled: boolean | null;
  error: string | null;
}

/** The sync's own report; else the facts that Temporal has. */
export function lineOf(sync: ListedSync, { answer, work, isPolled, error }: Known, now: number): Line {
  const { id, attributes, schedule, execution } = sync;
  const progress = answer?.progress ?? null;
  const isRunning = execution === 'RUNNING';
  const complete = progress?.completeAsOf ?? null;
  const lag = complete === null ? attributes.lagSeconds : (now - Date.parse(complete)) / 1000;
  const isStopped = !isRunning && attributes.status === 'stopped';
  const found = standingOf(
    {
      ...{ id, execution, progress, isPolled, taskQueue: work?.taskQueue ?? '', retry: work?.retry ?? null },
      quietSince: work?.reading?.at ?? null,
      ...{
        ended: sync.ended,
        outcome: { status: isStopped ? 'stopped' : null, error },
        nextRun: sync.nextRun,
      },
    },
    now,
  );
  const standing = standingInList(found, sync, now);
  return {
    id,
    status: isRunning
      ? standing.kind === 'retrying'
        ? 'retrying'
        : (progress?.status ?? attributes.status ?? 'running')
      : isStopped
        ? 'stopped'
        : execution.toLowerCase(),
    standing,
    parent: sync.parent,
    range: sync.range,
    streams: progress?.streams.length ?? 0,
    stream: progress?.stream ?? attributes.stream ?? '',
    strategy: progress?.strategy ?? attributes.strategy ?? '',
    lastPassEnd: progress?.recent[0]?.ended ?? attributes.lastPassEnd,
    rows: progress === null ? attributes.rows : progress.totals.rows,
    deleted: progress?.totals.deleted ?? null,
    // The report of a sync that has ended was true when it ended.
    lagSeconds: lag === null || !isRunning ? null : Math.round(lag),
    nextRun: progress?.waiting?.until ?? sync.nextRun,
    reason: work?.retry?.message ?? progress?.trouble?.message ?? error,
    schedule,
  };
}

/** Makes one line of the streams of a sync; the lines of its backfills and audits follow it. */
export function rolled(lines: readonly Line[]): Line[] {
  return familiesOf(lines).flatMap(({ sync, children }) => {
    const streams = children.filter(({ range }) => range === null);
    const ranges = children.filter(({ range }) => range !== null);
    return [streams.length === 0 ? sync : rolledLine(sync, streams), ...ranges];
  });
}

function rolledLine(line: Line, streams: readonly Line[]): Line {
  const isRunning = streams.some(({ nextRun, lagSeconds }) => nextRun !== null || lagSeconds !== null);
  const named = streams.map((one) => ({ stream: one.stream || one.id, standing: one.standing }));
  const standing = standingOfSeveral(line.standing, named);
  const numbers = (of: (one: Line) => number | null) => streams.flatMap((one) => of(one) ?? []);
  const times = (of: (one: Line) => string | null) => streams.flatMap((one) => of(one) ?? []).sort();
  const sum = (all: number[]) => (all.length === 0 ? null : all.reduce((total, one) => total + one, 0));
  const strategies = new Set(streams.map(({ strategy }) => strategy).filter((name) => name !== ''));
  const words = new Set(streams.map(({ status }) => status));
  const [word = line.status] = words;
  return {
    ...line,
    standing,
    status:
      line.status !== 'running'
        ? line.status
        : words.size === 1
          ? word
          : standing.kind === 'several'
            ? 'running'
            : standing.word,
    streams: Math.max(line.streams, streams.length),
    strategy: strategies.size === 1 ? ([...strategies][0] ?? '') : `${counted(streams.length, 'stream')}`,
    lastPassEnd: times(({ lastPassEnd }) => lastPassEnd).at(-1) ?? null,
    rows: sum(numbers(({ rows }) => rows)),
    deleted: sum(numbers(({ deleted }) => deleted)),
    lagSeconds: isRunning ? Math.max(...numbers(({ lagSeconds }) => lagSeconds), 0) : null,
    nextRun: times(({ nextRun }) => nextRun)[0] ?? line.nextRun,
    reason: line.reason ?? streams.find(({ reason }) => reason !== null)?.reason ?? null,
  };
}

import { Command, InvalidArgumentError } from 'commander';
import type { Differences } from '../protocol.js';
import { count, counted, fail, print, table, wrapped } from './output.js';
import { endsText, printNotes, ranged, type EndedRange, type RangeCommandOptions } from './ranges.js';

interface Options extends RangeCommandOptions {
  repair?: boolean;
  removeExtra?: boolean;
  keys?: number;
}

const KEYS_SHOWN = 20;
const KEYS_LIMIT = 1000;

export function auditCommand(): Command {
  return new Command('audit')
    .description('Compare a table with its source, and repair it on request.')
    .argument(
      '[id-or-file]',
      'the id of a sync, or a configuration (default: the only configuration in this folder)',
    )
    .option('--from <value>', 'start of the range, inclusive (default: the beginning)')
    .option('--to <value>', "end of the range, inclusive (default: the sync's cursor)")
    .option('--repair', 'write missing and stale rows; mark or remove extra rows if "deletes" is set')
    .option('--remove-extra', 'with --repair: remove extra rows even if "deletes" is not set')
    .option(
      '--keys <count>',
      `list at most this many keys of each kind (default: ${KEYS_SHOWN}; with --json ${KEYS_LIMIT})`,
      asCount,
    )
    .option('--stream <name>', 'the stream, if there are several')
    .option(
      '--task-queue <name>',
      "the task queue of the worker (default: the sync's, else $HIGHWATER_TASK_QUEUE)",
    )
    .option('--no-wait', 'return once the audit has started')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
The audit reads every record of the range again and compares all columns with its row. missing: the record has no row.
stale: the row differs. extra: the row has no record. twice: several rows have the same key. The sync may keep running:
rows that it changes meanwhile are not reported, and records beyond its cursor are not compared. Give ranges as for
"highwater backfill".

Exit codes: 0 equal, or all differences repaired · 1 differences left · 2 failed, with the reason · 130 interrupted

Examples:
  highwater audit users
  highwater audit users --from 2026-01-01 --to 2026-02-01 --json
  highwater audit users --repair`,
    )
    .action((given: string | undefined, options: Options) => audit(given, options).catch(couldNot));
}

/** Differences are exit code 1. */
function couldNot(thrown: unknown): void {
  process.exitCode ||= 2;
  fail(thrown);
}

function asCount(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > KEYS_LIMIT)
    throw new InvalidArgumentError(`Give a whole number of at most ${KEYS_LIMIT}.`);
  return number;
}

async function audit(given: string | undefined, options: Options): Promise<void> {
  const { from = null, to = null, stream, repair, removeExtra } = options;
  const keys = options.keys ?? (options.json === true ? KEYS_LIMIT : KEYS_SHOWN);
  const ended = await ranged(given, options, (client, of, taskQueue) =>
    client.audit(of, {
      from,
      to,
      keys,
      repair: repair === true,
      removeExtra: removeExtra === true,
      ...(stream !== undefined && { stream }),
      taskQueue,
    }),
  );
  if (ended === null) return;
  if (ended.range.equal !== true) process.exitCode = 1;
  if (options.json === true) return;
  print(shown(ended, repair === true));
  printNotes(ended.warnings);
}

/** The findings of an audit as text. */
export function shown({ stream, range }: EndedRange, repaired: boolean): string {
  const { differences, extraUnknown } = range;
  if (differences === null) return `${stream}: nothing to compare`;
  const { missing, stale, extra, twice, changed } = differences;
  const all = [missing, stale, extra, twice];
  const line = (name: string, found: Differences | null) =>
    found === null ? [name, 'unknown', '', ''] : [name, found.count, found.repaired, keysText(found)];
  const found = all.reduce((sum, one) => sum + (one?.count ?? 0), 0);
  const left = all.reduce((sum, one) => sum + (one?.count ?? 0) - (one?.repaired ?? 0), 0);
  const said =
    found === 0
      ? 'equal'
      : left === 0
        ? `${counted(found, 'difference')}, all repaired`
        : `${counted(found, 'difference')}${left < found ? `, ${count(left)} left` : ''}`;
  const notes = [
    ...(changed > 0
      ? [`the sync changed ${counted(changed, 'row')} during the audit; they are not reported.`]
      : []),
    ...(extraUnknown === null ? [] : [`the audit did not look for extra rows: ${extraUnknown}`]),
    ...(extra !== null && extra.count > extra.repaired && repaired
      ? ['extra rows stay, because "deletes" is not set; --remove-extra removes them.']
      : []),
  ];
  return [
    wrapped(
      `${stream} · ${endsText(range)} · ${counted(range.records, 'record')} compared` +
        `${range.outside > 0 ? `, ${count(range.outside)} outside the range or beyond the sync's cursor` : ''} · ${said}`,
      2,
    ),
    '',
    table(
      ['', 'rows', 'repaired', 'keys'],
      [
        line('missing', missing),
        line('stale', stale),
        line('extra', extra),
        ...(twice !== undefined && twice.count > 0 ? [line('twice', twice)] : []),
      ],
    ),
    ...notes.map((text) => wrapped(`note: ${text}`, 2)),
  ].join('\n');
}

const keysText = ({ count: all, keys }: Differences): string =>
  keys.join(', ') +
  (all > keys.length ? `${keys.length > 0 ? ', ' : ''}… (${count(all - keys.length)} more)` : '');

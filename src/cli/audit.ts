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
    .argument('<id-or-file>', 'the id of a sync, or a configuration')
    .option('--from <value>', 'start of the range, inclusive (default: everything)')
    .option('--to <value>', 'end of the range, inclusive (default: the place of the sync)')
    .option('--repair', 'write missing and stale rows; treat extra rows as "deletes" says')
    .option('--remove-extra', 'with --repair: remove extra rows also where "deletes" does not say so')
    .option(
      '--keys <count>',
      `list at most n keys of each kind (default: ${KEYS_SHOWN}; with --json ${KEYS_LIMIT})`,
      asCount,
    )
    .option('--stream <name>', 'which stream of several')
    .option('--task-queue <name>', "the task queue of the worker (default: the sync's)")
    .option('--no-wait', 'return once it is started')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Every record of the range is read again and compared with its row, all columns. missing: the table has no row for it.
stale: the row differs. extra: the source does not have it. twice: a key stands in several rows. The sync may run meanwhile: what it changes is not
reported, and records that are ahead of it are not compared. Ranges are told as for "highwater backfill".

Exit codes: 0 equal, or all was repaired · 1 there are differences · 2 it could not be told, with the reason · 130 interrupted

Examples:
  highwater audit users
  highwater audit users --from 2026-01-01 --to 2026-02-01 --json
  highwater audit users --repair`,
    )
    .action((given: string, options: Options) => audit(given, options).catch(couldNot));
}

/** Differences are exit code 1. */
function couldNot(thrown: unknown): void {
  process.exitCode ||= 2;
  fail(thrown);
}

function asCount(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > KEYS_LIMIT)
    throw new InvalidArgumentError(`a whole number of at most ${KEYS_LIMIT} is needed`);
  return number;
}

async function audit(given: string, options: Options): Promise<void> {
  const { from = null, to = null, stream, taskQueue, repair, removeExtra } = options;
  const keys = options.keys ?? (options.json === true ? KEYS_LIMIT : KEYS_SHOWN);
  const ended = await ranged(given, options, (client, of) =>
    client.audit(of, {
      from,
      to,
      keys,
      repair: repair === true,
      removeExtra: removeExtra === true,
      ...(stream !== undefined && { stream }),
      ...(taskQueue !== undefined && { taskQueue }),
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
  if (differences === null) return `${stream}: nothing was compared`;
  const { missing, stale, extra, twice, changed } = differences;
  const all = [missing, stale, extra, twice];
  const line = (name: string, found: Differences | null) =>
    found === null ? [name, 'not told', '', ''] : [name, found.count, found.repaired, keysText(found)];
  const found = all.reduce((sum, one) => sum + (one?.count ?? 0), 0);
  const left = all.reduce((sum, one) => sum + (one?.count ?? 0) - (one?.repaired ?? 0), 0);
  const said =
    found === 0
      ? 'equal'
      : left === 0
        ? `${counted(found, 'difference')}, all repaired`
        : `${counted(found, 'difference')}${left < found ? `, ${count(left)} of them left` : ''}`;
  const notes = [
    ...(changed > 0
      ? [`the sync changed ${counted(changed, 'row')} meanwhile; nothing is said of them.`]
      : []),
    ...(extraUnknown === null ? [] : [`extra rows were not looked for: ${extraUnknown}`]),
    ...(extra !== null && extra.count > extra.repaired && repaired
      ? ['extra rows stay where "deletes" does not say what becomes of them; --remove-extra removes them.']
      : []),
  ];
  return [
    wrapped(
      `${stream} · ${endsText(range)} · ${counted(range.records, 'record')} compared` +
        `${range.outside > 0 ? `, ${count(range.outside)} outside or ahead of the sync` : ''} · ${said}`,
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

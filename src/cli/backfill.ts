import { Command } from 'commander';
import { count, print, table, wrapped } from './output.js';
import { endsText, printNotes, ranged, type RangeCommandOptions } from './ranges.js';

export function backfillCommand(): Command {
  return new Command('backfill')
    .description('Read a range again; the cursor of the sync stays where it is.')
    .argument(
      '[id-or-file]',
      'the id of a sync, or a configuration (default: the only configuration in this folder)',
    )
    .option('--from <value>', 'start of the range, inclusive')
    .option('--to <value>', 'end of the range, inclusive')
    .option('--stream <name>', 'the stream, if there are several')
    .option(
      '--task-queue <name>',
      "the task queue of the worker (default: the sync's, else $HIGHWATER_TASK_QUEUE)",
    )
    .option('--no-wait', 'return once the backfill has started')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Give a range as values of the cursor field (keyset, timestamp, replay; offset, page_number and cursor with
updated_since), as ids (step_size), or as offsets. A day such as 2026-01-31 means its first instant. The sync may keep
running: the backfill leaves and counts the rows for which the sync has, or may have, a newer version.

Examples:
  highwater backfill users --from 2026-01-01 --to 2026-02-01
  highwater backfill users.json --from 2026-01-01T00:00:00Z --json
  highwater backfill shop --stream orders --from 100000 --to 200000 --no-wait`,
    )
    .action(backfill);
}

async function backfill(given: string | undefined, options: RangeCommandOptions): Promise<void> {
  const { from = null, to = null, stream } = options;
  const ended = await ranged(given, options, (client, of, taskQueue) =>
    client.backfill(of, {
      from,
      to,
      ...(stream !== undefined && { stream }),
      taskQueue,
    }),
  );
  if (ended === null || options.json === true) return;
  const { range, pages } = ended;
  print(wrapped(`${ended.stream} · ${endsText(range)}\n`, 2));
  print(
    table(
      ['records', 'rows written', 'left', 'outside', 'pages'],
      [[range.records, range.rows, range.left, range.outside, pages]],
    ),
  );
  if (range.left > 0) {
    const rows = range.left === 1 ? 'the backfill left 1 row' : `the backfill left ${count(range.left)} rows`;
    print(wrapped(`note: ${rows} unchanged, because the sync has or may have a newer version.`, 2));
  }
  printNotes(ended.warnings);
}

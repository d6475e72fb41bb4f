import { Command } from 'commander';
import { isServer, schemaOf } from '../config/index.js';
import { isRefused } from '../destinations/sql/mended.js';
import { identifier, literal } from '../destinations/sql/sql.js';
import { ConfigurationError } from '../errors.js';
import { counted } from '../text.js';
import { asLimit, note, print, table, visible } from './output.js';
import { query } from './query.js';
import { retryRejects } from './retry-rejects.js';
import { destinationFor, WHOSE } from './subject.js';

interface Options {
  destination?: string;
  schema?: string;
  table?: string;
  limit: number;
  json?: boolean;
  retry?: string;
  stream?: string;
  overwrite?: boolean;
}

export function rejectsCommand(): Command {
  return new Command('rejects')
    .description('List the quarantined records (misfits: quarantine), latest first, or retry them.')
    .argument('[sync]', WHOSE)
    .option(
      '-d, --destination <file>',
      'a DuckDB file, or the address of a PostgreSQL server or of files (default: $HIGHWATER_DESTINATION, else highwater.duckdb, else the only destination in this folder)',
    )
    .option('--schema <name>', 'PostgreSQL: the schema of the table (default: public)')
    .option('--table <name>', 'only records of this table')
    .option('--limit <n>', 'show at most this many', asLimit, 20)
    .option('--json', 'print a JSON array of objects, with the complete records')
    .option(
      '--retry <configuration>',
      'retry the records with this configuration, even while a worker runs; those that still do not fit stay quarantined',
    )
    .option('--stream <name>', 'with --retry: only this stream')
    .option('--overwrite', 'with --retry: also replace rows that may be newer than the record')
    .addHelpText(
      'after',
      '\nExamples:\n  highwater rejects\n  highwater rejects --table user --limit 100 --json\n  highwater rejects --retry users.yaml',
    )
    .action(rejects);
}

async function rejects(sync: string | undefined, options: Options): Promise<void> {
  if (options.retry !== undefined) {
    await retryRejects(options.retry, options);
    return;
  }
  for (const key of ['stream', 'overwrite'] as const) {
    if (options[key] === undefined) continue;
    throw new ConfigurationError([{ path: `--${key}`, message: 'needs --retry' }]);
  }
  const destination = await destinationFor(options.destination, sync);
  const from = isServer(destination)
    ? `${identifier(options.schema ?? schemaOf({ destination }))}._highwater_rejects`
    : '_highwater_rejects';
  const where = options.table === undefined ? '' : `WHERE "table" = ${literal(options.table)}`;
  const sql = `SELECT "table", CAST(rejected_at AS VARCHAR), reason, record FROM ${from} ${where}
    ORDER BY rejected_at DESC LIMIT ${options.limit}`;
  const { rows } = await query(destination, sql);
  const found = rows.map(([name, at, reason, record]) => ({
    table: String(name),
    rejected_at: String(at),
    reason: String(reason),
    record: String(record),
  }));
  if (options.json === true) {
    print(JSON.stringify(found));
    return;
  }
  if (found.length === 0) {
    print(`No records are quarantined in ${destination}.`);
    return;
  }
  print(
    table(
      ['table', 'when', 'reason', 'record'],
      found.map(({ table: name, rejected_at: at, reason, record }) =>
        [name, at.slice(0, 19), reason, record].map((text) => visible(text.slice(0, CELL))),
      ),
    ),
  );
  const refused = found.filter(({ record }) => isRefused(record)).length;
  if (refused > 0) note(refusedText(refused, found.length));
  note(`Destination: ${destination}`);
}

/** Says how records leave the quarantine that no retry can store, and which of them never do. */
const refusedText = (refused: number, all: number): string =>
  `${refused} of ${counted(all, 'record')} shown: a hook or an expression failed, so that --retry cannot store ` +
  `${refused === 1 ? 'it' : 'them'}. Correct it and have a pass read the ${refused === 1 ? 'record' : 'records'} again, such as that of ` +
  '"highwater resync": a record is removed from this list when a batch has its key. A record whose key the hook makes or ' +
  'changes cannot be found by its key, and stays listed until you delete it from the table _highwater_rejects.';

/** Characters of a record that a table shows. */
const CELL = 200;

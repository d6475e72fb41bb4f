import { Command } from 'commander';
import { NoSuchSyncError } from '../client.js';
import { HighwaterError } from '../errors.js';
import { Details } from '../ui/details.js';
import { reportPage } from '../ui/html.js';
import { placeText } from '../ui/view.js';
import { Watch } from '../ui/watch.js';
import { connect, meansOf } from './observing.js';
import { collect, print } from './output.js';

export function reportCommand(): Command {
  return new Command('report')
    .description('Print a report about a sync as one HTML file that needs nothing else.')
    .argument('<id>', 'the workflow id; ID/STREAM for one of several streams')
    .option(
      '-d, --destination <address>',
      'a destination that the report may read, if the Temporal server is another machine; repeatable (default: $HIGHWATER_DESTINATION)',
      collect,
    )
    .addHelpText(
      'after',
      `
The report has the content of "highwater ui" at one moment: state, lag, rows, passes, waits, schema changes, and keys and
reasons of quarantined records. It contains no scripts and no records.

Example:
  highwater report users > report.html`,
    )
    .action(report);
}

/** The Temporal server did not give what the report needs. */
class ServerUnreadableError extends HighwaterError {
  override readonly name = 'ServerUnreadableError';
}

async function report(id: string, options: { destination?: string[] }): Promise<void> {
  const connection = await connect();
  const watch = new Watch(() => Promise.resolve(connection));
  try {
    const details = new Details(
      watch,
      meansOf(options.destination ?? [], () => connection.address),
    );
    const found = await details.of(id, { isWhole: true });
    const { problem } = await watch.overview({ isWhole: true });
    if (problem !== null) throw new ServerUnreadableError(problem);
    if (found === null) throw new NoSuchSyncError(id);
    const where = placeText(connection);
    print(String(await reportPage(found, where, Date.now())));
  } finally {
    await watch.close();
  }
}

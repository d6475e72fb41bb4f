import { Command } from 'commander';
import { loadPlans } from '../config/index.js';
import { HighwaterError } from '../errors.js';
import { differenceLines } from '../recording/comparison.js';
import { recordingFolder } from '../recording/folder.js';
import { testRecording, type TestOutcome } from '../recording/test-recording.js';
import { counted, print, shellWord, visible, wrapped } from './output.js';

/** Rows of each kind of difference that are shown; --json has all. */
const ROWS_SHOWN = 5;

interface Options {
  stream?: string;
  recording?: string;
  update?: boolean;
  json?: boolean;
}

/** The rows are not as expected; how they differ has been printed. */
class TestFailedError extends HighwaterError {
  override readonly name = 'TestFailedError';
}

export function testCommand(): Command {
  return new Command('test')
    .description(
      'Test a configuration over a recording: run it without network or Temporal, and compare its rows with the expected ones.',
    )
    .argument('<configuration>', 'a file: JSON (comments allowed) or YAML')
    .option('--stream <name>', 'only this stream, and those that it reads per record of')
    .option(
      '--recording <folder>',
      'the recording (default: NAME.recording beside the configuration NAME.yaml)',
    )
    .option('--update', 'write the rows as the expected ones, to expected/ in the recording')
    .option('--json', 'print one JSON object, with all differences')
    .addHelpText(
      'after',
      `
Streams are read as a worker reads them, one after the other, into a temporary DuckDB file. A request is found in the recording
by method, path, query and body, whatever its host; a request that was not recorded fails the test. No secret is read and
nothing is sent. The exit code is 1 if any row, column or rejected record differs.

Examples:
  highwater test github.yaml
  highwater test github.yaml --update`,
    )
    .action(test);
}

async function test(file: string, options: Options): Promise<void> {
  const { configuration } = await loadPlans(file);
  const { stream, recording, update = false } = options;
  const outcome = await testRecording({
    configuration,
    folder: recording ?? recordingFolder(file),
    ...(stream !== undefined && { stream }),
    update,
  });
  if (options.json === true) print(JSON.stringify(shownAsJson(outcome)));
  else printOutcome(outcome);
  if (outcome.passed) return;
  const failed = outcome.tables.filter(({ difference }) => difference !== null).length;
  throw new TestFailedError(
    `${counted(failed, 'table')} ${failed === 1 ? 'is' : 'are'} not as expected. If the new rows are right: ` +
      `npx highwater test ${shellWord(file)}${recording === undefined ? '' : ` --recording ${shellWord(recording)}`} --update`,
  );
}

const shownAsJson = ({ passed, streams, tables, written, unused }: TestOutcome) => ({
  status: passed ? (written.length > 0 ? 'written' : 'passed') : 'failed',
  streams: streams.map(({ stream, pages, records, rejected, isComplete, notes }) => ({
    stream,
    pages,
    records,
    rejected,
    complete: isComplete,
    notes,
  })),
  tables: tables.map(({ name, table, rows, rejected, difference }) => ({
    name,
    table,
    rows: rows.length,
    rejected: rejected.length,
    difference,
  })),
  written,
  unused: unused.map(({ file }) => file),
});

function printOutcome({ streams, tables, written, unused }: TestOutcome): void {
  for (const { name, rows, rejected, difference } of tables) {
    const counts = `${counted(rows.length, 'row')}${rejected.length > 0 ? `, ${counted(rejected.length, 'record')} rejected` : ''}`;
    if (difference === null) {
      print(`✓ ${visible(name)}: ${counts}${written.length > 0 ? '' : ', as expected'}`);
      continue;
    }
    const [first = '', ...lines] = differenceLines(difference, ROWS_SHOWN);
    print(`✗ ${visible(name)}: ${first}`);
    for (const line of lines) print(visible(line));
  }
  for (const { stream, notes } of streams)
    for (const { message } of notes) print(wrapped(`  ${visible(`note on ${stream}: ${message}`)}`, 4));
  const streamsRead = new Set(streams.map(({ stream }) => stream));
  const left = unused.filter(({ stream }) => streamsRead.has(stream));
  if (left.length > 0)
    print(
      `  ${counted(left.length, 'recorded request')} not sent: ${left.map(({ file }) => file).join(', ')}`,
    );
  if (written.length > 0)
    print(`Written as expected: ${written.join(', ')}. Read them before you rely on them.`);
}

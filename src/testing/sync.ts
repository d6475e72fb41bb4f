/** Tests of configurations, for any test runner: `highwater/testing/sync`. */
import { loadConfiguration, type Configuration } from '../config/index.js';
import { HighwaterError } from '../errors.js';
import type { Json } from '../protocol.js';
import { differenceLines, type Difference } from '../recording/comparison.js';
import { NotRecordedError, RecordingError, StreamNotReadError } from '../recording/errors.js';
import { recordingFolder } from '../recording/folder.js';
import { testRecording } from '../recording/test-recording.js';

export { NotRecordedError, RecordingError, StreamNotReadError };
export type { Configuration, Difference, Json };

/** Rows of each kind of difference that an error shows. */
const ROWS_SHOWN = 20;

/** How a configuration is tested. */
export interface TestSyncOptions {
  /**
   * The folder with the recorded answers and the expected rows. Default: `NAME.recording` beside the file `NAME.yaml`; a
   * configuration that is an object needs one.
   */
  recording?: string;
  /** Only this stream, and those that it reads per record of. Default: all that are recorded. */
  stream?: string;
  /** Writes the rows as the expected ones instead of comparing. Default: false. */
  update?: boolean;
}

/** A table that a test has written. */
export interface TestedRows {
  /** `SCHEMA.TABLE` */
  table: string;
  /** Types of the columns, as DuckDB names them. */
  columns: { [name: string]: string };
  /** The rows in the order of their keys. A number that JSON cannot hold exactly is a text. */
  rows: readonly { readonly [column: string]: Json }[];
  /** Quarantined records with their reasons. */
  rejected: readonly { reason: string; record: string }[];
}

/** The outcome of a test that has passed. */
export interface TestedSync {
  /** Tables by the names of their streams; a table without a stream of its own by its own name. */
  tables: { [name: string]: TestedRows };
  streams: { stream: string; pages: number; records: number; notes: string[] }[];
  /** Files of recorded requests that were not sent. */
  unused: string[];
}

/** The rows of a test are not as expected. */
export class SyncTestError extends HighwaterError {
  override readonly name = 'SyncTestError';

  constructor(
    /** One for each table that differs. */
    readonly differences: readonly Difference[],
  ) {
    const lines = differences.flatMap((difference) => {
      const [first = '', ...rest] = differenceLines(difference, ROWS_SHOWN);
      return [`${difference.name}: ${first}`, ...rest];
    });
    super(`the rows are not as expected\n${lines.join('\n')}`);
  }
}

/**
 * Runs a sync over recorded answers and compares its rows with the expected ones: the activities of a worker, into a
 * temporary DuckDB file, without network, Temporal server or secrets. "highwater record" makes a recording.
 * @param configuration a file, or a configuration as `HighwaterClient.start` takes it.
 * @throws {SyncTestError} if a row, column or rejected record is not as expected.
 * @throws {NotRecordedError} if a request is sent that is not in the recording; it names the nearest one.
 * @throws {RecordingError} if there is no recording, or no expected rows.
 * @throws {StreamNotReadError} if a stream fails.
 * @throws {ConfigurationError}
 */
export async function testSync(
  configuration: string | Configuration,
  options: TestSyncOptions = {},
): Promise<TestedSync> {
  const { recording, stream, update = false } = options;
  const content = typeof configuration === 'string' ? await loadConfiguration(configuration) : configuration;
  const folder = recording ?? (typeof configuration === 'string' ? recordingFolder(configuration) : null);
  if (folder === null)
    throw new RecordingError('name the folder of the recording: testSync(configuration, { recording })');
  const outcome = await testRecording({
    configuration: content as unknown as Json,
    folder,
    ...(stream !== undefined && { stream }),
    update,
  });
  const differences = outcome.tables.flatMap(({ difference }) => difference ?? []);
  if (differences.length > 0) throw new SyncTestError(differences);
  return {
    tables: Object.fromEntries(
      outcome.tables.map(({ name, table, columns, rows, rejected }) => [
        name,
        { table, columns, rows, rejected },
      ]),
    ),
    streams: outcome.streams.map(({ stream: name, pages, records, notes }) => ({
      stream: name,
      pages,
      records,
      notes: notes.map(({ message }) => message),
    })),
    unused: outcome.unused.map(({ file }) => file),
  };
}

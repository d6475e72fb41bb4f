/** Runs a sync over a recording and compares its tables with the expected ones. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asOnePass, plansFrom } from '../config/index.js';
import { extensionsOf, type LoadedExtensions, loadExtensions } from '../extensions.js';
import { allChildren, PARENT, type Json, type StreamPlan } from '../protocol.js';
import { ownSurroundings } from '../surroundings.js';
import type { Difference } from './comparison.js';
import { RecordingError } from './errors.js';
import { Expectations } from './expectations.js';
import { Recording, type Recorded } from './folder.js';
import { FreeBudgets } from './free-budgets.js';
import { withPlaceholders } from './placeholders.js';
import { ofOwnDestination, withParents } from './plans.js';
import { RecordedNetwork } from './recorded-network.js';
import { Rehearsal, type StreamRead } from './rehearsal.js';
import { Scrubber } from './scrubber.js';
import { readTables, type TableOfStream, type TableRows } from './tables.js';

export interface TestOptions {
  configuration: Json;
  /** The folder of the recording. */
  folder: string;
  /** Only this stream, and those that it reads per record of. Default: all that are recorded. */
  stream?: string;
  /** Writes the rows as the expected ones instead of comparing. */
  update?: boolean;
  /** Where the worker's settings for hooks are found. */
  environment?: NodeJS.ProcessEnv;
}

/** A table after the run. */
export type TestedTable = TableRows & {
  /** Null if the rows are as expected. */
  difference: Difference | null;
};

/** The outcome of a test. */
export interface TestOutcome {
  /** Whether all tables are as expected, or were written as expected. */
  passed: boolean;
  streams: (StreamRead & { stream: string })[];
  tables: TestedTable[];
  /** Files with expected rows that were written. */
  written: string[];
  /** Recorded requests that were not sent. */
  unused: Recorded[];
}

/** Variables of the worker that tests obey: where hooks are. */
const PASSED_ON = ['HIGHWATER_HOOKS'];

/** @throws {RecordingError | NotRecordedError | StreamNotReadError | ConfigurationError} */
export async function testRecording(options: TestOptions): Promise<TestOutcome> {
  const { folder, stream, update = false, environment = process.env } = options;
  const recording = await Recording.open(folder);
  const scratch = await mkdtemp(join(tmpdir(), 'highwater-test-'));
  const database = join(scratch, 'test.duckdb');
  const plain = withPlaceholders(asOnePass(options.configuration));
  const configuration = ofOwnDestination(plain.configuration, database);
  const extensions = await loadExtensions(extensionsOf(environment));
  const { plans } = plansFrom(configuration, undefined, false, extensions);
  const chosen = recordedPlans(plans, recording, stream);
  const passedOn = Object.fromEntries(PASSED_ON.map((name) => [name, environment[name]]));
  const run = { configuration, database, recording, chosen, extensions };
  try {
    const read = await readRecorded({ ...run, environment: { ...passedOn, ...plain.environment } });
    const tables = await readTables(database, chosen.flatMap(tablesOf));
    const expectations = new Expectations(folder);
    const isAll = stream === undefined;
    if (update) {
      const written = await expectations.write(tables, isAll);
      const same = tables.map((table) => ({ ...table, difference: null }));
      return { ...read, passed: true, tables: same, written };
    }
    const compared = await expectations.compare(tables, isAll);
    const passed = compared.every(({ difference }) => difference === null);
    return { ...read, passed, tables: compared, written: [] };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** @throws {RecordingError} where a stream is not recorded. */
function recordedPlans(plans: readonly StreamPlan[], recording: Recording, stream?: string): StreamPlan[] {
  const names = recording.manifest.streams.map(({ name }) => name);
  const chosen = withParents(plans, stream);
  const recorded = chosen.filter((plan) => names.includes(plan.stream));
  const [unknown] = chosen.filter((plan) => !recorded.includes(plan));
  if (unknown !== undefined && (stream !== undefined || recorded.length === 0))
    throw new RecordingError(
      `${recording.folder} has no recording of stream ${unknown.stream}; it has ${names.join(', ') || 'none'}. ` +
        'Record it with "highwater record"',
    );
  return recorded;
}

/** The table of a stream, and its child tables by their own names. */
const tablesOf = ({ stream, table, children }: StreamPlan): TableOfStream[] => [
  { name: stream, schema: table.schema, table: table.table, key: table.primaryKey },
  ...allChildren(children).map(({ table: { schema, table: name, primaryKey } }) => ({
    name,
    schema,
    table: name,
    // Highwater's own column is no part of the rows.
    key: primaryKey.includes(PARENT) ? [] : primaryKey,
  })),
];

interface Run {
  configuration: Json;
  database: string;
  recording: Recording;
  chosen: readonly StreamPlan[];
  environment: NodeJS.ProcessEnv;
  extensions: LoadedExtensions;
}

async function readRecorded(run: Run) {
  const { configuration, database, recording, chosen, environment, extensions } = run;
  const own = ownSurroundings(environment, extensions);
  const network = new RecordedNetwork(own.trust, recording.exchanges);
  const surroundings = { ...own, network, budgets: new FreeBudgets() };
  const rehearsal = new Rehearsal({
    ...surroundings,
    configuration,
    database,
    now: new Date(recording.manifest.recorded_at),
    pause: () => Promise.resolve(),
    signal: new AbortController().signal,
  });
  const streams: TestOutcome['streams'] = [];
  try {
    for (const plan of chosen) {
      const scrubber = await Scrubber.of(plan, surroundings);
      network.begin(plan.stream, scrubber);
      const recorded = recording.manifest.streams.find(({ name }) => name === plan.stream);
      const pages = recorded?.complete === true ? null : (recorded?.pages ?? null);
      const read = await rehearsal
        .read(plan.stream, { pages, change: withoutCredentials })
        .catch((thrown: unknown) => {
          throw network.missing ?? thrown;
        });
      streams.push({ ...read, stream: plan.stream });
    }
    return { streams, unused: network.unused };
  } finally {
    await rehearsal.close();
    network.close();
    own.secrets.close();
    own.hooks.close();
  }
}

/** Nothing is sent, so that no credentials are obtained. */
const withoutCredentials = (plan: StreamPlan): StreamPlan => ({
  ...plan,
  request: { ...plan.request, auth: { type: 'none' } },
});

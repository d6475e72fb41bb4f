import { randomUUID } from 'node:crypto';
import { Command } from 'commander';
import { fingerprintOf } from '../plan/fingerprint.js';
import { streamKey } from '../plan/stream-key.js';
import { loadPlans, openConfiguration, planNamed, type Plans } from '../config/index.js';
import { cursorFromState } from '../config/state.js';
import type { Destination } from '../destinations/destination.js';
import { ConfigurationError, HighwaterError, StreamHeldError } from '../errors.js';
import { strategyName, type Cursor, type StreamPlan } from '../protocol.js';
import { createStrategy } from '../strategies/index.js';
import { commandHolder, inDestination, isRunning } from './in-destination.js';
import { cursorText, destinationOf, print } from './output.js';

interface Options {
  stream?: string;
  destination?: string;
  overwrite?: boolean;
  json?: boolean;
}

/** The stream has a place of its own already, or is in use. */
class ImportRefusedError extends HighwaterError {
  override readonly name = 'ImportRefusedError';
}

export function importStateCommand(): Command {
  return new Command('import-state')
    .description(
      "Continue where a Fivetran Connector SDK connector stopped: its state becomes a stream's checkpoint.",
    )
    .argument('<state>', 'JSON with last_updated_at, offset, last_timestamp or current_id')
    .argument('<configuration>', 'a file: JSON (comments allowed), YAML, or a program')
    .option('--stream <name>', 'the stream, if there are several')
    .option(
      '-d, --destination <file>',
      "the DuckDB file (default: the configuration's, else highwater.duckdb)",
    )
    .option('--overwrite', 'replace the checkpoint of a stream that already has one')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  highwater import-state state.json configuration.json
  highwater import-state state.json github.yaml --stream issues --overwrite`,
    )
    .action(importState);
}

async function importState(stateFile: string, file: string, options: Options): Promise<void> {
  const plan = chosen((await loadPlans(file)).plans, options.stream);
  if (plan.parent != null) {
    throw new ImportRefusedError(
      `${plan.stream} is read once for each row of ${plan.parent.stream} and has a cursor for each; the state holds one cursor only`,
    );
  }
  const state = await openConfiguration(stateFile);
  const cursor = state.checked((content, name) =>
    cursorFromState(content, plan.options, new Date().toISOString(), name),
  );
  const done = await inDestination(destinationOf(options.destination, plan), (destination) =>
    store(destination, plan, cursor, options.overwrite === true),
  );
  const begun = createStrategy(plan.options).state(cursor);
  if (options.json === true) {
    const { stream, options: how } = plan;
    print(JSON.stringify({ status: 'imported', stream, strategy: how.strategy, ...done, state: begun }));
    return;
  }
  print(`${plan.stream}: the next ${strategyName(plan.options)} sync continues from ${cursorText(begun)}`);
  print(`Destination: ${done.destination}${done.replaced ? ' (its checkpoint was overwritten)' : ''}`);
}

/** @throws {ConfigurationError} where it is not said which of several is meant. */
export function chosen(plans: Plans, stream: string | undefined): StreamPlan {
  if (stream === undefined && plans.plans.length > 1) {
    const names = plans.plans.map((plan) => plan.stream).join(', ');
    throw new ConfigurationError([
      { path: 'streams', message: `there are several; choose one with --stream: ${names}` },
    ]);
  }
  return planNamed(plans, stream ?? null);
}

/** By the contract of every sync: claimed, and an empty batch written by compare-and-set. */
async function store(
  destination: Destination,
  plan: StreamPlan,
  cursor: Cursor,
  overwrite: boolean,
): Promise<{ checkpoint: string; replaced: boolean }> {
  const key = streamKey(plan);
  const { table } = plan;
  const fingerprint = fingerprintOf(plan);
  const name = `table ${table.schema}.${table.table}`;
  const opened = await destination
    .openStream({
      key,
      table,
      isRunning,
      full: false,
      takeOver: false,
      fingerprint,
      holder: commandHolder(IMPORTER),
    })
    .catch((thrown: unknown) => {
      if (!(thrown instanceof StreamHeldError)) throw thrown;
      throw new ImportRefusedError(
        `the running workflow "${thrown.holder}" writes ${name}: wait until it ends or cancel it, then import`,
      );
    });
  const { id: base, cursor: stored } = opened.checkpoint;
  if (stored !== null && !overwrite) {
    const at = cursorText(createStrategy(plan.options).state(stored));
    throw new ImportRefusedError(
      `${name} already has a checkpoint for ${key.strategy}, ${at}; --overwrite replaces it`,
    );
  }
  const checkpoint = randomUUID();
  await destination.write({
    key,
    table,
    base,
    next: checkpoint,
    cursor,
    workflowId: IMPORTER,
    fingerprint,
    records: 0,
    pages: 0,
    bytes: 0,
    longest: 0,
    files: () => Promise.resolve([]),
  });
  return { checkpoint, replaced: stored !== null };
}

/** Stands in place of a workflow's id. */
const IMPORTER = 'highwater import-state';

import { existsSync } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Command } from 'commander';
import { destinationKind, loadPlans, planNamed } from '../config/index.js';
import { unfit } from '../destinations/files/columns.js';
import { findExtended } from './custom-destination.js';
import { openToRead } from '../destinations/files/reader.js';
import { IDENTITY } from '../destinations/files/files.js';
import { HighwaterError, messageOf } from '../errors.js';
import type { StreamPlan } from '../protocol.js';
import { examine, type Finding, Probe } from '../inspect/probe.js';
import type { RequestBudget } from '../inspect/request-budget.js';
import { counted, destinationOf, print, probedFrom, visible, wrapped } from './output.js';
import { queryServer } from './postgres.js';

const MARKS = { fine: '✓', advice: '!', problem: '✗' } as const;

/** The source or the configuration is not fit for a sync; what is wrong has been printed. */
class CheckFailedError extends HighwaterError {
  override readonly name = 'CheckFailedError';
}

export function checkCommand(): Command {
  return new Command('check')
    .description(
      'Check a configuration against the live source: credentials, keys, order, page size, range boundary. Writes nothing.',
    )
    .argument('<configuration>', 'a file: JSON (comments allowed), YAML, or a program')
    .option('--stream <name>', 'only this stream')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      '\nExamples:\n  highwater check github.yaml\n  highwater check github.yaml --stream issues --json',
    )
    .action(check);
}

async function check(file: string, options: { stream?: string; json?: boolean }): Promise<void> {
  const { plans } = await loadPlans(file);
  const chosen = options.stream === undefined ? plans.plans : [planNamed(plans, options.stream)];
  const found = await checked(chosen, plans.plans);
  const problems = problemsIn(found);
  if (options.json === true) print(JSON.stringify({ status: problems === 0 ? 'fine' : 'problems', found }));
  else printFindings(found);
  if (problems > 0) {
    throw new CheckFailedError(`${counted(problems, 'problem')} found; nothing was written`);
  }
}

/** Findings by stream, and those about the destination. */
export type Checked = Record<string, Finding[]>;

/**
 * Checks streams against their live source, and their destination.
 * @param all plans, among them those of parents.
 * @param budget counts and limits the requests.
 */
export async function checked(
  plans: readonly StreamPlan[],
  all: readonly StreamPlan[],
  { environment = process.env, budget }: { environment?: NodeJS.ProcessEnv; budget?: RequestBudget } = {},
): Promise<Checked> {
  const destination = destinationOf(undefined, plans[0]);
  const found: Checked = { destination: await destinationFindings(destination, plans) };
  for (const plan of plans) {
    found[plan.stream] = await Promise.resolve()
      .then(async () =>
        Probe.of(plan, all, { ...(await probedFrom(plan)), environment, ...(budget && { budget }) }),
      )
      .then((probe) => examine(probe).finally(() => probe.close()))
      .catch((thrown: unknown): Finding[] => [{ kind: 'problem', message: messageOf(thrown) }]);
  }
  return found;
}

export const problemsIn = (found: Checked): number =>
  Object.values(found)
    .flat()
    .filter(({ kind }) => kind === 'problem').length;

export function printFindings(found: Checked): void {
  for (const [name, findings] of Object.entries(found)) {
    print(visible(name));
    for (const { kind, message } of findings) {
      const [first = '', ...rest] = message.split('\n').map(visible);
      print(wrapped(`  ${MARKS[kind]} ${first}`, 4));
      for (const line of rest) print(wrapped(`    ${line.trim()}`, 4));
    }
  }
}

async function destinationFindings(destination: string, plans: readonly StreamPlan[]): Promise<Finding[]> {
  switch (destinationKind(destination)) {
    case 'server':
      return [await reachable(destination)];
    case 'files':
      return filesFindings(destination, plans);
    case 'custom':
      return [await openable(destination)];
    case 'duckdb':
      return [await writable(destination)];
  }
}

/** Checks the address of a destination of an extension; only a worker opens it. */
async function openable(destination: string): Promise<Finding> {
  try {
    const { name } = await findExtended(destination);
    return { kind: 'fine', message: `${name} is an address of the extension; the worker opens it` };
  } catch (thrown) {
    return { kind: 'problem', message: messageOf(thrown) };
  }
}

/** Checks that a folder can be written, or that a bucket answers. */
export async function filesFindings(destination: string, plans: readonly StreamPlan[]): Promise<Finding[]> {
  try {
    const { name, address, store } = await openToRead(destination, process.env);
    const misfits = plans.flatMap(({ table }): Finding[] => {
      const wrong = unfit(table, address.partitionBy);
      return wrong === null ? [] : [{ kind: 'problem', message: `table ${table.table}: ${wrong}` }];
    });
    try {
      const { at } = address;
      const isThere = (await store.get(IDENTITY)) !== null;
      const found: Finding =
        at.kind === 'local'
          ? await writable(at.path)
          : {
              kind: 'fine',
              message: `${name} is reachable${isThere ? '' : ' and holds no Highwater data yet'}; the first sync shows whether it is writable`,
            };
      return [found, ...misfits];
    } finally {
      await store.close();
    }
  } catch (thrown) {
    return [{ kind: 'problem', message: messageOf(thrown) }];
  }
}

async function writable(destination: string): Promise<Finding> {
  const exists = existsSync(destination);
  // Folders on the way are made by the sync.
  let at = destination;
  while (!existsSync(at) && at !== dirname(at)) at = dirname(at);
  try {
    await access(at, constants.W_OK);
    return {
      kind: 'fine',
      message: `${destination} ${exists ? 'exists and is writable' : 'does not exist yet and can be created'}`,
    };
  } catch (thrown) {
    return { kind: 'problem', message: `${destination} is not writable: ${messageOf(thrown)}` };
  }
}

async function reachable(destination: string): Promise<Finding> {
  try {
    const { name, rows } = await queryServer(
      destination,
      "SELECT current_user, current_setting('server_version'), has_database_privilege(current_database(), 'CREATE')",
    );
    const [user, version, mayCreate] = rows[0] ?? [];
    const message = `${name} is reachable: PostgreSQL ${String(version)}, user ${String(user)}`;
    return mayCreate === 't'
      ? { kind: 'fine', message }
      : {
          kind: 'advice',
          message: `${message}; this user may not create schemas, so the schema must exist already`,
        };
  } catch (thrown) {
    return { kind: 'problem', message: messageOf(thrown) };
  }
}

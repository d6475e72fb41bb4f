import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { Command, Option } from 'commander';
import fetch from 'node-fetch';
import { DEFAULT_TASK_QUEUE, HighwaterClient } from '../client.js';
import { destinationKind, loadPlans } from '../config/index.js';
import { target } from '../connection.js';
import { openError } from '../destinations/duckdb/file.js';
import { refuseOtherLog } from '../destinations/duckdb/wal.js';
import { liveOwner } from '../destinations/duckdb/owner.js';
import { processExists } from '../dev/lock.js';
import { portAnswers } from '../dev/ports.js';
import { findExtended } from './custom-destination.js';
import { findServer, USUAL_PORTS, type TemporalServer } from '../dev/temporal-server.js';
import { messageOf } from '../errors.js';
import { ruleFor } from '../failures.js';
import { SEARCH_ATTRIBUTES } from '../protocol.js';
import { readSecrets } from '../secrets/store.js';
import { referringParts, resolveRequest } from '../sources/references.js';
import { askSyncs } from './asking.js';
import { filesFindings } from './check.js';
import { readPackageJson } from '../package-json.js';
import { workerCommandFor } from '../sync-condition.js';
import { isThere, pollerOf, POLL_MILLISECONDS } from '../task-queue.js';
import { firstLine } from '../text.js';
import { cut, destinationOf, outputWidth, print, roughly, visible, wrapped } from './output.js';
import { queryServer } from './postgres.js';
import { serverOptions } from './server.js';

/** The finding of a check; `bad`: syncs cannot run. */
export interface Finding {
  check: string;
  outcome: 'good' | 'note' | 'bad';
  message: string;
}

interface Options {
  taskQueue: string;
  destination?: string;
  json?: boolean;
}

/** Clocks that differ by more than this make what is said of lag and of waits wrong. */
const SKEW_SECONDS = 5;
const LITTLE_ROOM_BYTES = 1024 ** 3;
const NODE_LEAST = [20, 15] as const;

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Check everything a sync needs: versions, server, workers, destination, clocks, ports.')
    .argument('[configuration]', 'also check this configuration ("highwater check" also asks its source)')
    .addOption(
      new Option('--task-queue <name>', 'the task queue whose workers to check')
        .default(DEFAULT_TASK_QUEUE)
        .env('HIGHWATER_TASK_QUEUE'),
    )
    .option(
      '-d, --destination <file>',
      'a DuckDB file, or the address of a PostgreSQL server or of files (default: as for a sync)',
    )
    .option('--json', 'print a JSON array of objects')
    .addHelpText(
      'after',
      `
Starts and writes nothing. The exit code is 1 if something prevents syncs from running (✗); notes (!) do not count.

Examples:
  highwater doctor
  highwater doctor users.yaml --json`,
    )
    .action(doctor);
}

async function doctor(file: string | undefined, options: Options): Promise<void> {
  const findings: Finding[] = [versions()];
  const { found, destination } = await configured(file, options);
  findings.push(...found, await ports());
  const server = await findServer(serverOptions()).then(
    (there) => ({ there, problem: null }),
    (thrown: unknown) => ({ there: null, problem: messageOf(thrown) }),
  );
  if (server.there !== null) findings.push(...(await ofServer(server.there, options.taskQueue)));
  else if (server.problem !== null)
    findings.push({ check: 'server', outcome: 'bad', message: server.problem });
  else {
    const message = 'none found: "highwater run" and "highwater dev" start one, the other commands need one';
    findings.push({ check: 'server', outcome: 'note', message });
  }
  findings.push(...(await ofDestination(destination)));
  if (options.json === true) print(JSON.stringify(findings));
  else
    for (const { check, outcome, message } of findings)
      print(wrapped(`${MARKS[outcome]} ${check}: ${message}`, 2, outputWidth()));
  if (findings.some(({ outcome }) => outcome === 'bad')) process.exitCode = 1;
}

const MARKS = { good: '✓', note: '!', bad: '✗' } as const;

function versions(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isOld = major < NODE_LEAST[0] || (major === NODE_LEAST[0] && minor < NODE_LEAST[1]);
  const message = `Highwater ${readPackageJson().version}, Node ${process.versions.node}, ${process.platform} ${process.arch}`;
  return isOld
    ? {
        check: 'versions',
        outcome: 'bad',
        message: `${message}; Node ${NODE_LEAST.join('.')} or later is required`,
      }
    : { check: 'versions', outcome: 'good', message };
}

/** Checks whether a configuration can be used here; returns its destination, too. */
async function configured(
  file: string | undefined,
  options: Options,
): Promise<{ found: Finding[]; destination: string }> {
  const check = 'configuration';
  if (file === undefined) return { found: [], destination: destinationOf(options.destination, undefined) };
  try {
    const { plans } = (await loadPlans(file)).plans;
    const destination = destinationOf(options.destination, plans[0]);
    try {
      // Names each variable that is not set, and each secret that cannot be had.
      for (const { baseUrl, request } of plans) {
        const read = await readSecrets(referringParts(baseUrl, request), process.env);
        resolveRequest(baseUrl, request, process.env, undefined, read);
      }
    } catch (thrown) {
      return { found: [{ check, outcome: 'bad', message: messageOf(thrown) }], destination };
    }
    const message = `${file} is valid: ${plans.map(({ stream }) => stream).join(', ')}`;
    return { found: [{ check, outcome: 'good', message }], destination };
  } catch (thrown) {
    const destination = destinationOf(options.destination, undefined);
    return { found: [{ check, outcome: 'bad', message: messageOf(thrown) }], destination };
  }
}

async function ports(): Promise<Finding> {
  const asked = serverOptions().ports ?? USUAL_PORTS;
  const said = await Promise.all(
    Object.entries(asked).map(
      async ([what, port]) =>
        `${what === 'grpc' ? 'Temporal' : 'Web UI'} ${port} ${port !== 0 && (await portAnswers(port)) ? 'is in use' : 'is free'}`,
    ),
  );
  return { check: 'ports', outcome: 'good', message: `for a local server: ${said.join(', ')}` };
}

async function ofServer(server: TemporalServer, taskQueue: string): Promise<Finding[]> {
  const to = target(server.address);
  const { namespace } = to;
  let client: HighwaterClient | null = null;
  try {
    client = await HighwaterClient.connect(to);
    const { workflow, connection } = client.temporal;
    const { workflowService, operatorService } = connection;
    const { serverVersion } = await workflowService.getSystemInfo({});
    const where = `Temporal ${serverVersion} at ${server.address}, namespace ${namespace}`;
    try {
      await workflowService.describeNamespace({ namespace });
    } catch (thrown) {
      return [{ check: 'server', outcome: 'bad', message: `${where}: ${messageOf(thrown)}` }];
    }
    const findings: Finding[] = [{ check: 'server', outcome: 'good', message: where }];
    const [{ pollers: remembered, versioningInfo }, running] = await Promise.all([
      workflowService.describeTaskQueue({ namespace, taskQueue: { name: taskQueue }, taskQueueType: 1 }),
      workflow.count(
        `WorkflowType = "sync" AND ExecutionStatus = "Running" AND TaskQueue = "${taskQueue.replaceAll('"', '\\"')}"`,
      ),
    ]);
    const pollers = remembered.filter((poller) =>
      isThere(pollerOf(poller), Date.now(), hostname(), processExists),
    );
    const syncs = `${running.count} running sync${running.count === 1 ? '' : 's'}`;
    findings.push(
      pollers.length > 0
        ? {
            check: 'workers',
            outcome: 'good',
            message: `${pollers.length} on the task queue "${taskQueue}", ${syncs}`,
          }
        : {
            check: 'workers',
            outcome: running.count > 0 ? 'bad' : 'note',
            message: `none on the task queue "${taskQueue}", ${syncs}; start one: ${workerCommandFor(taskQueue)}`,
          },
    );
    if (pollers.length > 0) findings.push(...(await ofSyncs(client, taskQueue)));
    findings.push(...ofVersions(pollers, versioningInfo?.currentDeploymentVersion ?? null));
    findings.push(
      await operatorService.listSearchAttributes({ namespace }).then(
        ({ customAttributes }): Finding => {
          const missing = Object.keys(SEARCH_ATTRIBUTES).filter(
            (name) => customAttributes[name] === undefined,
          );
          const message =
            missing.length === 0
              ? 'all registered'
              : `not registered: ${missing.join(', ')}; the first sync registers them if it has permission`;
          return { check: 'search attributes', outcome: missing.length === 0 ? 'good' : 'note', message };
        },
        (thrown: unknown): Finding => ({
          check: 'search attributes',
          outcome: 'note',
          message: `cannot be listed: ${messageOf(thrown)}`,
        }),
      ),
    );
    const polled = pollers.map(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1000);
    findings.push(...(server.uiUrl === null ? clockByPolls(polled) : await clockOf(server.uiUrl)));
    return findings;
  } catch (thrown) {
    return [{ check: 'server', outcome: 'bad', message: `${server.address}: ${messageOf(thrown)}` }];
  } finally {
    await client?.close();
  }
}

/** The number of syncs whose state is asked for. */
const SYNCS_ASKED = 200;

/** The syncs of a task queue that cannot go on, and why. */
async function ofSyncs(client: HighwaterClient, taskQueue: string): Promise<Finding[]> {
  const query = `TaskQueue = "${taskQueue.replaceAll('"', '\\"')}"`;
  let running: Awaited<ReturnType<typeof client.list>>;
  let answers: Awaited<ReturnType<typeof askSyncs>>;
  try {
    running = await client.list({ runningOnly: true, limit: SYNCS_ASKED, query });
    answers = await askSyncs(
      client,
      running.map(({ id }) => client.sync(id)),
    );
  } catch (thrown) {
    // Their payloads may be encrypted with a key that this process does not have.
    const message = `the syncs of the task queue "${taskQueue}" cannot be queried: ${lineOf(messageOf(thrown))}`;
    return [{ check: 'syncs', outcome: 'note', message }];
  }
  return running.flatMap(({ id }, i): Finding[] => {
    const { status, trouble = null } = answers[i]?.progress ?? {};
    if (status === undefined || trouble === null) return [];
    // Failures of a source usually pass by themselves.
    const mustBeMended = trouble.nextTry === null || ruleFor(trouble.type).isOfDestination === true;
    return [
      {
        check: 'syncs',
        outcome: mustBeMended ? 'bad' : 'note',
        message: `${id}: ${status} since ${trouble.since}: ${lineOf(trouble.message)}`,
      },
    ];
  });
}

interface Version {
  deploymentName?: string | null;
  buildId?: string | null;
}

/** Checks whether the version that is to take syncs has a worker, where workers are versions of a deployment. */
function ofVersions(
  pollers: readonly { deploymentOptions?: Version | null }[],
  current: Version | null,
): Finding[] {
  const check = 'worker versions';
  const nameOf = ({ deploymentName, buildId }: Version) => `${buildId ?? ''} of ${deploymentName ?? ''}`;
  const versions = pollers
    .map(({ deploymentOptions }) => deploymentOptions ?? {})
    .filter(({ deploymentName, buildId }) => deploymentName && buildId);
  const [first] = versions;
  if (first === undefined && current === null) return [];
  const set = (to: Version) =>
    `temporal worker deployment set-current-version --deployment-name ${to.deploymentName ?? 'NAME'} --build-id ${to.buildId ?? 'ID'}`;
  if (current === null)
    return versions.length < pollers.length || first === undefined
      ? [
          {
            check,
            outcome: 'good',
            message: 'no version is current; unversioned workers run the syncs',
          },
        ]
      : [
          {
            check,
            outcome: 'bad',
            message: `no version is current, so no worker runs the syncs (versions: ${[...new Set(versions.map(nameOf))].join(', ')}). Set one: ${set(first)}`,
          },
        ];
  const isThere = versions.some((one) => nameOf(one) === nameOf(current));
  return [
    isThere
      ? { check, outcome: 'good', message: `${nameOf(current)} is current` }
      : {
          check,
          outcome: 'bad',
          message: `${nameOf(current)} is current but has no worker: start one, or make another version current${first === undefined ? '' : `: ${set(first)}`}`,
        },
  ];
}

/** A server says what time it has in each answer's header. */
async function clockOf(url: string): Promise<Finding[]> {
  const before = Date.now();
  const answer = await fetch(url, { signal: AbortSignal.timeout(5000), redirect: 'manual' }).catch(
    () => null,
  );
  const date = Date.parse(answer?.headers.get('date') ?? '');
  // To the second, cut.
  return Number.isNaN(date) ? [] : [skew("Temporal's", date + 500 - (before + Date.now()) / 2)];
}

/** A worker polls at least once a minute, and the server says when it did: a rougher measure. */
function clockByPolls(polled: readonly number[]): Finding[] {
  if (polled.length === 0) return [];
  const age = Date.now() - Math.max(...polled);
  return [skew("Temporal's", age < 0 ? -age : Math.min(0, POLL_MILLISECONDS - age))];
}

function skew(whose: string, milliseconds: number): Finding {
  const seconds = Math.abs(milliseconds) / 1000;
  return seconds <= SKEW_SECONDS
    ? { check: 'clock', outcome: 'good', message: `${whose} clock agrees with this machine's` }
    : {
        check: 'clock',
        outcome: 'note',
        message: `${whose} clock is ${roughly(seconds)} ${milliseconds > 0 ? 'ahead of' : 'behind'} this machine's: lag and waits are off by as much`,
      };
}

async function ofDestination(destination: string): Promise<Finding[]> {
  const check = 'destination';
  try {
    switch (destinationKind(destination)) {
      case 'server':
        return await ofPostgres(destination);
      case 'files':
        return (await filesFindings(destination, [])).map(({ kind, message }) => ({
          check,
          message,
          outcome: kind === 'fine' ? 'good' : kind === 'problem' ? 'bad' : 'note',
        }));
      case 'custom': {
        const { name } = await findExtended(destination);
        return [
          { check, outcome: 'note', message: `${name} is opened by an extension, which only a worker does` },
        ];
      }
      case 'duckdb':
        return [await ofFile(destination)];
    }
  } catch (thrown) {
    return [{ check, outcome: 'bad', message: messageOf(thrown) }];
  }
}

async function ofPostgres(destination: string): Promise<Finding[]> {
  const { name, rows } = await queryServer(
    destination,
    `SELECT has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery(),
            extract(epoch FROM clock_timestamp()) * 1000, current_setting('server_version')`,
  );
  const [mayCreate, isReplica, milliseconds, version] = (rows[0] ?? []).map(String);
  const where = `${name}, PostgreSQL ${version}`;
  const isTrue = (text: string | undefined) => text === 't' || text === 'true';
  return [
    isTrue(isReplica)
      ? { check: 'destination', outcome: 'bad', message: `${where} is a read-only replica` }
      : isTrue(mayCreate)
        ? { check: 'destination', outcome: 'good', message: `${where} answers` }
        : {
            check: 'destination',
            outcome: 'note',
            message: `${where} answers; this user may not create schemas, so the table's schema must exist already`,
          },
    skew("PostgreSQL's", Number(milliseconds) - Date.now()),
  ];
}

async function ofFile(path: string): Promise<Finding> {
  const check = 'destination';
  const owner = await liveOwner(path);
  if (owner !== null) {
    const message = `${path} belongs to a running worker (process ${owner.pid} on ${owner.host})`;
    if (!existsSync(path))
      return {
        check,
        outcome: 'bad',
        message: `${message}, but the file is gone: restore it, or run "highwater resume" to start over in a new file`,
      };
    return { check, outcome: 'good', message };
  }
  const folder = dirname(path);
  if (!existsSync(folder))
    return { check, outcome: 'bad', message: `${path}: the folder ${folder} does not exist` };
  try {
    accessSync(folder, constants.W_OK);
    if (existsSync(path)) {
      await refuseOtherLog(path);
      // As a worker would open it: says who holds it, and whether it is a database at all.
      const instance = await DuckDBInstance.create(path).catch((thrown: unknown) => {
        throw openError(path, messageOf(thrown));
      });
      instance.closeSync();
    }
  } catch (thrown) {
    return { check, outcome: 'bad', message: `${path} is not writable: ${messageOf(thrown)}` };
  }
  const { bavail, bsize } = statfsSync(folder);
  const room = `${((bavail * bsize) / 1024 ** 3).toFixed(1)} GB free`;
  return bavail * bsize < LITTLE_ROOM_BYTES
    ? { check, outcome: 'note', message: `${path} is writable, but the disk is nearly full: ${room}` }
    : { check, outcome: 'good', message: `${path} is writable, ${room}` };
}

/** The first line of a message, for a finding. */
const lineOf = (message: string): string => cut(visible(firstLine(message)), 500);

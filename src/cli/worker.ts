import { Command, InvalidArgumentError, Option } from 'commander';
import { DEFAULT_TASK_QUEUE } from '../client.js';
import type { Target } from '../connection.js';
import { createLogger, installRuntime, metricsAddress } from '../logger.js';
import { chosenTrust, entries, TRUST, type Trust, type TrustOptions } from '../trust/policy.js';
import { HighwaterWorker } from '../worker.js';
import { serveHealth } from './health.js';
import { asPort, note, print } from './output.js';
import { runningServer } from './server.js';

export interface WorkerCommandOptions {
  taskQueue: string;
  destination?: string;
  extension?: string[];
  grace: number;
  healthPort?: number;
  metricsPort?: string;
  deployment?: string;
  buildId?: string;
  json?: boolean;
  trust?: Trust;
  allowEnv?: string[];
  allowSecrets?: string[];
  allowFiles?: string[];
  allowDestinations?: string[];
  allowHosts?: string[];
}

export function workerCommand(): Command {
  return withWorkerOptions(new Command('worker').description('Run a worker until Ctrl-C.'))
    .addOption(
      new Option('--health-port <n>', 'serve probes at /healthz and /readyz')
        .env('HIGHWATER_HEALTH_PORT')
        .argParser(asPort),
    )
    .addOption(
      new Option(
        '--deployment <name>',
        'the worker deployment that this worker belongs to; needs --build-id',
      ).env('HIGHWATER_DEPLOYMENT'),
    )
    .addOption(
      new Option(
        '--build-id <id>',
        'the version of this worker; it gets syncs once that version is current',
      ).env('HIGHWATER_BUILD_ID'),
    )
    .option('--json', 'print one JSON object per line: ready, stopping, stopped')
    .addHelpText(
      'after',
      `
On SIGTERM or Ctrl-C the worker takes no more work, gives running work --grace seconds to end, and exits with 0. A
second signal ends it at once. Neither loses data.

Examples:
  TEMPORAL_ADDRESS=127.0.0.1:7233 highwater worker --destination users.duckdb
  highwater worker --health-port 8080 --grace 30
  HIGHWATER_LOG=info highwater worker --metrics-port 9464
  highwater worker --deployment highwater --build-id 0.2.0
  highwater worker --trust none --allow-env 'HW_*' --allow-hosts public,erp.internal`,
    )
    .action(async (options: WorkerCommandOptions) => {
      const { server, to } = await runningServer();
      await runWorker(to, options, `Temporal server: ${server.address}, namespace ${to.namespace}`);
    });
}

/** The options that "worker" and "dev" share. */
export const withWorkerOptions = (command: Command): Command =>
  command
    .addOption(
      new Option('--task-queue <name>', 'the task queue to poll for syncs')
        .default(DEFAULT_TASK_QUEUE)
        .env('HIGHWATER_TASK_QUEUE'),
    )
    .option('-d, --destination <file>', 'the DuckDB file for configurations without a destination')
    .addOption(
      listed(
        '--extension <packages>',
        'packages or files whose strategies and destinations configurations may name; their code runs in this worker (default: none)',
      ).env('HIGHWATER_EXTENSIONS'),
    )
    .addOption(
      new Option('--grace <seconds>', 'how long running work may take to end after a stop')
        .default(10)
        .env('HIGHWATER_GRACE')
        .argParser(asGrace),
    )
    .addOption(
      new Option(
        '--metrics-port <[host:]port>',
        'serve metrics for Prometheus at http://HOST:PORT/metrics (host: 127.0.0.1)',
      ).env('HIGHWATER_METRICS'),
    )
    .addOption(
      new Option(
        '--trust <who>',
        'local: configurations have all rights of this worker; none: they may use only what the --allow options list ' +
          '(default: local if the Temporal server is on a loopback address)',
      )
        .choices(TRUST)
        .env('HIGHWATER_TRUST')
        .argParser(asTrust),
    )
    .addOption(
      listed(
        '--allow-env <names>',
        "environment variables that configurations may use, such as 'HW_*' (default: none)",
      ).env('HIGHWATER_ALLOW_ENV'),
    )
    .addOption(
      listed(
        '--allow-files <folders>',
        'folders whose files configurations may read (default: $HIGHWATER_SECRETS)',
      ).env('HIGHWATER_ALLOW_FILES'),
    )
    .addOption(
      listed(
        '--allow-secrets <patterns>',
        "secrets of Vault and other providers that configurations may use, such as 'vault:secret/data/highwater/*' (default: none)",
      ).env('HIGHWATER_ALLOW_SECRETS'),
    )
    .addOption(
      listed(
        '--allow-destinations <patterns>',
        "destinations that configurations may use, such as '/data/*.duckdb' (default: only the worker's own)",
      ).env('HIGHWATER_ALLOW_DESTINATIONS'),
    )
    .addOption(
      listed(
        '--allow-hosts <hosts>',
        'hosts that requests may go to: names, addresses, ranges, "public" (default: public)',
      ).env('HIGHWATER_ALLOW_HOSTS'),
    );

/** An option whose value is a list with commas; it may be given several times. */
const listed = (flags: string, description: string): Option =>
  new Option(flags, description).argParser((text: string, before: string[] | undefined) =>
    // A variable may be there and empty.
    entries([...(before ?? []), text].join(',')),
  );

function asTrust(text: string): Trust | undefined {
  const known = TRUST.find((one) => one === text);
  if (known !== undefined || text === '') return known;
  throw new InvalidArgumentError(`It must be ${TRUST.join(' or ')}.`);
}

function asGrace(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== '' && seconds >= 0 && seconds <= 86_400) return seconds;
  throw new InvalidArgumentError('Give a number of seconds.');
}

/** Says how far the worker trusts, and why. */
function trustText(options: TrustOptions, address: string): string {
  const why = options.trust === undefined && !process.env['HIGHWATER_TRUST'];
  return chosenTrust(options, address, process.env) === 'local'
    ? `Trust: local${why ? ` (the Temporal server is at ${address})` : ''}. Anyone who can start workflows has the rights of this ` +
        'worker; --trust none restricts that (docs/security.md).'
    : `Trust: none${why ? ` (the Temporal server is at ${address})` : ''}. Configurations may use only what --allow-env, --allow-files, ` +
        '--allow-secrets, --allow-destinations and --allow-hosts list (docs/security.md).';
}

/** Runs a worker until SIGINT or SIGTERM. */
export async function runWorker(
  to: Target,
  options: WorkerCommandOptions,
  ...about: string[]
): Promise<void> {
  const { taskQueue, deployment, buildId } = options;
  if ((deployment === undefined) !== (buildId === undefined))
    throw new Error('--deployment and --build-id must be given together');
  const { trust, allowEnv, allowFiles, allowSecrets, allowDestinations, allowHosts } = options;
  const lent: TrustOptions = {
    ...(trust !== undefined && { trust }),
    ...(allowEnv !== undefined && { allowEnv }),
    ...(allowFiles !== undefined && { allowFiles }),
    ...(allowSecrets !== undefined && { allowSecrets }),
    ...(allowDestinations !== undefined && { allowDestinations }),
    ...(allowHosts !== undefined && { allowHosts }),
  };
  note(trustText(lent, to.address));
  for (const line of about) note(line);
  const metrics = options.metricsPort === undefined ? undefined : metricsAddress(options.metricsPort);
  installRuntime(createLogger(), metrics);
  const worker = await HighwaterWorker.create({
    target: to,
    taskQueue,
    graceSeconds: options.grace,
    trust: lent,
    ...(options.destination !== undefined && { destination: options.destination }),
    ...(options.extension !== undefined && { extensions: options.extension }),
    ...(deployment !== undefined && buildId !== undefined && { deployment: { name: deployment, buildId } }),
  });
  const tell = (event: string, more = {}) => {
    if (options.json === true) print(JSON.stringify({ event, ...more }));
  };
  const stop = () => {
    note('Stopping: running work ends first.');
    tell('stopping');
    worker.shutdown();
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  const running = worker.run();
  const health =
    options.healthPort === undefined
      ? null
      : await serveHealth(options.healthPort, () => worker.notReady()).catch((thrown: unknown) => {
          worker.shutdown();
          return running.then(() => Promise.reject(thrown as Error));
        });
  if (metrics !== undefined) note(`Metrics: http://${metrics}/metrics`);
  const version = deployment === undefined ? '' : `, as version ${buildId} of the deployment ${deployment}`;
  note(`Worker ready on the task queue "${taskQueue}"${version}.`);
  tell('ready', { taskQueue, address: to.address, namespace: to.namespace, deployment, buildId });
  await running;
  health?.close();
  tell('stopped');
}

import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { Command, Option } from 'commander';
import { HighwaterClient } from '../client.js';
import type { Configuration } from '../config/index.js';
import {
  DemoServer,
  startDemoApi,
  type DemoClient,
  type DemoRecord,
  type MutationReport,
  type RecordIds,
} from '../dev/demo-api.js';
import { createLogger, installRuntime } from '../logger.js';
import { REFERENCE_STRATEGIES, type ReferenceStrategy, type StreamResult } from '../protocol.js';
import { HighwaterWorker } from '../worker.js';
import { followSync } from './follow.js';
import { ownCode } from '../own-files.js';
import { untilInterrupted } from './interrupted.js';
import { asPort, cursorText, print, cursorTable, webUiLink } from './output.js';
import { readDestination } from './query.js';
import { localServer } from './server.js';

const ROWS = 2000;
const CHANGES = { insert: 10, update: 5, late: { count: 1, hours_ago: 1 }, gap: 700 };
const TASK_QUEUE = 'highwater-demo';
/** The port of the reference API, which "highwater init" assumes. */
const API_PORT = 5001;
const API_ROWS = 200;

interface DemoCommandOptions {
  destination: string;
  exit?: boolean;
  json?: boolean;
  api?: boolean;
  port?: number;
}

export function demoCommand(): Command {
  return new Command('demo')
    .description(
      'Sync a bundled sample API with each of five strategies, change its data, sync again, and compare; with --api, only ' +
        'keep that API up.',
    )
    .option(
      '-d, --destination <file>',
      'the DuckDB file; an existing one is replaced',
      'highwater-demo.duckdb',
    )
    .option('--exit', 'exit at the end instead of keeping the Web UI up')
    .option('--json', 'print one JSON object at the end, and exit; with --api: its address, once it is up')
    .addOption(new Option('--api', 'sync nothing: keep the sample API up until Ctrl-C').conflicts(['exit']))
    .addOption(
      new Option('--port <n>', `the port of --api (default: ${API_PORT}; 0 takes any free port)`)
        .argParser(asPort)
        .implies({ api: true }),
    )
    .addHelpText(
      'after',
      `
Examples:
  highwater demo
  highwater demo --exit --destination /tmp/demo.duckdb
  highwater demo --api
  highwater demo --api --port 5002`,
    )
    .action((options: DemoCommandOptions) =>
      options.api === true ? keepApi(options.port ?? API_PORT, options.json === true) : demo(options),
    );
}

/** Serves the sample API until SIGINT or SIGTERM. */
async function keepApi(port: number, asJson: boolean): Promise<void> {
  const interrupted = untilInterrupted();
  const api = new DemoServer({ rows: API_ROWS });
  const url = `http://127.0.0.1:${await listen(api, port)}`;
  if (asJson) print(JSON.stringify({ event: 'ready', url }));
  else print(apiText(url));
  await interrupted;
  await api.close();
}

/** @throws {Error} if the port cannot be used. */
async function listen(api: DemoServer, port: number): Promise<number> {
  try {
    return await api.listen(port);
  } catch (thrown) {
    const { code, message } = thrown as NodeJS.ErrnoException;
    const reason =
      code === 'EADDRINUSE' ? `port ${port} is taken by another program` : `port ${port}: ${message}`;
    const other = port === API_PORT ? API_PORT + 1 : API_PORT;
    throw new Error(
      `the sample API cannot start: ${reason}. Choose another port: highwater demo --api --port ${other}`,
      { cause: thrown },
    );
  }
}

/** Tells what the sample API serves, and which command to try next. */
const apiText = (url: string): string => `Sample API: ${url}, ${API_ROWS} users. Stop it with Ctrl-C.

  ${url}/pagination/keyset         strategy keyset
  ${url}/pagination/offset         strategy offset
  ${url}/pagination/page_number    pages by number
  ${url}/pagination/next_page_url  pages by the URL of the next one
  ${url}/incremental/timestamp     strategies timestamp and replay
  ${url}/incremental/step          strategy step_size

Try it in another terminal:

  npx highwater init --yes --base-url ${url} --path /pagination/keyset
  npx highwater run highwater.yaml

Change its data, then run again: the second run reads the changes.

  curl ${url}/_demo/mutate -d '{"insert": 10, "update": 5}'
`;

async function demo(options: DemoCommandOptions): Promise<void> {
  const say = options.json === true ? () => undefined : print;
  const destination = resolve(options.destination);
  await Promise.all(
    ['', '.wal', '.owner', '.staging'].map((end) => rm(destination + end, { recursive: true, force: true })),
  );
  const stay = process.stdout.isTTY && options.exit !== true && options.json !== true;
  const interrupted = untilInterrupted();

  const { server, to } = await localServer();
  const api = await startDemoApi({ settings: { rows: ROWS } });
  say(`Temporal server  ${server.address}${server.uiUrl === null ? '' : `, Web UI ${server.uiUrl}`}`);
  say(`Demo API         ${api.url}, table user, ${ROWS.toLocaleString('en-US')} rows`);
  say(`Destination      ${destination}, a schema for each strategy\n`);
  // The command itself shows failures.
  installRuntime(createLogger(process.env['HIGHWATER_LOG'] ?? 'error'));
  const client = await HighwaterClient.connect(to);
  try {
    const worker = await HighwaterWorker.create({
      target: to,
      taskQueue: TASK_QUEUE,
      destination,
      trust: { trust: 'local' },
    });
    await worker.run(async () => {
      const syncAll = async (pass: number) => {
        const runs: Run[] = [];
        for (const strategy of REFERENCE_STRATEGIES) {
          const started = Date.now();
          const handle = await client.start(configuration(strategy, api.url), {
            workflowId: `demo-${strategy}-${pass}-${Date.now().toString(36)}`,
            taskQueue: TASK_QUEUE,
          });
          const [stream] = (await followSync(handle)).streams;
          if (stream === undefined) throw new Error('the workflow has no result');
          const link = webUiLink(server.uiUrl, to.namespace, handle.workflowId, await handle.runId());
          runs.push({ strategy, stream, link, seconds: (Date.now() - started) / 1000 });
        }
        return runs;
      };

      const first = await syncAll(1);
      const reports = [await report(say, 'First sync', first, api.client, destination, null)];

      const changes = await api.client.mutate(CHANGES);
      say(
        `\nThe source changes: ${changes.inserted.length} new rows (with ids after a gap of ${CHANGES.gap}), ` +
          `${changes.updated.length} updated rows, ${changes.late.length} late arrival ` +
          `(${CHANGES.late.hours_ago} h before the newest row; replay looks back 2 h).\n`,
      );
      const second = await syncAll(2);
      reports.push(await report(say, 'Second sync', second, api.client, destination, changes));
      if (options.json === true) print(JSON.stringify({ destination, syncs: reports.flat() }));

      const sql =
        'SELECT strategy, count(*) AS batches, sum(records) AS records FROM _highwater_batches GROUP BY ALL ORDER BY ALL';
      say(`\nThe DuckDB file: ${destination}`);
      say(`A query to try:\n\n  npx highwater query '${sql}' --destination ${options.destination}\n`);
      say(indent(await secondProgram(sql, destination)));
      say('\nRuns in the Web UI:');
      for (const run of [...first, ...second])
        say(`  ${run.strategy.padEnd(9)}  ${run.link ?? '(no Web UI)'}`);
      if (stay) {
        say('\nThe Web UI stays up until Ctrl-C.');
        await interrupted;
      }
    });
  } finally {
    await client.close();
    await api.stop();
    await server.leave();
  }
}

interface Run {
  strategy: ReferenceStrategy;
  stream: StreamResult;
  link: string | null;
  seconds: number;
}

function configuration(strategy: ReferenceStrategy, url: string): Configuration {
  const paths = {
    keyset: '/pagination/keyset',
    offset: '/pagination/offset',
    timestamp: '/incremental/timestamp',
    step_size: '/incremental/step',
    replay: '/incremental/timestamp',
  };
  return {
    strategy,
    base_url: url + paths[strategy],
    schema: strategy,
    page_size: 50,
    step_size: 250,
    max_id: 5000,
  };
}

/** One sync of the demo, as `--json` has it. */
type Reported = StreamResult & { title: string; equal: boolean; differences: string[] };

/** A row for each strategy: what the workflow returned, and what a SELECT finds next to what the source has. */
async function report(
  say: (line: string) => void,
  title: string,
  runs: Run[],
  source: DemoClient,
  destination: string,
  changes: MutationReport | null,
): Promise<Reported[]> {
  const rows: (string | number)[][] = [];
  const differences: string[] = [];
  const reported: Reported[] = [];
  for (const { strategy, stream } of runs) {
    const wanted = await source.records(strategy === 'step_size' ? 'step' : 'list');
    const found = await storedRecords(destination, strategy);
    const difference = compare(wanted, found, changes);
    rows.push([
      strategy,
      stream.records,
      stream.rows,
      stream.pages,
      stream.endRule ?? '',
      cursorText(stream.cursor),
      found.size,
      wanted.length,
      difference.length === 0 ? 'yes' : 'no',
    ]);
    reported.push({ title, ...stream, equal: difference.length === 0, differences: difference });
    for (const line of difference) differences.push(`  ${strategy}: ${line}`);
  }
  say(title);
  const header = [
    'strategy',
    'records read',
    'rows written',
    'pages',
    'ended by',
    'cursor',
    'rows in table',
    'in source',
    'equal?',
  ];
  say(cursorTable(header, rows));
  if (differences.length > 0) say(`Differences and their reasons:\n${differences.join('\n')}`);
  const warnings = new Set(
    runs.flatMap(({ strategy, stream }) => stream.warnings.map((w) => `  ${strategy}: ${w.message}`)),
  );
  if (warnings.size > 0) say(`Notes:\n${[...warnings].join('\n')}`);
  return reported;
}

async function storedRecords(destination: string, schema: string): Promise<Map<string, string>> {
  const time = (name: string) => `strftime("${name}" AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ')`;
  const { rows } = await readDestination(
    destination,
    `SELECT id, name, email, address, company, job, ${time('createdAt')}, ${time('updatedAt')} FROM "${schema}"."user"`,
  );
  return new Map(rows.map((row) => [String(row[0]), JSON.stringify(row)]));
}

/** The differences, one line for each reason. */
function compare(wanted: DemoRecord[], found: Map<string, string>, changes: MutationReport | null): string[] {
  const lines = new Map<string, string[]>();
  const differs = (what: string, id: string) => {
    const line = `${what}${reasonFor(id, changes)}`;
    lines.set(line, [...(lines.get(line) ?? []), id]);
  };
  const rest = new Map(found);
  for (const r of wanted) {
    const stored = rest.get(r.id);
    rest.delete(r.id);
    if (stored === undefined) differs('missing', r.id);
    else if (
      stored !==
      JSON.stringify([r.id, r.name, r.email, r.address, r.company, r.job, r.createdAt, r.updatedAt])
    ) {
      differs('not up to date', r.id);
    }
  }
  for (const id of rest.keys()) differs('not in the source', id);
  return [...lines].map(
    ([line, ids]) => `${ids.length} ${line}: ${ids.slice(0, 5).join(', ')}${ids.length > 5 ? ', …' : ''}`,
  );
}

function reasonFor(id: string, changes: MutationReport | null): string {
  const among = (ids: RecordIds[]) => ids.some((r) => r.id === id || String(r.sequence) === id);
  if (changes === null) return '';
  if (among(changes.late))
    return ' (late arrival: its updatedAt lies before the high-water mark, and that range is not read again)';
  if (among(changes.updated)) return ' (updated: its id lies before the range that is read again)';
  return '';
}

const execute = promisify(execFile);

async function secondProgram(sql: string, destination: string): Promise<string> {
  const { stdout } = await execute(process.execPath, [
    ownCode('cli.js'),
    'query',
    sql,
    '--destination',
    destination,
  ]);
  return stdout.trimEnd();
}

const indent = (text: string) => text.replace(/^/gm, '  ');

/**
 * Runs the whole crash matrix: every fault × every strategy × every destination. `npm run crash-matrix -- --help` lists
 * the options.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command } from 'commander';
import { table } from '../src/cli/output.js';
import {
  applies,
  CrashMatrix,
  DESTINATIONS,
  MATRIX_STREAMS,
  POINTS,
  type Cell,
  type CellOutcome,
  type MatrixStream,
  type Point,
} from '../test/helpers/crash-cells.js';
import { testServer } from '../test/helpers/temporal.js';

const options = new Command('crash-matrix')
  .option('--shard <i/n>', 'every n-th cell, from the i-th', '1/1')
  .option('--points <list>', 'fault points, or prefixes of their names: "commit,api."', POINTS.join(','))
  .option('--strategies <list>', 'strategies, and child_tables', MATRIX_STREAMS.join(','))
  .option('--destinations <list>', 'destinations', Object.keys(DESTINATIONS).join(','))
  .option('--lanes <n>', 'cells at a time', '2')
  .option('--out <file>', 'file for the outcomes', '/tmp/highwater-crash-matrix/outcomes.json')
  .option('--resume', 'skip cells that have already passed')
  .parse()
  .opts<{
    shard: string;
    points: string;
    strategies: string;
    destinations: string;
    lanes: string;
    out: string;
    resume?: true;
  }>();

const list = (text: string) => text.split(',').filter((name) => name !== '');
const wanted = list(options.points);
const points = POINTS.filter((point) => wanted.some((name) => point.startsWith(name)));
const strategies = MATRIX_STREAMS.filter((name) => list(options.strategies).includes(name));
const [shard = 1, shards = 1] = options.shard.split('/').map(Number);

const cells = list(options.destinations)
  .flatMap((destination) =>
    points.flatMap((point) => strategies.map((strategy): Cell => ({ point, strategy, destination }))),
  )
  .filter(applies)
  .filter((_, i) => i % shards === shard - 1);

const name = ({ point, strategy, destination }: Cell) => `${point} ${strategy} ${destination}`;
const outcomes = new Map<string, CellOutcome>();
if (options.resume && existsSync(options.out)) {
  for (const outcome of JSON.parse(readFileSync(options.out, 'utf8')) as CellOutcome[]) {
    outcomes.set(name(outcome), outcome);
  }
}
const todo = cells.filter((cell) => outcomes.get(name(cell))?.failure !== null);
mkdirSync(dirname(options.out), { recursive: true });
console.log(`${cells.length} cells, ${todo.length} to run`);

/** On Ctrl-C current cells finish; `--resume` continues from there. */
const stop = () => {
  console.log(`stopping after the current cells; ${todo.length} are left for --resume`);
  todo.length = 0;
};
process.once('SIGINT', stop).once('SIGTERM', stop);

const server = await testServer();
const matrix = await CrashMatrix.create({ address: server.address, cli: server.cli, longWait: 20 });
try {
  const lane = async () => {
    for (let cell = todo.shift(); cell !== undefined; cell = todo.shift()) {
      const outcome = await matrix.run(cell);
      outcomes.set(name(cell), outcome);
      writeFileSync(options.out, JSON.stringify([...outcomes.values()], null, 1));
      const recovery = outcome.recovery === null ? '' : `, on again after ${outcome.recovery.toFixed(1)} s`;
      console.log(`${name(cell)}: ${outcome.failure ?? 'ok'} (${outcome.seconds.toFixed(1)} s${recovery})`);
    }
  };
  await Promise.all(Array.from({ length: Number(options.lanes) }, lane));
} finally {
  await matrix.close();
  await server.stop();
}

const shown = (point: Point, strategy: MatrixStream, destination: string): string => {
  const cell = { point, strategy, destination };
  const outcome = outcomes.get(name(cell));
  if (outcome === undefined) return applies(cell) ? '–' : 'n/a';
  if (outcome.failure !== null) return 'FAILED';
  return outcome.recovery === null ? 'ok' : `ok ${outcome.recovery.toFixed(1)} s`;
};
for (const destination of list(options.destinations)) {
  console.log(`\n${destination}: seconds from the next worker's readiness to the next commit`);
  console.log(
    table(
      ['fault', ...strategies],
      points.map((point) => [point, ...strategies.map((strategy) => shown(point, strategy, destination))]),
    ),
  );
}
const mine = cells.flatMap((cell) => outcomes.get(name(cell)) ?? []);
const failed = mine.filter(({ failure }) => failure !== null);
const figures = (what: string, of: CellOutcome[]) => {
  const recoveries = of.flatMap(({ recovery }) => recovery ?? []).sort((a, b) => a - b);
  if (recoveries.length === 0) return;
  const median = recoveries[Math.floor(recoveries.length / 2)] ?? 0;
  const worst = recoveries.at(-1) ?? 0;
  console.log(
    `${what}: median ${median.toFixed(1)} s, worst ${worst.toFixed(1)} s of ${recoveries.length} recoveries`,
  );
};
console.log('');
figures(
  'worker killed',
  mine.filter(({ point }) => point !== 'server' && point !== 'api.killed'),
);
figures(
  'Temporal server killed',
  mine.filter(({ point }) => point === 'server'),
);
figures(
  'API killed',
  mine.filter(({ point }) => point === 'api.killed'),
);
console.log(`${mine.length - failed.length} of ${cells.length} cells passed, ${failed.length} failed`);
process.exitCode = failed.length > 0 || mine.length < cells.length ? 1 : 0;

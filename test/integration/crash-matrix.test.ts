/**
 * A sample of the crash matrix, every strategy at least once, and child tables. The whole of it:
 * `npm run crash-matrix`.
 */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { LONG } from '../helpers/long.js';
import { CrashMatrix, POINTS, type MatrixStream, type Point } from '../helpers/crash-cells.js';

const LANES = 4;
/**
 * What the others of `POINTS` are held by: crash.test.ts (the server), hostile.test.ts (an API that misbehaves),
 * mutation.test.ts (a source that changes), cli.test.ts (a slow one).
 */
const ELSEWHERE = /^(server|api\.(hung|slow|500|reset|gzip|shape|repeat|changing))$/;

/** Into DuckDB; files.test.ts and postgres.test.ts kill workers that write to others. */
const SAMPLE: [point: Point, strategy: MatrixStream][] = [
  ['open.after', 'offset'],
  ['transaction.half', 'replay'],
  ['continue_as_new', 'keyset'],
  ['transaction.half', 'child_tables'],
];
/** `npm run test:long` has these too. */
const MORE: typeof SAMPLE = [
  ['page.before', 'keyset'],
  ['page.after', 'step_size'],
  ['commit.after', 'timestamp'],
  ['api.long_wait', 'offset'],
  ['stage.before', 'offset'],
  ['stage.after', 'step_size'],
  ['transaction.before', 'keyset'],
  ['commit.before', 'replay'],
  ['report.before', 'timestamp'],
  ['pause', 'offset'],
  ['wait', 'step_size'],
  ['api.killed', 'keyset'],
  ['page.after', 'child_tables'],
  ['stage.after', 'child_tables'],
  ['commit.before', 'child_tables'],
  ['commit.after', 'child_tables'],
];

let matrix: CrashMatrix;
beforeAll(async () => {
  const options = { address: inject('temporalAddress'), cli: inject('temporalCli'), longWait: 6 };
  matrix = await CrashMatrix.create(options);
});
afterAll(() => matrix.close());

const lanes: Promise<unknown>[] = Array.from({ length: LANES }, () => Promise.resolve());
let turn = 0;
/** So many at a time: a worker's start keeps a core busy. */
function queued<T>(work: () => Promise<T>): Promise<T> {
  const lane = turn++ % LANES;
  const done = (lanes[lane] ?? Promise.resolve()).then(work);
  lanes[lane] = done.catch(() => undefined);
  return done;
}

test('the sample leaves out no fault point', () => {
  const sampled = new Set([...SAMPLE, ...MORE].map(([point]) => point));
  expect(POINTS.filter((point) => !sampled.has(point) && !ELSEWHERE.test(point))).toEqual([]);
});

describe.concurrent('the table equals the source, and every batch was committed once, after', () => {
  for (const [point, strategy] of LONG ? [...SAMPLE, ...MORE] : SAMPLE) {
    const killed = !point.startsWith('api.') || point === 'api.long_wait';
    test(`${killed ? 'a kill at ' : ''}${point}, ${strategy}`, { timeout: 240_000 }, async () => {
      const { failure, recovery } = await queued(() =>
        matrix.run({ point, strategy, destination: 'duckdb' }),
      );
      expect(failure).toBeNull();
      if (recovery !== null) console.log(`${point}, ${strategy}: on again after ${recovery.toFixed(1)} s`);
    });
  }
});

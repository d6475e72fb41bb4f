/** Looks up a few keys of a batch in its table, to choose the statement that writes the batch. */
import type { TableSpec } from '../../protocol.js';
import { tableName } from '../checkpoints.js';
import { differs, sameKey } from '../sql/conditions.js';
import { counts, type Batch, type Expectation, type SqlSession } from '../sql/dialect.js';
import { sql } from '../sql/sql.js';
import type { TableHabits } from './habits.js';

/** Smaller batches are compared with the table row by row. */
const FEWEST_ROWS = 2000;
/** Records of a sample, if as many fit into the first pages of the batch's table. */
const SAMPLE_ROWS = 128;
/** The rows in the first three pages of a table. */
const IS_SAMPLED = sql`s.ctid < '(3,0)'`;
/** A batch may begin with the record, or the few, that the one before ended with. */
const FEW = 2;
/** From this share on, rows that are in the table as they are are worth a comparison before the write. */
const MANY = 1 / 8;

/**
 * Moves the first record of a batch, the last one and some between to the front, so that they come first into its table.
 * @param count how many records the batch has, with those that are not in the order.
 */
export function sampledFirst(order: Uint32Array, count: number): Uint32Array {
  const { length } = order;
  if (length < FEWEST_ROWS) return order;
  const step = Math.floor(length / (SAMPLE_ROWS - 2));
  const ends = [order.indexOf(0), order.indexOf(count - 1)].filter((at) => at !== -1);
  const between = Array.from({ length: SAMPLE_ROWS - 2 }, (_, i) => i * step);
  const sampled = new Set([...ends, ...between]);
  const moved = new Uint32Array(length);
  let to = 0;
  for (const at of sampled) moved[to++] = order[at] as number;
  for (let at = 0; at < length; at++) if (!sampled.has(at)) moved[to++] = order[at] as number;
  return moved;
}

/** Adds what its sample shows to a batch. @param rows how many it has. */
export async function withExpectation(
  session: SqlSession,
  table: TableSpec,
  batch: Batch,
  rows: number,
  habits: TableHabits,
): Promise<Batch> {
  const refute = () => habits.doubtSamples();
  const expecting = (rowsAre: Expectation['rowsAre']): Batch => ({
    ...batch,
    expectation: { rowsAre, isSampled: IS_SAMPLED, refute },
  });
  if (rows < FEWEST_ROWS) return expecting('unchanged');
  const inTable = sql`SELECT 1 FROM ${tableName(table)} AS t WHERE ${sameKey(table, batch)}`;
  const [sampled = 0, known = 0, unchanged = 0] = await counts(
    session,
    sql`SELECT count(*), count(*) FILTER (WHERE EXISTS (${inTable})),
         count(*) FILTER (WHERE EXISTS (${inTable} AND NOT (${differs(table, batch)})))
       FROM ${batch.name} AS s WHERE ${IS_SAMPLED}`,
  );
  if (known <= FEW && habits.mayTrustSamples()) return expecting('new');
  return unchanged >= sampled * MANY ? expecting('unchanged') : batch;
}

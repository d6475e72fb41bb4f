/**
 * What a move rests on: a sync that is put back to any cursor that it ever committed, and goes on, holds what the
 * source has, whatever was lost of the table since, and whatever has changed at the source by its strategy's rules.
 */
import fc from 'fast-check';
import { describe, it, expect } from 'vitest';
import type { Cursor, StrategyOptions } from '../../src/protocol.js';
import { createStrategy } from '../../src/strategies/index.js';
import {
  keysetSource,
  missing,
  offsetSource,
  type Row,
  type Source,
  advanceTwiceAsked,
  stepSource,
  type Table,
  timestampSource,
} from '../helpers/model-source.js';
import { runs } from '../helpers/long.js';

/** A commit: the cursor, and the table as it was then. */
type Commit = { cursor: Cursor; table: Table };

/** Reads a pass, and keeps every commit of it. */
function pass(options: StrategyOptions, source: Source, from: Cursor | null, table: Table): Commit[] {
  const strategy = createStrategy(options);
  const commits: Commit[] = [];
  let cursor = strategy.begin(from, '2024-06-01T00:00:00.000Z');
  for (let request = strategy.request(cursor); 'params' in request; request = strategy.request(cursor)) {
    const page = source(request.params);
    for (const row of page.rows) table.set(row.id, row.version);
    cursor = JSON.parse(JSON.stringify(advanceTwiceAsked(strategy, cursor, page).cursor)) as Cursor;
    commits.push({ cursor, table: new Map(table) });
  }
  return commits;
}

interface Model {
  options: StrategyOptions;
  source: (rows: Row[]) => Source;
  /** What may become of a source between two passes, by the strategy's rules. */
  change: (rows: Row[], updates: number[], inserts: number) => void;
}

const latest = (rows: readonly Row[]) => Math.max(0, ...rows.map(({ at }) => at ?? 0));
const append = (rows: Row[], inserts: number) => {
  for (let i = 0; i < inserts; i++) {
    const id = String(rows.length + 1);
    rows.push({ id, at: latest(rows) + 1, version: 1 });
  }
};
const update = (rows: Row[], updates: number[]) => {
  for (const place of updates) {
    const row = rows[place % Math.max(1, rows.length)];
    if (row !== undefined) Object.assign(row, { at: latest(rows) + 1, version: row.version + 1 });
  }
};
const both: Model['change'] = (rows, updates, inserts) => {
  update(rows, updates);
  append(rows, inserts);
};

const MODELS: [name: string, Model][] = [
  [
    'keyset',
    {
      options: { strategy: 'keyset', ties: 'auto' },
      source: (rows) =>
        keysetSource({ rows, pageSize: 3, filter: 'inclusive', order: 'ascending', tokens: 'position' }),
      change: both,
    },
  ],
  [
    'timestamp',
    {
      options: { strategy: 'timestamp' },
      source: (rows) => timestampSource({ rows, filter: 'exclusive' }),
      change: both,
    },
  ],
  [
    'replay',
    {
      options: { strategy: 'replay', bufferHours: 2 },
      source: (rows) => timestampSource({ rows, filter: 'inclusive' }),
      change: both,
    },
  ],
  [
    'offset, which sees what is appended',
    {
      options: { strategy: 'offset', pageSize: 3, fullRescan: null },
      source: (rows) => offsetSource({ rows, cap: () => 3, total: false }),
      change: (rows, _, inserts) => append(rows, inserts),
    },
  ],
  [
    'offset with full_rescan, which sees updates too',
    {
      options: { strategy: 'offset', pageSize: 3, fullRescan: { passes: 1 } },
      source: (rows) => offsetSource({ rows, cap: () => 3, total: true }),
      change: both,
    },
  ],
  [
    'step_size, within its id_lookback',
    {
      options: {
        ...{ strategy: 'step_size', initialId: '1', stepSize: '4', maxId: '1000' },
        ...{ maxEmptySteps: 3, idLookback: '100' },
      },
      source: (rows) => stepSource({ rows }),
      change: (rows, _, inserts) => append(rows, inserts),
    },
  ],
];

describe('a sync that is put back to any place where it ever stood', () => {
  it.each(MODELS)('holds what the source has once it has gone on: %s', (_, { options, source, change }) => {
    let lost = 0;
    const step = fc.record({ updates: fc.array(fc.nat(30), { maxLength: 5 }), inserts: fc.nat(6) });
    fc.assert(
      fc.property(
        fc.nat(20),
        fc.array(step, { minLength: 1, maxLength: 4 }),
        fc.nat(),
        (first, steps, which) => {
          const rows: Row[] = [];
          append(rows, first);
          const table: Table = new Map();
          const commits: Commit[] = [];
          for (const { updates, inserts } of [{ updates: [], inserts: 0 }, ...steps]) {
            change(rows, updates, inserts);
            commits.push(...pass(options, source(rows), commits.at(-1)?.cursor ?? null, table));
          }
          expect(missing(rows, table)).toEqual([]);
          const back = commits[which % commits.length];
          if (back === undefined) throw new Error('nothing was committed');
          // All that was written since is lost, as where it was wrong.
          const then = new Map(back.table);
          if (missing(rows, then).length > 0) lost++;
          const [last] = pass(options, source(rows), back.cursor, then).slice(-1);
          // A pass that was entered in the middle looks behind itself in the next.
          pass(options, source(rows), last?.cursor ?? back.cursor, then);
          expect(missing(rows, then)).toEqual([]);
          // And the table as it is loses nothing by it.
          pass(options, source(rows), back.cursor, table);
          expect(missing(rows, table)).toEqual([]);
        },
      ),
      { numRuns: runs(300) },
    );
    expect(lost).toBeGreaterThan(runs(50));
  });
});

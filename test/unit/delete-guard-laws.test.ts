/** How many rows a pass may remove without asking. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allowedDeletes, isGuarded, refuseTooMany } from '../../src/destinations/sql/modes.js';
import { TooManyDeletesError } from '../../src/errors.js';
import type { Cursor, DeletesDecision, MaxDeletes, TableSpec } from '../../src/protocol.js';

const count = fc.nat({ max: 1_000_000_000 });
const limit = fc.oneof(
  fc.constant(undefined),
  fc.constant<MaxDeletes>('any'),
  count.map((rows): MaxDeletes => ({ rows })),
  fc.nat({ max: 10_000 }).map((hundredths): MaxDeletes => ({ percent: hundredths / 100 })),
);
const ended: Cursor = { pass: 7, mark: null, position: null, ended: 'empty_page', notes: [] };
const tableWith = (maxDeletes: MaxDeletes | undefined): TableSpec => ({
  ...{ schema: 'main', table: 't', primaryKey: ['id'], columns: { id: 'LONG' }, deletes: 'hard' },
  ...(maxDeletes !== undefined && { maxDeletes }),
});
const asks = (
  maxDeletes: MaxDeletes | undefined,
  deleted: number,
  rows: number,
  deletes?: DeletesDecision,
): TooManyDeletesError | null => {
  const decision = deletes === undefined ? {} : { deletes };
  try {
    refuseTooMany({ table: tableWith(maxDeletes), cursor: ended, ...decision }, deleted, rows);
    return null;
  } catch (thrown) {
    if (thrown instanceof TooManyDeletesError) return thrown;
    throw thrown;
  }
};

describe('what a pass may remove without asking', () => {
  it('is by default a tenth of the rows, and at least twenty', () => {
    fc.assert(
      fc.property(count, count, (deleted, rows) => {
        const isTooMany = deleted > 20 && 10n * BigInt(deleted) > BigInt(rows);
        expect(asks(undefined, deleted, rows) !== null).toBe(isTooMany);
      }),
    );
  });

  it('is exact for a share of two decimals, of any number of rows', () => {
    fc.assert(
      fc.property(fc.nat({ max: 10_000 }), count, (hundredths, rows) => {
        const exact = (BigInt(rows) * BigInt(hundredths)) / 10_000n;
        expect(BigInt(allowedDeletes({ percent: hundredths / 100 }, rows))).toBe(exact);
      }),
    );
  });

  it('grows with the table, and all of it may always go with `any` and with 100%', () => {
    fc.assert(
      fc.property(limit, count, count, (max, a, b) => {
        const [fewer, more] = [Math.min(a, b), Math.max(a, b)];
        expect(allowedDeletes(max, fewer)).toBeLessThanOrEqual(allowedDeletes(max, more));
        expect(asks('any', a, a)).toBeNull();
        expect(asks({ percent: 100 }, a, a)).toBeNull();
      }),
    );
  });

  it('is never less once the approved number, and asks with the counts otherwise', () => {
    fc.assert(
      fc.property(limit, count, count, count, (max, deleted, rows, approved) => {
        const [before, after] = [asks(max, deleted, rows), asks(max, deleted, rows, { approved })];
        expect(after !== null).toBe(before !== null && deleted > approved);
        if (after === null) return;
        expect(after.details).toEqual({
          ...{ table: 'main.t', how: 'removed', deletes: deleted, rows, pass: 7 },
          allowed: Math.max(approved, allowedDeletes(max, rows)),
        });
      }),
    );
  });

  it('is a question only at the end of a whole pass that may remove something', () => {
    const table = tableWith(undefined);
    const { deletes: _, ...keeps } = table;
    const cut: Cursor = { ...ended, notes: [{ code: 'answer_cut', message: '' }] };
    expect(isGuarded({ table, cursor: ended })).toBe(true);
    expect(isGuarded({ table: { ...keeps, mode: 'replace' }, cursor: ended })).toBe(true);
    for (const request of [
      { table: keeps, cursor: ended },
      { table: { ...table, unseen: 'stay' as const }, cursor: ended },
      { table: tableWith('any'), cursor: ended },
      { table, cursor: { ...ended, ended: null } },
      { table, cursor: cut },
      { table, cursor: ended, deletes: 'withheld' as const },
    ])
      expect(isGuarded(request)).toBe(false);
  });
});

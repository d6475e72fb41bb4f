/** Claims about an upsert: which rows it changes, and what it counts. */
import { describe, expect, it } from 'vitest';
import { type Suite } from '../tested.js';

export function upsertClaims(suite: Suite): void {
  describe('an upsert', () => {
    it('counts what is new or differs, and not what stands there already', async () => {
      const { checkpoint } = await suite.stream.open();
      const records = Array.from({ length: 10 }, (_, i) => ({ id: String(i), name: `n${i}`, age: i }));
      expect((await suite.stream.write(checkpoint.id, 'c1', records)).rows).toBe(10);
      expect((await suite.stream.write('c1', 'c2', records)).rows).toBe(suite.counted(0, 10));
      const changed = records.map((r, i) => (i < 3 ? { ...r, name: 'other' } : r));
      expect((await suite.stream.write('c2', 'c3', [...changed, { id: 'new' }])).rows).toBe(
        suite.counted(4, 11),
      );
      expect(await suite.stream.rows()).toHaveLength(11);
      expect((await suite.stream.rows()).filter((row) => row['name'] === 'other')).toHaveLength(3);
    });

    it('of one key twice in a batch keeps the last, and counts one', async () => {
      const { checkpoint } = await suite.stream.open();
      const first = await suite.stream.write(checkpoint.id, 'c1', [
        { id: '1', name: 'first', age: 1 },
        { id: '2', name: 'only' },
        { id: '1', name: 'last' },
      ]);
      expect(first.rows).toBe(2);
      const rows = [
        { id: '1', name: 'last', age: null },
        { id: '2', name: 'only', age: null },
      ];
      expect(await suite.stream.rows()).toEqual(rows);
      const back = [
        { id: '1', name: 'other' },
        { id: '1', name: 'last' },
      ];
      expect((await suite.stream.write('c1', 'c2', back)).rows).toBe(suite.counted(0, 1));
      expect(await suite.stream.rows()).toEqual(rows);
    });

    it('of one key in many files keeps the last, however they are read', async () => {
      const { checkpoint } = await suite.stream.open();
      const part = (n: number) =>
        Array.from({ length: 9000 }, (_, i) => ({ id: String(i), name: `part ${n}`, age: n }));
      const outcome = await suite.stream.write(checkpoint.id, 'c1', [part(1), part(2), part(3)]);
      expect(outcome.rows).toBe(9000);
      const rows = await suite.stream.rows();
      expect(rows).toHaveLength(9000);
      expect(new Set(rows.map((row) => row['name']))).toEqual(new Set(['part 3']));
    });

    it('sets to null what has become null, and what is left out', async () => {
      const { checkpoint } = await suite.stream.open();
      await suite.stream.write(checkpoint.id, 'c1', [
        { id: '1', name: 'one', age: 1 },
        { id: '2', name: 'two', age: 2 },
        { id: '3' },
      ]);
      const outcome = await suite.stream.write('c1', 'c2', [
        { id: '1', name: null, age: 1 },
        { id: '2', age: 2 },
        { id: '3', name: null, age: null },
      ]);
      expect(outcome.rows).toBe(suite.counted(2, 3));
      expect(await suite.stream.rows()).toEqual([
        { id: '1', name: null, age: '1' },
        { id: '2', name: null, age: '2' },
        { id: '3', name: null, age: null },
      ]);
    });

    it('tells keys apart by every character', async () => {
      const keys = [
        '',
        ' ',
        'a',
        'A',
        'a ',
        'ä',
        'a\u0308',
        '1',
        '01',
        '1.0',
        "'",
        '"',
        '\\',
        'null',
        '%',
        '😀',
      ];
      const { checkpoint } = await suite.stream.open();
      expect(
        (
          await suite.stream.write(
            checkpoint.id,
            'c1',
            keys.map((id) => ({ id })),
          )
        ).rows,
      ).toBe(keys.length);
      expect(new Set((await suite.stream.rows()).map((row) => row['id']))).toEqual(new Set(keys));
    });

    it('goes by all parts of a composite key', async () => {
      const composite = suite.streamOf(suite.tableOf({ a: 'STRING', v: 'STRING', b: 'LONG' }, ['b', 'a']));
      const { checkpoint } = await composite.open();
      await composite.write(checkpoint.id, 'c1', [
        { a: 'x', b: 1, v: '1' },
        { a: 'x', b: 2, v: '2' },
        { a: 'y', b: 1, v: '3' },
        { a: 'x', b: 1, v: '4' },
      ]);
      expect(
        (
          await composite.write('c1', 'c2', [
            { a: 'y', b: 1, v: '5' },
            { a: 'y', b: 2, v: '6' },
          ])
        ).rows,
      ).toBe(2);
      expect(await composite.rows()).toEqual([
        { a: 'x', b: '1', v: '4' },
        { a: 'y', b: '1', v: '5' },
        { a: 'x', b: '2', v: '2' },
        { a: 'y', b: '2', v: '6' },
      ]);
    });

    it('goes by a table that is nothing but its key', async () => {
      const keys = suite.streamOf(suite.tableOf({ a: 'STRING' }, ['a']));
      const { checkpoint } = await keys.open();
      expect((await keys.write(checkpoint.id, 'c1', [{ a: '1' }, { a: '1' }, { a: '2' }])).rows).toBe(2);
      expect((await keys.write('c1', 'c2', [{ a: '2' }, { a: '3' }])).rows).toBe(suite.counted(1, 2));
      expect(await keys.rows()).toEqual([{ a: '1' }, { a: '2' }, { a: '3' }]);
    });

    it.each([
      ['numbers', 'LONG'],
      ['decimals', 'DECIMAL(38,0)'],
      ['text', 'STRING'],
    ] as const)('goes by %s, each digit of them', async (_, type) => {
      const numbers = suite.streamOf(suite.tableOf({ id: type, v: 'STRING' }));
      const { checkpoint } = await numbers.open();
      const ids = [
        '9007199254740992',
        '9007199254740993',
        '-9223372036854775808',
        '9223372036854775807',
        '0',
      ];
      const lines = (v: string) => ids.map((id) => `{"id": ${id}, "v": "${v}"}`);
      expect((await numbers.write(checkpoint.id, 'c1', lines('a'))).rows).toBe(5);
      expect((await numbers.write('c1', 'c2', lines('b'))).rows).toBe(5);
      expect(new Set((await numbers.rows()).map((row) => `${row['id']}${row['v']}`))).toEqual(
        new Set(ids.map((id) => `${id}b`)),
      );
    });
  });
}

/** Claims about a table: the names and columns that it can have. */
import { expect, it } from 'vitest';
import { DestinationError } from '../../../errors.js';
import { COLUMNS, thrownBy, type Suite } from '../tested.js';

export function tableClaims(suite: Suite): void {
  suite.describeInFull('a table', () => {
    it('with other column types is refused, and says which', async () => {
      await suite.stream.open();
      const other = suite.streamOf({
        ...suite.stream.table,
        columns: { id: 'STRING', name: 'JSON', age: 'STRING' },
      });
      const thrown = await thrownBy(other.open());
      expect(thrown).toBeInstanceOf(DestinationError);
      expect(thrown.message).toContain(`main.${suite.stream.table.table}`);
      expect(thrown.message).toMatch(/name .*declared as JSON.*age .*declared as STRING/);
      await suite.stream.open();
    });

    it('gets a column that is declared later, and keeps one that is not declared any more', async () => {
      const { checkpoint } = await suite.stream.open();
      await suite.stream.write(checkpoint.id, 'c1', [{ id: '1', name: 'one', age: 1 }]);
      const wider = suite.streamOf({ ...suite.stream.table, columns: { ...COLUMNS, email: 'STRING' } });
      expect((await wider.open()).checkpoint.id).toBe('c1');
      await wider.write('c1', 'c2', [{ id: '2', name: 'two', age: 2, email: 'e' }]);
      const narrower = suite.streamOf({ ...suite.stream.table, columns: { id: 'STRING', email: 'STRING' } });
      await narrower.open();
      expect(
        (
          await narrower.write('c2', 'c3', [
            { id: '1', email: 'new' },
            { id: '3', email: 'x' },
          ])
        ).rows,
      ).toBe(2);
      expect(await wider.rows()).toEqual([
        { id: '1', name: 'one', age: '1', email: 'new' },
        { id: '2', name: 'two', age: '2', email: 'e' },
        { id: '3', name: null, age: null, email: 'x' },
      ]);
    });

    const NAMES: [string, string][] = [
      ['a double quote', 'a"b""'],
      ['single quotes', "a'b''c"],
      ['a statement', 'x"; DROP TABLE "user"; --'],
      ['another statement', "x'); DROP TABLE user; --"],
      ['a reserved word', 'select'],
      ['another reserved word', 'table'],
      ['dots', 'a.b.c'],
      ['spaces', 'two  words'],
      ['non-Latin letters', 'таблица 表 जدول'],
      ['an emoji', '💥'],
      ['signs', '$1 %s {} \\ / ? * : `~'],
      ['a very long name', 'n'.repeat(suite.longestName)],
      ['digits', '123'],
      ['capitals', 'UserName'],
      ['the name of a hidden column', 'rowid'],
      ['names used inside', 't'],
      ['more names used inside', 's'],
      ['the name of a temporary table', '_batch'],
      ['a column of a temporary table', 'read'],
      ['another column of a temporary table', 'stored'],
    ];

    it.each(NAMES)('may be called by %s, and so may its schema and columns', async (_, name) => {
      const named = suite.streamOf({
        schema: name,
        table: name,
        primaryKey: [name],
        columns: { [name]: 'STRING', [`${name} value`]: 'LONG', other: 'STRING' },
      });
      const { checkpoint } = await named.open();
      const row = (id: string, value: number) => ({ [name]: id, [`${name} value`]: value, other: 'same' });
      await named.write(checkpoint.id, 'c1', [row('1', 1), row('2', 2), row('1', 3)]);
      expect((await named.write('c1', 'c2', [row('2', 2), row('3', 3), row('3', 4), row('1', 5)])).rows).toBe(
        suite.counted(2, 3),
      );
      const stored = (id: string, value: number) => ({
        ...row(id, value),
        [`${name} value`]: String(value),
      });
      expect(await named.rows()).toEqual([stored('1', 5), stored('2', 2), stored('3', 4)]);
      expect((await named.checkpoint()).id).toBe('c2');
    });

    it.each(NAMES)('may have a column called by %s that is no key', async (_, name) => {
      const named = suite.streamOf(suite.tableOf({ id: 'STRING', [name]: 'STRING' }));
      const { checkpoint } = await named.open();
      // One value in every row: what is a row's own name inside would run together.
      const row = (id: string, value: string) => ({ id, [name]: value });
      await named.write(checkpoint.id, 'c1', [
        row('1', 'x'),
        row('2', 'x'),
        row('2', 'y'),
        row('3', 'x'),
        row('3', 'x'),
      ]);
      expect(await named.rows()).toEqual([row('1', 'x'), row('2', 'y'), row('3', 'x')]);
      expect((await named.write('c1', 'c2', [row('1', 'y'), row('2', 'y'), row('4', 'x')])).rows).toBe(
        suite.counted(2, 3),
      );
      expect(await named.rows()).toEqual([row('1', 'y'), row('2', 'y'), row('3', 'x'), row('4', 'x')]);
      const misfit = suite.streamOf(suite.tableOf({ id: 'STRING', [name]: 'LONG' }));
      const opened = await misfit.open();
      const thrown = await thrownBy(misfit.write(opened.checkpoint.id, 'c1', [row('bad', 'x')]));
      expect(thrown.message).toContain(`column ${JSON.stringify(name)}`);
    });
  });
}

/** No value becomes part of a statement but quoted, checked, or as a parameter: anything else neither compiles nor runs. */
import type { DuckDBConnection } from '@duckdb/node-api';
import fc from 'fast-check';
import type { PoolClient } from 'pg';
import { describe, expect, test } from 'vitest';
import { duckDbType, jsonType } from '../../src/destinations/duckdb/columns.js';
import { DuckDbSession } from '../../src/destinations/duckdb/session.js';
import { postgresType } from '../../src/destinations/postgres/columns.js';
import { PostgresSession } from '../../src/destinations/postgres/session.js';
import { identifier, joined, literal, numeral, one, sql, type Sql } from '../../src/destinations/sql/sql.js';
import type { ColumnType } from '../../src/protocol.js';

const FORGED = "1; COPY (SELECT 1) TO 'x.csv'; --";
const forged = FORGED as unknown;

describe('a statement', () => {
  test('takes no text that is not a part of one (this file would not compile)', () => {
    // @ts-expect-error a text is quoted, or it is no part of a statement
    void sql`SELECT ${FORGED}`;
    // @ts-expect-error a number is written by numeral, which looks at it
    void sql`SELECT ${1}`;
    // @ts-expect-error texts are no parts of a statement
    void joined([FORGED]);
    // @ts-expect-error neither is one that was put together
    const text: Sql = `SELECT ${identifier('x')}`;
    expect(text).toBe('SELECT "x"');
  });

  test('takes no text in the place of a number, whatever types promise', () => {
    expect(() => numeral(forged as number)).toThrow('a statement takes a number here');
    for (const number of [NaN, Infinity, 2 ** 53]) expect(() => numeral(number)).toThrow(TypeError);
    expect(sql`LIMIT ${numeral(20)}`).toBe('LIMIT 20');
  });

  test('takes only texts to be quoted', () => {
    const list = [FORGED] as unknown as string;
    expect(() => literal(list)).toThrow('a statement takes a text here');
    expect(() => identifier(list)).toThrow('a statement takes a text here');
  });

  test('stays one statement, whatever is quoted in it', () => {
    const any = fc.string({ unit: fc.constantFrom("'", '"', ';', ' ', '\\', '-', '/*', 'x', '\0') });
    fc.assert(
      fc.property(any, any, (text, name) => {
        const statement = sql`SELECT ${literal(text)} AS ${identifier(name)}`;
        expect(one(statement)).toBe(statement);
        expect(() => one(sql`${statement}; DROP TABLE t`)).toThrow('one at a time');
      }),
    );
  });
});

describe('a session', () => {
  const refuse = () => Promise.reject(new Error('it was run'));

  test('runs one statement at a time, also in DuckDB, which would run several', () => {
    const two = sql`SELECT 1; SELECT 2`;
    const duckDb = new DuckDbSession({ run: refuse } as unknown as DuckDBConnection);
    expect(() => duckDb.run(two)).toThrow('one at a time');
    expect(() => duckDb.runAll([sql`SELECT 1`, two])).toThrow('one at a time');
    const postgres = new PostgresSession({ query: refuse } as unknown as PoolClient);
    expect(() => postgres.run(two)).toThrow('one at a time');
    expect(() => postgres.rows(two)).toThrow('one at a time');
    // @ts-expect-error it takes statements, and no other text
    expect(() => duckDb.run(FORGED)).toThrow('one at a time');
  });
});

describe('the type of a column', () => {
  test.each<[string]>([
    [FORGED],
    ['VARCHAR'],
    ['varchar); DROP TABLE t; --'],
    ['DECIMAL(38,39)'],
    ['DECIMAL(1,1); --'],
    ['DECIMAL(99,0)'],
    ['constructor'],
    ['__proto__'],
  ])('is one of a closed list where a table is made or changed: %s is not', (type) => {
    for (const name of [duckDbType, jsonType, postgresType])
      expect(() => name(type as ColumnType)).toThrow('is not a column type');
  });

  test('has its name in each database', () => {
    expect([duckDbType('DECIMAL(38,9)'), postgresType('DECIMAL(38,9)')]).toEqual([
      'DECIMAL(38,9)',
      'numeric(38,9)',
    ]);
    expect([duckDbType('UTC_DATETIME'), postgresType('JSON')]).toEqual(['TIMESTAMP WITH TIME ZONE', 'jsonb']);
  });
});

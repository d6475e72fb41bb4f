/** Claims about values: stored exactly, or refused. */
import { expect, it } from 'vitest';
import { RecordError } from '../../../errors.js';
import type { ColumnType, TableSpec } from '../../../protocol.js';
import { COLUMNS, cursorAt, thrownBy, type Suite } from '../tested.js';

export function valueClaims(suite: Suite): void {
  suite.describeInFull('a value', () => {
    const VALUES: [ColumnType, string, string | null][] = [
      ['STRING', '""', ''],
      ['STRING', '"é 😀 日本 \\" \\\\ \\n \\t \' ; --"', 'é 😀 日本 " \\ \n \t \' ; --'],
      ['STRING', '"\\ud83d\\ude00 \\u00e9"', '😀 é'],
      ['STRING', '"NULL"', 'NULL'],
      ['STRING', '9007199254740993', '9007199254740993'],
      ['STRING', 'true', 'true'],
      ['BOOLEAN', 'true', 'true'],
      ['BOOLEAN', 'false', 'false'],
      ['SHORT', '-32768', '-32768'],
      ['INT', '2147483647', '2147483647'],
      ['LONG', '9007199254740993', '9007199254740993'],
      ['LONG', '-9223372036854775808', '-9223372036854775808'],
      ['LONG', '9223372036854775807', '9223372036854775807'],
      ['LONG', '"9007199254740993"', '9007199254740993'],
      ['FLOAT', '0.5', '0.5'],
      ['DOUBLE', '0.1', '0.1'],
      ['DOUBLE', '-1.7976931348623157e308', '-1.7976931348623157e+308'],
      ['DECIMAL(10,2)', '12345678.9', '12345678.90'],
      ['DECIMAL(38,0)', '12345678901234567890123456789012345678', '12345678901234567890123456789012345678'],
      [
        'DECIMAL(38,10)',
        '"1234567890123456789012345678.0123456789"',
        '1234567890123456789012345678.0123456789',
      ],
      ['DECIMAL(18,6)', '-0.000001', '-0.000001'],
      ['NAIVE_DATE', '"2024-02-29"', '2024-02-29'],
      ['NAIVE_DATE', '"0001-01-01"', '0001-01-01'],
      ['NAIVE_DATETIME', '"2024-02-29T23:59:59.123456"', '2024-02-29T23:59:59.123456'],
      ['UTC_DATETIME', '"2024-02-29T23:59:59.123456Z"', '2024-02-29T23:59:59.123456Z'],
      ['UTC_DATETIME', '"2024-03-01T01:29:59.000001+01:30"', '2024-02-29T23:59:59.000001Z'],
      ['UTC_DATETIME', '"0001-01-01T00:00:00Z"', '0001-01-01T00:00:00.000000Z'],
      ['UTC_DATETIME', '"9999-12-31T23:59:59.999999Z"', '9999-12-31T23:59:59.999999Z'],
      [
        'JSON',
        '{"a": {"n": 9007199254740993}, "b": [1, null, "é"]}',
        '{"a":{"n":9007199254740993},"b":[1,null,"é"]}',
      ],
      ['JSON', '"text"', '"text"'],
      ['JSON', '[]', '[]'],
      ['BINARY', '"AAECgP9oZWxsbw=="', 'AAECgP9oZWxsbw=='],
      ['BINARY', '""', ''],
    ];
    const columns: TableSpec['columns'] = {
      id: 'STRING',
      ...Object.fromEntries(VALUES.map(([type], i) => [`c${i}`, type])),
    };
    const members = VALUES.map(([, json], i) => `"c${i}": ${json}`).join(', ');
    const wanted = Object.fromEntries(VALUES.map(([, , text], i) => [`c${i}`, text]));

    it('of every type is stored exactly, and is the same the second time', async () => {
      const typed = suite.streamOf(suite.tableOf(columns));
      const { checkpoint } = await typed.open();
      expect((await typed.write(checkpoint.id, 'c1', [`{"id": "1", ${members}}`])).rows).toBe(1);
      expect(await typed.rows()).toEqual([{ id: '1', ...wanted }]);
      expect((await typed.write('c1', 'c2', [`{"id": "1", ${members}}`])).rows).toBe(suite.counted(0, 1));
    });

    it('of every type may be null or absent, and come and go', async () => {
      const typed = suite.streamOf(suite.tableOf(columns));
      const { checkpoint } = await typed.open();
      const nulls = VALUES.map((_, i) => `"c${i}": null`).join(', ');
      const nothing = Object.fromEntries(VALUES.map((_, i) => [`c${i}`, null]));
      await typed.write(checkpoint.id, 'c1', [`{"id": "1", ${nulls}}`, '{"id": "2"}']);
      expect(await typed.rows()).toEqual([
        { id: '1', ...nothing },
        { id: '2', ...nothing },
      ]);
      expect((await typed.write('c1', 'c2', [`{"id": "1", ${members}}`, `{"id": "2", ${nulls}}`])).rows).toBe(
        suite.counted(1, 2),
      );
      expect(await typed.rows()).toEqual([
        { id: '1', ...wanted },
        { id: '2', ...nothing },
      ]);
      expect((await typed.write('c2', 'c3', ['{"id": "1"}'])).rows).toBe(1);
    });

    it('of every type that comes or goes is a change', async () => {
      const typed = suite.streamOf(suite.tableOf(columns));
      const { checkpoint } = await typed.open();
      const each = VALUES.map(([, json], i) => `{"id": "${i}", "c${i}": ${json}}`);
      const none = VALUES.map((_, i) => `{"id": "${i}"}`);
      expect((await typed.write(checkpoint.id, 'c1', each)).rows).toBe(VALUES.length);
      expect((await typed.write('c1', 'c2', none)).rows).toBe(VALUES.length);
      expect((await typed.write('c2', 'c3', each)).rows).toBe(VALUES.length);
      expect((await typed.write('c3', 'c4', each)).rows).toBe(suite.counted(0, VALUES.length));
    });

    it('of megabytes is stored whole', async () => {
      const { checkpoint } = await suite.stream.open();
      const name = '0123456789é'.repeat(500_000);
      await suite.stream.write(checkpoint.id, 'c1', [
        { id: '1', name },
        { id: '2', name: 'small' },
      ]);
      expect((await suite.stream.rows()).map((row) => row['name']?.length)).toEqual([name.length, 5]);
    });

    it.each<[ColumnType, string, string]>([
      ['SHORT', '40000', '40000'],
      ['INT', '"twelve"', 'twelve'],
      ['LONG', '9223372036854775808', '9223372036854775808'],
      ['LONG', '{"a": 1}', '{\\"a\\":1}'],
      ['LONG', '"9007199254740993.5"', '9007199254740993.5'],
      ['INT', '"1.5"', '1.5'],
      ['BOOLEAN', '"maybe"', 'maybe'],
      ['DOUBLE', '"1,5"', '1,5'],
      ['DECIMAL(4,2)', '123.45', '123.45'],
      ['NAIVE_DATE', '"2023-02-29"', '2023-02-29'],
      ['NAIVE_DATETIME', '"yesterday"', 'yesterday'],
      ['UTC_DATETIME', '1700000000', '1700000000'],
      ['BINARY', '"not base64!"', 'not base64!'],
    ])(
      'that does not fit %s (%s) is named with its key and column, and nothing is written',
      async (type, json, shown) => {
        const misfits = suite.streamOf({ ...suite.stream.table, columns: { ...COLUMNS, odd: type } });
        const { checkpoint } = await misfits.open();
        await misfits.write(checkpoint.id, 'c1', [{ id: 'before', name: 'stays' }]);
        const thrown = await thrownBy(
          misfits.write('c1', 'c2', [
            { id: 'before', name: 'changed' },
            { id: 'good' },
            `{"id": "bad", "odd": ${json}}`,
          ]),
        );
        expect(thrown).toBeInstanceOf(RecordError);
        expect(thrown.message).toContain('primary key "bad"');
        expect(thrown.message).toContain('column "odd"');
        expect(thrown.message).toContain(`"${shown}" as ${type}`);
        // The transaction is gone whole: the old checkpoint stands, and takes the next batch.
        expect(await misfits.rows()).toEqual([{ id: 'before', name: 'stays', age: null, odd: null }]);
        expect(await misfits.checkpoint()).toEqual({ id: 'c1', cursor: cursorAt('c1') });
        expect(await misfits.write('c1', 'c3', [{ id: 'good' }])).toEqual({ rows: 1, already: false });
      },
    );

    it('that does not fit and is very long is shown cut', async () => {
      const { checkpoint } = await suite.stream.open();
      const thrown = await thrownBy(
        suite.stream.write(checkpoint.id, 'c1', [{ id: '1', age: 'x'.repeat(100_000) }]),
      );
      expect(thrown).toBeInstanceOf(RecordError);
      expect(thrown.message.length).toBeLessThan(600);
    });
  });
}

import { describe, expect, it } from 'vitest';
import { shownRecords } from '../../src/cli/preview.js';
import {
  cursorTable,
  cursorText,
  roughly,
  summary,
  table,
  webUiLink,
  width,
  wrapped,
} from '../../src/cli/output.js';
import type { StreamResult } from '../../src/protocol.js';

describe('how long', () => {
  it('is said roughly, in one unit', () => {
    const seconds = [-1, 0, 35.9, 119, 120, 7199, 7200, 172_799, 172_800, 900_000];
    expect(seconds.map(roughly)).toEqual(['0s', '0s', '35s', '119s', '2m', '119m', '2h', '47h', '2d', '10d']);
  });
});

describe('a table', () => {
  it('has aligned columns, numbers to the right with their thousands set apart', () => {
    expect(
      table(
        ['stream', 'rows', 'ended by'],
        [
          ['user', 1234567, 'empty_page'],
          ['a longer name', 5, ''],
        ],
      ),
    ).toBe(
      [
        'stream         rows       ended by',
        '─────────────  ─────────  ──────────',
        'user           1,234,567  empty_page',
        'a longer name          5',
      ].join('\n'),
    );
  });

  it('without rows is its header', () => {
    expect(table(['a', 'bc'], [])).toBe('a  bc\n─  ──');
  });

  it('counts columns, of which a wide character takes two', () => {
    expect(table(['n', 'x'], [['é😀', 1]]).split('\n')).toEqual(['n    x', '───  ─', 'é😀  1']);
  });

  it('fills up a row that is too short', () => {
    expect(table(['a', 'b'], [['x']])).toBe('a  b\n─  ─\nx');
  });

  it('may have hundreds of thousands of rows', () => {
    const rows = Array.from({ length: 300_000 }, (_, i) => [String(i), i]);
    const lines = table(['text', 'number'], rows).split('\n');
    expect(lines).toHaveLength(300_002);
    expect(lines.at(-1)).toBe('299999  299,999');
  });

  it('does not let what it shows take over the terminal or break its lines', () => {
    const hostile = 'a\u001b[2J\u001b]0;title\u0007b\rc\nd\te\u009bf\u202eg';
    const lines = table(['x\ny', 'n'], [[hostile, 1]]).split('\n');
    expect(lines).toHaveLength(3);
    // oxlint-disable-next-line no-control-regex
    expect(lines.join('')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
    expect(lines[2]).toContain('a');
    expect(lines[2]).toContain('g');
  });
});

const widest = (text: string) => Math.max(...text.split('\n').map(width));

describe('on a terminal of so many columns', () => {
  const header = ['name', 'a long head', 'text'];
  const rows = [
    ['a'.repeat(30), 1234567, 'b'.repeat(60)],
    ['short', 5, 'text'],
  ];

  it('a table is made to fit by cutting the widest columns, numbers never', () => {
    expect(table(header, rows, 60).split('\n')).toEqual([
      'name                    a long head  text',
      '──────────────────────  ───────────  ───────────────────────',
      'aaaaaaaaaaaaaaaaaaaaa…    1,234,567  bbbbbbbbbbbbbbbbbbbbbb…',
      'short                             5  text',
    ]);
    expect(table(header, rows, 110)).toBe(table(header, rows, Infinity));
    const narrow = table(header, rows, 10);
    expect(narrow).toContain('1,234,567');
    expect(narrow).toContain('a long h…');
    expect(narrow).toContain('aaaaaaa…');
  });

  it('the summary of a run fits, with every cursor whole below the table', () => {
    const shown = summary([RESULT, { ...RESULT, stream: 'another', warnings: [] }], 80);
    expect(widest(shown)).toBeLessThanOrEqual(80);
    expect(shown.split('\n')).toEqual([
      'stream   strategy  records  rows written  pages  batches  ended by',
      expect.stringMatching(/^─/),
      'user     keyset      1,200         1,000     24        2  no_next_token',
      'another  keyset      1,200         1,000     24        2  no_next_token',
      'cursor (user): last_updated_at 2026-01-01T00:00:00Z',
      'cursor (another): last_updated_at 2026-01-01T00:00:00Z',
      'total: 2,400 records, 2,000 rows inserted or updated, 0 deleted, 0 rejected',
      'note (user): Page tokens were followed.',
    ]);
    expect(summary([RESULT], 200)).toBe(summary([RESULT], Infinity));
  });

  it("the demo's table fits", () => {
    const names = [
      ...['strategy', 'records read', 'rows written', 'pages', 'ended by', 'cursor', 'rows in table'],
      ...['in source', 'equal?'],
    ];
    const row = [
      'step_size',
      2264,
      16,
      47,
      'no_next_token',
      'last_updated_at 2026-01-01T16:47:00Z',
      2011,
      2011,
      'yes',
    ];
    const shown = cursorTable(names, [row], 80);
    expect(widest(shown)).toBeLessThanOrEqual(80);
    expect(shown).toContain('cursor (step_size): last_updated_at 2026-01-01T16:47:00Z');
  });

  it('a line is broken between words', () => {
    expect(wrapped('  ✓ one two three four', 4, 12)).toBe('  ✓ one two\n    three\n    four');
    expect(wrapped('https://a.very/long/address next', 2, 10)).toBe('https://a.very/long/address\n  next');
    expect(wrapped('a b', 2, Infinity)).toBe('a b');
  });

  it('records are shown beside each other where there is room, else one below the other', () => {
    const columns = Array.from({ length: 12 }, (_, i) => `column_${i}`);
    const records = [1, 2].map((n) =>
      Object.fromEntries(columns.map((name) => [name, `${name} of ${n} `.repeat(9)])),
    );
    const shown = shownRecords(columns, records, 80);
    expect(widest(shown)).toBeLessThanOrEqual(80);
    expect(shown.split('\n').slice(0, 2)).toEqual([
      'record 1',
      `  column_0   ${'column_0 of 1 '.repeat(9).slice(0, 66)}…`,
    ]);
    expect(shown).toContain('\n\nrecord 2\n');
    const few = shownRecords(columns.slice(0, 3), records, 80);
    expect(widest(few)).toBeLessThanOrEqual(80);
    expect(few).toMatch(/^column_0 +column_1 +column_2\n─/);
    expect(shownRecords(columns, records, Infinity)).toMatch(/^column_0 /);
  });
});

const RESULT: StreamResult = {
  stream: 'user',
  strategy: 'keyset',
  records: 1200,
  rows: 1000,
  pages: 24,
  batches: 2,
  rejected: 0,
  deleted: 0,
  endRule: 'no_next_token',
  cursor: { last_updated_at: '2026-01-01T00:00:00Z', scroll_param: null },
  warnings: [{ code: 'ties_scroll', message: 'Page tokens were followed.' }],
};

describe('the summary of a pass', () => {
  it('names what was done, why it ended, where the cursor stands, and every warning', () => {
    expect(summary([RESULT, { ...RESULT, stream: 'b', endRule: null, warnings: [] }]).split('\n')).toEqual([
      'stream  strategy  records  rows written  pages  batches  ended by       cursor',
      expect.stringMatching(/^─+( {2}─+){7}$/),
      'user    keyset      1,200         1,000     24        2  no_next_token  last_updated_at 2026-01-01T00:00:00Z',
      'b       keyset      1,200         1,000     24        2                 last_updated_at 2026-01-01T00:00:00Z',
      'total: 2,400 records, 2,000 rows inserted or updated, 0 deleted, 0 rejected',
      'note (user): Page tokens were followed.',
    ]);
  });

  it('counts what was rejected and waited for where there is any, and says what an unproven end means', () => {
    const warnings = [{ code: 'end_unproven', message: 'The pass may not have read everything: why.' }];
    expect(summary([{ ...RESULT, rejected: 3, waited: 130, warnings }]).split('\n')).toEqual([
      'stream  strategy  records  rows written  rejected  waited  pages  batches  ended by                 cursor',
      expect.stringMatching(/^─/),
      'user    keyset      1,200         1,000         3      2m     24        2  no_next_token, unproven  last_updated_at 2026-01-01T00:00:00Z',
      '! unproven end (user): nothing shows that the list is complete. The pass may not have read everything: why. More: docs/paging.md#when-a-pass-ends',
    ]);
  });

  it('shows deleted rows beside written ones where there are any', () => {
    expect(
      summary([
        { ...RESULT, deleted: 1234 },
        { ...RESULT, stream: 'b' },
      ])
        .split('\n')
        .slice(0, 4),
    ).toEqual([
      'stream  strategy  records  rows written  deleted  pages  batches  ended by       cursor',
      expect.stringMatching(/^─+( {2}─+){8}$/),
      'user    keyset      1,200         1,000    1,234     24        2  no_next_token  last_updated_at 2026-01-01T00:00:00Z',
      'b       keyset      1,200         1,000        0     24        2  no_next_token  last_updated_at 2026-01-01T00:00:00Z',
    ]);
  });

  it('shows a cursor without what is empty', () => {
    expect(cursorText({ offset: 0, scroll_param: null, checkpoint: 'c' })).toBe('offset 0');
    expect(cursorText({ current_id: '9007199254740993', a: 1 })).toBe('current_id 9007199254740993, a 1');
    expect(cursorText({ after: { id: 7 } })).toBe('after {"id":7}');
    expect(cursorText({})).toBe('(none)');
  });
});

describe('the address of a run in the Web UI', () => {
  it('is made of address, namespace, workflow and run', () => {
    expect(webUiLink('http://127.0.0.1:8233', 'default', 'a/b c?', 'r1')).toBe(
      'http://127.0.0.1:8233/namespaces/default/workflows/a%2Fb%20c%3F/r1/history',
    );
  });

  it('is not made up where the Web UI is not known', () => {
    expect(webUiLink(null, 'default', 'w', 'r')).toBeNull();
  });
});

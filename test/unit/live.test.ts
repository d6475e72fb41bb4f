import { describe, expect, it } from 'vitest';
import { clockText, frame, Pace, plainLine, type LiveStream } from '../../src/cli/live.js';
import { usesColour, width } from '../../src/cli/terminal.js';
import { extentOf } from '../../src/strategies/index.js';

const plain = (_: unknown, text: string) => text;
const STREAM: LiveStream = {
  stream: 'users',
  state: 'reading',
  standing: null,
  read: 2100,
  total: 5000,
  rate: 310,
};
const waiting = {
  level: 'waiting',
  word: 'waiting',
  what: 'in 38s · 429 Too Many Requests',
} as const;
const STREAMS: LiveStream[] = [
  STREAM,
  { ...STREAM, stream: 'a very long name of a stream indeed', total: null },
  { ...STREAM, stream: 'orders', standing: waiting },
  { ...STREAM, stream: 'done', state: 'done', read: 1 },
  { ...STREAM, stream: 'left', state: 'queued' },
  {
    ...STREAM,
    stream: '日本語',
    state: 'failed',
    standing: { level: 'stuck', word: 'failed', what: '401\u001b[2J' },
  },
];

describe('live progress on a terminal', () => {
  it('has a bar, percentage, rate and the time that is left where a total is known, and the waits', () => {
    expect(frame(STREAMS, { columns: 80, rows: 24 }, plain)).toEqual([
      '› users                     ███░░░░░  42%  2,100/5,000 records  310/s  10s left',
      '› a very long name of a s…  2,100 records  310/s',
      '… orders                    waiting: in 38s · 429 Too Many Requests',
      '✓ done                      done, 1 record',
      '  left                      queued',
      '✗ 日本語                    failed: 401\ufffd[2J',
    ]);
    expect(frame([STREAM], { columns: 80, rows: 24 }, plain)).toEqual([
      '› users  ████████░░░░░░░░░░░░  42%  2,100/5,000 records  310/s  10s left',
    ]);
  });

  it.each([40, 80, 120])('is no wider than %i columns', (columns) => {
    const lines = frame(STREAMS, { columns, rows: 24 }, plain);
    expect(Math.max(...lines.map(width))).toBeLessThan(columns);
    expect(lines[0]).toContain('42%');
  });

  it('is no higher than the terminal: what runs comes first, the rest is counted', () => {
    const many = Array.from({ length: 120 }, (_, i): LiveStream => ({
      ...STREAM,
      stream: `s${i}`,
      state: i < 118 ? 'queued' : 'reading',
    }));
    const lines = frame(many, { columns: 80, rows: 10 }, plain);
    expect(lines).toHaveLength(8);
    expect(lines[0]).toContain('s118');
    expect(lines.at(-1)).toBe('… and 113 more streams: 113 queued');
  });

  it('makes no share of a count that is too small', () => {
    expect(plainLine({ ...STREAM, total: 10 })).toBe('users: 2,100 records, 310/s');
  });
});

describe('live progress in a log', () => {
  it.each([
    [STREAM, 'users: 42%, 2,100/5,000 records, 310/s, 10s left'],
    [{ ...STREAM, standing: waiting }, 'users: waiting: in 38s · 429 Too Many Requests'],
    [{ ...STREAM, state: 'done', read: 0 }, 'users: done'],
    [{ ...STREAM, state: 'queued' }, ''],
    [{ ...STREAM, read: 0, standing: { level: 'well', word: 'opening', what: '' } }, ''],
  ] as [LiveStream, string][])('%#', (stream, line) => expect(plainLine(stream)).toBe(line));
});

describe('the pace of a stream', () => {
  it('is taken over the last seconds, and never goes back', () => {
    const pace = new Pace();
    expect(pace.rate()).toBeNull();
    for (const [at, read] of [
      [0, 0],
      [1000, 500],
      [2000, 400],
      [20_000, 1000],
      [21_000, 1600],
    ] as const)
      pace.record(read, at);
    expect([pace.read, pace.rate()]).toEqual([1600, 600]);
  });

  it.each([
    [45, '45s'],
    [185, '3m 05s'],
    [7800, '2h 10m'],
  ])('%i seconds are %s', (seconds, text) => expect(clockText(seconds)).toBe(text));
});

describe('colours', () => {
  it.each([
    [{}, true, true],
    [{}, false, false],
    [{ NO_COLOR: '1' }, true, false],
    [{ NO_COLOR: '' }, true, true],
    [{ TERM: 'dumb' }, true, false],
    [{ FORCE_COLOR: '1' }, false, true],
    [{ FORCE_COLOR: '0' }, true, false],
    [{ FORCE_COLOR: '1', NO_COLOR: '1' }, false, true],
  ])('%j on a terminal %s: %s', (env, isTerminal, is) => expect(usesColour(env, isTerminal)).toBe(is));
});

describe('how far a pass is', () => {
  const cursor = (evidence: object | null) => ({
    ...{ pass: 1, mark: null, ended: null, notes: [] },
    position: evidence === null ? null : { evidence: evidence as never },
  });
  it.each([
    [null, null, null],
    [{ read: 20, pages: 2 }, 20, null],
    [{ read: 20, pages: 2, total: 50 }, 20, 50],
    [{ read: 20, pages: 2, totalPages: 5 }, 20, 50],
    [{ read: 20, pages: 2, total: 5, miscounted: true }, 20, null],
  ])('by %j', (evidence, read, total) => expect(extentOf(cursor(evidence))).toEqual({ read, total }));
});

import { describe, expect, it } from 'vitest';
import { planFromFlat } from '../../src/config/index.js';
import { cursorFromOwnState, cursorFromState } from '../../src/config/state.js';
import { ConfigurationError } from '../../src/errors.js';
import type { Incremental, Json } from '../../src/protocol.js';
import { createStrategy } from '../../src/strategies/index.js';

const NOW = '2026-06-01T00:00:00Z';
const optionsOf = (configuration: { [key: string]: Json }) => planFromFlat(configuration).options;

/** What the pass after the import asks first. */
function asked(state: unknown, configuration: { [key: string]: Json }) {
  const options = optionsOf(configuration);
  const strategy = createStrategy(options);
  const cursor = cursorFromState(state, options, NOW);
  // As it comes out of the destination.
  return strategy.request(strategy.begin(JSON.parse(JSON.stringify(cursor)) as typeof cursor, NOW));
}

function refused(state: unknown, configuration: { [key: string]: Json }): Record<string, string> {
  try {
    cursorFromState(state, optionsOf(configuration), NOW);
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError)) throw thrown;
    return Object.fromEntries(thrown.problems.map(({ path, message }) => [path, message]));
  }
  throw new Error('was not refused');
}

describe('the first request after the import of a state', () => {
  const at = '2026-01-31T12:00:00Z';
  it.each([
    ['keyset', { last_updated_at: at }, {}, { updated_since: '2026-01-31T11:59:59Z' }],
    ['keyset', { last_updated_at: at, scroll_param: null }, {}, { updated_since: '2026-01-31T11:59:59Z' }],
    ['keyset', { last_updated_at: at, scroll_param: 'abc' }, {}, { scroll_param: 'abc' }],
    ['offset', { offset: 150 }, {}, { offset: '150', limit: '100' }],
    ['offset', { offset: '150' }, { full_rescan: '24h' }, { offset: '150', limit: '100' }],
    ['timestamp', { last_timestamp: at }, {}, { since: '2026-01-31T11:59:59Z' }],
    [
      'timestamp',
      { last_timestamp: '2026-01-31T12:00:00.123+02:00' },
      {},
      { since: '2026-01-31T11:59:59.123+02:00' },
    ],
    ['replay', { last_timestamp: at }, { buffer_hours: 2 }, { since: '2026-01-31T10:00:00Z' }],
    ['replay', { last_timestamp: at }, { buffer_hours: 0 }, { since: '2026-01-31T11:59:59Z' }],
    ['step_size', { current_id: 2001 }, { id_lookback: 0 }, { start_id: '2001', end_id: '3000' }],
    // The last range may not have been full when it was read: as after any pass of ours, it is read again.
    ['step_size', { current_id: 2001 }, {}, { start_id: '1001', end_id: '2000' }],
    [
      'step_size',
      { current_id: '9007199254740995' },
      { id_lookback: 0, max_id: '9999999999999999' },
      { start_id: '9007199254740995', end_id: '9007199254741994' },
    ],
  ])('of %s %j, configured %j, goes on from there', (strategy, state, more, params) => {
    expect(asked(state, { strategy, ...more })).toEqual({ params });
  });
});

describe('a state of a cursor field that is written otherwise', () => {
  const incremental = { start: null, lookbackSeconds: 0 };
  it.each([
    ['epoch_s', 1767225600, '1767225600', '1767225599'],
    ['epoch_ms', '1767225600000', '1767225600000', '1767225599000'],
    ['integer', '9007199254740993', '9007199254740993', '9007199254740992'],
    ['string', 'b7', 'b7', 'b7'],
  ] as const)('is read as %s', (format, value, mark, below) => {
    const options = { strategy: 'keyset', ties: 'auto', incremental: { ...incremental, format } } as const;
    const cursor = cursorFromState({ last_updated_at: value }, options, NOW);
    expect(cursor.mark).toMatchObject({ last_updated_at: mark, below });
  });

  it('is refused where it is not', () => {
    const options = {
      strategy: 'keyset',
      ties: 'auto',
      incremental: { ...incremental, format: 'epoch_s' },
    } as const;
    for (const value of ['2026-01-31T12:00:00Z', 'soon', null]) {
      expect(() => cursorFromState({ last_updated_at: value }, options, NOW)).toThrow(
        /last_updated_at: must be a number of seconds since 1970, not /,
      );
    }
  });
});

describe('a state that cannot be used', () => {
  it.each([
    ['keyset', {}, 'last_updated_at', 'is missing from the state of keyset'],
    [
      'keyset',
      { last_updated_at: 5 },
      'last_updated_at',
      'must be a timestamp such as "2026-01-31T12:00:00Z", not 5',
    ],
    ['keyset', { last_updated_at: 'monday' }, 'last_updated_at', 'not "monday"'],
    ['keyset', { last_updated_at: '0001-01-01T00:00:00Z' }, 'last_updated_at', 'nothing has been read yet'],
    ['keyset', { last_updated_at: '2026-01-01T00:00:00Z', scroll_param: 7 }, 'scroll_param', 'not 7'],
    [
      'keyset',
      { offset: 5 },
      'offset',
      "belongs to the state of offset, but this stream's strategy is keyset",
    ],
    ['keyset', { last_update_at: 'x' }, 'last_update_at', 'did you mean "last_updated_at"?'],
    ['offset', { offset: -1 }, 'offset', 'must be a whole number of at least 0, not -1'],
    ['offset', { offset: 1.5 }, 'offset', 'not 1.5'],
    ['offset', { offset: '9'.repeat(20) }, 'offset', 'is larger than any list can be'],
    ['offset', { last_timestamp: 'x' }, 'last_timestamp', 'belongs to the state of timestamp and replay'],
    ['timestamp', { last_timestamp: null }, 'last_timestamp', 'not null'],
    ['step_size', { current_id: 2 ** 60 }, 'current_id', 'beyond 2^53'],
    ['step_size', { current_id: 'x' }, 'current_id', 'not "x"'],
    ['step_size', [], '', 'must be an object of keys and values, not a list'],
    ['step_size', null, '', 'must be an object of keys and values, not nothing'],
  ])('for %s: %j is refused at %s: %s', (strategy, state, path, words) => {
    expect(refused(state, { strategy })[path]).toContain(words);
  });

  it('for a strategy that the reference connector does not have is refused', () => {
    const options = {
      strategy: 'page_number',
      firstPage: 1,
      pageSize: null,
      shortPageEnds: false,
      incremental: null,
    } as const;
    expect(() => cursorFromState({ offset: 1 }, options, NOW)).toThrow(
      /cannot be imported for the strategy page_number/,
    );
  });

  it('of ours is one of these strategies too, where it asks for changes', () => {
    const options = (incremental: Incremental | null) =>
      ({ strategy: 'page_number', firstPage: 1, pageSize: null, shortPageEnds: false, incremental }) as const;
    const changes = options({ start: null, lookbackSeconds: 0 });
    const strategy = createStrategy(changes);
    const cursor = cursorFromOwnState({ newest: '2026-01-02T00:00:00Z' }, changes, NOW, 'the state');
    expect(strategy.state(cursor)).toMatchObject({ page: 1, newest: '2026-01-02T00:00:00Z' });
    expect(strategy.request(strategy.begin(cursor, NOW))).toEqual({
      params: { page: '1', updated_since: '2026-01-02T00:00:00Z' },
    });
    const said = (state: { [name: string]: Json }, of: ReturnType<typeof options>) => () =>
      cursorFromOwnState(state, of, NOW, 'the state');
    expect(said({ newest: '2026-01-02T00:00:00Z' }, options(null))).toThrow(
      /each pass of this page_number stream reads everything/,
    );
    expect(said({ page: 3 }, changes)).toThrow(/page: is not part of the state of page_number; set "newest"/);
    expect(said({ newest: 'x' }, changes)).toThrow(/newest: must be a timestamp/);
  });
});

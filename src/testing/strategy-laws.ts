/** The laws of strategies, as properties over random sources. */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Cursor, PageRequest, PageSummary } from '../protocol.js';
import {
  ContradictionError,
  type CustomStrategy,
  DoubtError,
  UnfollowableError,
} from '../strategies/index.js';

/** A record of a source, as strategies see it. */
export interface SourceRecord {
  /** Its primary key. */
  key: string;
  /** Its cursor field; absent or null if it has none. */
  value?: string | null;
}

/** An answer of a source. What is left out, the source does not say. */
export interface SourceAnswer extends Partial<
  Pick<PageSummary, 'nextToken' | 'total' | 'more' | 'totalPages' | 'pastEnd'>
> {
  records: readonly SourceRecord[];
}

/** A strategy, and the sources that it reads. */
export interface StrategyLaws<Source> {
  /** Random sources: small ones suffice, among them such without records and with odd sizes. */
  sources: fc.Arbitrary<Source>;
  /** Makes the strategy, with the options for a source. Called often: each strategy is a fresh one. */
  strategy: (source: Source) => CustomStrategy;
  /** Answers a request as the source would; the same request has the same answer. */
  answer: (source: Source, params: PageRequest['params']) => SourceAnswer;
  /** Returns the keys of all records that a pass must read. */
  keys: (source: Source) => Iterable<string>;
}

const NOW = '2026-01-01T00:00:00.000Z';
/** More requests than a pass over a small source needs, whatever it is answered. */
const REQUEST_LIMIT = 20_000;

/**
 * Describes the laws of a strategy as tests: a pass reads every record, asks for nothing twice, can be stopped and resumed
 * after any page, keeps its mark until it ends, ends whatever it is answered, and is pure.
 *
 * It cannot know how *your* source stumbles. Whether a strategy notices a short page or a lost token depends on what the
 * source says besides, such as a total: test that yourself.
 * @param name the name of the strategy, for the tests.
 */
export function strategyLaws<Source>(name: string, laws: StrategyLaws<Source>): void {
  describe(`the strategy ${name}`, () => {
    for (const [claim, holds] of Object.entries(claimsOf(laws))) it(claim, holds);
  });
}

/** Returns the laws of a strategy by what they claim; each throws where it does not hold. @internal */
export function claimsOf<Source>(laws: StrategyLaws<Source>): { [claim: string]: () => void } {
  const { sources, strategy, answer, keys } = laws;
  const holds = (law: (source: Source) => void) => fc.assert(fc.property(sources, law));
  const passOver = (source: Source, from: Cursor | null = null) =>
    readPass(
      () => strategy(source),
      (params) => answer(source, params),
      from,
    );

  return {
    'reads every record of a source that does not change': () => {
      holds((source) => {
        expect([...new Set(passOver(source).keys)].sort()).toEqual([...new Set(keys(source))].sort());
      });
    },

    'reads them again in its next pass, or has a mark that says why not': () => {
      holds((source) => {
        const first = passOver(source);
        const second = passOver(source, first.cursor);
        expect(second.cursor.pass).toBe(first.cursor.pass + 1);
        expect(second.cursor.ended).not.toBeNull();
        if (isDeepStrictEqual(first.cursor.mark, null)) expect(second.keys.sort()).toEqual(first.keys.sort());
      });
    },

    'asks for nothing twice within a pass': () => {
      holds((source) => {
        const { requests } = passOver(source);
        expect(requests.filter((request, i) => requests.indexOf(request) !== i)).toEqual([]);
      });
    },

    'reads the same when it is stopped after any page, and resumed from the JSON of its cursor': () => {
      holds((source) => {
        const whole = passOver(source);
        for (const [i, cursor] of whole.cursors.entries()) {
          if (cursor.ended !== null) continue;
          const rest = passOver(source, JSON.parse(JSON.stringify(cursor)) as Cursor);
          expect([...whole.keys.slice(0, whole.counts[i]), ...rest.keys]).toEqual(whole.keys);
          expect(rest.cursor).toEqual(whole.cursor);
        }
      });
    },

    'moves its mark only when a pass ends, and has a position until then': () => {
      holds((source) => {
        const first = passOver(source);
        for (const { cursors } of [first, passOver(source, first.cursor)]) {
          const [begun] = cursors;
          for (const cursor of cursors) {
            expect(cursor.position === null).toBe(cursor.ended !== null);
            if (cursor.ended === null) expect(cursor.mark).toEqual(begun?.mark);
          }
        }
      });
    },

    'ends, or fails, over a source that answers every request with the same': () => {
      holds((source) => {
        const begun = strategy(source).begin(null, NOW);
        const request = strategy(source).request(begun);
        if ('end' in request) return;
        const same = answer(source, request.params);
        const tokens = ['a', 'b', 'c'];
        let asked = 0;
        endsOrFails(
          () => strategy(source),
          () => same,
        );
        endsOrFails(
          () => strategy(source),
          () => ({ ...same, nextToken: tokens[asked++ % 3] ?? null, more: true }),
        );
      });
    },

    'is pure: it changes nothing that it is given, and says the same of the same': () => {
      holds((source) => {
        const made = strategy(source);
        const other = strategy(source);
        for (let cursor = frozen(made.begin(null, NOW)), i = 0; cursor.ended === null && i < 50; i++) {
          const request = frozen(made.request(cursor));
          for (const again of [made, other]) expect(again.request(cursor)).toEqual(request);
          if ('end' in request) return;
          const page = frozen(summaryOf(answer(source, request.params), made));
          const next = advanced(made, cursor, page);
          for (const again of [made, other]) expect(advanced(again, cursor, page)).toEqual(next);
          expect(JSON.parse(JSON.stringify(next))).toEqual(next);
          expect(JSON.parse(JSON.stringify(made.state(next)))).toEqual(made.state(next));
          cursor = frozen(next);
        }
      });
    },
  };
}

/** What a pass has read. */
interface Pass {
  keys: string[];
  requests: string[];
  /** The cursor before each request, and the last one. */
  cursors: Cursor[];
  /** How many keys were read by each of these. */
  counts: number[];
  cursor: Cursor;
}

type Answering = (params: PageRequest['params']) => SourceAnswer;

/** Reads a pass to its end, with a fresh strategy for each page. */
function readPass(create: () => CustomStrategy, answer: Answering, from: Cursor | null): Pass {
  let cursor = create().begin(from, NOW);
  const pass: Pass = { keys: [], requests: [], cursors: [cursor], counts: [0], cursor };
  while (cursor.ended === null) {
    if (pass.requests.length >= REQUEST_LIMIT)
      throw new Error(
        `the pass has not ended after ${REQUEST_LIMIT} requests; the last one was ${pass.requests.at(-1) ?? ''}`,
      );
    const strategy = create();
    const request = strategy.request(cursor);
    if ('end' in request) throw new Error(`it says { end: '${request.end}' } of a cursor that has not ended`);
    pass.requests.push(JSON.stringify(Object.entries(request.params).sort()));
    const answered = answer(request.params);
    cursor = advanced(strategy, cursor, summaryOf(answered, strategy));
    pass.keys.push(...answered.records.map(({ key }) => key));
    pass.cursors.push(cursor);
    pass.counts.push(pass.keys.length);
  }
  return { ...pass, cursor };
}

/** The answer to a page that is doubted is the same when it is asked for again. */
function advanced(strategy: CustomStrategy, cursor: Cursor, page: PageSummary): Cursor {
  for (let asked = 1; ; asked++) {
    try {
      return strategy.advance(cursor, asked === 1 ? page : { ...page, asked });
    } catch (thrown) {
      if (!(thrown instanceof DoubtError) || asked >= ASKED_LIMIT) throw thrown;
    }
  }
}

/** A strategy must have made up its mind by then. */
const ASKED_LIMIT = 20;

function endsOrFails(create: () => CustomStrategy, answer: Answering): void {
  try {
    readPass(create, answer, null);
  } catch (thrown) {
    if (!(thrown instanceof UnfollowableError) && !(thrown instanceof ContradictionError)) throw thrown;
  }
}

/** An answer as the worker tells a strategy of it. */
function summaryOf(answer: SourceAnswer, { remembers }: CustomStrategy): PageSummary {
  const { records, nextToken = null, total = null, more = null, ...rest } = answer;
  const keys = records.map(({ key }) => key);
  const ends = keys.length > 2 ? [keys[0] ?? '', keys.at(-1) ?? ''] : keys;
  return {
    ...rest,
    ...{ nextToken, total, more, records: records.length },
    keys: remembers.keys === 'all' ? keys : remembers.keys === 'ends' ? ends : [],
    values: remembers.values === 'all' ? records.map(({ value }) => value ?? null) : [],
    ...(nextToken === null && { noToken: 'absent' as const }),
  };
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) frozen(inner);
    Object.freeze(value);
  }
  return value;
}

/** The laws of a strategy that is run for each parent, over random parents, sources and interruptions. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { advanceTwiceAsked } from '../helpers/model-source.js';
import { ParentWalk } from '../../src/activities/parent-walk.js';
import type { Destination } from '../../src/destinations/destination.js';
import type { Json, PageRequest, PageSummary, StrategyOptions } from '../../src/protocol.js';
import {
  createPerParent,
  createStrategy,
  type Parent,
  type PerParentCursor,
} from '../../src/strategies/index.js';

const PAGE = 3;
type Records = { key: string; at: string }[];
type Source = Map<string, Records>;

const time = (minute: number) => new Date(Date.UTC(2026, 0, 1) + minute * 60_000).toISOString();
const source = fc
  .array(fc.array(fc.nat(20), { maxLength: 8 }), { maxLength: 6 })
  .map(
    (lists): Source =>
      new Map(
        lists.map((minutes, p) => [`p${p}`, minutes.map((m, i) => ({ key: `${p}-${i}`, at: time(m) }))]),
      ),
  );

const options = (incremental: boolean): StrategyOptions => ({
  strategy: 'page_number',
  firstPage: 1,
  pageSize: PAGE,
  shortPageEnds: false,
  incremental: incremental ? { start: null, lookbackSeconds: 0 } : null,
});

/** What the destination keeps, besides rows. */
interface Kept {
  cursor: PerParentCursor | null;
  marks: Map<string, Json>;
}

function readPass(
  of: Source,
  kept: Kept,
  incremental: boolean,
  skip: ReadonlySet<string>,
  stopAfter = Infinity,
) {
  const strategy = createPerParent(createStrategy(options(incremental)));
  const parents: Parent[] = [...of.keys()].sort().map((id) => ({ key: [id], fields: { id } }));
  const read: string[] = [];
  const asked: string[] = [];
  let cursor = strategy.begin(kept.cursor, time(0));
  for (let pages = 0; ; pages++) {
    while (cursor.ended === null && cursor.position?.parent === null) {
      const { after } = cursor.position;
      const next = parents.find(({ key: [id = ''] }) => after === null || id > (after[0] ?? '')) ?? null;
      cursor = strategy.enter(cursor, next, kept.marks.get(next?.key[0] ?? '') ?? null, time(0));
    }
    const request = strategy.request(cursor);
    kept.cursor = JSON.parse(JSON.stringify(cursor)) as PerParentCursor;
    if ('end' in request || pages === stopAfter) return { read, asked, ended: cursor.ended };
    asked.push(JSON.stringify(request));
    const page = answer(of, request, skip);
    read.push(...page.keys);
    const at = JSON.parse(JSON.stringify(cursor)) as PerParentCursor;
    cursor = advanceTwiceAsked(strategy, at, page).cursor;
    const { finished } = cursor.position ?? {};
    if (finished != null) kept.marks.set(finished.parent[0] ?? '', finished.mark);
  }
}

function answer(of: Source, { params, parent }: PageRequest, skip: ReadonlySet<string>): PageSummary {
  const id = String(parent?.['id']);
  const nothing = { keys: [], values: [], records: 0, nextToken: null, total: null, more: null };
  if (skip.has(id)) return { ...nothing, skipped: true };
  const all = (of.get(id) ?? []).filter(({ at }) => at >= (params['updated_since'] ?? ''));
  const page = all.slice((Number(params['page']) - 1) * PAGE, Number(params['page']) * PAGE);
  return {
    ...nothing,
    keys: page.map(({ key }) => key),
    values: page.map(({ at }) => at),
    records: page.length,
  };
}

const keys = (of: Source) => [...of.values()].flat().map(({ key }) => key);

describe('a strategy for each parent', () => {
  it('reads every record of every parent, asks nothing twice, and ends', () => {
    fc.assert(
      fc.property(source, fc.boolean(), (of, incremental) => {
        const pass = readPass(of, { cursor: null, marks: new Map() }, incremental, new Set());
        expect(pass.read.sort()).toEqual(keys(of).sort());
        expect(new Set(pass.asked).size).toBe(pass.asked.length);
        expect(pass.ended).toBe('all_parents');
      }),
    );
  });

  it('reads the same when it is stopped after any page and goes on from what is kept', () => {
    fc.assert(
      fc.property(
        source,
        fc.boolean(),
        fc.array(fc.nat(5), { minLength: 1, maxLength: 5 }),
        (of, incremental, stops) => {
          const kept: Kept = { cursor: null, marks: new Map() };
          const read: string[] = [];
          for (const stop of stops) {
            if (kept.cursor?.ended != null) break;
            read.push(...readPass(of, kept, incremental, new Set(), stop).read);
          }
          if (kept.cursor?.ended == null) read.push(...readPass(of, kept, incremental, new Set()).read);
          expect(read.sort()).toEqual(keys(of).sort());
        },
      ),
    );
  });

  it('asks of each parent what is newer than its own mark, and leaves the mark of one that was skipped', () => {
    fc.assert(
      fc.property(source, source, fc.nat(5), (before, more, skipped) => {
        const kept: Kept = { cursor: null, marks: new Map() };
        const skip = new Set([`p${skipped}`]);
        readPass(before, kept, true, skip);
        expect(kept.marks.has(`p${skipped}`)).toBe(false);
        const marks = new Map(kept.marks);
        const after: Source = new Map(
          [...before].map(([id, records]) => [
            id,
            [...records, ...(more.get(id) ?? []).map(({ key, at }) => ({ key: `new-${key}`, at }))],
          ]),
        );
        const { read } = readPass(after, kept, true, new Set());
        for (const [id, records] of after) {
          const newest = (marks.get(id) as { newest: string | null } | undefined)?.newest ?? '';
          const wanted = records.filter(({ at }) => at >= newest).map(({ key }) => key);
          expect(read.filter((key) => key.replace('new-', '').startsWith(`${id.slice(1)}-`)).sort()).toEqual(
            wanted.sort(),
          );
        }
      }),
    );
  });
});

describe('the walk over parents', () => {
  it('asks for the next ones ahead exactly as it asks when their turn comes, whatever the time', async () => {
    const strategy = createPerParent(
      createStrategy({
        ...{ strategy: 'cursor', pageSize: null, tokenIsLastKey: false, shortPageEnds: false },
        incremental: { start: null, lookbackSeconds: 0, sendsUntil: true },
      }),
    );
    const rows = ['a', 'b'].map((id) => ({ key: [id], fields: { id }, mark: null }));
    const destination = { parents: () => Promise.resolve(rows) } as unknown as Destination;
    const key = { schema: 's', table: 't', strategy: 'cursor', source: 'x', range: '' } as const;
    const table = { schema: 's', table: 'p', primaryKey: ['id'], columns: {} };
    const parent = { stream: 'p', table, fields: ['id'] };
    const memory = { began: new Date().toISOString(), read: null, remaining: 0 };
    const walk = new ParentWalk(strategy, destination, key, parent, memory);
    const first = (await walk.enterParent(strategy.begin(null, time(0)))) as PerParentCursor;
    const [ahead] = walk.ahead(first, 1);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const none = { keys: [], values: [], records: 0, nextToken: null, total: null, more: null };
    const second = (await walk.enterParent(strategy.advance(first, none))) as PerParentCursor;
    expect(ahead).toMatchObject({ params: { updated_until: expect.any(String) as string } });
    expect(strategy.request(second)).toEqual(ahead);
  });
});

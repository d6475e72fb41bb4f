/** The page's pure parts: how a sync is, what its plots show, and that nothing from a source becomes markup. */
import { describe, expect, test } from 'vitest';
import type { Progress } from '../../src/protocol.js';
import { standingOf } from '../../src/sync-condition.js';
import { familiesOf } from '../../src/sync-families.js';
import { outcomeIn, progressIn } from '../../src/ui/answers.js';
import { keyIn } from '../../src/ui/destination.js';
import { withoutPassword } from '../../src/ui/details.js';
import type { Overview, SyncFacts } from '../../src/ui/facts.js';
import { overviewPage, reportPage, syncPage } from '../../src/ui/html.js';
import { barPlot, lagOverTime, linePlot, rowsOverTime } from '../../src/ui/plots.js';
import { actionsFor, familyStanding, overviewView, todoText } from '../../src/ui/view.js';

const NOW = Date.parse('2026-01-01T12:00:00.000Z');
const MARKUP = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`;
const ago = (seconds: number) => new Date(NOW - seconds * 1000).toISOString();
const counts = { pages: 2, records: 20, rows: 10, batches: 1, rejected: 0, deleted: 0 };

const progressOf = (more: Partial<Progress> = {}): Progress => ({
  ...{ status: 'sleeping', stream: 'users', strategy: 'keyset', destination: '/data/a.duckdb', pass: 2 },
  ...counts,
  ...{ staged: 0, endRule: 'no_next_token', waiting: null, trouble: null, recordsPerSecond: null },
  completeAsOf: ago(60),
  recent: [
    { ended: ago(50), endRule: 'no_next_token', seconds: 10, pages: 2, records: 20, rows: 10, deleted: 0 },
    { ended: ago(950), endRule: 'no_next_token', seconds: 5, pages: 2, records: 20, rows: 4, deleted: 0 },
  ],
  ...{ settings: {}, streams: [], warnings: [], totals: { ...counts, passes: 2 } },
  ...more,
});

const syncOf = (more: Partial<SyncFacts> = {}): SyncFacts => ({
  ...{
    id: 'users',
    runId: 'r1',
    execution: 'RUNNING',
    started: ago(3600),
    ended: null,
    taskQueue: 'highwater',
  },
  ...{ status: null, stream: 'users', strategy: 'keyset', rows: null, lagSeconds: null, lastPassEnd: null },
  ...{
    parent: null,
    range: null,
    schedule: null,
    nextRun: null,
    progress: progressOf(),
    state: null,
    retry: null,
    isPolled: true,
    listedStatus: null,
    quietSince: null,
    silence: null,
    outcome: null,
  },
  ...more,
});

const overviewOf = (families: Overview['families']): Overview => ({
  families,
  ...{ asOf: null, problem: null, address: null, namespace: null, webUi: null, isCut: false },
});

const trouble = {
  type: 'SourceError',
  message: 'no\nrequest: GET /x\nset page_size to 50',
  since: ago(120),
  failures: 3,
  nextTry: ago(-30),
};

describe('how a sync is', () => {
  test('says when it retries, and what to change', () => {
    const failing = standingOf(syncOf({ progress: progressOf({ status: 'failing', trouble }) }), NOW);
    expect(todoText(failing)).toBe(
      'Set page_size to 50. It retries in 30s; "highwater trigger users" retries now',
    );
  });

  const streams = [
    { stream: 'orders', status: 'running' },
    { stream: 'items', status: 'failed' },
    { stream: 'users', status: 'queued' },
  ] as const;
  const shop = syncOf({ id: 'shop', progress: progressOf({ status: 'running', streams: [...streams] }) });
  const audit = syncOf({
    ...{ id: 'shop/audit-1f', progress: null, isPolled: false },
    range: { kind: 'audit', sync: 'shop/orders' },
  });

  test('of several streams is as the worst of them, and ranges do not count', () => {
    const progress = progressOf({ status: 'blocked', trouble });
    const child = syncOf({ id: 'shop/orders', parent: 'shop', stream: 'orders', progress });
    const [family] = familiesOf([child, shop, audit]);
    if (family === undefined) throw new Error('no family');
    expect(family.children.map(({ id }) => id)).toEqual(['shop/audit-1f', 'shop/orders']);
    expect(familyStanding(family, NOW)).toMatchObject({ level: 'stuck', word: 'blocked' });
    expect(familyStanding(family, NOW).what).toMatch(/^2 of 3 streams: orders, and 1 more/);
    expect(familyStanding({ ...family, children: [audit] }, NOW).what).not.toContain('audit');
  });

  test('is one of its own where only the id looks like a stream or a range of another', () => {
    const ids = ['team', 'team/users', 'team/audit-log'];
    expect(familiesOf(ids.map((id) => syncOf({ id }))).map(({ sync }) => sync.id)).toEqual(ids);
  });

  test('of several streams is failed where one has failed, although the others run on', async () => {
    const outcome = { status: 'failed', error: '401 Unauthorized', rows: null, records: null };
    const failed = syncOf({
      ...{ id: 'shop/items', parent: 'shop', stream: 'items', execution: 'FAILED', progress: null },
      ...{ ended: ago(5), outcome },
    });
    const [family] = familiesOf([shop, syncOf({ id: 'shop/orders', parent: 'shop' }), failed]);
    if (family === undefined) throw new Error('no family');
    expect(familyStanding(family, NOW)).toMatchObject({
      ...{ level: 'stuck', word: 'failed', what: '1 of 3 streams: items · 5s ago · 401 Unauthorized' },
    });
    const page = String(await overviewPage(overviewOf([family]), { level: null, text: '' }, NOW));
    expect(page).toContain('1 needs attention');
  });

  test('decides which actions are offered', () => {
    expect(actionsFor(syncOf())).toEqual(['trigger', 'pause']);
    const deletes = {
      table: 'main.t',
      how: 'removed',
      deletes: 60,
      rows: 100,
      allowed: 50,
      pass: 2,
    } as const;
    expect(
      actionsFor(syncOf({ progress: progressOf({ status: 'blocked', trouble: { ...trouble, deletes } }) })),
    ).toEqual(['approve', 'reject', 'resume']);
    expect(actionsFor(syncOf({ execution: 'COMPLETED' }))).toEqual([]);
  });
});

describe('the plots', () => {
  test('add up all rows, each in its bucket', () => {
    const commits = [100, 40, 39, 0].map((seconds, i) => ({
      at: NOW - seconds * 1000,
      rows: i + 1,
      records: 9,
      deleted: 0,
    }));
    const buckets = rowsOverTime(commits, NOW);
    expect(buckets.length).toBeLessThanOrEqual(60);
    expect(buckets.reduce((sum, { value }) => sum + value, 0)).toBe(10);
    expect(buckets[0]?.value).toBe(1);
    expect(barPlot(buckets)).toContain('10 rows written');
    expect(barPlot([])).toBeNull();
  });

  test('show the lag grow until a pass ends, and fall to what the pass took', () => {
    const values = lagOverTime(progressOf().recent, NOW).map(({ value }) => value);
    expect(values).toEqual([5, 905, 10, 60]);
    expect(linePlot(lagOverTime(progressOf().recent, NOW))).toContain('<polyline');
    expect(linePlot([])).toBeNull();
  });
});

describe('what comes from elsewhere', () => {
  const evil = syncOf({
    id: MARKUP,
    stream: MARKUP,
    taskQueue: MARKUP,
    state: { [MARKUP]: MARKUP },
    progress: progressOf({
      ...{ status: 'failing', destination: MARKUP, trouble: { ...trouble, message: `${MARKUP}\n${MARKUP}` } },
      warnings: [{ code: 'rejected', message: MARKUP }],
    }),
  });
  const overview: Overview = {
    families: familiesOf([evil, { ...evil, id: `${MARKUP}/child`, parent: MARKUP }]),
    ...{ asOf: ago(0), problem: MARKUP, address: MARKUP, namespace: MARKUP, webUi: null, isCut: false },
  };
  const details = {
    ...{
      family: { sync: evil, children: [evil] },
      parent: MARKUP,
      webUi: `http://x/${MARKUP}`,
      problem: MARKUP,
      asOf: ago(0),
    },
    streams: [
      {
        sync: evil,
        events: { value: [{ time: ago(1), level: 'error' as const, text: MARKUP }] },
        destination: {
          value: {
            ...{ name: MARKUP, table: MARKUP, commits: { value: [] } },
            rejects: { value: { total: 1, latest: [{ at: NOW, key: MARKUP, reason: MARKUP }] } },
            changes: { value: [{ at: NOW, column: MARKUP, from: MARKUP, to: MARKUP }] },
          },
        },
      },
    ],
  };

  test('is text on every page, never markup', async () => {
    const said = { text: MARKUP, isProblem: true };
    const pages = await Promise.all([
      overviewPage(overview, { level: null, text: MARKUP }, NOW),
      syncPage(details, { now: NOW, token: 'token', said, where: MARKUP }),
      reportPage(details, MARKUP, NOW),
    ]);
    for (const page of pages.map(String)) {
      expect(page).not.toMatch(/<img|<script>|onerror=alert\(2\)>/);
      expect(page).toContain('&lt;script&gt;');
    }
    expect(String(pages[2])).not.toMatch(/<(?:script|link|img|a|iframe|object)\b/);
  });

  test('that turns the writing round, or is a control character, is replaced', async () => {
    const turned = { ...evil, id: 'a\u202eb\u0007c' };
    const page = String(
      await overviewPage({ ...overview, families: familiesOf([turned]) }, { level: null, text: '' }, NOW),
    );
    expect(page).toContain('a\ufffdb\ufffdc</a>');
  });

  test('is an answer only in the expected form: a text in place of a number is none', () => {
    expect(progressIn(progressOf())).not.toBeNull();
    expect(progressIn({ ...progressOf(), rows: MARKUP })).toBeNull();
    expect(progressIn({ ...progressOf(), recent: [{ ...progressOf().recent[0], rows: MARKUP }] })).toBeNull();
    expect(progressIn(null)).toBeNull();
    expect(outcomeIn({ status: 'completed', streams: [{ rows: 2, records: 3 }] })).toMatchObject({ rows: 2 });
  });

  test('shows of a record its key only, and of an address no password', () => {
    expect(keyIn('{"id": 7, "secret": "s"}', ['id'])).toBe('7');
    expect(keyIn('{"a": "x", "b": 2, "c": 3}', ['a', 'b'])).toBe('x, 2');
    expect(keyIn('{"id": 9007199254740993, "id2": [1.50]}', ['id', 'id2'])).toBe('9007199254740993, [1.50]');
    expect(keyIn('{"secret": 1}', ['id'])).toBe('');
    expect(keyIn('no json', ['id'])).toBe('');
    expect(withoutPassword('postgresql://me:hunter2@host/db?sslpassword=1&password=p')).not.toMatch(
      /hunter2|=p$/,
    );
  });
});

test('the list puts those that need an operator first, and finds by words', () => {
  const all = ['a', 'b', 'c'].map((id) => syncOf({ id }));
  const asking = syncOf({ id: 'z', progress: null, isPolled: false });
  const families = familiesOf([...all, asking]);
  const overview = overviewOf(families);
  expect(overviewView(overview, { level: null, text: '' }, NOW).rows.map(({ id }) => id)).toEqual([
    'z',
    'a',
    'b',
    'c',
  ]);
  expect(overviewView(overview, { level: null, text: 'B' }, NOW).rows.map(({ id }) => id)).toEqual(['b']);
  expect(overviewView(overview, { level: 'stuck', text: '' }, NOW)).toMatchObject({
    all: 4,
    rows: [{ id: 'z' }],
  });
});

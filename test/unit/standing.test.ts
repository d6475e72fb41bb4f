import { describe, expect, it } from 'vitest';
import { lineOf, rolled, type Line } from '../../src/cli/list.js';
import { headline } from '../../src/cli/status-screen.js';
import {
  rolledUp,
  standingOf,
  standingOfSeveral,
  standingText,
  type Facts,
  type Level,
} from '../../src/sync-condition.js';
import { triggeredText } from '../../src/cli/trigger.js';
import { isThere } from '../../src/task-queue.js';
import type { Progress, Trouble } from '../../src/protocol.js';

const NOW = Date.parse('2026-01-01T12:00:00Z');
const at = (seconds: number) => new Date(NOW + seconds * 1000).toISOString();

const PROGRESS: Progress = {
  ...{ status: 'running', stream: 'user', strategy: 'offset', destination: '/x.duckdb', pass: 1 },
  ...{ pages: 20, records: 1000, rows: 900, batches: 1, rejected: 0, deleted: 0, staged: 0, endRule: null },
  ...{ waiting: null, trouble: null, recordsPerSecond: 250, completeAsOf: at(-90), recent: [], settings: {} },
  ...{ streams: [], warnings: [] },
  totals: { passes: 2, pages: 20, records: 1000, rows: 900, batches: 1, rejected: 0, deleted: 0 },
};
const TROUBLE: Trouble = {
  ...{ type: 'SourceUnavailableError', message: '503 Service Unavailable\nrequest: GET …' },
  ...{ since: at(-300), failures: 3, nextTry: at(30) },
};
const FACTS: Facts = {
  ...{ id: 'users', execution: 'RUNNING', progress: PROGRESS, retry: null, taskQueue: 'highwater' },
  ...{ isPolled: true, ended: null, outcome: null },
};
const waiting = { until: at(40), reason: '429 Too Many Requests' };
const running = (more: Partial<Progress>): Facts => ({ ...FACTS, progress: { ...PROGRESS, ...more } });
const retry = {
  activity: 'fetchPages',
  attempt: 8,
  next: at(12),
  message: '500 Internal Server Error\nrequest',
};
const lost = {
  ...{
    activity: 'fetchPages',
    attempt: 2,
    next: null,
    since: at(-25),
    message: 'activity Heartbeat timeout',
  },
  isWorkerLost: true,
};
const ended = (execution: string, error: string | null, status: string | null = null): Facts => ({
  ...FACTS,
  ...{ execution, progress: null, ended: at(-600), outcome: { status, error } },
});

describe('the standing of a sync: is it well, since when, what is to be done', () => {
  it.each<[name: string, facts: Facts, level: Level, text: string, todo: RegExp | null]>([
    [
      'reads',
      FACTS,
      'well',
      `running: pass 3: 1,000 records written, 250 records/s · up to date as of ${at(-90)} (90s ago)`,
      null,
    ],
    [
      'has ended a pass',
      running({ status: 'sleeping', waiting: { until: at(8), reason: 'next pass' } }),
      'well',
      `up to date: as of ${at(-90)} (90s ago) · next pass in 8s`,
      null,
    ],
    [
      'tries again after failures, and has written nothing since',
      running({ trouble: TROUBLE }),
      'trouble',
      `trying again: since ${at(-300)} (5m), 3 failures · 503 Service Unavailable`,
      /over once a batch is written/,
    ],
    [
      'gets no page from its source',
      { ...running({ completeAsOf: null }), quietSince: at(-45) },
      'waiting',
      'running: no page from the source for 45s · pass 3: 1,000 records written, 250 records/s',
      /fails after its timeout/,
    ],
    [
      'has got a page not long ago',
      { ...running({ completeAsOf: null }), quietSince: at(-5) },
      'well',
      'running: pass 3: 1,000 records written, 250 records/s',
      null,
    ],
    [
      'tries again, and gets no page',
      { ...running({ trouble: TROUBLE, status: 'opening' }), quietSince: at(-45) },
      'trouble',
      `trying again: since ${at(-300)} (5m), 3 failures · no page from the source for 45s · 503 Service Unavailable`,
      /trying again now/,
    ],
    [
      'is in the list, and whose worker has not been asked yet',
      { ...FACTS, progress: null, isPolled: null, listedStatus: 'sleeping' },
      'waiting',
      'sleeping: asking its worker',
      null,
    ],
    [
      'has lost its worker',
      { ...FACTS, progress: null, isPolled: true, taskQueue: 'q', retry: { ...lost, next: at(3) } },
      'trouble',
      `retrying: since ${at(-25)} (25s) · attempt 2, next in 3s · the worker has stopped answering: it has ended, or cannot reach the Temporal server`,
      /^nothing if another worker runs: .+ start one: npx highwater worker --task-queue q$/,
    ],
    [
      'has lost its worker, and has no other one',
      { ...FACTS, progress: null, isPolled: false, taskQueue: 'q', retry: { ...lost, next: at(3) } },
      'stuck',
      'no worker: running, but no worker polls the task queue "q"',
      /npx highwater worker --task-queue q$/,
    ],
    [
      'has lost its worker, and reads with another one',
      { ...running({ completeAsOf: null }), retry: lost },
      'well',
      'running: continuing after a worker was lost · pass 3: 1,000 records written, 250 records/s',
      null,
    ],
    [
      'finds no destination where it was',
      running({
        status: 'failing',
        trouble: { ...TROUBLE, type: 'DestinationGoneError', message: '/x is gone' },
      }),
      'trouble',
      `failing: since ${at(-300)} (5m), 3 failures · /x is gone`,
      /^put the destination back: it looks again in 30s, "highwater trigger users" looks now; or "highwater resume users" reads everything/,
    ],
    [
      'is refused by its source',
      running({
        status: 'blocked',
        trouble: { ...TROUBLE, type: 'SourceRefusedError', message: '401', nextTry: null },
      }),
      'stuck',
      `blocked: since ${at(-300)} (5m), 3 failures · 401`,
      /^change the configuration, then "highwater configure users FILE"; .+ "highwater resume users"/,
    ],
    [
      'was asked to wait',
      running({ status: 'waiting', waiting, completeAsOf: null }),
      'waiting',
      'waiting: continues in 40s · 429 Too Many Requests',
      /continues automatically; "highwater resume users"/,
    ],
    [
      'is paused',
      running({ status: 'paused', completeAsOf: null }),
      'waiting',
      'paused',
      /^"highwater resume users" continues$/,
    ],
    [
      'has an activity that is retried',
      { ...FACTS, retry },
      'trouble',
      'retrying: attempt 8, next in 12s · 500 Internal Server Error',
      /Temporal retries automatically/,
    ],
    [
      'has an attempt that runs',
      { ...FACTS, retry: { ...retry, next: null } },
      'trouble',
      'retrying: attempt 8 is running · 500 Internal Server Error',
      /Temporal retries automatically/,
    ],
    [
      'retries after a failed pass',
      running({ status: 'failing', trouble: TROUBLE }),
      'trouble',
      `failing: since ${at(-300)} (5m), 3 failures · 503 Service Unavailable`,
      /^it retries in 30s; "highwater trigger users"/,
    ],
    [
      'needs an operator',
      running({ status: 'blocked', trouble: { ...TROUBLE, failures: 1, nextTry: null } }),
      'stuck',
      `blocked: since ${at(-300)} (5m), 1 failure · 503 Service Unavailable`,
      /fix the cause, then "highwater resume users"/,
    ],
    [
      'needs a decision',
      running({
        status: 'blocked',
        trouble: {
          ...TROUBLE,
          deletes: { table: 't', how: 'removed', deletes: 9, rows: 10, allowed: 1, pass: 2 },
        },
      }),
      'stuck',
      `needs approval: since ${at(-300)} (5m), 3 failures · a pass would remove 9 of the 10 rows of t`,
      /"highwater approve users" removes the rows/,
    ],
    [
      'has no worker',
      { ...FACTS, progress: null, isPolled: false, taskQueue: 'q' },
      'stuck',
      'no worker: running, but no worker polls the task queue "q"',
      /npx highwater worker --task-queue q$/,
    ],
    [
      'has a worker that does not answer',
      { ...FACTS, progress: null },
      'trouble',
      'no answer: running, but no worker answers on the task queue "highwater"',
      /highwater logs users/,
    ],
    [
      'has failed',
      ended('FAILED', '401 Unauthorized\nrequest'),
      'stuck',
      'failed: 10m ago · 401 Unauthorized',
      /fix the cause, then start it again/,
    ],
    ['has completed', ended('COMPLETED', null, 'completed'), 'over', 'completed: 10m ago', null],
    [
      'was stopped',
      ended('COMPLETED', null, 'stopped'),
      'over',
      'stopped: 10m ago',
      /continue from its checkpoint/,
    ],
    [
      'has completed, and its schedule starts the next',
      { ...ended('COMPLETED', null, 'completed'), nextRun: at(300) },
      'well',
      'up to date: completed 10m ago · next sync in 5m',
      null,
    ],
    [
      'has timed out',
      ended('TIMED_OUT', 'the workflow timed out'),
      'stuck',
      'timed out: 10m ago · the workflow timed out',
      /fix the cause, then start it again/,
    ],
    [
      'has a worker of another version',
      { ...FACTS, progress: null, silence: { reason: 'another form', advice: 'use the same version' } },
      'trouble',
      'no answer: another form',
      /^use the same version$/,
    ],
    [
      'was terminated',
      ended('TERMINATED', 'the sync was terminated: x'),
      'over',
      'terminated: 10m ago · the sync was terminated: x',
      /start it again/,
    ],
  ])('of one that %s', (_, facts, level, text, todo) => {
    const standing = standingOf(facts, NOW);
    expect([standing.level, standingText(standing)]).toEqual([level, text]);
    if (todo === null) expect(standing.todo).toBeNull();
    else expect(standing.todo).toMatch(todo);
  });

  it('names the command, the advice and the places of an error; an id is one word of a shell', () => {
    const message = 'no\nrequest: GET /x\nset page_size to 50';
    const facts = running({ status: 'failing', trouble: { ...TROUBLE, message } });
    expect(standingOf({ ...facts, id: "it's" }, NOW)).toMatchObject({
      ...{ kind: 'failing', advice: 'set page_size to 50', places: ['request: GET /x'] },
      command: `highwater trigger 'it'\\''s'`,
    });
  });

  it('stays in its lines on a terminal, whatever the source has said', () => {
    const facts = { ...FACTS, retry: { ...retry, message: 'a\u001b[2Jb '.repeat(40) } };
    const shown = headline(standingOf(facts, NOW), 60);
    // eslint-disable-next-line no-control-regex
    expect(shown).not.toMatch(/\u001b/);
    expect(Math.max(...shown.split('\n').map((line) => line.length))).toBeLessThanOrEqual(60);
    expect(shown.split('\n')[0]).toMatch(/^! retrying: attempt 8, next in 12s/);
  });
});

describe('the standing of a sync of several streams', () => {
  const named = (stream: string, facts: Facts) => ({ stream, standing: standingOf(facts, NOW) });

  it('is that of its worst stream, which it names with what to do', () => {
    const rolledStanding = rolledUp([named('a', FACTS), named('b', { ...FACTS, retry }), named('c', FACTS)]);
    expect(standingText(rolledStanding)).toBe(
      'retrying: 1 of 3 streams: b · attempt 8, next in 12s · 500 Internal Server Error',
    );
    expect(rolledStanding.todo).toMatch(/automatically/);
  });

  it('is its own where that applies to all streams', () => {
    const paused = standingOf(running({ status: 'paused' }), NOW);
    const failed = named('a', ended('FAILED', 'gone'));
    expect(standingOfSeveral(paused, [failed])).toBe(paused);
    expect(standingOfSeveral(standingOf(FACTS, NOW), [failed]).kind).toBe('failed');
    expect(standingOfSeveral(paused, [])).toBe(paused);
  });

  it('counts the states of streams that are well', () => {
    const asleep = running({ status: 'sleeping' });
    expect(standingText(rolledUp([named('a', FACTS), named('b', asleep), named('c', asleep)]))).toBe(
      'healthy: 2 up to date, 1 running',
    );
    expect(standingText(rolledUp([named('a', asleep), named('b', asleep)]))).toMatch(
      /^up to date: all 2 streams · as of/,
    );
  });

  it('is one line of the list, with the sum of the rows and the greatest lag', () => {
    const line = (id: string, parent: string | null, facts: Facts, more: Partial<Line> = {}): Line => ({
      ...{
        id,
        parent,
        range: null,
        status: facts.progress?.status ?? 'running',
        standing: standingOf(facts, NOW),
        streams: 0,
      },
      ...{ stream: id, strategy: 'offset', lastPassEnd: at(-60), rows: 5, deleted: 0, lagSeconds: 60 },
      ...{ nextRun: at(30), reason: null, schedule: null },
      ...more,
    });
    const shown = rolled([
      line('shop', null, FACTS, {
        rows: 0,
        lagSeconds: null,
        nextRun: null,
        lastPassEnd: null,
        strategy: '',
      }),
      line('shop/a', 'shop', running({ status: 'sleeping' }), { lagSeconds: 90, nextRun: at(10) }),
      line('shop/b', 'shop', { ...FACTS, retry }, { stream: 'b', status: 'retrying', reason: retry.message }),
      line('alone', null, FACTS),
      line('alone/audit-1f', null, FACTS, { range: { kind: 'audit', sync: 'alone' } }),
      line('shop/audit-log', 'shop', FACTS),
    ]);
    expect(shown.map(({ id }) => id)).toEqual(['shop', 'alone', 'alone/audit-1f']);
    expect(shown[0]).toMatchObject({
      ...{ status: 'retrying', rows: 15, lagSeconds: 90, nextRun: at(10), lastPassEnd: at(-60), streams: 3 },
      reason: retry.message,
    });
  });
});

describe('a sync that failed', () => {
  const none = {
    status: null,
    stream: null,
    strategy: null,
    rows: null,
    lagSeconds: null,
    lastPassEnd: null,
  };
  const listed = {
    ...{ id: 'users', runId: 'r', execution: 'FAILED', started: at(-200_000), parent: null, range: null },
    ...{ nextRun: null, attributes: { ...none, schedule: null } },
  };
  const known = { answer: null, work: null, isPolled: null, error: '401' };

  it.each([
    ['is news for a day', -3600, null, 'stuck'],
    ['is none after it', -100_000, null, 'over'],
    ['stays news where a schedule starts it again', -100_000, 'nightly', 'stuck'],
  ])('%s', (_, seconds, schedule, level) => {
    const line = lineOf({ ...listed, ended: at(seconds), schedule }, known, NOW);
    expect(line).toMatchObject({ status: 'failed', standing: { level } });
  });
});

describe('a worker of a task queue', () => {
  it.each([
    ['123@here', -10, true],
    ['124@here', -10, false],
    ['124@elsewhere', -10, true],
    ['123@here', -100, false],
    ['a name of its own', -10, true],
  ])('%s, which asked %i s ago, is there: %s', (identity, seconds, is) => {
    const poller = { identity, asked: NOW + seconds * 1000 };
    expect(isThere(poller, NOW, 'here', (pid) => pid === 123)).toBe(is);
  });
});

describe('the answer of trigger', () => {
  it('says what the pass has brought, or that it has failed', () => {
    const pass = { ended: at(0), endRule: null, seconds: 1, pages: 1, records: 1, rows: 2, deleted: 3 };
    const after = { ...PROGRESS, recent: [pass], totals: { ...PROGRESS.totals, passes: 3 } };
    expect(triggeredText(after, PROGRESS)).toBe('a pass has ended: 1 record read, 2 rows written, 3 deleted');
    expect(triggeredText({ ...PROGRESS, trouble: TROUBLE }, PROGRESS)).toBe('retried and failed again');
    const several = { ...PROGRESS, streams: [{ stream: 'a', status: 'running' as const }] };
    expect(triggeredText(several, several)).toBe('requested a pass of every running stream');
  });
});

/** Turns facts into the texts of the pages: pure functions. */
import { durationText } from '../durations.js';
import {
  inTime,
  LEVELS,
  queuedStanding,
  standingInList,
  standingOf,
  standingOfSeveral,
  type Level,
  type Standing,
  type StreamStanding,
} from '../sync-condition.js';
import { count, counted, cursorText, roughly, since, visible } from '../text.js';
import type { Overview, SyncDetails, SyncFacts, SyncFamily } from './facts.js';

/** A sync as a line of the list. */
export interface Row {
  id: string;
  name: string;
  standing: Standing;
  lag: string;
  rows: string;
  lastPass: string;
  next: string;
  recent: NonNullable<SyncFacts['progress']>['recent'];
  children: Row[];
}

/** Filter of the list. */
export interface Filter {
  level: Level | null;
  text: string;
}

export interface OverviewView {
  rows: Row[];
  all: number;
  tally: { level: Level; label: string }[];
}

const LABELS: { [level in Level]: (n: number) => string } = {
  stuck: (n) => `${count(n)} ${n === 1 ? 'needs' : 'need'} attention`,
  trouble: (n) => `${count(n)} retrying`,
  waiting: (n) => `${count(n)} waiting`,
  over: (n) => `${count(n)} ended`,
  well: (n) => `${count(n)} healthy`,
};

/** Classes of the style sheet. */
export const CLASSES: { [level in Level]: string } = {
  stuck: 'bad',
  trouble: 'warn',
  waiting: 'busy',
  over: 'idle',
  well: 'well',
};

/** The most urgent first. */
const URGENCY = [...LEVELS].reverse();

/** Returns the standing of a sync with its streams. */
export function familyStanding({ sync, children }: SyncFamily, now: number): Standing {
  const streams = new Map(children.map((child) => [child.id, child]));
  const standings = (sync.progress?.streams ?? []).flatMap(({ stream, status }): StreamStanding[] => {
    if (status === 'queued') return [{ stream, standing: queuedStanding() }];
    const facts = streams.get(`${sync.id}/${stream}`);
    if (facts !== undefined) return [{ stream, standing: standingOf(facts, now) }];
    return status === 'failed' ? [{ stream, standing: NOT_READ }] : [];
  });
  return standingOfSeveral(standingOf(sync, now), standings);
}

/** The standing of a stream that failed with its parent. */
const NOT_READ: Standing = standingOf(
  {
    ...{ id: '', execution: 'FAILED', progress: null, retry: null, taskQueue: '', isPolled: null },
    ...{ ended: null, outcome: { status: null, error: 'it was not read' } },
  },
  0,
);

/** The next step as sentences, after the error's own advice. */
export function todoText({ advice, todo }: Standing): string {
  const first = advice === '' || /[.!?]$/.test(advice) ? advice : `${advice}.`;
  return [first, todo ?? ''].filter(Boolean).map(capital).join(' ');
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** Returns the list, those that need an operator first. */
export function overviewView({ families }: Overview, filter: Filter, now: number): OverviewView {
  const rows = families.map((family) => rowOf(family, now)).sort(byUrgency);
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return {
    rows: rows.filter(
      ({ id, standing, children }) =>
        (filter.level === null || standing.level === filter.level) &&
        words.every((word) =>
          [id, ...children.map((child) => child.id)].some((one) => one.toLowerCase().includes(word)),
        ),
    ),
    all: rows.length,
    tally: URGENCY.flatMap((level) => {
      const n = rows.filter(({ standing }) => standing.level === level).length;
      return n === 0 ? [] : [{ level, label: LABELS[level](n) }];
    }),
  };
}

const byUrgency = (a: Row, b: Row): number =>
  URGENCY.indexOf(a.standing.level) - URGENCY.indexOf(b.standing.level) || (a.id < b.id ? -1 : 1);

/** Returns a sync as a line; its streams, backfills and audits below it. */
export function rowOf(family: SyncFamily, now: number): Row {
  const { sync, children } = family;
  const { progress } = sync;
  const streams = children.filter(({ range }) => range === null);
  const facts = streams.length > 0 ? streams : [sync];
  const lags = facts.flatMap((one) => lagOf(one, now) ?? []);
  const rows = facts.flatMap((one) => one.progress?.totals.rows ?? one.outcome?.rows ?? one.rows ?? []);
  const ends = facts.flatMap((one) => one.progress?.recent[0]?.ended ?? one.lastPassEnd ?? one.ended ?? []);
  const next = progress?.status === 'sleeping' ? (progress.waiting?.until ?? null) : sync.nextRun;
  return {
    id: sync.id,
    name: sync.schedule ?? sync.id,
    standing: standingInList(familyStanding(family, now), sync, now),
    // A table is as late as the latest of its streams.
    lag: lags.length === 0 ? '' : roughly(Math.max(...lags)),
    rows: rows.length === 0 ? '' : count(rows.reduce((sum, one) => sum + one, 0)),
    lastPass: ends.length === 0 ? '' : `${since(ends.sort().at(-1) ?? null, now)} ago`,
    next: next === null ? '' : inTime(next, now),
    recent: progress?.recent ?? [],
    children: children.map((child) => rowOf({ sync: child, children: [] }, now)),
  };
}

/** Seconds since the table last held everything in the source; null where that is not known. */
function lagOf({ execution, progress, lagSeconds }: SyncFacts, now: number): number | null {
  if (execution !== 'RUNNING') return null;
  const asOf = progress?.completeAsOf ?? null;
  return asOf === null ? lagSeconds : Math.max(0, (now - Date.parse(asOf)) / 1000);
}

/** A fact by its name. */
export type Fact = [name: string, text: string];

/** Returns the facts about one sync that have no section of their own. */
export function factsView({ family }: SyncDetails, now: number): Fact[] {
  const { sync } = family;
  const { progress, state } = sync;
  const lag = lagOf(sync, now);
  const facts: Fact[] = [
    ['strategy', progress?.strategy || sync.strategy || ''],
    ['cursor', state === null ? '' : cursorText(state)],
    ['destination', progress?.destination ?? ''],
    [
      'lag',
      lag === null
        ? ''
        : `${roughly(lag)}${progress?.completeAsOf == null ? '' : ` (up to date as of ${short(progress.completeAsOf)})`}`,
    ],
    [
      'this pass',
      progress === null || progress.streams.length > 0 ? '' : countsText(progress, progress.recordsPerSecond),
    ],
    ['in total', progress === null ? '' : totalsText(progress)],
    [
      'staged',
      progress === null || progress.staged === 0
        ? ''
        : `${counted(progress.staged, 'batch', 'batches')} read but not yet written`,
    ],
    [
      'settings',
      Object.entries(progress?.settings ?? {})
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
    ],
    ['schedule', sync.schedule ?? ''],
    ['task queue', sync.taskQueue],
    ['started', short(sync.started)],
    ['ended', sync.ended === null ? '' : short(sync.ended)],
  ];
  return facts.filter(([, text]) => text !== '');
}

const totalsText = (progress: NonNullable<SyncFacts['progress']>): string => {
  const { totals, streams } = progress;
  const passes = streams.length > 0 ? '' : `${counted(totals.passes, 'pass', 'passes')}, `;
  return `${passes}${countsText(totals, null)}`;
};

interface Counts {
  records: number;
  rows: number;
  pages: number;
  rejected: number;
  deleted: number;
}

const countsText = ({ records, rows, pages, rejected, deleted }: Counts, rate: number | null): string =>
  [
    `${counted(records, 'record')} read in ${counted(pages, 'page')}`,
    `${counted(rows, 'row')} written`,
    ...(rejected > 0 ? [`${count(rejected)} quarantined`] : []),
    ...(deleted > 0 ? [`${count(deleted)} deleted`] : []),
    ...(rate === null ? [] : [`${count(rate)} records/s`]),
  ].join(', ');

/** A finished pass as cells of a table. */
export const passCells = (pass: NonNullable<SyncFacts['progress']>['recent'][number]): string[] => [
  short(pass.ended),
  pass.endRule ?? '',
  count(pass.records),
  count(pass.rows),
  count(pass.deleted),
  count(pass.pages),
  pass.seconds === null ? '' : durationText(pass.seconds),
];

/** Says which server and namespace a page is about. */
export const placeText = ({ address, namespace }: Pick<Overview, 'address' | 'namespace'>): string =>
  address === null ? '' : `${address} · namespace ${namespace ?? ''}`;

/** `2026-01-01 00:00:00Z`. */
export const short = (time: string): string => `${time.slice(0, 19).replace('T', ' ')}Z`;

/** Formats a time in milliseconds likewise. */
export const shortAt = (at: number): string =>
  Number.isFinite(at) && Math.abs(at) < 8e15 ? short(new Date(at).toISOString()) : '';

/** Text from elsewhere for a page: without characters that reverse the text direction; lines stay. */
export const shown = (text: string): string => text.split('\n').map(visible).join('\n');

/** An action on a sync that runs. */
export const ACTIONS = ['trigger', 'pause', 'resume', 'approve', 'reject'] as const;
export type Action = (typeof ACTIONS)[number];

/** Returns the actions that make sense now. */
export function actionsFor(sync: SyncFacts): Action[] {
  if (sync.execution !== 'RUNNING') return [];
  const { progress } = sync;
  if (progress === null) return ['pause', 'resume'];
  if (progress.trouble?.deletes !== undefined && progress.status === 'blocked')
    return ['approve', 'reject', 'resume'];
  switch (progress.status) {
    case 'paused':
    case 'blocked':
    case 'waiting':
      return ['resume', ...(progress.status === 'waiting' ? (['pause'] as const) : [])];
    default:
      return ['trigger', 'pause'];
  }
}

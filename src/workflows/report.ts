/** Reports of a sync: pure functions of its state. */
import { withoutCredentials } from '../metrics.js';
import {
  strategyName,
  type Json,
  type Note,
  type Progress,
  type RangeFound,
  type RangePlan,
  type RangeResult,
  type SchemaChange,
  type StreamPlan,
  type StreamResult,
  type SyncStatus,
  type Trouble,
} from '../protocol.js';
import type { Counts } from './carry.js';
import { plural } from './details.js';
import type { Findable } from './search-attributes.js';
import type { Settings } from '../settings.js';
import type { StreamState } from './stream-state.js';

/** Schema changes that a warning names. */
const CHANGES_SHOWN = 12;

/** The state of a sync of one stream. */
export interface View {
  status: SyncStatus;
  stream: StreamState;
  waiting: Progress['waiting'];
  /** Batches that are read and not yet written. */
  staged: number;
  trouble: Trouble | null;
  settings: Settings;
  /** Refusals with no waiting caller. */
  refusals: readonly Note[];
  /** Result of the audit of a range. */
  found: RangeFound | null;
}

export function progressOf(view: View): Progress {
  const { status, waiting, staged, trouble, settings, stream } = view;
  const { opened, committed, log, pass, totals } = stream;
  return {
    status,
    stream: opened?.plan.stream ?? '',
    strategy: opened === null || opened === undefined ? '' : strategyName(opened.plan.options),
    destination: opened?.destination ?? '',
    pass: committed.cursor?.pass ?? 0,
    ...shownCounts(pass),
    staged,
    endRule: committed.cursor?.ended ?? null,
    waiting,
    trouble: lastingTrouble(status, trouble),
    recordsPerSecond: log.recordsPerSecond(),
    completeAsOf: log.completeAsOf,
    recent: log.recent,
    settings,
    streams: [],
    warnings: warningsOf(view),
    totals: { ...shownCounts(totals), passes: totals.passes },
  };
}

/**
 * Returns the trouble that still keeps a sync from continuing, or may: a source that asks to wait has answered, and a
 * pass that has ended has read everything.
 */
export const lastingTrouble = (status: SyncStatus, trouble: Trouble | null): Trouble | null =>
  ['waiting', 'sleeping', 'drained', 'stopped', 'moved'].includes(status) ? null : trouble;

/** Returns the search attributes; null where the namespace is not known to have them, or the stream is not known yet. */
export function attributesOf({ status, stream }: View): Findable | null {
  const about = aboutOf(stream);
  if (about === null) return null;
  const { strategy, destination } = about;
  const { completeAsOf, recent } = stream.log;
  const [lastPass] = recent;
  return {
    HighwaterStrategy: strategy,
    HighwaterStream: about.stream,
    HighwaterDestination: withoutCredentials(destination),
    HighwaterStatus: status,
    HighwaterLastPassEnd: lastPass === undefined ? null : new Date(lastPass.ended),
    HighwaterRows: stream.totals.rows,
    HighwaterLagSeconds:
      completeAsOf === null ? null : Math.round((Date.now() - Date.parse(completeAsOf)) / 1000),
  };
}

/** The stream as it was opened, or as an opening that failed described it. */
function aboutOf({
  opened,
  failedOpening,
}: StreamState): { strategy: string; stream: string; destination: string } | null {
  if (opened === null) return failedOpening?.searchAttributes === true ? failedOpening : null;
  if (opened.searchAttributes !== true) return null;
  const { plan, destination } = opened;
  return { strategy: strategyName(plan.options), stream: plan.stream, destination };
}

export function resultOf(view: View, plan: StreamPlan): StreamResult {
  const { stream, found } = view;
  const { pass, totals, committed, range } = stream;
  const cursor: { [name: string]: Json } = stream.cursor;
  return {
    stream: plan.stream,
    strategy: strategyName(plan.options),
    ...shownCounts(pass),
    // A sync that was stopped before its first commit has the cursor that an earlier sync ended with.
    endRule: view.status === 'stopped' && totals.passes === 0 ? null : (committed.cursor?.ended ?? null),
    cursor,
    warnings: warningsOf(view),
    ...(range !== null && { range: rangeResultOf(range, pass, found) }),
  };
}

function warningsOf({ stream, refusals }: View): Note[] {
  const { changes, rejected } = stream.pass;
  const warnings = [...refusals, ...(stream.opened?.notes ?? []), ...(stream.committed.cursor?.notes ?? [])];
  if (changes.length > 0) warnings.push({ code: 'schema_changed', message: changesText(changes) });
  if (rejected > 0) {
    const records = plural(rejected, 'record');
    const message = `${records} did not fit and ${rejected === 1 ? 'was' : 'were'} quarantined; "highwater rejects" lists them.`;
    warnings.push({ code: 'rejected', message });
  }
  return warnings;
}

function rangeResultOf(
  { kind, from, to }: RangePlan,
  { records, rows, outside, left }: Counts,
  found: RangeFound | null,
): RangeResult {
  const counts = { kind, from, to, records, outside, rows, left };
  if (found === null) return { ...counts, differences: null, extraUnknown: null, equal: null };
  const { missing, stale, extra, twice, changed, extraUnknown } = found;
  const isDiffering = [missing, stale, extra, twice].some((one) => one != null && one.count > one.repaired);
  return {
    ...counts,
    differences: { missing, stale, extra, changed, ...(twice !== undefined && { twice }) },
    extraUnknown,
    equal: !isDiffering,
  };
}

/** Describes the changes of the table in a sentence. */
function changesText(changes: readonly SchemaChange[]): string {
  const shown = changes.slice(-CHANGES_SHOWN).map(({ column, from, to }) => {
    const name = column.slice(0, 60);
    return from === null ? `new column ${name} ${to}` : `${name} from ${from} to ${to}`;
  });
  const more = changes.length - shown.length;
  const others = more === 0 ? '' : `; and ${plural(more, 'earlier change')}`;
  return `the table's schema has changed: ${shown.join(', ')}${others}. The table _highwater_schema_changes lists all changes with their reasons.`;
}

const shownCounts = ({ pages, records, rows, batches, rejected, deleted, waited }: Counts) => ({
  pages,
  records,
  rows,
  batches,
  rejected,
  deleted,
  ...(waited !== undefined && waited > 0 && { waited }),
});

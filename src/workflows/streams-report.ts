/** Reports of a sync of several streams: pure functions of the states of its streams. */
import type { Progress, StreamResult, Trouble } from '../protocol.js';
import { code, countText, plain, plural } from './details.js';

/** The states of all streams. A stream in none of the collections is queued. */
export interface StreamsView {
  names: readonly string[];
  running: ReadonlySet<string>;
  /** Running streams that wait for a decision about deletes. */
  undecided: ReadonlyMap<string, Trouble>;
  results: ReadonlyMap<string, StreamResult>;
  failures: ReadonlyMap<string, Error>;
  isPaused: boolean;
  isStopping: boolean;
}

type StreamStatus = Progress['streams'][number]['status'];

export function statusOf(view: StreamsView, name: string): StreamStatus {
  if (view.results.has(name)) return 'done';
  if (view.undecided.has(name)) return 'blocked';
  if (view.failures.has(name)) return 'failed';
  return view.running.has(name) ? 'running' : 'queued';
}

/** Progress of the whole: counts are those of the streams that are done. */
export function overallProgress(view: StreamsView, settings: Progress['settings']): Progress {
  const { names, running } = view;
  const done = [...view.results.values()];
  const sum = (of: 'pages' | 'records' | 'rows' | 'batches' | 'rejected' | 'deleted') =>
    done.reduce((total, result) => total + result[of], 0);
  const counts = {
    pages: sum('pages'),
    records: sum('records'),
    rows: sum('rows'),
    batches: sum('batches'),
    rejected: sum('rejected'),
    deleted: sum('deleted'),
  };
  return {
    status: overallStatus(view),
    stream: running.size === 0 ? `${names.length} streams` : [...running].join(', '),
    strategy: '',
    destination: '',
    pass: 1,
    ...counts,
    staged: 0,
    endRule: null,
    waiting: null,
    trouble: overallTrouble(view),
    recordsPerSecond: null,
    completeAsOf: null,
    recent: [],
    settings,
    streams: names.map((stream) => ({ stream, status: statusOf(view, stream) })),
    warnings: done.flatMap((result) => result.warnings),
    totals: { passes: 0, ...counts },
  };
}

export function overallStatus(view: StreamsView): Progress['status'] {
  const { names, running, results, undecided, isPaused, isStopping } = view;
  const hasEnded = running.size === 0 && (isStopping || results.size === names.length);
  if (hasEnded) return isStopping ? 'stopped' : 'drained';
  if (isPaused) return 'paused';
  return undecided.size > 0 ? 'blocked' : 'running';
}

/** The question of the first stream that waits for a decision. */
function overallTrouble({ undecided }: StreamsView): Trouble | null {
  const [first] = undecided;
  if (first === undefined) return null;
  const [stream, trouble] = first;
  const others = undecided.size === 1 ? '' : ` (and ${plural(undecided.size - 1, 'more stream')})`;
  return { ...trouble, message: `stream ${stream}${others}: ${trouble.message}` };
}

/** A report in Markdown for the Web UI. */
export function overallDetails(view: StreamsView, workflowId: string): string {
  const { names, results, undecided } = view;
  const questions = [...undecided].map(([name, { deletes }]) =>
    deletes === undefined
      ? ''
      : `- **${plain(name)}** would remove ${countText(deletes.deletes)} of the ${plural(deletes.rows, 'row')} of ${plain(deletes.table)}: \`approve\` or \`reject\``,
  );
  return [
    `**${results.size} of ${names.length} streams done** · each stream is a workflow, ${code(`${workflowId}/STREAM`)}`,
    '',
    ...(questions.length === 0 ? [] : [...questions, '']),
    '| stream | status | records | rows written | deleted |',
    '| --- | --- | --- | --- | --- |',
    ...names.map((name) => tableRow(view, name)),
    '',
  ].join('\n');
}

function tableRow(view: StreamsView, name: string): string {
  const result = view.results.get(name);
  if (result !== undefined)
    return `| ${plain(name)} | done | ${result.records} | ${result.rows} | ${result.deleted} |`;
  const status = statusOf(view, name);
  return `| ${plain(name)} | ${['failed', 'blocked'].includes(status) ? `**${status}**` : status} | | | |`;
}

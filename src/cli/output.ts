import { resolve } from 'node:path';
import { HighwaterError, messageOf } from '../errors.js';
import type { Json, Progress, StreamPlan, StreamResult } from '../protocol.js';

/** One clear message, exit status 1; a stack trace only for what nobody foresaw, and only when asked for. */
export function fail(thrown: unknown): void {
  note(`highwater: ${messageOf(thrown)}`);
  if (
    !(thrown instanceof HighwaterError) &&
    process.env['HIGHWATER_LOG'] === 'debug' &&
    thrown instanceof Error
  ) {
    note(thrown.stack ?? '');
  }
  // 130 where Ctrl-C came first.
  process.exitCode ||= 1;
}

/** What a person should know goes to standard error; standard output belongs to the answer. */
export const note = (line: string) =>
  void process.stderr.write(`${line.split('\n').map(visible).join('\n')}\n`);

export const print = (line: string) => void process.stdout.write(`${line}\n`);

/** The file that a command here writes: the one asked for, else the configuration's, else the environment's. */
export const destinationOf = (asked: string | undefined, plan: StreamPlan | undefined): string =>
  resolve(asked ?? plan?.destination ?? process.env['HIGHWATER_DESTINATION'] ?? 'highwater.duckdb');

/** A text from elsewhere without what would break a line, move the cursor or turn the writing round. */
export const visible = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) =>
    c === '\n' ? '⏎' : c === '\t' ? ' ' : '\ufffd',
  );

/** A table with aligned columns; numbers to the right. */
export function table(header: string[], rows: (string | number)[][]): string {
  const cells = [header, ...rows].map((row) =>
    row.map((cell) => (typeof cell === 'number' ? count(cell) : visible(cell))),
  );
  const widths = header.map((_, i) =>
    cells.reduce((widest, row) => Math.max(widest, width(row[i] ?? '')), 0),
  );
  const line = (row: string[], source?: (string | number)[]) =>
    row
      .map((cell, i) => {
        const gap = ' '.repeat((widths[i] ?? 0) - width(cell));
        return typeof source?.[i] === 'number' ? gap + cell : cell + gap;
      })
      .join('  ')
      .trimEnd();
  const rule = widths.map((w) => '─'.repeat(w)).join('  ');
  return [line(cells[0] ?? []), rule, ...cells.slice(1).map((row, i) => line(row, rows[i]))].join('\n');
}

/** Columns on a terminal, near enough for names and numbers. */
const width = (text: string) => [...text].length;

export const count = (n: number) => n.toLocaleString('en-US');

/** `last_updated_at 2026-01-01T00:00:00Z`, without what is empty. */
export function cursorText(cursor: { [name: string]: Json }): string {
  const shown = Object.entries(cursor).filter(([name, value]) => value !== null && name !== 'checkpoint');
  return shown.map(([name, value]) => `${name} ${String(value)}`).join(', ') || '(none)';
}

/** The summary of a pass, for people. */
export function summary(streams: StreamResult[]): string {
  const rows = streams.map((s) => [
    s.stream,
    s.strategy,
    s.records,
    s.rows,
    s.pages,
    s.batches,
    s.endRule ?? '',
    cursorText(s.cursor),
  ]);
  const notes = streams.flatMap((s) => s.warnings.map((warning) => `note (${s.stream}): ${warning.message}`));
  const header = ['stream', 'strategy', 'records', 'rows written', 'pages', 'batches', 'ended by', 'cursor'];
  return [table(header, rows), ...notes].join('\n');
}

/** One line on how far a sync is. */
export function progressLine(progress: Progress): string {
  const waiting =
    progress.waiting === null ? '' : ` until ${progress.waiting.until}: ${progress.waiting.reason}`;
  // Before the stream is open there is nothing to count.
  if (progress.stream === '') return visible(`${progress.status}${waiting}`);
  return visible(
    `${progress.stream} · ${progress.strategy === '' ? '' : `${progress.strategy} · `}${progress.status}${waiting} · ${count(progress.records)} records, ` +
      `${count(progress.rows)} rows, ${count(progress.pages)} pages, ${count(progress.batches)} batches`,
  );
}

/** The address of a run in the Web UI, or null where it is not known. */
export function webUiLink(
  ui: string | null,
  namespace: string,
  workflowId: string,
  runId: string,
): string | null {
  if (ui === null) return null;
  return `${ui}/namespaces/${namespace}/workflows/${encodeURIComponent(workflowId)}/${runId}/history`;
}

import { once } from 'node:events';
import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { destinationKind } from '../config/index.js';
import { besideOf, filesOf } from '../destinations/location.js';
import { HighwaterError, messageOf } from '../errors.js';
import type { ProbeOptions } from '../inspect/probe.js';
import { INCOMPLETE, type Json, type Progress, type StreamPlan, type StreamResult } from '../protocol.js';

/** Prints one clear message and exits with 1; prints a stack trace only of an unexpected error, and only on request. */
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

/** Writes a remark to standard error; standard output belongs to the answer. */
export const note = (line: string) =>
  void process.stderr.write(`${line.split('\n').map(visible).join('\n')}\n`);

export const print = (line: string) => void process.stdout.write(`${line}\n`);

/** Writes to standard output as fast as its reader takes it. */
export async function write(text: string, signal: AbortSignal): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain', { signal });
  else signal.throwIfAborted();
}

/**
 * Ends the command quietly once its reader has gone, as in `| head`. One that has something to close down does so, as at
 * SIGTERM. Messages that are not read any more are dropped: the work goes on.
 */
export function endWithReader(): void {
  const isGone = (error: NodeJS.ErrnoException) => error.code === 'EPIPE' || error.code === 'EOF';
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (!isGone(error)) throw error;
    if (!process.emit('SIGTERM')) process.exit();
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (!isGone(error)) throw error;
  });
}

/** An option that may be given more than once. */
export const collect = (text: string, before: string[] = []): string[] => [...before, text];

/** The port of an option. @throws {InvalidArgumentError} */
export function asPort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new InvalidArgumentError('Give a port from 0 to 65535.');
}

/** A whole number of at least 1. @throws {InvalidArgumentError} */
export function asLimit(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new InvalidArgumentError('Give a whole number of at least 1.');
}

/**
 * The file, server or store of files that a command here writes: the one asked for, else the configuration's, else
 * the environment's.
 */
export function destinationOf(asked: string | undefined, plan: StreamPlan | undefined): string {
  const given = asked ?? plan?.destination ?? process.env['HIGHWATER_DESTINATION'] ?? 'highwater.duckdb';
  const kind = destinationKind(given);
  if (kind === 'duckdb') return resolve(given);
  // A folder means the one that is seen from here; what holds a reference stays as it is.
  return kind === 'files' && !given.includes('${') ? filesOf(given, process.env).name : given;
}

/** The address at which a command asks the source of a plan. @throws {ConfigurationError} */
export const probedFrom = async (plan: StreamPlan): Promise<ProbeOptions> => ({
  environment: process.env,
  destination: await besideOf(destinationOf(undefined, plan), process.env),
});

/** A text from elsewhere without what would break a line, move the cursor or turn the writing round. */
export const visible = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) =>
    c === '\n' ? '⏎' : c === '\t' ? ' ' : '\ufffd',
  );

/** How many columns a line on standard output may have: a terminal's, or any number where it goes elsewhere. */
export const outputWidth = (): number =>
  process.stdout.isTTY === true ? process.stdout.columns || 80 : Infinity;

/** The gap between two columns. */
const GAP = '  ';
/** Columns are not made narrower than this: what is left of a cell would say nothing. */
const NARROWEST = 8;

/** A table whose rows are not all known yet. */
export interface Layout {
  /** The names of the columns, and the rule below them. */
  head: string;
  line: (row: (string | number)[]) => string;
}

/**
 * A table with aligned columns; numbers to the right.
 * @param limit how wide it may be: the widest columns are cut, down to a few letters; numbers never.
 */
export function table(header: string[], rows: (string | number)[][], limit = outputWidth()): string {
  const { head, line } = layout(header, rows, limit);
  return [head, ...rows.map(line)].join('\n');
}

/**
 * As {@link table}, with columns that are as wide as the first rows need; a wider cell of a later row moves what
 * follows.
 */
export function layout(header: string[], first: (string | number)[][], limit: number): Layout {
  const needed = header.map((name, i) =>
    first.reduce((widest, row) => Math.max(widest, width(textOf(row[i] ?? ''))), width(visible(name))),
  );
  // Numbers are never cut, but what stands above them may be.
  const least = header.map((_, i) =>
    first.reduce(
      (most, row) => (typeof row[i] === 'number' ? Math.max(most, width(textOf(row[i]))) : most),
      NARROWEST,
    ),
  );
  const widths = narrowed(needed, least, limit);
  const line = (row: (string | number)[]) =>
    row
      .map((cell, i) => {
        const shown = limit === Infinity ? textOf(cell) : cut(textOf(cell), widths[i] ?? 0);
        const gap = ' '.repeat(Math.max(0, (widths[i] ?? 0) - width(shown)));
        return typeof cell === 'number' ? gap + shown : shown + gap;
      })
      .join(GAP)
      .trimEnd();
  const rule = widths.map((w) => '─'.repeat(w)).join(GAP);
  return { head: `${line(header)}\n${rule}`, line };
}

const textOf = (cell: string | number): string => (typeof cell === 'number' ? count(cell) : visible(cell));

/** The width of a table of such columns. */
export const tableWidth = (widths: readonly number[]): number =>
  widths.reduce((sum, one) => sum + one, 0) + Math.max(0, widths.length - 1) * GAP.length;

/** Takes from the widest column that can be cut until the table fits, or none can be. */
function narrowed(needed: readonly number[], least: readonly number[], limit: number): number[] {
  const widths = [...needed];
  for (let over = tableWidth(widths) - limit; over > 0; over--) {
    let at = -1;
    widths.forEach((one, i) => {
      if (one > (least[i] ?? 0) && (at === -1 || one > (widths[at] ?? 0))) at = i;
    });
    if (at === -1) break;
    widths[at] = (widths[at] ?? 0) - 1;
  }
  return widths;
}

/** Columns on a terminal, near enough for names and numbers. */
export const width = (text: string): number => [...text].length;

/** Cuts a text to a number of columns. */
export const cut = (text: string, limit: number): string =>
  width(text) <= limit ? text : `${[...text].slice(0, Math.max(0, limit - 1)).join('')}…`;

/** Breaks a text between words; the lines that follow the first are indented. */
export function wrapped(text: string, indent: number, limit = outputWidth()): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    const room = limit - (lines.length > 1 ? indent : 0);
    if (last === undefined || width(last) + 1 + width(word) > room) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.join(`\n${' '.repeat(indent)}`);
}

/** A help text with its prose as wide as the terminal; what is indented stays as it is. */
export function fitted(help: string, limit = outputWidth()): string {
  if (limit === Infinity) return help;
  return help.replace(/^\S.*(?:\n\S.*)*$/gm, (lines) => wrapped(lines.replaceAll('\n', ' '), 0, limit));
}

export const count = (n: number) => n.toLocaleString('en-US');

/** `1 batch`, `2 batches`. */
export const counted = (n: number, one: string, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

/** `last_updated_at 2026-01-01T00:00:00Z`, without what is empty. */
export function cursorText(cursor: { [name: string]: Json }): string {
  const shown = Object.entries(cursor).filter(([name, value]) => value !== null && name !== 'checkpoint');
  return shown.map(([name, value]) => `${name} ${String(value)}`).join(', ') || '(none)';
}

/**
 * A table with a column "cursor", or where that makes it too wide, without it and the cursors below: cut short they
 * would say nothing. Rows are named by their first cell.
 */
export function cursorTable(header: string[], rows: (string | number)[][], limit = outputWidth()): string {
  const whole = table(header, rows, Infinity);
  const at = header.indexOf('cursor');
  if (at === -1 || width(whole.split('\n')[1] ?? '') <= limit) return whole;
  const without = <T>(cells: T[]) => cells.filter((_, i) => i !== at);
  const below = rows.map((row) => wrapped(visible(`cursor (${row[0] ?? ''}): ${row[at] ?? ''}`), 2, limit));
  return [table(without(header), rows.map(without), limit), ...below].join('\n');
}

/** The summary of a pass, for people. */
export function summary(streams: StreamResult[], limit = outputWidth()): string {
  const deletes = streams.some((s) => s.deleted > 0);
  const rows = streams.map((s) => [
    s.stream,
    s.strategy,
    s.records,
    s.rows,
    ...(deletes ? [s.deleted] : []),
    s.pages,
    s.batches,
    s.warnings.some(({ code }) => code === 'end_unproven')
      ? `${s.endRule ?? ''}, unproven`
      : (s.endRule ?? ''),
    cursorText(s.cursor),
  ]);
  const notes = streams.flatMap((s) =>
    s.warnings.map(({ code, message }) => {
      const kind = INCOMPLETE.some((one) => one === code) ? 'warning' : 'note';
      return wrapped(`${kind} (${s.stream}): ${message}`, 2, limit);
    }),
  );
  const header = [
    'stream',
    'strategy',
    'records',
    'rows written',
    ...(deletes ? ['deleted'] : []),
    'pages',
    'batches',
    'ended by',
    'cursor',
  ];
  return [cursorTable(header, rows, limit), ...notes].join('\n');
}

/** Roughly how long, for a column: "35s", "12m", "3h", "2d". */
export function roughly(seconds: number): string {
  const [, unit, length] = [
    ...([
      [172_800, 'd', 86_400],
      [7200, 'h', 3600],
      [120, 'm', 60],
    ] as const),
    [0, 's', 1] as const,
  ].find(([from]) => seconds >= from) ?? [0, 's', 1];
  return `${Math.max(0, Math.floor(seconds / length))}${unit}`;
}

/** Roughly how long since a time, or until it; '' where there is none. */
export const since = (time: string | null, now: number): string =>
  time === null ? '' : roughly(Math.abs(now - Date.parse(time)) / 1000);

/** One line on how far a sync is. */
export function progressLine(progress: Progress): string {
  const { trouble } = progress;
  const first = (text: string) => text.split('\n')[0] ?? '';
  const waiting =
    progress.waiting !== null
      ? ` until ${progress.waiting.until}: ${first(progress.waiting.reason)}`
      : trouble !== null && ['failing', 'blocked', 'failed'].includes(progress.status)
        ? `: ${first(trouble.message)}`
        : '';
  // Before the stream is open there is nothing to count.
  if (progress.stream === '') return visible(`${progress.status}${waiting}`);
  return visible(
    `${progress.stream} · ${progress.strategy === '' ? '' : `${progress.strategy} · `}${progress.status}${waiting} · ` +
      [
        counted(progress.records, 'record'),
        counted(progress.rows, 'row'),
        ...(progress.deleted > 0 ? [`${count(progress.deleted)} deleted`] : []),
        counted(progress.pages, 'page'),
        counted(progress.batches, 'batch', 'batches'),
      ].join(', '),
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

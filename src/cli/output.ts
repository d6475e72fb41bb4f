import { once } from 'node:events';
import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { destinationKind } from '../config/index.js';
import { besideOf, filesOf } from '../destinations/location.js';
import { HighwaterError, messageOf } from '../errors.js';
import { extensionsOf, loadExtensions } from '../extensions.js';
import type { ProbeOptions } from '../inspect/probe.js';
import { INCOMPLETE, type Json, type Note, type StreamPlan, type StreamResult } from '../protocol.js';
import { count, counted, cursorText as cursorParts, roughly, visible } from '../text.js';
import { cut, paint, width, type Tone } from './terminal.js';

export { webUiLink } from '../connection.js';
export { count, counted, roughly, shellWord, since, visible } from '../text.js';
export { cut, width };

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
  extensions: await loadExtensions(extensionsOf(process.env)),
});

/** How many columns a line on standard output may have: a terminal's, or any number where it goes elsewhere. */
export const outputWidth = (): number =>
  process.stdout.isTTY === true ? process.stdout.columns || 80 : Infinity;

/** A cell of a table: numbers stand on the right and are never cut; a text may have a tone. */
export type Cell = string | number | { text: string; tone?: Tone; isNumber?: true };

/** The gap between two columns. */
const GAP = '  ';
/** Columns are not made narrower than this: what is left of a cell would say nothing. */
const NARROWEST = 8;

/** A table whose rows are not all known yet. */
export interface Layout {
  /** The names of the columns, and the rule below them. */
  head: string;
  line: (row: Cell[]) => string;
  /** Columns are narrower than the first rows need. */
  isCut: boolean;
}

/**
 * A table with aligned columns; numbers to the right.
 * @param limit how wide it may be: the widest columns are cut, down to a few letters; numbers never.
 */
export function table(header: string[], rows: Cell[][], limit = outputWidth()): string {
  const { head, line } = layout(header, rows, limit);
  return [head, ...rows.map(line)].join('\n');
}

/**
 * As {@link table}, with columns that are as wide as the first rows need; a wider cell of a later row moves what
 * follows.
 * @param options.dropsColumns leaves the last columns out where they cannot fit, and shows "…" in their place.
 */
export function layout(
  header: string[],
  first: Cell[][],
  limit: number,
  { dropsColumns = false }: { dropsColumns?: boolean } = {},
): Layout {
  const needed = header.map((name, i) =>
    first.reduce((widest, row) => Math.max(widest, width(textOf(row[i] ?? ''))), width(visible(name))),
  );
  // Numbers are never cut, but what stands above them may be.
  const least = header.map((_, i) =>
    first.reduce(
      (most, row) => (isNumeric(row[i] ?? '') ? Math.max(most, width(textOf(row[i] ?? ''))) : most),
      NARROWEST,
    ),
  );
  const kept = dropsColumns ? fitting(needed, least, limit) : header.length;
  if (kept < header.length) {
    const some = <C>(row: C[]): (C | string)[] => [...row.slice(0, kept), '…'];
    const { head, line } = layout(some(header), first.map(some), limit);
    return { head, line: (row) => line(some(row)), isCut: true };
  }
  const widths = narrowed(needed, least, limit);
  const line = (row: Cell[]) =>
    row
      .map((cell, i) => {
        const shown = limit === Infinity ? textOf(cell) : cut(textOf(cell), widths[i] ?? 0);
        const gap = ' '.repeat(Math.max(0, (widths[i] ?? 0) - width(shown)));
        if (isNumeric(cell)) return gap + shown;
        return (typeof cell === 'object' ? paint(cell.tone ?? null, shown) : shown) + gap;
      })
      .join(GAP)
      .trimEnd();
  const rule = widths.map((w) => '─'.repeat(w)).join(GAP);
  const isCut = widths.some((one, i) => one < (needed[i] ?? 0));
  return { head: `${line(header)}\n${rule}`, line, isCut };
}

const isNumeric = (cell: Cell): boolean =>
  typeof cell === 'number' || (typeof cell === 'object' && cell.isNumber === true);

const textOf = (cell: Cell): string =>
  typeof cell === 'number' ? count(cell) : visible(typeof cell === 'string' ? cell : cell.text);

/** The width of a table of such columns. */
export const tableWidth = (widths: readonly number[]): number =>
  widths.reduce((sum, one) => sum + one, 0) + Math.max(0, widths.length - 1) * GAP.length;

/** The number of columns, at least one, that can be made to fit beside a "…". */
function fitting(needed: readonly number[], least: readonly number[], limit: number): number {
  const narrowest = needed.map((one, i) => Math.min(one, Math.max(least[i] ?? 0, NARROWEST)));
  if (tableWidth(narrowest) <= limit) return needed.length;
  let kept = needed.length - 1;
  while (kept > 1 && tableWidth([...narrowest.slice(0, kept), 1]) > limit) kept--;
  return Math.max(kept, 1);
}

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

/** The cursor as a text; `(none)` if it is empty. */
export const cursorText = (cursor: { [name: string]: Json }): string => cursorParts(cursor) || '(none)';

/**
 * A table with a column "cursor", or where that makes it too wide, without it and the cursors below: cut short they
 * would say nothing. Rows are named by their first cell.
 */
export function cursorTable(header: string[], rows: Cell[][], limit = outputWidth()): string {
  const whole = table(header, rows, Infinity);
  const at = header.indexOf('cursor');
  if (at === -1 || width(whole.split('\n')[1] ?? '') <= limit) return whole;
  const without = <T>(cells: T[]) => cells.filter((_, i) => i !== at);
  const below = rows.map((row) =>
    wrapped(visible(`cursor (${textOf(row[0] ?? '')}): ${textOf(row[at] ?? '')}`), 2, limit),
  );
  return [table(without(header), rows.map(without), limit), ...below].join('\n');
}

/** Columns that the summary of a pass has only where there is something to count. */
const COUNTED: readonly [header: string, of: (stream: StreamResult) => number, cell: (n: number) => Cell][] =
  [
    ['deleted', ({ deleted }) => deleted, (n) => n],
    ['rejected', ({ rejected }) => rejected, (n) => ({ text: count(n), isNumber: true, tone: 'warn' })],
    ['waited', ({ waited = 0 }) => waited, (n) => ({ text: roughly(n), isNumber: true })],
  ];

/** The summary of a pass, for people. */
export function summary(streams: StreamResult[], limit = outputWidth()): string {
  const more = COUNTED.filter(([, of]) => streams.some((stream) => of(stream) > 0));
  const rows = streams.map((s): Cell[] => [
    s.stream,
    s.strategy,
    s.records,
    s.rows,
    ...more.map(([, of, cell]) => cell(of(s))),
    s.pages,
    s.batches,
    isUnproven(s) ? { text: `${s.endRule ?? ''}, unproven`, tone: 'warn' } : (s.endRule ?? ''),
    cursorText(s.cursor),
  ]);
  const header = [
    ...['stream', 'strategy', 'records', 'rows written'],
    ...more.map(([name]) => name),
    ...['pages', 'batches', 'ended by', 'cursor'],
  ];
  const notes = streams.flatMap((s) => s.warnings.map((warning) => warningLine(s, warning, limit)));
  return [
    cursorTable(header, rows, limit),
    ...(streams.length > 1 ? [wrapped(totalsText(streams), 2, limit)] : []),
    ...notes,
  ].join('\n');
}

const isUnproven = ({ warnings }: StreamResult): boolean =>
  warnings.some(({ code }) => code === 'end_unproven');

function warningLine({ stream }: StreamResult, { code, message }: Note, limit: number): string {
  if (code === 'end_unproven') {
    const said = `! unproven end (${stream}): nothing shows that the list is complete. ${message} More: docs/paging.md#when-a-pass-ends`;
    return paint('warn', wrapped(said, 2, limit));
  }
  const isIncomplete = INCOMPLETE.some((one) => one === code);
  return isIncomplete
    ? paint('warn', wrapped(`warning (${stream}): ${message}`, 2, limit))
    : wrapped(`note (${stream}): ${message}`, 2, limit);
}

/** The counts of all streams in a line. */
function totalsText(streams: readonly StreamResult[]): string {
  const sum = (of: (stream: StreamResult) => number) => streams.reduce((all, one) => all + of(one), 0);
  const waited = sum(({ waited: seconds = 0 }) => seconds);
  return [
    `total: ${counted(
      sum(({ records }) => records),
      'record',
    )}`,
    `${counted(
      sum(({ rows }) => rows),
      'row',
    )} inserted or updated`,
    `${count(sum(({ deleted }) => deleted))} deleted`,
    `${count(sum(({ rejected }) => rejected))} rejected`,
    ...(waited === 0 ? [] : [`waited ${roughly(waited)} for the source`]),
  ].join(', ');
}

import { durationText } from '../durations.js';
import type { Json, PassSummary, Progress, StagedBatch } from '../protocol.js';
import { settingsText } from '../settings.js';

/** Describes a write in one line for the Web UI's timeline. */
export function batchSummary(number: number, batch: StagedBatch, state: { [name: string]: Json }): string {
  const end = batch.cursor.ended === null ? '' : ` · ${batch.cursor.ended}`;
  const [to] = Object.values(state).filter((value) => value !== null && typeof value !== 'object');
  const reach = to === undefined ? '' : ` · to ${unmarked(String(to)).slice(0, 60)}`;
  return `batch ${number} · ${plural(batch.records, 'record')} · ${plural(batch.pages, 'page')}${reach}${end}`;
}

/** Writes a short report in Markdown for the Web UI. The pane crops its last line, so trouble and state come first. */
export function currentDetails(progress: Progress, state: { [name: string]: Json }, now: number): string {
  const { trouble, waiting, totals } = progress;
  const cursor = Object.entries(state)
    .filter(([name]) => name !== 'checkpoint')
    .map(([name, value]) => `${code(name)} = ${value === null ? '(none)' : code(String(value))}`);
  const [problem = '', ...advice] = trouble?.message.split('\n') ?? [];
  const place = [`pass ${progress.pass}`, ...cursor].join(' · ');
  return [
    `**${progress.status}** · ${trouble === null ? place : plain(problem)}`,
    '',
    ...(trouble === null ? [] : [nextStep(progress), '']),
    ...(advice.length > 0 ? [plain(advice.join(' ')), ''] : []),
    ...(trouble === null ? [] : [place, '']),
    ...(waiting === null || trouble !== null
      ? []
      : [`Waiting until ${waiting.until}: ${plain(waiting.reason)}`, '']),
    // A list, since the pane draws tables without gaps between columns.
    `- this pass: ${countsText(progress)}`,
    `- total: ${countsText(totals)}`,
    '',
    ...paceLines(progress, now),
    ...progress.recent.slice(0, 1).flatMap((pass) => [lastPass(pass), '']),
    ...progress.warnings.map((note) => `- ⚠ ${plain(note.message)}`),
    '',
  ].join('\n');
}

type Counts = Pick<Progress, 'records' | 'rows' | 'deleted' | 'pages' | 'batches'>;

/** Describes the next step of a sync in trouble. */
function nextStep({ status, trouble }: Progress): string {
  if (trouble === null || status === 'failed')
    return 'The sync has ended. Fix the problem and start the sync again: it continues from here.';
  const times = trouble.failures === 1 ? 'once' : `${countText(trouble.failures)} times`;
  const since = `${times} since ${trouble.since}`;
  if (status === 'running' || status === 'opening') return `Failed ${since}. The sync is trying again now.`;
  if (trouble.deletes !== undefined && status !== 'blocked') return `Asked ${since}.`;
  if (trouble.deletes !== undefined)
    return `Asked ${since}. The sync waits: \`approve\` removes the rows, \`reject\` keeps them, \`resume\` reads the source again; or \`stop\`.`;
  return trouble.nextTry === null
    ? `Failed ${since}. The sync waits: fix the problem above, then \`resume\`; or \`stop\`.`
    : `Failed ${since}. The sync retries at ${trouble.nextTry}; \`trigger\` retries now.`;
}

function paceLines({ recordsPerSecond, completeAsOf, settings }: Progress, now: number): string[] {
  const lag = completeAsOf === null ? null : Math.max(0, Math.round((now - Date.parse(completeAsOf)) / 1000));
  const parts = [
    ...(recordsPerSecond === null ? [] : [`${countText(recordsPerSecond)} records/s`]),
    ...(lag === null ? [] : [`up to date as of ${completeAsOf} (lag ${durationText(lag)})`]),
    ...(Object.keys(settings).length === 0 ? [] : [`settings: ${settingsText(settings)}`]),
  ];
  return parts.length === 0 ? [] : [parts.join(' · '), ''];
}

/** Formats counts: `12 rows written, 3 deleted`. */
const rowsText = (rows: number, deleted: number) =>
  `${plural(rows, 'row')} written${deleted === 0 ? '' : `, ${countText(deleted)} deleted`}`;

const countsText = ({ records, rows, deleted, pages, batches }: Counts) =>
  `${plural(records, 'record')}, ${rowsText(rows, deleted)}, ${plural(pages, 'page')}, ${plural(batches, 'batch', 'batches')}`;

const lastPass = ({ ended, endRule, records, rows, deleted }: PassSummary) =>
  `Last pass ended by \`${endRule ?? '?'}\` at ${ended}: ${plural(records, 'record')}, ${rowsText(rows, deleted)}.`;

/** Formats a number with separators: `1,234,567`. */
export const countText = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',');

/** Formats a count and its noun: `1 record`, `2 records`. */
export const plural = (n: number, one: string, more = `${one}s`) => `${countText(n)} ${n === 1 ? one : more}`;

const LONGEST = 300;

const oneLine = (text: string) => text.replace(/\s+/g, ' ').trim().slice(0, LONGEST);

/** Escapes text from outside for Markdown, so that it makes no link, image or tag. */
export const plain = (text: string): string =>
  oneLine(text)
    .replace(/[\\`*_[\]<>!&|~]/g, '\\$&')
    // Characters that begin a heading, a list or a rule.
    .replace(/^(\d*)([#+=.)-])/, '$1\\$2');

/** Formats text from outside as code. */
export const code = (text: string): string => `\`${oneLine(text.replaceAll('`', "'"))}\``;

/** Replaces the characters of links and tags, for places that may or may not render Markdown. */
const unmarked = (text: string): string =>
  oneLine(text.replace(/[`*<>[\]!|\\]/g, (sign) => LOOKALIKES[sign] ?? "'"));

const LOOKALIKES: { [sign: string]: string } = {
  '[': '(',
  ']': ')',
  '<': '‹',
  '>': '›',
  '|': '/',
  '\\': '/',
};

/**
 * Returns the summary of a timer. A narrow pane cuts the left end off, so the text is short: the failure, without the
 * request.
 */
export const timerSummary = (status: string, reason: string): string =>
  `${status}: ${unmarked(reason.split('\n', 1)[0] ?? '')}`.slice(0, SUMMARY_LENGTH);

const SUMMARY_LENGTH = 100;

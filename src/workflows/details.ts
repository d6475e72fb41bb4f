import { durationText } from '../durations.js';
import type { Json, PassSummary, Progress, StagedBatch } from '../protocol.js';
import { settingsText } from './settings.js';

/** One line for the Web UI's timeline: what a write holds. */
export function batchSummary(number: number, batch: StagedBatch, state: { [name: string]: Json }): string {
  const end = batch.cursor.ended === null ? '' : ` · ${batch.cursor.ended}`;
  const [to] = Object.values(state).filter((value) => value !== null && typeof value !== 'object');
  const reach = to === undefined ? '' : ` · to ${unmarked(String(to)).slice(0, 60)}`;
  return `batch ${number} · ${plural(batch.records, 'record')} · ${plural(batch.pages, 'page')}${reach}${end}`;
}

/**
 * A short report in Markdown for the Web UI. The pane crops its last line, so the state comes first; what is wrong
 * comes before all else.
 */
export function currentDetails(progress: Progress, state: { [name: string]: Json }, now: number): string {
  const { trouble, waiting, totals } = progress;
  const cursor = Object.entries(state)
    .filter(([name]) => name !== 'checkpoint')
    .map(([name, value]) => `${code(name)} = ${value === null ? '(none)' : code(String(value))}`);
  const said = trouble?.message.split('\n') ?? [];
  const place = [`pass ${progress.pass}`, ...cursor].join(' · ');
  return [
    `**${progress.status}** · ${trouble === null ? place : plain(said[0] ?? '')}`,
    '',
    ...(trouble === null ? [] : [whatIsDone(progress), '']),
    ...(said.length > 1 ? [plain(said.slice(1).join(' ')), ''] : []),
    ...(trouble === null ? [] : [place, '']),
    ...(waiting === null || trouble !== null
      ? []
      : [`Waiting until ${waiting.until}: ${plain(waiting.reason)}`, '']),
    // A list: the pane draws tables without a gap between columns.
    `- this pass: ${countsText(progress)}`,
    `- in all: ${countsText(totals)}`,
    '',
    ...pace(progress, now),
    ...progress.recent.slice(0, 1).flatMap((pass) => [lastPass(pass), '']),
    ...progress.warnings.map((note) => `- ⚠ ${plain(note.message)}`),
    '',
  ].join('\n');
}

type Counts = Pick<Progress, 'records' | 'rows' | 'deleted' | 'pages' | 'batches'>;

/** What becomes of a sync that something keeps from going on. */
function whatIsDone({ status, trouble }: Progress): string {
  if (trouble === null || status === 'failed')
    return 'The sync has ended. Mend it, and start it again: it goes on from here.';
  const since = `${plural(trouble.failures, 'time')} since ${trouble.since}`;
  if (trouble.deletes !== undefined && status !== 'blocked') return `Asked ${since}.`;
  if (trouble.deletes !== undefined)
    return `Asked ${since}. It waits: \`approve\` lets it remove them, \`reject\` keeps them, \`resume\` reads the source again; or \`stop\`.`;
  return trouble.nextTry === null
    ? `${since}. It waits: mend what is said above, then \`resume\`; or \`stop\`.`
    : `${since}. The next try is at ${trouble.nextTry}; \`trigger\` tries at once.`;
}

function pace({ recordsPerSecond, completeAsOf, settings }: Progress, now: number): string[] {
  const lag = completeAsOf === null ? null : Math.max(0, Math.round((now - Date.parse(completeAsOf)) / 1000));
  const said = [
    ...(recordsPerSecond === null ? [] : [`${countText(recordsPerSecond)} records/s`]),
    ...(lag === null ? [] : [`complete as of ${completeAsOf} (lag ${durationText(lag)})`]),
    ...(Object.keys(settings).length === 0 ? [] : [`set: ${settingsText(settings)}`]),
  ];
  return said.length === 0 ? [] : [said.join(' · '), ''];
}

/** `12 rows written, 3 deleted` */
const rowsText = (rows: number, deleted: number) =>
  `${plural(rows, 'row')} written${deleted === 0 ? '' : `, ${countText(deleted)} deleted`}`;

const countsText = ({ records, rows, deleted, pages, batches }: Counts) =>
  `${plural(records, 'record')}, ${rowsText(rows, deleted)}, ${plural(pages, 'page')}, ${plural(batches, 'batch', 'batches')}`;

const lastPass = ({ ended, endRule, records, rows, deleted = 0 }: PassSummary) =>
  `Last pass ended by \`${endRule ?? '?'}\` at ${ended}: ${plural(records, 'record')}, ${rowsText(rows, deleted)}.`;

/** 1234567 → "1,234,567". */
export const countText = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',');

/** `1 record`, `2 records` */
export const plural = (n: number, one: string, more = `${one}s`) => `${countText(n)} ${n === 1 ? one : more}`;

const LONGEST = 300;

const oneLine = (text: string) => text.replace(/\s+/g, ' ').trim().slice(0, LONGEST);

/** A text from elsewhere as Markdown that shows it as it is: it makes no link, no image and no tag. */
export const plain = (text: string): string =>
  oneLine(text)
    .replace(/[\\`*_[\]<>!&|~]/g, '\\$&')
    // What makes a heading, a list or a rule where a line begins.
    .replace(/^(\d*)([#+=.)-])/, '$1\\$2');

/** The same as code, in which a backslash is a backslash. */
export const code = (text: string): string => `\`${oneLine(text.replaceAll('`', "'"))}\``;

/** The same where it is not known whether Markdown is drawn: without the signs that would make links and tags. */
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

/** Cut off on its left where the pane is narrow, so that it is short: what failed, without the request that did. */
export const timerSummary = (status: string, reason: string): string =>
  `${status}: ${unmarked(reason.split('\n', 1)[0] ?? '')}`.slice(0, SUMMARY_LENGTH);

const SUMMARY_LENGTH = 100;

import type { Json, Progress, StagedBatch } from '../protocol.js';

/** One line for the Web UI's timeline: what a write holds. */
export function batchSummary(number: number, batch: StagedBatch): string {
  const end = batch.cursor.ended === null ? '' : ` · ${batch.cursor.ended}`;
  return `batch ${number} · ${batch.records} records · ${batch.pages} pages${end}`;
}

/** A short report in Markdown for the Web UI; the pane crops its last line, so the state comes first. */
export function currentDetails(progress: Progress, state: { [name: string]: Json }): string {
  const waiting =
    progress.waiting === null
      ? []
      : [`Waiting until ${progress.waiting.until}: ${oneLine(progress.waiting.reason)}`, ''];
  const cursor = Object.entries(state)
    .filter(([name]) => name !== 'checkpoint')
    .map(([name, value]) => `\`${name}\` = ${value === null ? '(none)' : `\`${oneLine(String(value))}\``}`);
  return [
    `**${progress.status}** · pass ${progress.pass} · ${cursor.join(' · ')}`,
    '',
    ...waiting,
    '| | records | rows written | pages | batches |',
    '| --- | --- | --- | --- | --- |',
    `| this pass | ${progress.records} | ${progress.rows} | ${progress.pages} | ${progress.batches} |`,
    `| in all | ${progress.totals.records} | ${progress.totals.rows} | ${progress.totals.pages} | ${progress.totals.batches} |`,
    '',
    ...(progress.endRule === null ? [] : [`Last pass ended by \`${progress.endRule}\`.`, '']),
    ...progress.warnings.map((note) => `- ⚠ ${oneLine(note.message)}`),
    '',
  ].join('\n');
}

const oneLine = (text: string) => text.replace(/[\s`|]+/g, ' ').slice(0, 300);

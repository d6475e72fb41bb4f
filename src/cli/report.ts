import { durationText } from '../durations.js';
import type { Progress } from '../protocol.js';
import { settingsText } from '../workflows/settings.js';
import type { Answer } from './asking.js';
import {
  count,
  counted,
  cursorText,
  cut,
  outputWidth,
  progressLine,
  roughly,
  since,
  table,
  visible,
  wrapped,
} from './output.js';

/** The report of a sync as a screen. */
export function report({ progress, state }: Answer, now: number, limit = outputWidth()): string {
  const { totals, trouble, completeAsOf, recent } = progress;
  const facts: [string, string][] = [
    ['cursor', cursorText(state)],
    ['to', progress.destination],
    ['this pass', counts(progress, progress.recordsPerSecond)],
    ['total', `${counted(totals.passes, 'pass', 'passes')}, ${counts(totals, null)}`],
    ['up to date', completeAsOf === null ? '' : `as of ${completeAsOf} (lag ${since(completeAsOf, now)})`],
    [
      'staged',
      progress.staged === 0 ? '' : `${counted(progress.staged, 'batch', 'batches')} read but not yet written`,
    ],
    ['settings', settingsText(progress.settings)],
    ...troubleFacts(trouble, now),
  ];
  const lines = facts
    .filter(([, text]) => text !== '')
    .map(([name, text]) =>
      wrapped(`${name.padEnd(INDENT)}${visible(text)}`.replace(/ {2,}/g, keepSpaces), INDENT, limit),
    )
    .map((line) => line.replaceAll(HARD_SPACE, ' '));
  const deletes = recent.some(({ deleted }) => deleted > 0);
  const passes = recent.map((pass) => [
    pass.ended.slice(0, 19) + 'Z',
    pass.endRule ?? '',
    pass.records,
    pass.rows,
    ...(deletes ? [pass.deleted ?? ''] : []),
    pass.pages,
    pass.seconds === null ? '' : durationText(pass.seconds),
  ]);
  return [
    wrapped(progressLine(progress), 2, limit),
    ...lines,
    ...progress.warnings.map(({ message }) => wrapped(`note: ${visible(message)}`, 2, limit)),
    ...(passes.length === 0
      ? []
      : [
          '',
          table(
            [
              'pass ended',
              'ended by',
              'records',
              'rows written',
              ...(deletes ? ['deleted'] : []),
              'pages',
              'took',
            ],
            passes,
            limit,
          ),
        ]),
  ].join('\n');
}

/** A line for each stream of a sync of several. */
export function streamsReport(
  streams: { stream: string; status: string; answer: Answer | null }[],
  now: number,
  limit = outputWidth(),
): string {
  const deletes = streams.some(({ answer }) => (answer?.progress.totals.deleted ?? 0) > 0);
  const rows = streams.map(({ stream, status, answer }) => {
    const progress = answer?.progress ?? null;
    return [
      stream,
      progress === null || status !== 'running' ? status : progress.status,
      progress?.totals.records ?? '',
      progress?.totals.rows ?? '',
      ...(deletes ? [progress?.totals.deleted ?? ''] : []),
      since(progress?.completeAsOf ?? null, now),
      answer === null ? '' : cursorText(answer.state),
    ];
  });
  const troubles = streams.flatMap(({ stream, answer }) => {
    const trouble = answer?.progress.trouble ?? null;
    return trouble === null ? [] : [wrapped(visible(`${stream}: ${trouble.message}`), 2, limit)];
  });
  return [
    table(
      ['stream', 'status', 'records', 'rows written', ...(deletes ? ['deleted'] : []), 'lag', 'cursor'],
      rows,
      limit,
    ),
    ...troubles,
  ].join('\n');
}

const INDENT = 11;
const HARD_SPACE = '\u00a0';
const keepSpaces = (spaces: string) => HARD_SPACE.repeat(spaces.length);

function troubleFacts(trouble: Progress['trouble'], now: number): [string, string][] {
  if (trouble === null) return [];
  const times = trouble.failures === 1 ? 'once' : `${count(trouble.failures)} times`;
  const [, ...rest] = trouble.message.split('\n').map((line) => line.trim());
  return [
    ...(trouble.deletes === undefined ? [['', rest.join(' · ')] as [string, string]] : []),
    ['problem', `${trouble.type}, ${times} since ${trouble.since} (${since(trouble.since, now)})`],
    [
      'next',
      trouble.deletes !== undefined
        ? rest.join(' ')
        : trouble.nextTry === null
          ? 'fix the cause, then "highwater resume"; or "highwater stop"'
          : `retries at ${trouble.nextTry} (in ${roughly((Date.parse(trouble.nextTry) - now) / 1000)}); "highwater trigger" retries now`,
    ],
  ];
}

function counts(
  of: { records: number; rows: number; pages: number; batches: number; rejected: number; deleted: number },
  rate: number | null,
): string {
  const more = [
    ...(of.rejected > 0 ? [`${count(of.rejected)} quarantined`] : []),
    ...(of.deleted > 0 ? [`${count(of.deleted)} deleted`] : []),
    ...(rate === null ? [] : [`${count(rate)} records/s`]),
  ];
  return [
    [
      counted(of.records, 'record'),
      counted(of.rows, 'row'),
      counted(of.pages, 'page'),
      counted(of.batches, 'batch', 'batches'),
    ].join(', '),
    ...more,
  ].join(', ');
}

/** Cuts the first line of a text to a number of columns. */
export const firstLine = (text: string, limit = 200): string =>
  cut(visible(text.split('\n')[0] ?? ''), limit);

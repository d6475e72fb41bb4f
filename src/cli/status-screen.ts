import { durationText } from '../durations.js';
import type { Progress } from '../protocol.js';
import { standingText, type Standing } from '../sync-condition.js';
import { settingsText } from '../settings.js';
import type { Answer } from './asking.js';
import type { StreamLook } from './look.js';
import { MARKS, paint, TONES } from './terminal.js';
import {
  count,
  counted,
  cursorText,
  outputWidth,
  since,
  table,
  visible,
  wrapped,
  type Cell,
} from './output.js';

/** The state of a sync, and below it the next step. */
export function headline(standing: Standing, limit = outputWidth()): string {
  const { level, todo } = standing;
  const [first = '', ...rest] = wrapped(visible(`${MARKS[level]} ${standingText(standing)}`), 2, limit).split(
    '\n',
  );
  const lines = [paint(TONES[level], first), ...rest];
  return (todo === null ? lines : [...lines, wrapped(visible(`  next: ${todo}`), 6, limit)]).join('\n');
}

/** The report of a sync as a screen. */
export function report({ progress, state }: Answer, now: number, limit = outputWidth()): string {
  const { totals, completeAsOf, recent } = progress;
  const facts: [string, string][] = [
    ['stream', [progress.stream, progress.strategy].filter((part) => part !== '').join(' · ')],
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
    ...troubleFacts(progress),
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
  streams: readonly Pick<StreamLook, 'stream' | 'standing' | 'answer'>[],
  now: number,
  limit = outputWidth(),
): string {
  const deletes = streams.some(({ answer }) => (answer?.progress.totals.deleted ?? 0) > 0);
  const rows = streams.map(({ stream, standing, answer }): Cell[] => {
    const progress = answer?.progress ?? null;
    return [
      stream,
      { text: standing.word, tone: TONES[standing.level] },
      progress?.totals.records ?? '',
      progress?.totals.rows ?? '',
      ...(deletes ? [progress?.totals.deleted ?? ''] : []),
      since(progress?.completeAsOf ?? null, now),
      answer === null ? '' : cursorText(answer.state),
    ];
  });
  const troubles = streams
    .filter(({ standing: { level } }) => ['trouble', 'stuck', 'waiting'].includes(level))
    .filter(({ standing: { kind } }) => kind !== 'queued')
    .map(({ stream, standing }) => {
      const todo =
        standing.todo === null ? '' : `\n${wrapped(visible(`  next: ${standing.todo}`), 6, limit)}`;
      return `${wrapped(visible(`${MARKS[standing.level]} ${stream}: ${standingText(standing)}`), 2, limit)}${todo}`;
    });
  return [
    table(
      ['stream', 'status', 'records', 'rows written', ...(deletes ? ['deleted'] : []), 'lag', 'cursor'],
      rows,
      limit,
    ),
    // The headline shows the only one.
    ...(troubles.length > 1 ? troubles : []),
  ].join('\n');
}

const INDENT = 11;
const HARD_SPACE = '\u00a0';
const keepSpaces = (spaces: string) => HARD_SPACE.repeat(spaces.length);

/** The rest of a message whose first line the headline shows. */
function troubleFacts({ trouble, status }: Progress): [string, string][] {
  if (trouble === null) return [];
  const isOver = status === 'running' || status === 'opening';
  const [, ...rest] = trouble.message.split('\n').map((line) => line.trim());
  return [
    [isOver ? 'last error' : 'problem', trouble.type],
    ['', rest.join(trouble.deletes === undefined ? ' · ' : ' ')],
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

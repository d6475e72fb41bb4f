/** Live progress of a sync: pure functions from what is known to lines of a terminal, or of a log. */
import { standingText, tally, type Standing } from '../sync-condition.js';
import { count, counted, visible } from './output.js';
import { cut, MARKS, TONES, width, type Tone } from './terminal.js';

/** A stream at a moment. */
export interface LiveStream {
  stream: string;
  state: 'queued' | 'reading' | 'done' | 'failed';
  /** Null for a queued stream. */
  standing: Pick<Standing, 'level' | 'word' | 'what'> | null;
  /** Records of this pass that were read. */
  read: number;
  /** The source's own count of them; null if it gives none. */
  total: number | null;
  /** Records per second; null until there are two measurements. */
  rate: number | null;
}

/** Preferred width of a bar; no bar is drawn below SHORTEST_BAR. */
const BAR = 20;
const SHORTEST_BAR = 5;
const LONGEST_NAME = 24;

/** A text of a line; the painter colours it. */
type Painter = (tone: Tone | null, text: string) => string;

/**
 * Returns the lines of a terminal: one for each stream, and how many streams do not fit.
 * @param size columns and rows of the terminal.
 */
export function frame(
  streams: readonly LiveStream[],
  size: { columns: number; rows: number },
  paint: Painter,
): string[] {
  const room = Math.max(1, size.rows - 2);
  const order = ['failed', 'reading', 'done', 'queued'];
  const shown =
    streams.length <= room
      ? streams
      : [...streams].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state)).slice(0, room - 1);
  const names = shown.map(({ stream }) => width(visible(stream)));
  const widest = Math.min(Math.max(...names, 0), LONGEST_NAME, Math.max(8, Math.floor(size.columns / 3)));
  const lines = shown.map((stream) => liveLine(stream, widest, size.columns - 1, paint));
  if (shown.length === streams.length) return lines;
  const others = streams.filter((stream) => !shown.includes(stream));
  const words = tally(others.map(({ state }) => state)).join(', ');
  return [
    ...lines,
    paint('quiet', cut(`… and ${counted(others.length, 'more stream')}: ${words}`, size.columns - 1)),
  ];
}

function liveLine(one: LiveStream, widest: number, columns: number, paint: Painter): string {
  const { stream, state, standing } = one;
  const shown = cut(visible(stream), widest);
  const name = shown + ' '.repeat(widest - width(shown));
  const room = Math.max(8, columns - widest - 4);
  const line = (mark: string, tone: Tone | null, text: string) =>
    `${paint(tone, mark)} ${name}  ${paint(tone === 'good' ? null : tone, cut(visible(text), room))}`;
  if (state === 'queued') return line(' ', 'quiet', 'queued');
  if (state === 'failed') return line('✗', 'bad', standing === null ? 'failed' : standingText(standing));
  if (state === 'done') return line('✓', 'good', doneText(one));
  if (standing !== null && standing.level !== 'well')
    return line(MARKS[standing.level], TONES[standing.level], standingText(standing));
  const text = readingParts(one).join('  ');
  const share = shareOf(one);
  const columnsLeft = Math.min(BAR, room - width(text) - 1);
  const bar = share === null || columnsLeft < SHORTEST_BAR ? '' : `${barOf(share, columnsLeft)} `;
  return `${paint('quiet', '›')} ${name}  ${paint('good', bar)}${cut(text, room)}`;
}

/** A stream may have been done before it was looked at. */
const doneText = ({ read }: LiveStream): string => (read === 0 ? 'done' : `done, ${counted(read, 'record')}`);

function readingParts(one: LiveStream): string[] {
  const { read, total, rate, standing } = one;
  const share = shareOf(one);
  const left = secondsLeft(one);
  return [
    ...(share === null ? [] : [`${Math.floor(share * 100)}%`.padStart(4)]),
    share === null || total === null ? counted(read, 'record') : `${count(read)}/${count(total)} records`,
    ...(rate === null || rate === 0 ? [] : [`${count(rate)}/s`]),
    ...(left === null || left < 1 ? [] : [`${clockText(left)} left`]),
    ...(read === 0 && standing !== null ? [standing.word] : []),
  ];
}

/** The share of the pass that is read; null if there is no total, or the source has more than it counts. */
export const shareOf = ({ read, total }: Pick<LiveStream, 'read' | 'total'>): number | null =>
  total === null || total <= 0 || read > total ? null : read / total;

/** Seconds that the rest of the pass takes at the current rate; null if that is not known. */
export const secondsLeft = ({ read, total, rate }: LiveStream): number | null =>
  total === null || rate === null || rate <= 0 || read > total ? null : Math.ceil((total - read) / rate);

/** `███████░░░░░░`. */
function barOf(share: number, columns: number): string {
  const full = Math.round(share * columns);
  return '█'.repeat(full) + '░'.repeat(columns - full);
}

/** `45s`, `3m 05s`, `2h 10m`. */
export function clockText(seconds: number): string {
  const two = (n: number) => String(n).padStart(2, '0');
  if (seconds < 60) return `${Math.round(seconds)}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m ${two(Math.floor(seconds % 60))}s`;
  return `${Math.floor(minutes / 60)}h ${two(minutes % 60)}m`;
}

/** A line for a log: a stream that is not queued. */
export function plainLine(one: LiveStream): string {
  const { stream, state, standing } = one;
  const hasBegun = one.read > 0 || standing?.level !== 'well';
  if (state === 'queued' || (state === 'reading' && !hasBegun)) return '';
  if (state === 'done') return `${stream}: ${doneText(one)}`;
  if (standing !== null && (state === 'failed' || standing.level !== 'well'))
    return `${stream}: ${standingText(standing)}`;
  return `${stream}: ${readingParts(one)
    .map((part) => part.trim())
    .join(', ')}`;
}

/** Measurements over which a rate is taken. */
const WINDOW_MILLISECONDS = 10_000;

/** Keeps how many records a stream had read when, and how fast that is. */
export class Pace {
  private samples: { at: number; read: number }[] = [];
  /** The greatest count so far: a retry begins again at the last staged batch. */
  read = 0;

  record(read: number, at: number): void {
    this.read = Math.max(this.read, read);
    this.samples = [...this.samples, { at, read: this.read }].filter(
      (sample) => sample.at >= at - WINDOW_MILLISECONDS,
    );
  }

  /** Records per second over the last seconds; null before there are two measurements. */
  rate(): number | null {
    const [first] = this.samples;
    const last = this.samples.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < 500) return null;
    return Math.round(((last.read - first.read) * 1000) / (last.at - first.at));
  }
}

/** Makes the numbers of the plots, and draws them as SVG: pure functions. */
import { durationText } from '../durations.js';
import type { PassSummary } from '../protocol.js';
import { count, counted, roughly } from '../text.js';
import type { Commit } from './facts.js';

export interface Point {
  /** Milliseconds. */
  at: number;
  value: number;
}

export interface Bucket {
  from: number;
  to: number;
  value: number;
}

/** Widths of buckets, in seconds, at which times are easy to read. */
const STEPS = [1, 5, 15, 60, 300, 900, 3600, 10_800, 43_200, 86_400, 604_800].map(
  (seconds) => seconds * 1000,
);
const MOST_BUCKETS = 60;

/** Returns the width of buckets that cover a time with at most {@link MOST_BUCKETS}. */
const stepFor = (milliseconds: number): number =>
  STEPS.find((step) => milliseconds / step <= MOST_BUCKETS - 1) ?? Math.ceil(milliseconds / MOST_BUCKETS);

/** Adds up the rows of commits per bucket of time, until now. Empty without commits. */
export function rowsOverTime(commits: readonly Commit[], now: number): Bucket[] {
  const first = Math.min(...commits.map(({ at }) => at));
  if (!Number.isFinite(first)) return [];
  const step = stepFor(now - first);
  const from = Math.floor(first / step) * step;
  const buckets = Array.from({ length: Math.floor((now - from) / step) + 1 }, (_, i) => ({
    from: from + i * step,
    to: from + (i + 1) * step,
    value: 0,
  }));
  for (const { at, rows } of commits) {
    const bucket = buckets[Math.floor((at - from) / step)];
    if (bucket !== undefined) bucket.value += rows;
  }
  return buckets;
}

/** Returns the rows of each pass, the oldest first. */
export const rowsOfPasses = (recent: readonly PassSummary[]): Bucket[] =>
  [...recent].reverse().map(({ ended, seconds, rows }) => {
    const to = Date.parse(ended);
    return { from: to - (seconds ?? 0) * 1000, to, value: rows };
  });

/**
 * Returns the lag over time: it grows with the clock, and falls at the end of a pass to the time that the pass took.
 * @param recent passes, the latest first.
 */
export function lagOverTime(recent: readonly PassSummary[], now: number): Point[] {
  const passes = [...recent]
    .reverse()
    .flatMap(({ ended, seconds }) =>
      seconds === null ? [] : [{ end: Date.parse(ended), begin: Date.parse(ended) - seconds * 1000 }],
    );
  const points: Point[] = [];
  let begun: number | null = null;
  for (const { end, begin } of passes) {
    if (begun !== null) points.push({ at: end, value: (end - begun) / 1000 });
    points.push({ at: end, value: (end - begin) / 1000 });
    begun = begin;
  }
  if (begun !== null) points.push({ at: now, value: Math.max(0, now - begun) / 1000 });
  return points;
}

const WIDTH = 600;
const HEIGHT = 120;
const TOP = 14;
const BOTTOM = 16;

const rounded = (n: number): string => String(Math.round(n * 10) / 10);
const timeText = (at: number): string => `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')}Z`;

interface PlotText {
  title: string;
  /** The greatest value, as a label. */
  most: string;
  from: number;
  to: number;
}

/** Puts the shapes of a plot between its axis and labels. All texts are numbers and times of our own. */
const framed = (shapes: string, { title, most, from, to }: PlotText): string =>
  `<svg class="plot" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">` +
  `<line class="axis" x1="0" x2="${WIDTH}" y1="${HEIGHT - BOTTOM}" y2="${HEIGHT - BOTTOM}"/>` +
  shapes +
  `<text x="0" y="10">${most}</text>` +
  `<text x="0" y="${HEIGHT - 3}">${timeText(from)}</text>` +
  `<text class="end" x="${WIDTH}" y="${HEIGHT - 3}">${timeText(to)}</text></svg>`;

const yOf = (value: number, most: number): number =>
  HEIGHT - BOTTOM - (most === 0 ? 0 : (value / most) * (HEIGHT - BOTTOM - TOP));

/** Draws rows per bucket as bars; null without buckets. */
export function barPlot(buckets: readonly Bucket[]): string | null {
  const [first] = buckets;
  const last = buckets.at(-1);
  if (first === undefined || last === undefined) return null;
  const most = Math.max(...buckets.map(({ value }) => value));
  const slot = WIDTH / buckets.length;
  const width = Math.min(40, Math.max(1, slot - 2));
  const bars = buckets.map(({ from, to, value }, i) => {
    if (value === 0) return '';
    const y = Math.min(yOf(value, most), HEIGHT - BOTTOM - 1);
    return (
      `<rect class="bar" x="${rounded(i * slot + (slot - width) / 2)}" y="${rounded(y)}" width="${rounded(width)}" height="${rounded(HEIGHT - BOTTOM - y)}">` +
      `<title>${counted(value, 'row')}, ${timeText(from)} to ${timeText(to)}</title></rect>`
    );
  });
  const total = buckets.reduce((sum, { value }) => sum + value, 0);
  return framed(bars.join(''), {
    title: `${counted(total, 'row')} written from ${timeText(first.from)} to ${timeText(last.to)}`,
    most: counted(most, 'row'),
    from: first.from,
    to: last.to,
  });
}

/** Draws the lag as a line; null with less than two points. */
export function linePlot(points: readonly Point[]): string | null {
  const [first] = points;
  const last = points.at(-1);
  if (first === undefined || last === undefined || last.at <= first.at) return null;
  const most = Math.max(...points.map(({ value }) => value));
  const place = ({ at, value }: Point) =>
    `${rounded(((at - first.at) / (last.at - first.at)) * WIDTH)},${rounded(yOf(value, most))}`;
  const line = points.map(place).join(' ');
  const base = HEIGHT - BOTTOM;
  return framed(
    `<polygon class="area" points="0,${base} ${line} ${WIDTH},${base}"/><polyline class="line" points="${line}"/>`,
    {
      title: `lag now ${durationText(Math.round(last.value))}, at most ${durationText(Math.round(most))} since ${timeText(first.at)}`,
      most: roughly(most),
      from: first.at,
      to: last.at,
    },
  );
}

const SPARK_WIDTH = 60;
const SPARK_HEIGHT = 16;

/** Draws the rows of the last passes without words, for a line of a list; null without passes. */
export function sparkline(recent: readonly PassSummary[]): string | null {
  const buckets = rowsOfPasses(recent);
  if (buckets.length === 0) return null;
  const most = Math.max(...buckets.map(({ value }) => value));
  const slot = 12;
  const bars = buckets.map(({ value }, i) => {
    const height = most === 0 ? 1 : Math.max(1, (value / most) * SPARK_HEIGHT);
    const x = SPARK_WIDTH - (buckets.length - i) * slot;
    return `<rect class="bar" x="${x}" y="${rounded(SPARK_HEIGHT - height)}" width="${slot - 3}" height="${rounded(height)}"/>`;
  });
  const label = `rows of the last ${counted(buckets.length, 'pass', 'passes')}: ${buckets.map(({ value }) => count(value)).join(', ')}`;
  return `<svg class="spark" viewBox="0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}" role="img" aria-label="${label}"><title>${label}</title>${bars.join('')}</svg>`;
}

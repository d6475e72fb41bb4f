/** Colours and text widths of a terminal. */
import stringWidth from 'string-width';
import { coloured, usesColour, type Tone } from '../colours.js';
import type { Level } from '../sync-condition.js';

export { usesColour, type Tone };

export const MARKS: { [L in Level]: string } = {
  well: '✓',
  over: '·',
  waiting: '…',
  trouble: '!',
  stuck: '✗',
};

export const TONES: { [L in Level]: Tone } = {
  well: 'good',
  over: 'quiet',
  waiting: 'warn',
  trouble: 'warn',
  stuck: 'bad',
};

/** Returns whether lines of a terminal may be drawn over. */
export const canRedraw = (stream: NodeJS.WriteStream, env = process.env): boolean =>
  stream.isTTY === true && env['TERM'] !== 'dumb';

/** Colours a text by its meaning, where standard output or the given stream has colours. */
export function paint(tone: Tone | null, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  if (tone === null || text === '' || !usesColour(process.env, stream.isTTY === true)) return text;
  return coloured(tone, text);
}

const PLAIN = /^[\u0020-\u007e]*$/;

/** Columns that a text takes on a terminal; colours take none. */
export const width = (text: string): number => (PLAIN.test(text) ? text.length : stringWidth(text));

const segmenter = new Intl.Segmenter();

/** Cuts a text to a number of columns. */
export function cut(text: string, limit: number): string {
  if (width(text) <= limit) return text;
  let kept = '';
  let columns = 0;
  for (const { segment } of segmenter.segment(text)) {
    columns += width(segment);
    if (columns > limit - 1) break;
    kept += segment;
  }
  return `${kept}…`;
}

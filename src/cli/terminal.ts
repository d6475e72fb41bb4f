/** What a terminal can show: colours, and the width of texts. */
import stringWidth from 'string-width';

/** The meaning of a text, shown as its colour. */
export type Tone = 'good' | 'warn' | 'bad' | 'quiet' | 'strong';

const CODES: { [T in Tone]: [on: number, off: number] } = {
  good: [32, 39],
  warn: [33, 39],
  bad: [31, 39],
  quiet: [2, 22],
  strong: [1, 22],
};

/**
 * Returns whether text may have colours. FORCE_COLOR decides if it is set ("0" and "false" forbid), then NO_COLOR; else
 * a terminal has colours, unless it is a "dumb" one.
 */
export function usesColour(env: NodeJS.ProcessEnv, isTerminal: boolean): boolean {
  const { FORCE_COLOR: forced, NO_COLOR: refused, TERM: terminal } = env;
  if (forced !== undefined) return !['0', 'false'].includes(forced);
  if (refused !== undefined && refused !== '') return false;
  return isTerminal && terminal !== 'dumb';
}

/** Returns whether lines of a terminal may be drawn over. */
export const canRedraw = (stream: NodeJS.WriteStream, env = process.env): boolean =>
  stream.isTTY === true && env['TERM'] !== 'dumb';

/** Colours a text by its meaning, where standard output or the given stream has colours. */
export function paint(tone: Tone | null, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  if (tone === null || text === '' || !usesColour(process.env, stream.isTTY === true)) return text;
  const [on, off] = CODES[tone];
  return `\u001b[${on}m${text}\u001b[${off}m`;
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

/** Texts for people: numbers, counts, times, cursors, and what comes from elsewhere. */
import { distance } from 'fastest-levenshtein';
import type { Json } from './protocol.js';

/** A text from elsewhere without what would break a line, move the cursor or reverse the text direction. */
export const visible = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) =>
    c === '\n' ? '⏎' : c === '\t' ? ' ' : '\ufffd',
  );

/** A text as one word of a command for a shell; control characters are escaped, so that a terminal shows them. */
export function shellWord(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (visible(text) === text) return `'${text.replaceAll("'", `'\\''`)}'`;
  // Bash, zsh and ksh read these escapes.
  const escaped = text
    .replace(/['\\]/g, (sign) => `\\${sign}`)
    .replace(
      /[^ -~\u00a1-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\uffff\u{10000}-\u{10ffff}]/gu,
      (sign) => `\\u${(sign.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
    );
  return `$'${escaped}'`;
}

/** `1,234,567`. */
export const count = (n: number) => n.toLocaleString('en-US');

/** `1 batch`, `2 batches`. */
export const counted = (n: number, one: string, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

/** Roughly how long, for a column: "35s", "12m", "3h", "2d". */
export function roughly(seconds: number): string {
  const [, unit, length] = [
    ...([
      [172_800, 'd', 86_400],
      [7200, 'h', 3600],
      [120, 'm', 60],
    ] as const),
    [0, 's', 1] as const,
  ].find(([from]) => seconds >= from) ?? [0, 's', 1];
  return `${Math.max(0, Math.floor(seconds / length))}${unit}`;
}

/** Roughly how long since a time, or until it; '' where there is none. */
export const since = (time: string | null, now: number): string =>
  time === null ? '' : roughly(Math.abs(now - Date.parse(time)) / 1000);

/** Returns the first line of a text; if it only introduces a list of one, that one: "the configuration has 1 problem:". */
export function firstLine(text: string): string {
  const [first = '', second = ''] = text.split('\n');
  return (/ 1 problem:\s*$/.test(first) && second !== '' ? second : first).trim();
}

/** `last_updated_at 2026-01-01T00:00:00Z`, without what is empty. */
export function cursorText(cursor: { [name: string]: Json }): string {
  const shown = Object.entries(cursor).filter(([name, value]) => value !== null && name !== 'checkpoint');
  return shown
    .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    .join(', ');
}

/** Returns ` (did you mean "keyset"?)`; empty if no word is similar. */
export function suggestion(word: string, words: readonly string[]): string {
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of words) {
    const d = distance(word.toLowerCase().slice(0, 100), candidate.toLowerCase());
    if (d < bestDistance) [best, bestDistance] = [candidate, d];
  }
  return best === null ? '' : ` (did you mean ${JSON.stringify(best)}?)`;
}

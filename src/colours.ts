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

/** Writes a text in the colour of its meaning. */
export function coloured(tone: Tone, text: string): string {
  const [on, off] = CODES[tone];
  return `\u001b[${on}m${text}\u001b[${off}m`;
}

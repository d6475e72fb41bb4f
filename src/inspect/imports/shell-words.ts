/** Splits a command into words as a POSIX shell does; variables are not replaced. */
export function shellWords(text: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  const add = (part: string) => (word = (word ?? '') + part);
  for (let at = 0; at < text.length; at++) {
    const c = text[at] ?? '';
    if (c === "'" || (c === '$' && text[at + 1] === "'")) {
      const isAnsi = c === '$';
      const from = at + (isAnsi ? 2 : 1);
      let end = from;
      while (end < text.length && text[end] !== "'") end += isAnsi && text[end] === '\\' ? 2 : 1;
      const inner = text.slice(from, end);
      add(
        isAnsi ? inner.replace(/\\(u[0-9a-fA-F]{4}|.)/gs, (_, escape: string) => unescaped(escape)) : inner,
      );
      at = end;
    } else if (c === '"') {
      let end = at + 1;
      while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
      add(
        text
          .slice(at + 1, end)
          .replace(/\\(["\\$`])/g, '$1')
          .replace(/\\\r?\n/g, ''),
      );
      at = end;
    } else if (c === '\\') {
      const next = text.slice(at + 1, at + 3);
      const skipped = /^\r\n/.test(next) ? 2 : 1;
      if (!/^\r?\n/.test(next)) add(next[0] ?? '');
      at += skipped;
    } else if (/\s/.test(c)) {
      if (word !== null) words.push(word);
      // A new line ends a command, like a semicolon.
      if (c === '\n') words.push('\n');
      word = null;
    } else add(c);
  }
  if (word !== null) words.push(word);
  return words;
}

const ESCAPES: Record<string, string> = { n: '\n', t: '\t', r: '\r' };
const unescaped = (escape: string) =>
  escape.length > 1 ? String.fromCharCode(parseInt(escape.slice(1), 16)) : (ESCAPES[escape] ?? escape);

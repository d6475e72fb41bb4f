import { createScanner } from 'jsonc-parser';

const INDENT = '  ';

/**
 * Returns a JSON text with its members on lines of their own. Every token stays as it is written: a number keeps its
 * digits, a text its escapes.
 * @param change replaces a string, number or word.
 */
export function indented(json: string, change: (token: string) => string = (token) => token): string {
  const scanner = createScanner(json, true);
  const parts: string[] = [];
  let depth = 0;
  let isEmpty = false;
  const breakLine = () => parts.push(`\n${INDENT.repeat(depth)}`);
  for (;;) {
    scanner.scan();
    const at = scanner.getTokenOffset();
    const token = json.slice(at, at + scanner.getTokenLength());
    if (token === '') return parts.join('');
    const closes = token === '}' || token === ']';
    if (closes) depth--;
    if (closes !== isEmpty) breakLine();
    isEmpty = false;
    if (token === '{' || token === '[') {
      parts.push(token);
      depth++;
      isEmpty = true;
    } else if (token === ',') {
      parts.push(token);
      breakLine();
    } else if (token === ':') parts.push(': ');
    else parts.push(closes ? token : change(token));
  }
}

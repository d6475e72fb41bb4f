declare const checked: unique symbol;

/**
 * Text of a statement. It comes into being only here: text that stands in the code ({@link sql}), and values that are
 * quoted or checked on their way into it. Sessions take nothing else, so that no value can become part of a statement
 * by itself.
 */
export type Sql = string & { readonly [checked]: true };

/** Part of a statement as the code has it; what is put into it is a part of a statement already. */
export const sql = (texts: TemplateStringsArray, ...parts: readonly Sql[]): Sql =>
  texts.reduce((before, text, i) => `${before}${parts[i - 1] ?? ''}${text}`) as Sql;

/** Parts of a statement, one after the other. */
export const joined = (parts: Iterable<Sql>, separator: Sql = ', ' as Sql): Sql =>
  [...parts].join(separator) as Sql;

/** A quoted SQL identifier, whatever it holds. */
export const identifier = (name: string): Sql => `"${textIn(name).replaceAll('"', '""')}"` as Sql;

/** A quoted SQL text; a NUL would end the statement. */
export const literal = (text: string): Sql =>
  `'${textIn(text).replaceAll("'", "''").replaceAll('\0', "' || chr(0) || '")}'` as Sql;

/** A number. What types promise of it is not believed: it may have come as JSON. */
export function numeral(number: number | bigint): Sql {
  // A whole number beyond 2^53 was rounded already: it is to be a bigint.
  const isExact = typeof number === 'bigint' || Number.isSafeInteger(number) || !Number.isInteger(number);
  if (!isExact || (typeof number !== 'bigint' && !Number.isFinite(number)))
    throw new TypeError('a statement takes a number here');
  return String(number) as Sql;
}

/**
 * The statement itself, once it is seen to be one: nothing follows a semicolon that is not in quotes.
 * @throws {TypeError}
 */
export function one(statement: Sql): Sql {
  for (const { 0: found, index } of statement.matchAll(/'[^']*'|"[^"]*"|;/g)) {
    if (found === ';' && statement.slice(index + 1).trim() !== '')
      throw new TypeError('statements are run one at a time');
  }
  return statement;
}

function textIn(text: unknown): string {
  if (typeof text !== 'string') throw new TypeError('a statement takes a text here');
  return text;
}

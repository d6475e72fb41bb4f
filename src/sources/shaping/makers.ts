import type { KeyObject } from 'node:crypto';
import type { MadeColumn } from '../../protocol.js';
import { Expression, ExpressionError, RECORD, THIS } from '../../request/expressions.js';
import { JsonTape } from '../../request/json-tape.js';
import { type Location, placeAt } from '../../request/paths.js';
import { celValue, resultText } from './cel-values.js';
import { hashing, masking, type Replacement } from './digest.js';

/** Makes the values of a column. */
export interface Maker {
  column: string;
  /** The name of the column as JSON, with its colon. */
  name: string;
  /** How many loops its expression has; null where it has none. */
  loops: number | null;
  /** The value as JSON text; null where there is none. @throws {ExpressionError} that names the column. */
  make: (tape: JsonTape) => string | null;
}

/**
 * @param made columns, and how they are made.
 * @param keys for hashes, by their columns.
 * @param idOf the name of a column among the keys.
 */
export function makersOf(
  made: { [column: string]: MadeColumn } = {},
  keys: ReadonlyMap<string, KeyObject>,
  idOf = (column: string) => column,
): Maker[] {
  return Object.entries(made).map(([column, one]) => {
    const about = { column, name: `${JSON.stringify(column)}:`, loops: null };
    if ('value' in one) {
      const text = JSON.stringify(one.value);
      return { ...about, make: () => text };
    }
    const replacement = replacementOf(one, keys.get(idOf(column)) ?? null);
    if (one.expression === undefined) return { ...about, make: memberMaker(one.from, replacement) };
    const expression = new Expression(one.expression);
    const make = expressionMaker(expression, one, replacement);
    return { ...about, loops: expression.loops, make: naming(column, make) };
  });
}

/** What takes the place of a member; null where the member itself does. */
export function replacementOf(one: MadeColumn, key: KeyObject | null): Replacement | null {
  if ('value' in one) return null;
  if (one.hash !== undefined) return hashing(key);
  return one.mask === undefined ? null : masking(one.mask);
}

function memberMaker(from: Location, replacement: Replacement | null): Maker['make'] {
  return (tape) => {
    const at = placeAt(tape, from);
    if (at === undefined) return null;
    return replacement === null ? tape.textOf(at) : replacement(tape, at);
  };
}

/** Names the column whose expression fails. */
function naming(column: string, make: Maker['make']): Maker['make'] {
  return (tape) => {
    try {
      return make(tape);
    } catch (thrown) {
      if (!(thrown instanceof ExpressionError)) throw thrown;
      throw new ExpressionError(
        `the expression of column ${JSON.stringify(column)} fails: ${thrown.message}`,
      );
    }
  };
}

function expressionMaker(
  expression: Expression,
  { from, types = {} }: Exclude<MadeColumn, { value: unknown }>,
  replacement: Replacement | null,
): Maker['make'] {
  const reads = expression.names.map((name) => {
    const path: Location = name === THIS ? from : [name];
    const member = path.length === 1 ? String(path[0]) : '';
    const type = Object.hasOwn(types, member) ? types[member] : undefined;
    return { name, path, isWhole: name === RECORD, type };
  });
  return (tape) => {
    const values: Record<string, unknown> = {};
    for (const { name, path, isWhole, type } of reads) {
      const at = isWhole ? 0 : placeAt(tape, path);
      values[name] = at === undefined ? null : celValue(tape, at, type);
    }
    const text = resultText(expression.evaluate(values));
    return text === null || replacement === null ? text : replacement(new JsonTape(text), 0);
  };
}

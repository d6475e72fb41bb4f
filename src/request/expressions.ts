/**
 * Expressions over a record, in CEL (the Common Expression Language, cel.dev). They have no loops but those over lists, no
 * recursion and no effects. What one may need of time is limited by its caller.
 */
import { Environment, EvaluationError, ParseError, TypeError as CheckError } from '@marcbachmann/cel-js';
import { calledName, registerFunctions, withPlainNames } from './cel-functions.js';
import { exactDouble } from './decimals.js';
import { ExpressionError } from './expression-error.js';
import { patternOf } from './patterns.js';

export { ExpressionError } from './expression-error.js';

/** The whole record, for members whose names are no identifiers. */
export const RECORD = 'record';
/** The value at the path `from` of a column, or else the member of the column's name. */
export const THIS = 'this';

/** What a declared column makes of a member: other numbers and texts are converted. */
export type MemberType = 'int' | 'double' | 'string' | 'bool';

const LENGTH_LIMIT = 4000;
const LIMITS = { maxAstNodes: 500, maxDepth: 50 };
/** Loops over lists, inside one another or not: what each multiplies must fit into memory until its time is up. */
const LOOP_LIMIT = 4;
const LOOPS = ['all', 'exists', 'exists_one', 'map', 'filter', 'bind'];

/** A node of the syntax tree, as far as it is looked at. */
interface SyntaxNode {
  op: string;
  args: unknown;
  /** Its place in the source. */
  start: number;
  end: number;
}

/** A member that an expression reads: its name, and names inside it. */
type StaticPath = readonly [string, ...string[]];

/** The language with what records need besides the standard: numbers of both kinds mix, and patterns take linear time. */
function environment(): Environment {
  const made = new Environment({
    unlistedVariablesAreDyn: true,
    homogeneousAggregateLiterals: false,
    enableOptionalTypes: true,
    limits: LIMITS,
  });
  const mixed: [string, (a: number, b: number) => number][] = [
    ['+', (a, b) => a + b],
    ['-', (a, b) => a - b],
    ['*', (a, b) => a * b],
    ['/', (a, b) => a / b],
  ];
  for (const [sign, calculate] of mixed) {
    made.registerOperator(`int ${sign} double: double`, (a: bigint, b: number) => calculate(safe(a), b));
    made.registerOperator(`double ${sign} int: double`, (a: number, b: bigint) => calculate(a, safe(b)));
  }
  made.registerOperator('int == double: bool', (a: bigint, b: number) => safe(a) === b);
  registerFunctions(made);
  return made;
}

/** @throws {ExpressionError} where a double would lose digits. */
function safe(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new ExpressionError('a whole number beyond 2^53 meets a fraction');
  return number;
}

let shared: Environment | undefined;
/** Made when it is needed first: few configurations have expressions. */
const environmentOf = (): Environment => (shared ??= environment());

export class Expression {
  /** Names that it reads: of members, and {@link RECORD} and {@link THIS}. */
  readonly names: readonly string[];
  /** Its loops over lists. Without any it comes to its end soon, where texts are short. */
  readonly loops: number;
  /** The members that it reads and does not expect to be absent: it tests none of them with `has`, `.?` or `null`. */
  readonly expected: readonly StaticPath[];
  private readonly paths: readonly StaticPath[];
  private readonly run: (context: Record<string, unknown>) => unknown;

  /** @throws {ExpressionError} where it is none. */
  constructor(readonly source: string) {
    if (source.length > LENGTH_LIMIT)
      throw new ExpressionError(`it is longer than ${LENGTH_LIMIT} characters`);
    const base = environmentOf();
    try {
      const parsed = base.parse(source);
      const root = parsed.ast as unknown as SyntaxNode;
      this.loops = prepare(root, source);
      if (this.loops > LOOP_LIMIT)
        throw new ExpressionError(
          `it has ${this.loops} loops (${LOOPS.join(', ')}); the limit is ${LOOP_LIMIT}: make several columns of it`,
        );
      const { valid, error } = parsed.check();
      if (!valid && error !== undefined) throw withHint(asExpressionError(error, source), root, base);
      this.paths = staticPaths(root, base);
      const tested = new Set(testedPaths(root).map(String));
      this.expected = this.paths.filter((path) => !tested.has(String(path)));
      this.names = [...new Set(this.paths.map(([name]) => name))];
      this.run = parsed;
    } catch (thrown) {
      throw asExpressionError(thrown, source);
    }
  }

  /**
   * Checks the types of what it does with members of known types.
   * @returns what is wrong; null where nothing is.
   */
  problemWith(types: { readonly [member: string]: MemberType }): string | null {
    const typed = environment();
    for (const [name, type] of Object.entries(types))
      if (this.names.includes(name)) typed.registerVariable(name, type);
    const parsed = typed.parse(this.source);
    prepare(parsed.ast, this.source);
    const { valid, error } = parsed.check();
    return valid || error === undefined ? null : asExpressionError(error, this.source).message;
  }

  /**
   * Evaluates it; as in SQL, what cannot be done because a member is null or absent gives null.
   * @param values of {@link names}; null where there is none.
   * @throws {ExpressionError} that quotes no value.
   */
  evaluate(values: Record<string, unknown>): unknown {
    try {
      return this.run(values);
    } catch (thrown) {
      const mayBeNull = thrown instanceof EvaluationError && BY_NULL.includes(thrown.code);
      if (mayBeNull && this.paths.some((path) => isNull(values, path))) return null;
      throw asExpressionError(thrown, this.source);
    }
  }
}

/** Codes of errors that a value of null, or none, makes. */
const BY_NULL = ['no_such_overload', 'no_matching_overload', 'no_such_key'];

function isNull(values: Record<string, unknown>, [name, ...inner]: StaticPath): boolean {
  let value = values[name];
  for (const part of inner) {
    if (!(value instanceof Map)) return value == null;
    value = (value as Map<string, unknown>).get(part);
  }
  return value == null;
}

const isNode = (value: unknown): value is SyntaxNode =>
  typeof value === 'object' && value !== null && 'op' in value;

/** The nodes right below one. */
function below({ args }: SyntaxNode): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  const visit = (value: unknown) => {
    if (isNode(value)) found.push(value);
    else if (Array.isArray(value)) value.forEach(visit);
  };
  visit(args);
  return found;
}

/** Lets calls go to functions that keep digits and limits, refuses numbers that would be rounded, and counts loops. */
function prepare(node: SyntaxNode, source: string): number {
  let loops = 0;
  if (node.op === 'value' && typeof node.args === 'number') refuseRounding(node, source);
  if (node.op === 'call') {
    const call = node.args as [string, SyntaxNode[]];
    call[0] = calledName(call[0], call[1].length);
  }
  if (node.op === 'rcall') {
    const call = node.args as [string, SyntaxNode, SyntaxNode[]];
    if (LOOPS.includes(call[0])) loops++;
    const [name, , args] = call;
    const [pattern] = args;
    if (name === 'matches' && pattern?.op === 'value' && typeof pattern.args === 'string')
      patternOf(pattern.args);
    call[0] = calledName(name, args.length);
  }
  return below(node).reduce((sum, inner) => sum + prepare(inner, source), loops);
}

/** @throws {ExpressionError} where a number is written with digits that a double does not hold. */
function refuseRounding({ start, end }: SyntaxNode, source: string): void {
  const text = source.slice(start, end);
  if (/^[\d.]/.test(text) && exactDouble(text.replace(/^\./, '0.')) === null)
    throw new ExpressionError(
      `the number ${text} has more digits than a double holds, at character ${start + 1}`,
    );
}

/** The members that an expression names outright. */
function staticPaths(root: SyntaxNode, base: Environment): StaticPath[] {
  const found: StaticPath[] = [];
  const visit = (node: SyntaxNode, bound: readonly string[]): void => {
    const path = pathOf(node);
    if (path !== null) {
      if (!bound.includes(path[0]) && !base.hasVariable(path[0])) found.push(path);
      return;
    }
    const own = boundBy(node);
    for (const inner of below(node)) visit(inner, own === null ? bound : [...bound, own]);
  };
  visit(root, []);
  return found;
}

/** The members of which an expression says what it does if they are not there. */
function testedPaths(node: SyntaxNode): StaticPath[] {
  const inner = below(node);
  const isNullTest =
    ['==', '!='].includes(node.op) && inner.some(({ op, args }) => op === 'value' && args === null);
  const isHas = node.op === 'call' && Array.isArray(node.args) && node.args[0] === 'has';
  const tested = isNullTest || isHas ? inner : node.op === '.?' ? [node] : [];
  return [
    ...tested.flatMap((one) => {
      const path = pathOf(one);
      return path === null ? [] : [path];
    }),
    ...inner.flatMap(testedPaths),
  ];
}

/** The name that a loop gives to an item. */
function boundBy(node: SyntaxNode): string | null {
  if (node.op !== 'rcall') return null;
  const [name, , [first]] = node.args as [string, SyntaxNode, SyntaxNode[]];
  return LOOPS.includes(name) && first?.op === 'id' ? String(first.args) : null;
}

function pathOf(node: SyntaxNode): StaticPath | null {
  if (node.op === 'id') return [String(node.args)];
  if (node.op !== '.' && node.op !== '.?') return null;
  const [inner, name] = node.args as [SyntaxNode, unknown];
  const path = pathOf(inner);
  return path === null || typeof name !== 'string' ? null : [...path, name];
}

/** Says that a name is one of the language, where a member of that name may be meant. */
function withHint(error: ExpressionError, root: SyntaxNode, base: Environment): ExpressionError {
  const own = [...identifiers(root)].find((name) => base.hasVariable(name) && name !== 'cel');
  if (own === undefined) return error;
  const hint = `${JSON.stringify(own)} is a name of CEL; a member of that name is ${RECORD}.${own}`;
  return new ExpressionError(`${error.message}; ${hint}`);
}

function* identifiers(node: SyntaxNode): Iterable<string> {
  if (node.op === 'id') yield String(node.args);
  for (const inner of below(node)) yield* identifiers(inner);
}

/** Codes whose summaries name types and functions, and no values. */
const PLAIN_CODES = ['no_such_overload', 'no_matching_overload'];

function asExpressionError(thrown: unknown, source: string): ExpressionError {
  if (thrown instanceof ExpressionError) return thrown;
  const isRead = thrown instanceof ParseError || thrown instanceof CheckError;
  if (isRead || thrown instanceof EvaluationError) {
    const { code, range, summary } = thrown;
    const what = isRead || PLAIN_CODES.includes(code) ? summary : code.replaceAll('_', ' ');
    const where = range === undefined ? '' : ` at character ${Math.min(range.start, source.length) + 1}`;
    return new ExpressionError(`${withPlainNames(what)}${where}`);
  }
  if (thrown instanceof SyntaxError) return new ExpressionError(`its pattern cannot be used (RE2 syntax)`);
  return new ExpressionError('it cannot be evaluated');
}

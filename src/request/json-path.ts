/**
 * JSONPath (RFC 9535) over the places of a JSON text. The parser is a library's; what it reads is followed here, so that it
 * takes a time and a memory that keep to the size of the text: patterns are RE2's, what a filter asks of the whole
 * answer is looked up once, and a path that goes through the answer again for each value is given up.
 */
import parse from 'jsonpath-rfc9535/parser';
import { TooManyValuesError, type JsonTape } from './json-tape.js';
import { pathPattern, type Pattern } from './patterns.js';

type Query = ReturnType<typeof parse>;
type Segment = Query['segments'][number];
type Node = Segment['node'];
type Selector = Extract<Node, { type: 'BracketedSelection' }>['selectors'][number];
type Filter = Extract<Selector, { type: 'FilterSelector' }>['value'];
type Comparison = Extract<Filter, { type: 'ComparisonExpr' }>;
type Comparable = Comparison['left'];
type Call = Extract<Comparable, { type: 'FunctionExpr' }>;
type Argument = Call['arguments'][number];
type RelativeQuery = Extract<Argument, { type: 'FilterQuery' }>['value'];
type SingularQuery = Extract<Comparable, { type: 'RelSingularQuery' | 'AbsSingularQuery' }>;

/** A path goes through each value of an answer this often at most, and through small answers as often as it likes. */
const STEPS_PER_VALUE = 100;
const FREE_STEPS = 1_000_000;
/** The number of values that may be selected though an answer has fewer. */
const FREE_VALUES = 10_000;

/** A path whose time or memory would grow faster than the answer. */
export class CostlyPathError extends Error {
  override readonly name = 'CostlyPathError';
}

/** Whether an error says that an answer is too large for what is asked of it. */
export const isTooMuch = (thrown: unknown): thrown is Error =>
  thrown instanceof CostlyPathError || thrown instanceof TooManyValuesError;

const FUNCTIONS: Record<string, number> = { length: 1, count: 1, value: 1, match: 2, search: 2 };

/** A JSONPath that can be followed. */
export class JsonPath {
  private readonly query: Query;
  /** Whether it looks beyond the values that its filters are about. */
  readonly isAbsoluteInside: boolean;

  /** @throws {SyntaxError} where the text is no JSONPath, or calls a function or holds a pattern that cannot be used. */
  constructor(text: string) {
    try {
      this.query = parse(text);
    } catch (thrown) {
      throw new SyntaxError(thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
    }
    let isAbsolute = false;
    visitNodes(this.query.segments, (node) => {
      isAbsolute ||= node.type === 'JsonPathQuery' || node.type === 'AbsSingularQuery';
      if (node.type === 'FunctionExpr') checkCall(node as Call);
    });
    this.isAbsoluteInside = isAbsolute;
  }

  /** Its parts behind the `$`, with the names as they are read. */
  get segments(): readonly Segment[] {
    return this.query.segments;
  }

  /**
   * Returns the places that it selects, in order.
   * @throws {CostlyPathError}
   */
  select(tape: JsonTape): number[] {
    return tape.size === 0 ? [] : new Walk(tape).follow(this.query.segments, 0, true);
  }
}

/** Calls `see` with each part of a parsed path. */
function visitNodes(value: unknown, see: (node: { type: string }) => void): void {
  if (typeof value !== 'object' || value === null) return;
  if ('type' in value && typeof value.type === 'string') see(value as { type: string });
  for (const inner of Object.values(value)) visitNodes(inner, see);
}

/** @throws {SyntaxError} */
function checkCall({ name, arguments: given }: Call): void {
  const wanted = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
  if (wanted === undefined)
    throw new SyntaxError(`there is no function ${name}; allowed: ${Object.keys(FUNCTIONS).join(', ')}`);
  if (given.length !== wanted)
    throw new SyntaxError(
      `${name} takes ${wanted === 1 ? 'one argument' : `${wanted} arguments`}, not ${given.length}`,
    );
  const pattern = given[1];
  if (pattern?.type !== 'Literal' || typeof pattern.value !== 'string') return;
  try {
    pathPattern(pattern.value, name === 'match');
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new SyntaxError(`the pattern ${JSON.stringify(pattern.value)} is invalid: ${why}`, {
      cause: thrown,
    });
  }
}

/** Stands for the absence of a value. */
const NOTHING: unique symbol = Symbol('nothing');
type Scalar = string | number | boolean | null | typeof NOTHING;
/** A value of a text, by its place, or one that a path or a function gives. */
type Value = Scalar | { at: number };

/** Patterns that answers hold, for one walk. */
const PATTERNS_KEPT = 100;

/** One look at one text. */
class Walk {
  private steps = 0;
  private readonly allowed: number;
  private readonly passedBefore: number;
  private readonly absolute = new Map<object, number[]>();
  private readonly patterns = new Map<string, Pattern | null>();

  constructor(private readonly tape: JsonTape) {
    this.passedBefore = tape.passed;
    this.allowed = FREE_STEPS + STEPS_PER_VALUE * tape.size;
  }

  private step(count: number): void {
    this.steps += count;
    if (this.steps + this.tape.passed - this.passedBefore > this.allowed)
      throw new CostlyPathError(`it would search the whole response many times: ${this.size()}`);
  }

  private size(): string {
    const { size, text } = this.tape;
    return `${size.toLocaleString('en-US')} values and names in ${text.length.toLocaleString('en-US')} characters`;
  }

  /** @param isBounded the values are kept, so that there may be no more of them than the text has. */
  follow(segments: readonly Segment[], from: number, isBounded = false): number[] {
    const found: number[] = [];
    // First come, first served: of one depth all before those below.
    let queue: number[] = [from, 0];
    for (let head = 0; head < queue.length; head += 2) {
      const at = queue[head] ?? 0;
      const depth = queue[head + 1] ?? 0;
      const segment = segments[depth];
      this.step(1);
      if (segment === undefined) {
        found.push(at);
        if (isBounded && found.length > Math.max(this.tape.size, FREE_VALUES))
          throw new CostlyPathError(`it would select values more than once: ${this.size()}`);
        continue;
      }
      this.each(segment.node, at, (inner) => void queue.push(inner, depth + 1));
      if (segment.type === 'DescendantSegment')
        for (const inner of this.tape.inside(at)) queue.push(inner, depth);
      if (head > 65_536 && head > queue.length / 2) {
        queue = queue.slice(head + 2);
        head = -2;
      }
    }
    return found;
  }

  /** Calls `take` with each value that a part of a path selects in another. */
  private each(node: Node, at: number, take: (inner: number) => void): void {
    const { tape } = this;
    const one = (inner: number) => {
      if (inner !== -1) take(inner);
    };
    switch (node.type) {
      case 'MemberNameShorthand':
        return one(tape.member(at, node.value));
      case 'WildcardSelector':
        return tape.inside(at).forEach(take);
      case 'BracketedSelection':
        for (const selector of node.selectors) {
          switch (selector.type) {
            case 'NameSelector':
              one(tape.member(at, selector.value));
              break;
            case 'IndexSelector':
              one(tape.item(at, selector.value));
              break;
            case 'WildcardSelector':
              tape.inside(at).forEach(take);
              break;
            case 'SliceSelector':
              if (tape.isList(at)) sliced(tape.items(at), selector).forEach(take);
              break;
            case 'FilterSelector':
              for (const inner of tape.inside(at)) if (this.holds(selector.value, inner)) take(inner);
          }
        }
    }
  }

  private holds(filter: Filter, at: number): boolean {
    this.step(1);
    switch (filter.type) {
      case 'LogicalNotExpr':
        return !this.holds(filter.expression, at);
      case 'LogicalAndExpr':
        return this.holds(filter.left, at) && this.holds(filter.right, at);
      case 'LogicalOrExpr':
        return this.holds(filter.left, at) || this.holds(filter.right, at);
      case 'ComparisonExpr':
        return this.compares(filter, at);
      case 'TestExpr': {
        const { expression } = filter;
        if (expression.type === 'FunctionExpr') return this.call(expression, at) === true;
        return this.nodes(expression.value, at).length > 0;
      }
    }
  }

  private nodes(query: RelativeQuery, at: number): number[] {
    const { segments } = query;
    return query.type === 'RelQuery'
      ? this.follow(segments, at)
      : this.once(query, () => this.follow(segments, 0));
  }

  private singular(query: SingularQuery, from: number): Value {
    const [at] =
      query.type === 'RelSingularQuery'
        ? this.reached(query, from)
        : this.once(query, () => this.reached(query, 0));
    return at === undefined ? NOTHING : this.valueAt(at);
  }

  private reached({ segments }: SingularQuery, from: number): number[] {
    let at = from;
    for (const { node } of segments) {
      at = node.type === 'IndexSelector' ? this.tape.item(at, node.value) : this.tape.member(at, node.value);
      if (at === -1) return [];
    }
    return [at];
  }

  /** Results that are the same for every value that a filter tests. */
  private once(query: object, find: () => number[]): number[] {
    let found = this.absolute.get(query);
    if (found === undefined) this.absolute.set(query, (found = find()));
    return found;
  }

  private valueAt(at: number): Value {
    const { tape } = this;
    return tape.isObject(at) || tape.isList(at) ? { at } : (tape.valueOf(at) as Scalar);
  }

  private value(of: Comparable, at: number): Value {
    if (of.type === 'Literal') return of.value;
    return of.type === 'FunctionExpr' ? this.call(of, at) : this.singular(of, at);
  }

  private compares({ left, right, op }: Comparison, at: number): boolean {
    const a = this.value(left, at);
    const b = this.value(right, at);
    const isLess = (x: Value, y: Value) =>
      (typeof x === 'number' && typeof y === 'number' && x < y) ||
      (typeof x === 'string' && typeof y === 'string' && x < y);
    switch (op) {
      case '==':
        return this.isEqual(a, b);
      case '!=':
        return !this.isEqual(a, b);
      case '<':
        return isLess(a, b);
      case '>':
        return isLess(b, a);
      case '<=':
        return isLess(a, b) || this.isEqual(a, b);
      case '>=':
        return isLess(b, a) || this.isEqual(a, b);
    }
  }

  private isEqual(a: Value, b: Value): boolean {
    if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
    const { tape } = this;
    this.step(Math.min(tape.sizeOf(a.at), tape.sizeOf(b.at)));
    if (tape.isList(a.at)) {
      const [left, right] = [tape.items(a.at), tape.isList(b.at) ? tape.items(b.at) : null];
      if (left.length !== right?.length) return false;
      return left.every((at, i) => this.isEqual(this.valueAt(at), this.valueAt(right[i] ?? 0)));
    }
    if (!tape.isObject(b.at)) return false;
    const [left, right] = [tape.named(a.at), tape.named(b.at)];
    if (left.size !== right.size) return false;
    return [...left].every(([name, at]) => {
      const other = right.get(name);
      return other !== undefined && this.isEqual(this.valueAt(at), this.valueAt(other));
    });
  }

  private call({ name, arguments: given }: Call, at: number): Value {
    const [first, second] = given;
    if (first === undefined) return NOTHING;
    if (name === 'count') return first.type === 'FilterQuery' ? this.nodes(first.value, at).length : NOTHING;
    const value = this.argument(first, at);
    if (name === 'value') return value;
    if (name === 'length') return this.length(value);
    const pattern = second === undefined ? NOTHING : this.argument(second, at);
    if (typeof value !== 'string' || typeof pattern !== 'string') return false;
    return this.pattern(pattern, name === 'match')?.isIn(value) === true;
  }

  /** The value of an argument; of a path that of the one value that it selects. */
  private argument(argument: Argument, at: number): Value {
    switch (argument.type) {
      case 'Literal':
        return argument.value;
      case 'FunctionExpr':
        return this.call(argument, at);
      case 'FilterQuery': {
        const [found, ...others] = this.nodes(argument.value, at);
        return found === undefined || others.length > 0 ? NOTHING : this.valueAt(found);
      }
      default:
        return this.holds(argument, at);
    }
  }

  private length(value: Value): Value {
    if (typeof value === 'string') return [...value].length;
    if (typeof value !== 'object' || value === null) return NOTHING;
    return this.tape.inside(value.at).length;
  }

  /** Null where an answer's pattern is none. */
  private pattern(source: string, isWhole: boolean): Pattern | null {
    const key = `${isWhole} ${source}`;
    let pattern = this.patterns.get(key);
    if (pattern === undefined) {
      this.step(1000);
      try {
        pattern = pathPattern(source, isWhole);
      } catch {
        pattern = null;
      }
      if (this.patterns.size >= PATTERNS_KEPT) this.patterns.clear();
      this.patterns.set(key, pattern);
    }
    return pattern;
  }
}

/** A slice as RFC 9535 has it, bounds from the end and steps backwards included. */
function sliced(
  items: readonly number[],
  { start, end, step: given }: Extract<Selector, { type: 'SliceSelector' }>,
): number[] {
  const step = given ?? 1;
  const { length } = items;
  const bound = (place: number | null, otherwise: number, least: number, most: number) =>
    place === null ? otherwise : Math.min(Math.max(place < 0 ? length + place : place, least), most);
  const found: number[] = [];
  if (step > 0)
    for (let i = bound(start, 0, 0, length); i < bound(end, length, 0, length); i += step)
      found.push(items[i] ?? 0);
  if (step < 0)
    for (let i = bound(start, length - 1, -1, length - 1); i > bound(end, -1, -1, length - 1); i += step)
      found.push(items[i] ?? 0);
  return found;
}

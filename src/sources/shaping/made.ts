import type { KeyObject } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { MadeColumn, RecordShape } from '../../protocol.js';
import { Expression, ExpressionError, RECORD, THIS } from '../../request/expressions.js';
import { JsonTape } from '../../request/json-tape.js';
import { type Location, placeAt } from '../../request/paths.js';
import { ScanError } from '../record-scanner.js';
import { celValue, resultText } from './cel-values.js';
import { hashing, masking, type Replacement } from './digest.js';
import { type MemberPattern, Protection } from './protection.js';
import type { Draft, ShapingStep } from './step.js';
import { endsWithin } from './time-limit.js';

/** Milliseconds of an expression for one record, and of many before others get a turn. */
const [TIME_LIMIT, TURN] = [1000, 50];
/** Records of one answer that may take too long: each costs the time of many others. */
const SLOW_LIMIT = 5;

/** Makes the value of a column as JSON text; null where it has none. */
type Maker = (tape: JsonTape) => string | null;

/**
 * Makes columns of constants, expressions, hashes and masks, and leaves out of the record what must not be stored in
 * plain text. Behind it nothing holds that text any more.
 */
export class MadeColumns implements ShapingStep {
  private makers: Map<string, Maker>;
  private readonly protection: Protection;
  private readonly isLimited: boolean;
  private slow = 0;

  /**
   * @param identity columns that are needed of records that a filter leaves out, too.
   * @param keys for hashes, by their columns.
   */
  constructor(
    private readonly shape: RecordShape,
    private readonly identity: readonly string[],
    private readonly keys: ReadonlyMap<string, KeyObject>,
  ) {
    this.makers = this.compiled();
    this.protection = protectionOf(shape, this.keys);
    this.isLimited = Object.values(shape.made ?? {}).some(
      (made) => 'from' in made && made.expression !== undefined,
    );
  }

  async apply(drafts: Draft[]): Promise<Draft[]> {
    if (!this.isLimited) for (const draft of drafts) this.make(draft);
    else await this.makeInTurns(drafts);
    return drafts;
  }

  /** The parts of a record's primary key that are made at no cost, as JSON texts. */
  keyTexts(record: string): string[] {
    const tape = new JsonTape(record);
    const parts = [...this.makers].filter(
      ([column]) => this.identity.includes(column) && !this.hasExpression(column),
    );
    return parts.flatMap(([, maker]) => maker(tape) ?? []);
  }

  /** Made members of a record, for columns with these names: JSON texts `"name":value`. */
  private membersOf(tape: JsonTape, isWanted: (column: string) => boolean): string[] {
    const members: string[] = [];
    for (const [column, maker] of this.makers) {
      if (!isWanted(column)) continue;
      const text = made(column, () => maker(tape));
      if (text !== null) members.push(`${JSON.stringify(column)}:${text}`);
    }
    return members;
  }

  private compiled(): Map<string, Maker> {
    const { made = {} } = this.shape;
    return new Map(
      Object.entries(made).map(([column, one]) => [column, makerOf(one, this.keys.get(column) ?? null)]),
    );
  }

  private make(draft: Draft): void {
    // The time may have been up right behind the last record.
    if (draft.made !== undefined) return;
    const tape = new JsonTape(draft.text);
    const isWanted = draft.isKept ? () => true : (column: string) => this.identity.includes(column);
    let members: string[];
    try {
      members = this.membersOf(tape, isWanted);
    } catch (thrown) {
      if (!(thrown instanceof ExpressionError)) throw thrown;
      members = this.membersOf(tape, (column) => isWanted(column) && !this.hasExpression(column));
      draft.refusal = thrown.message;
    }
    const text = this.protection.applied(tape);
    draft.made = members;
    if (text === draft.text) draft.tape = tape;
    else draft.text = text;
  }

  private hasExpression(column: string): boolean {
    const one = this.shape.made?.[column];
    return one !== undefined && 'from' in one && one.expression !== undefined;
  }

  /** Makes the columns of records a turn at a time, and refuses those whose expressions take too long. */
  private async makeInTurns(drafts: readonly Draft[]): Promise<void> {
    let at = 0;
    let isAlone = false;
    while (at < drafts.length) {
      const until = performance.now() + TURN;
      const isDone = endsWithin(TIME_LIMIT, () => {
        do this.make(drafts[at++] as Draft);
        while (at < drafts.length && performance.now() < until);
      });
      if (!isDone) {
        at--;
        // What was ended in the middle is not used again.
        this.makers = this.compiled();
        // A busy machine may have taken the time: the record gets another one.
        if (isAlone) this.refuseSlow(drafts[at++] as Draft);
      }
      isAlone = !isDone && !isAlone;
      if (at < drafts.length) await nextTurn();
    }
  }

  private refuseSlow(draft: Draft): void {
    const why = `an expression of it takes more than ${TIME_LIMIT / 1000} s`;
    if (++this.slow > SLOW_LIMIT)
      throw new ScanError(`more than ${SLOW_LIMIT} records do not fit: ${why}`, 'record');
    if (draft.made !== undefined) return;
    const tape = new JsonTape(draft.text);
    draft.made = this.membersOf(tape, (column) => !this.hasExpression(column));
    draft.text = this.protection.applied(tape);
    draft.refusal = why;
  }
}

/** Names the column whose expression fails. @throws {ExpressionError} */
function made(column: string, make: () => string | null): string | null {
  try {
    return make();
  } catch (thrown) {
    if (!(thrown instanceof ExpressionError)) throw thrown;
    throw new ExpressionError(`the expression of column ${JSON.stringify(column)} fails: ${thrown.message}`);
  }
}

function makerOf(one: MadeColumn, key: KeyObject | null): Maker {
  if ('value' in one) {
    const text = JSON.stringify(one.value);
    return () => text;
  }
  const replacement = replacementOf(one, key);
  const { from, expression, types = {} } = one;
  if (expression !== undefined) return expressionMaker(expression, from, types, replacement);
  return (tape) => {
    const at = placeAt(tape, from);
    if (at === undefined) return null;
    return replacement === null ? tape.textOf(at) : replacement(tape, at);
  };
}

function replacementOf(one: MadeColumn, key: KeyObject | null): Replacement | null {
  if ('value' in one) return null;
  if (one.hash !== undefined) return hashing(key);
  return one.mask === undefined ? null : masking(one.mask);
}

type Types = NonNullable<Extract<MadeColumn, { from: unknown }>['types']>;

function expressionMaker(
  source: string,
  from: Location,
  types: Types,
  replacement: Replacement | null,
): Maker {
  const expression = new Expression(source);
  const { names } = expression;
  return (tape) => {
    const values: Record<string, unknown> = {};
    for (const name of names) {
      const at = name === RECORD ? 0 : placeAt(tape, name === THIS ? from : [name]);
      const member = name === THIS && from.length === 1 ? String(from[0]) : name;
      const type = Object.hasOwn(types, member) ? types[member] : undefined;
      values[name] = at === undefined ? null : celValue(tape, at, type);
    }
    const text = resultText(expression.evaluate(values));
    return text === null || replacement === null ? text : replacement(new JsonTape(text), 0);
  };
}

/** Whether nothing of a column's member may be stored as it is. */
const isSecret = (one: MadeColumn) => 'from' in one && (one.hash !== undefined || one.mask !== undefined);

/** A path without places in lists: what holds for one item holds for all. */
export const patternOf = (path: Location): MemberPattern =>
  path.filter((part): part is string => typeof part === 'string');

/** The members that are to stay out of other columns. */
function protectionOf(shape: RecordShape, keys: ReadonlyMap<string, KeyObject>): Protection {
  const protection = new Protection();
  for (const pattern of shape.exclude ?? []) if (reachesRow(shape, pattern)) protection.add(pattern, 'drop');
  for (const [column, one] of Object.entries(shape.made ?? {})) {
    if (!isSecret(one) || !('from' in one)) continue;
    const pattern = patternOf(one.from);
    if (!reachesRow(shape, pattern)) continue;
    const replacement = replacementOf(one, keys.get(column) ?? null);
    // The hash of an expression is not that of the member.
    const hasOwnHash = one.expression === undefined && replacement !== null;
    protection.add(pattern, hasOwnHash ? replacement : 'drop');
  }
  return protection;
}

/** Whether a member may come into the row by another column than its own: within another member, or the whole record. */
const reachesRow = ({ raw, from }: RecordShape, pattern: MemberPattern): boolean =>
  raw !== undefined ||
  pattern.length > 1 ||
  pattern[0] === null ||
  Object.values(from).some(([first]) => first === pattern[0]);

/** Members at the top of a record that only made columns read, and columns of the same names do not. */
export const takenMembers = ({ made = {}, exclude = [], raw }: RecordShape): string[] => [
  ...Object.keys(made),
  ...(raw === undefined ? [] : [raw]),
  ...[
    ...exclude,
    ...Object.values(made).flatMap((one) => (isSecret(one) && 'from' in one ? [patternOf(one.from)] : [])),
  ]
    .filter(({ length }) => length === 1)
    .flatMap(([name]) => name ?? []),
];

/** Whether something of a record must not be stored as it came. */
export const holdsSecrets = ({ made = {}, exclude = [] }: RecordShape): boolean =>
  exclude.length > 0 || Object.values(made).some(isSecret);

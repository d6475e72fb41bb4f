import type { KeyObject } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { MadeColumn, RecordShape } from '../../protocol.js';
import { ExpressionError } from '../../request/expressions.js';
import { JsonTape } from '../../request/json-tape.js';
import { comparable, isSameName } from '../../request/member-names.js';
import type { Location } from '../../request/paths.js';
import { ScanError } from '../record-scanner.js';
import type { NamedMembers } from '../source.js';
import { type Maker, makersOf, replacementOf } from './makers.js';
import { MemberSearch } from './named-members.js';
import { type MemberPattern, Protection } from './protection.js';
import type { Draft, ShapingStep } from './step.js';
import { endsWithin } from './time-limit.js';

/** Milliseconds of an expression for one record, and of many before others get a turn. */
const [TIME_LIMIT, TURN] = [1000, 50];
/** Records of one answer that may take too long: each costs the time of many others. */
const SLOW_LIMIT = 5;

/**
 * Makes columns of constants, expressions, hashes and masks, and leaves out of the record what must not be stored in
 * plain text. Behind it nothing holds that text any more.
 */
export class MadeColumns implements ShapingStep {
  private makers: readonly Maker[];
  private readonly protection: Protection;
  private readonly hasExpressions: boolean;
  private readonly search: MemberSearch;
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
    this.makers = makersOf(shape, keys);
    this.protection = protectionOf(shape, keys);
    this.search = new MemberSearch(shape);
    this.hasExpressions = this.makers.some(({ loops }) => loops !== null);
  }

  async apply(drafts: Draft[]): Promise<Draft[]> {
    if (!this.hasExpressions) for (const draft of drafts) this.make(draft);
    else await this.makeInTurns(drafts);
    return drafts;
  }

  /** Says which named members no record so far has, of those that are stored. */
  get named(): NamedMembers {
    const { records, absent } = this.search;
    return { records, absent };
  }

  /** A record without what must not be stored in plain text. */
  withoutSecrets(record: string): string {
    return this.protection.applied(new JsonTape(record));
  }

  /** The parts of a record's primary key that are made at no cost, as JSON texts. */
  keyTexts(record: string): string[] {
    const tape = new JsonTape(record);
    return this.makers
      .filter(({ column, loops }) => loops === null && this.identity.includes(column))
      .flatMap(({ make }) => make(tape) ?? []);
  }

  /** Made members of a record: JSON texts `"name":value`. @throws {ExpressionError} */
  private membersOf(tape: JsonTape, isKept: boolean, withExpressions: boolean): string[] {
    const members: string[] = [];
    for (const { column, name, loops, make } of this.makers) {
      if (loops !== null && !withExpressions) continue;
      if (!isKept && !this.identity.includes(column)) continue;
      const text = make(tape);
      if (text !== null) members.push(name + text);
    }
    return members;
  }

  private make(draft: Draft): void {
    // The time may have been up right behind the last record.
    if (draft.made !== undefined) return;
    const tape = new JsonTape(draft.text);
    try {
      this.finish(draft, tape, this.membersOf(tape, draft.isKept, true));
    } catch (thrown) {
      if (!(thrown instanceof ExpressionError)) throw thrown;
      this.refuse(draft, tape, thrown.message);
    }
  }

  private finish(draft: Draft, tape: JsonTape, members: string[]): void {
    if (draft.isKept) this.search.add(tape);
    const text = this.protection.applied(tape);
    draft.made = members;
    if (text === draft.text) draft.tape = tape;
    else draft.text = text;
  }

  private refuse(draft: Draft, tape: JsonTape, why: string): void {
    draft.refusal = why;
    this.finish(draft, tape, this.membersOf(tape, draft.isKept, false));
  }

  /** Makes the columns of records a turn at a time, and refuses those whose expressions take too long. */
  private async makeInTurns(drafts: readonly Draft[]): Promise<void> {
    let at = 0;
    let isAlone = false;
    while (at < drafts.length) {
      const until = performance.now() + TURN;
      // The limit is set once a turn, not once a record: it costs nothing to speak of, and holds for every expression.
      const isDone = endsWithin(TIME_LIMIT, () => {
        do this.make(drafts[at++] as Draft);
        while (at < drafts.length && performance.now() < until);
      });
      if (!isDone) {
        at--;
        // What was ended in the middle is not used again.
        this.makers = makersOf(this.shape, this.keys);
        // A busy machine may have taken the time: the record gets another one.
        if (isAlone) this.refuseSlow(drafts[at++] as Draft);
      }
      isAlone = !isDone && !isAlone;
      if (at < drafts.length && performance.now() >= until) await nextTurn();
    }
  }

  private refuseSlow(draft: Draft): void {
    const why = `an expression of it takes more than ${TIME_LIMIT / 1000} s`;
    if (++this.slow > SLOW_LIMIT)
      throw new ScanError(`more than ${SLOW_LIMIT} records do not fit: ${why}`, 'record');
    if (draft.made === undefined) this.refuse(draft, new JsonTape(draft.text), why);
  }
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
const reachesRow = ({ raw, from }: RecordShape, [first, ...inner]: MemberPattern): boolean =>
  raw !== undefined ||
  inner.length > 0 ||
  first == null ||
  Object.values(from).some(([member]) => typeof member === 'string' && isSameName(member, first));

/** Members at the top of a record that only made columns read, and columns of the same names do not. */
export const takenMembers = ({ made = {}, raw }: RecordShape): string[] => [
  ...Object.keys(made),
  ...(raw === undefined ? [] : [raw]),
];

/** Members at the top of a record of which nothing is stored as it is, by {@link comparable} names. */
export const secretMembers = ({ made = {}, exclude = [] }: RecordShape): ReadonlySet<string> =>
  new Set(
    [
      ...exclude,
      ...Object.values(made).flatMap((one) => (isSecret(one) && 'from' in one ? [patternOf(one.from)] : [])),
    ]
      .filter(({ length }) => length === 1)
      .flatMap(([name]) => (name == null ? [] : [comparable(name)])),
  );

/** Whether something of a record must not be stored as it came. */
export const holdsSecrets = ({ made = {}, exclude = [] }: RecordShape): boolean =>
  exclude.length > 0 || Object.values(made).some(isSecret);

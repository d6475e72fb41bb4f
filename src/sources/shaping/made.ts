import type { KeyObject } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RecordShape } from '../../protocol.js';
import { ExpressionError } from '../../request/expressions.js';
import { JsonTape } from '../../request/json-tape.js';
import { ScanError } from '../record-scanner.js';
import type { NamedMembers } from '../source.js';
import { MadeItems, type MadeLists } from './items.js';
import { type Maker, makersOf } from './makers.js';
import { MemberSearch } from './named-members.js';
import type { Protection } from './protection.js';
import { protectionOf } from './protection-of.js';
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
  private items: MadeItems | null;
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
    this.makers = makersOf(shape.made, keys);
    this.items = itemsOf(shape, keys);
    this.protection = protectionOf(shape, keys);
    this.search = new MemberSearch(shape);
    this.hasExpressions =
      this.makers.some(({ loops }) => loops !== null) || this.items?.hasExpressions === true;
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
    const lists = this.listsOf(draft, tape, null);
    try {
      this.finish(draft, tape, this.membersOf(tape, draft.isKept, true), lists);
    } catch (thrown) {
      if (!(thrown instanceof ExpressionError)) throw thrown;
      this.refuse(draft, tape, thrown.message, lists);
    }
  }

  /** Makes the members of the items in a record's lists. @param refusal why expressions are not evaluated; null: they are. */
  private listsOf({ isKept }: Draft, tape: JsonTape, refusal: string | null): MadeLists {
    return isKept && this.items !== null ? this.items.made(tape, refusal) : [];
  }

  private finish(draft: Draft, tape: JsonTape, members: string[], lists: MadeLists): void {
    if (draft.isKept) this.search.add(tape);
    const text = this.protection.applied(tape);
    draft.made = members;
    if (this.items !== null && lists.length > 0) {
      draft.unmade = text;
      draft.text = this.items.written(text, lists);
      return;
    }
    if (text === draft.text) draft.tape = tape;
    else draft.text = text;
  }

  private refuse(draft: Draft, tape: JsonTape, why: string, lists: MadeLists): void {
    draft.refusal = why;
    this.finish(draft, tape, this.membersOf(tape, draft.isKept, false), lists);
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
        this.makers = makersOf(this.shape.made, this.keys);
        this.items = itemsOf(this.shape, this.keys);
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
    if (draft.made !== undefined) return;
    const tape = new JsonTape(draft.text);
    this.refuse(draft, tape, why, this.listsOf(draft, tape, why));
  }
}

const itemsOf = ({ items }: RecordShape, keys: ReadonlyMap<string, KeyObject>): MadeItems | null =>
  items === undefined ? null : new MadeItems(items, keys);

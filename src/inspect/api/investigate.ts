/** Finds out how an API pages: sends a bounded number of requests and compares the responses. */
import { pathText } from '../../request/paths.js';
import { namedMaximum } from '../../sources/http.js';
import {
  type Answer,
  type CountPlace,
  type Flag,
  flagsIn,
  type FoundList,
  identities,
  isVague,
  listsIn,
  type NextHint,
  nextHints,
  pageTotalsIn,
  placeText,
  tellingMember,
  totalsIn,
} from './answers.js';
import { OutOfRequestsError } from '../request-budget.js';
import { type Api, type Effect, findParameter, type Params } from './find-parameter.js';
import { GROUPS, LAST_KEY_PARAMETERS, type NameGroup, tokenNames } from './names.js';
import { OtherHostError } from '../../sources/raw.js';

/** The way in which further pages are asked for, as requests have shown. */
export type Paging =
  | { by: 'next'; hint: NextHint; parameter: string | null; isTime: boolean }
  | { by: 'page'; parameter: string; first: 0 | 1 }
  | { by: 'offset'; parameter: string; first: 0 | 1; takesAny: boolean }
  | { by: 'last_key'; parameter: string; member: string }
  | { by: 'none' };

/** Facts about an API, each shown by its answers. */
export interface Evidence {
  /** The list in the first answer. */
  list: FoundList;
  /** The path of the list in pages; it can differ from that in the first answer. */
  records: string;
  /** Member by which records are told apart; null: by all of them. */
  member: string | null;
  size: { parameter: string; records: number } | null;
  paging: Paging;
  total: CountPlace['place'] | null;
  totalPages: CountPlace['place'] | null;
  more: Flag | null;
  /** A count of all records that the first answer names. */
  said: number | null;
  /** Names that were tried, by what they were tried for. */
  tried: { size: string[]; page: string[]; offset: string[]; token: string[]; last_key: string[] };
  /** Places that looked like a next page and led to none. */
  deadEnds: string[];
  remarks: string[];
  /** Records left the list while it was looked at, as those of a first page do when others are added. */
  slides: boolean;
  /** The list is limited by its size parameter: null where it has none, or `records` where that many hold everything. */
  limited: 'to a part' | { parameter: string; asked: number; records: number } | null;
  /** The limit of requests was reached before everything was tried. */
  isCutShort: boolean;
}

/** Records asked for at most, to see whether the page size takes effect. */
const SMALL = 5;
/** The page size to use where the API allows it. */
const LARGE = 100;
/** Pages are often of these sizes: a list of exactly so many records may be a first page. */
export const ROUND = new Set([10, 15, 20, 25, 30, 50, 100, 200, 250, 500, 1000]);

/**
 * Finds how an API pages.
 * @param first the answer to the plain request.
 * @param list the list in it.
 * @param preferred names of parameters that the user has given, or an address has shown.
 */
export async function investigate(
  api: Api,
  first: Answer,
  list: FoundList,
  stream: string,
  preferred: readonly string[] = [],
): Promise<Evidence> {
  const investigation = new Investigation(api, first, list, stream, preferred);
  try {
    await investigation.run();
  } catch (thrown) {
    if (!(thrown instanceof OutOfRequestsError)) throw thrown;
    investigation.evidence.isCutShort = true;
  }
  investigation.readCounts();
  return investigation.evidence;
}

class Investigation {
  readonly evidence: Evidence;
  /** Identities of the first answer's records. */
  private ids: readonly string[];
  /** The list changes between requests, so pages are compared by the records that most of them share. */
  private moves = false;
  /** Records of a small page. */
  private readonly small: number;
  private readonly seen: Answer[];
  /** First pages, of several sizes. */
  private readonly firsts: Answer[];
  /** A page beyond the last one, by the count of pages, has records of its own. */
  private hasPageBeyond = false;
  private group: NameGroup | null = null;

  constructor(
    private readonly api: Api,
    private readonly first: Answer,
    list: FoundList,
    private readonly stream: string,
    private readonly preferred: readonly string[],
  ) {
    const member = tellingMember(list.records);
    this.ids = identities(list.records, member);
    this.small = Math.min(Math.floor(this.ids.length / 2), SMALL);
    this.seen = [first];
    this.firsts = [first];
    this.evidence = {
      list,
      records: pathText(list.path),
      member,
      size: null,
      paging: { by: 'none' },
      total: null,
      totalPages: null,
      more: null,
      said: totalsIn(first).find(({ value }) => value >= this.ids.length)?.value ?? null,
      tried: { size: [], page: [], offset: [], token: [], last_key: [] },
      deadEnds: [],
      remarks: [],
      slides: false,
      limited: null,
      isCutShort: false,
    };
  }

  async run(): Promise<void> {
    if (this.ids.length === 0) return;
    await this.followHints(this.first, {}, this.ids);
    await this.findSize();
    if (!this.isPaged && (await this.hasMoved())) await this.tryWhileMoving();
    else if (!this.isPaged) {
      await this.tryOthers();
      if (!this.isPaged && (await this.hasMoved())) await this.tryWhileMoving();
    }
    if (this.isPaged) {
      await this.findLargestSize();
      await this.tryPageBeyond();
    } else await this.askForAll();
  }

  /** Asks for the plain answer again. */
  private async again(): Promise<Answer> {
    const answer = await this.api.ask({});
    this.ids = this.idsOf(answer) ?? this.ids;
    return answer;
  }

  /** Whether the plain answer has other records by now. */
  private async hasMoved(): Promise<boolean> {
    const before = this.ids;
    await this.again();
    const [old, now] = [new Set(before), new Set(this.ids)];
    const isGone = before.some((id) => !now.has(id));
    // Whole records differ where a value of one has changed, too.
    this.evidence.slides = isGone && (this.evidence.member !== null || ROUND.has(before.length));
    return isGone || this.ids.some((id) => !old.has(id));
  }

  /** Tries everything once more, and compares pages by what most of their records are. */
  private async tryWhileMoving(): Promise<void> {
    this.moves = true;
    this.evidence.deadEnds = [];
    this.evidence.remarks = [];
    this.evidence.tried.last_key = [];
    await this.followHints(await this.again(), {}, this.ids);
    if (!this.isPaged && !this.hasSize) await this.findSize();
    if (!this.isPaged) await this.tryPages();
    if (!this.isPaged) await this.tryLastKey();
    if (this.isPaged)
      this.evidence.remarks.push(
        'a list that stays the same: records were added or removed between requests, so some may change pages while a pass reads them',
      );
  }

  /** Tests whether a larger limit gives more records, or all, if a parameter limits the list and none pages it. */
  private async askForAll(): Promise<void> {
    const { size } = this.evidence;
    if (size === null) return;
    const count = this.ids.length;
    const idsFor = async (asked: number) => {
      const answer = await this.api.ask({ [size.parameter]: String(asked) });
      return { asked, ids: this.idsOf(answer), maximum: namedMaximum(answer.words) };
    };
    let large = await idsFor(Math.max(LARGE, 2 * count));
    if (large.ids === null && large.maximum !== null && large.maximum > count)
      large = await idsFor(large.maximum);
    const { asked, ids } = large;
    const isPart = ids === null || ids.length < count || ids.length >= asked || ROUND.has(ids.length);
    this.evidence.limited = isPart ? 'to a part' : { parameter: size.parameter, asked, records: ids.length };
  }

  private get isPaged(): boolean {
    return this.evidence.paging.by !== 'none';
  }

  private get hasSize(): boolean {
    return this.evidence.size !== null;
  }

  /** Parameters of a small first page, and its records. */
  private get start(): { params: Params; ids: readonly string[] } {
    const { size } = this.evidence;
    if (size === null || this.moves) return { params: {}, ids: this.ids };
    return { params: { [size.parameter]: String(this.small) }, ids: this.ids.slice(0, this.small) };
  }

  /** Small pages may name a next page where the first answer held everything. */
  private async tryOthers(): Promise<void> {
    const hasMore = flagsIn(this.first).some(({ isEnd, value }) => value !== isEnd);
    const { params, ids } = this.start;
    const small = this.hasSize ? await this.api.ask(params) : null;
    if (small !== null) {
      this.seen.push(small);
      this.firsts.push(small);
      await this.followHints(small, params, ids);
    }
    const saysMore = small === null ? hasMore : flagsIn(small).some(({ isEnd, value }) => value !== isEnd);
    if (!this.isPaged && saysMore) await this.tryLastKey();
    if (!this.isPaged) await this.tryPages();
    if (!this.isPaged) await this.tryOffsets();
    if (!this.isPaged && !saysMore) await this.tryLastKey();
  }

  private idsOf(answer: Answer): string[] | null {
    if (answer.status < 200 || answer.status > 299) return null;
    const [list] = listsIn(answer.document, this.stream);
    return list === undefined ? null : identities(list.records, this.evidence.member);
  }

  /** Compares a page with the first page, and with the page that is expected after it. */
  private effect(answer: Answer, before: readonly string[], expected?: readonly string[]): Effect {
    const ids = this.idsOf(answer);
    if (ids === null) return 'refused';
    if (ids.length === 0) return 'empty';
    if (this.moves) return isAlike(ids, this.ids) ? 'same' : 'wanted';
    const isEqual = (others: readonly string[]) =>
      ids.length === others.length && ids.every((id, i) => id === others[i]);
    if (isEqual(before) || isEqual(this.ids)) return 'same';
    if (expected !== undefined && isEqual(expected)) return 'wanted';
    return ids.some((id) => before.includes(id)) ? 'other' : 'wanted';
  }

  /** Follows what an answer names as its next page. */
  private async followHints(answer: Answer, params: Params, before: readonly string[]): Promise<void> {
    const hints = nextHints(answer).slice(0, 4);
    for (const hint of hints) {
      const parameter = hint.is === 'url' ? null : await this.tokenParameter(hint, params, before);
      if (hint.is !== 'url' && parameter === null) {
        this.evidence.deadEnds.push(deadEnd(hint, 'no parameter was found that takes it'));
        continue;
      }
      const next = await this.nextPage(hint, parameter, params);
      if (next === null) continue;
      const effect = this.effect(next, before);
      if (effect !== 'wanted') {
        this.evidence.deadEnds.push(deadEnd(hint, DEAD_END[effect]));
        continue;
      }
      this.take(next);
      if (hint.is === 'page' && parameter !== null) await this.usePages(parameter, params, before);
      else this.evidence.paging = { by: 'next', hint, parameter, isTime: isTime(hint.value) };
      if (this.isPaged) return;
    }
  }

  /** Asks for a next page; null, with a remark, where it lies on another host. */
  private async nextPage(hint: NextHint, parameter: string | null, params: Params): Promise<Answer | null> {
    if (parameter !== null) return this.api.ask({ ...params, [parameter]: hint.value });
    try {
      return await this.api.follow(hint.value);
    } catch (thrown) {
      if (!(thrown instanceof OtherHostError)) throw thrown;
      this.evidence.deadEnds.push(
        deadEnd(hint, `${thrown.message}; if it belongs to the API, list it in "next_hosts"`),
      );
      return null;
    }
  }

  private async tokenParameter(
    hint: NextHint,
    base: Params,
    before: readonly string[],
  ): Promise<string | null> {
    if (hint.is === 'url') return null;
    const names = hint.is === 'page' ? GROUPS.flatMap(({ page }) => page).slice(0, 4) : tokenNames(hint);
    const effect = (answer: Answer) => this.effect(answer, before);
    const [likely, others] = hint.is === 'page' ? [names, []] : [names.slice(0, 3), names.slice(3)];
    this.evidence.tried.token.push(...names);
    for (const name of likely) {
      if (effect(await this.api.ask({ ...base, [name]: hint.value })) === 'wanted') return name;
    }
    return others.length === 0
      ? null
      : findParameter(this.api, { names: others, value: hint.value, base, effect });
  }

  private take(page: Answer): void {
    this.seen.push(page);
    const [list] = listsIn(page.document, this.stream);
    if (list !== undefined) this.evidence.records = pathText(list.path);
  }

  private async findSize(): Promise<void> {
    if (this.small === 0) return;
    const expected = this.ids.slice(0, this.small);
    const effect = (answer: Answer): Effect => {
      const ids = this.idsOf(answer);
      if (ids === null) return 'refused';
      if (ids.length === 0) return 'empty';
      if (ids.length === this.small && (this.moves || ids.every((id, i) => id === expected[i])))
        return 'wanted';
      return ids.length === this.ids.length ? 'same' : 'other';
    };
    for (const group of GROUPS) {
      const names = this.likelyFirst(group.size);
      this.evidence.tried.size.push(...names);
      const parameter = await findParameter(this.api, { names, value: String(this.small), effect });
      if (parameter === null) continue;
      this.group = group;
      if (await this.endsTheList(parameter)) return;
      this.evidence.size = { parameter, records: this.small };
      return;
    }
  }

  /** Returns whether a parameter limits the list as a whole, as `$top` does: then its pages name no next page any more. */
  private async endsTheList(parameter: string): Promise<boolean> {
    const { paging } = this.evidence;
    if (paging.by !== 'next') return false;
    const small = await this.api.ask({ [parameter]: String(this.small) });
    if (nextHints(small).some((hint) => placeText(hint) === placeText(paging.hint))) return false;
    this.evidence.remarks.push(`a page size: ${parameter} limits the list as a whole, so it is not used`);
    return true;
  }

  /** The group of the page size first, then the others. */
  private get groups(): NameGroup[] {
    return [...GROUPS].sort((a, b) => Number(b === this.group) - Number(a === this.group));
  }

  private likelyFirst(names: readonly string[]): string[] {
    const echoed = new Set(Object.keys(this.first.document ?? {}));
    const rank = (name: string) => (this.preferred.includes(name) ? 0 : echoed.has(name) ? 1 : 2);
    return [...names].sort((a, b) => rank(a) - rank(b));
  }

  private async tryPages(): Promise<void> {
    const { params, ids } = this.start;
    for (const group of this.groups) {
      const names = this.likelyFirst(group.page);
      this.evidence.tried.page.push(...names);
      if (this.moves) await this.again();
      const isPlain = await this.pageIn(names, params, ids);
      if (isPlain) return;
      if (!this.hasSize && !this.moves && this.small > 0 && (await this.pageAndSizeIn(group))) return;
    }
  }

  private async pageIn(names: readonly string[], base: Params, ids: readonly string[]): Promise<boolean> {
    const expected = this.ids.slice(ids.length, 2 * ids.length);
    const search = {
      names,
      value: '2',
      base,
      effect: (answer: Answer) => this.effect(answer, ids, expected),
    };
    const parameter = await findParameter(this.api, search);
    if (parameter !== null) await this.usePages(parameter, base, ids);
    else if (!this.hasSize && names.includes('page')) await this.useEmptySecondPage(base);
    return this.isPaged;
  }

  /** APIs that take a page size only together with a page. */
  private async pageAndSizeIn(group: NameGroup): Promise<boolean> {
    const ids = this.ids.slice(0, this.small);
    const expected = this.ids.slice(this.small, 2 * this.small);
    const isExpected = (answer: Answer): Effect =>
      JSON.stringify(this.idsOf(answer)) === JSON.stringify(expected) ? 'wanted' : 'same';
    const value = String(this.small);
    const sizes = Object.fromEntries(group.size.map((name) => [name, value]));
    const page = await findParameter(this.api, {
      names: group.page,
      value: '2',
      base: sizes,
      effect: isExpected,
    });
    if (page === null) return false;
    const base = { [page]: '2' };
    const size = await findParameter(this.api, { names: group.size, value, base, effect: isExpected });
    if (size === null) return false;
    this.evidence.size = { parameter: size, records: this.small };
    this.group = group;
    await this.usePages(page, { [size]: value }, ids);
    return this.isPaged;
  }

  /** Finds the number of the first page: the page that is equal to the plain answer. */
  private async usePages(parameter: string, base: Params, ids: readonly string[]): Promise<void> {
    for (const first of [1, 0] as const) {
      if (this.moves) await this.again();
      const answer = await this.api.ask({ ...base, [parameter]: String(first) });
      if (!this.isPage(this.idsOf(answer), this.moves ? this.ids : ids)) continue;
      this.take(answer);
      if ((!this.hasSize || this.moves) && (await this.repeatsLater(parameter, base, first))) return;
      this.evidence.paging = { by: 'page', parameter, first };
      return;
    }
    this.evidence.remarks.push(
      `${parameter}=2 gave other records, but neither ${parameter}=1 nor ${parameter}=0 gave those of the plain request: ` +
        'the order changes between requests, or the parameter means something else',
    );
  }

  /** Returns whether two answers are the same page. */
  private isPage(ids: readonly string[] | null, page: readonly string[]): boolean {
    if (this.moves) return ids !== null && isAlike(ids, page);
    return JSON.stringify(ids) === JSON.stringify(page);
  }

  /** Returns whether all later pages are one and the same: then there is no paging by this parameter. */
  private async repeatsLater(parameter: string, base: Params, first: 0 | 1): Promise<boolean> {
    const idsAt = async (page: number) =>
      this.idsOf(await this.api.ask({ ...base, [parameter]: String(page) }));
    const one = await idsAt(first + 1);
    const other = await idsAt(first + 2);
    const repeats = one !== null && one.length > 0 && this.isPage(other, one);
    if (repeats) {
      this.evidence.remarks.push(
        `${parameter}=${first + 1} and ${parameter}=${first + 2} gave the same records`,
      );
    }
    return repeats;
  }

  /** A list of one page: page 1 is the list, page 2 is empty. */
  private async useEmptySecondPage(base: Params): Promise<void> {
    const second = await this.api.ask({ ...base, page: '2' });
    if (this.idsOf(second)?.length !== 0) return;
    const first = await this.api.ask({ ...base, page: '1' });
    if (JSON.stringify(this.idsOf(first)) !== JSON.stringify(this.ids)) return;
    this.take(first);
    this.evidence.paging = { by: 'page', parameter: 'page', first: 1 };
    this.evidence.remarks.push(
      'page=1 gave the whole list and page=2 an empty one, so more than one page was not seen',
    );
  }

  private async tryOffsets(): Promise<void> {
    const { params, ids } = this.start;
    const step = this.hasSize ? this.small : Math.max(1, Math.floor(this.ids.length / 2));
    if (this.ids.length < 2) return;
    const begins = (answer: Answer, at: number) => this.idsOf(answer)?.[0] === this.ids[at];
    const effect = (answer: Answer): Effect => {
      if (this.idsOf(answer) === null) return 'refused';
      if (begins(answer, step) || (step > 1 && begins(answer, step - 1))) return 'wanted';
      return this.effect(answer, ids) === 'wanted' ? 'other' : this.effect(answer, ids);
    };
    for (const group of this.groups) {
      const names = this.likelyFirst(group.offset);
      this.evidence.tried.offset.push(...names);
      const parameter = await findParameter(this.api, { names, value: String(step), base: params, effect });
      if (parameter === null) continue;
      const answer = await this.api.ask({ ...params, [parameter]: String(step) });
      this.take(answer);
      const first = begins(answer, step) ? 0 : 1;
      const second = step === 1 ? null : await this.api.ask({ ...params, [parameter]: String(first + 1) });
      const takesAny = second === null || begins(second, 1);
      this.evidence.paging = { by: 'offset', parameter, first, takesAny };
      return;
    }
  }

  private async tryLastKey(): Promise<void> {
    const { member, tried } = this.evidence;
    if (member === null || this.ids.length < 2 || tried.last_key.length > 0) return;
    const names = this.likelyFirst(LAST_KEY_PARAMETERS);
    tried.last_key.push(...names);
    const params = this.start.params;
    // The page after a key begins with the record that follows it in the list.
    const keyAt = (at: number) => String(JSON.parse(this.ids[at] ?? '""'));
    const begins = (answer: Answer, at: number) => this.idsOf(answer)?.[0] === this.ids[at + 1];
    const middle = Math.ceil(this.ids.length / 2) - 1;
    const effect = (answer: Answer): Effect => {
      if (begins(answer, middle)) return 'wanted';
      const found = this.effect(answer, this.ids);
      return found === 'wanted' ? 'other' : found;
    };
    const parameter = await findParameter(this.api, { names, value: keyAt(middle), base: params, effect });
    if (parameter === null) return;
    const later = Math.max(this.ids.length - 2, 0);
    if (begins(await this.api.ask({ ...params, [parameter]: keyAt(later) }), later))
      this.evidence.paging = { by: 'last_key', parameter, member };
  }

  /** Asks for a large page: the API may refuse it, or return fewer records. */
  private async findLargestSize(): Promise<void> {
    const { size, paging } = this.evidence;
    if (size === null || paging.by === 'none') return;
    const ofFirst: Params = paging.by === 'page' ? { [paging.parameter]: String(paging.first) } : {};
    const large = await this.api.ask({ ...ofFirst, [size.parameter]: String(LARGE) });
    const ids = this.idsOf(large);
    if (ids === null) {
      const maximum = namedMaximum(large.words);
      size.records =
        maximum !== null && maximum < LARGE ? maximum : Math.min(Math.max(this.ids.length, 1), LARGE);
      return;
    }
    this.seen.push(large);
    this.firsts.push(large);
    const isWhole = ids.length < LARGE && !(await this.hasNext(large, ids, ofFirst, size.parameter));
    size.records = isWhole || ids.length > LARGE ? LARGE : Math.max(ids.length, 1);
  }

  /** Returns whether records follow after a page that is smaller than asked for. */
  private async hasNext(page: Answer, ids: readonly string[], base: Params, size: string): Promise<boolean> {
    const { paging } = this.evidence;
    const total = totalsIn(page).find(({ value }) => value >= ids.length)?.value;
    if (total !== undefined && (total > ids.length || this.ids.length < ids.length))
      return total > ids.length;
    if (paging.by === 'next') {
      const { hint } = paging;
      return nextHints(page).some((one) => placeText(one) === placeText(hint));
    }
    if (paging.by !== 'page') return flagsIn(page).some(({ isEnd, value }) => value !== isEnd);
    const second = { ...base, [size]: String(LARGE), [paging.parameter]: String(paging.first + 1) };
    return (this.idsOf(await this.api.ask(second))?.length ?? 0) > 0;
  }

  /** Requests the page after the last counted one, if all pages have one size. */
  private async tryPageBeyond(): Promise<void> {
    const { paging } = this.evidence;
    const [counted] = pageTotalsIn(this.seen.at(-1) ?? this.first);
    if (paging.by !== 'page' || this.hasSize || counted === undefined || counted.value === 0) return;
    const idsAt = async (page: number) =>
      this.idsOf(await this.api.ask({ [paging.parameter]: String(page) }));
    const last = paging.first + counted.value - 1;
    const beyond = await idsAt(last + 1);
    if (beyond === null || beyond.length === 0 || isAlike(beyond, this.ids)) return;
    // Some APIs repeat their last page.
    this.hasPageBeyond = !isAlike(beyond, (await idsAt(last)) ?? []);
  }

  /** Reads the count of pages, unless other answers contradict it. */
  private readPageTotal(answer: Answer): void {
    const [found] = pageTotalsIn(answer);
    if (found === undefined) return;
    const counts = this.firsts.flatMap((first) => {
      const same = ({ place }: CountPlace) => JSON.stringify(place) === JSON.stringify(found.place);
      const pages = pageTotalsIn(first).find(same)?.value ?? 0;
      const records = this.idsOf(first)?.length ?? 0;
      return pages > 0 && records > 0 ? [{ pages, records }] : [];
    });
    const total = this.evidence.total === null ? null : this.evidence.said;
    if (!this.hasPageBeyond && fitOneTotal(counts, total)) this.evidence.totalPages = found.place;
    else {
      const name = 'path' in found.place ? found.place.path : `the header ${found.place.header}`;
      this.evidence.remarks.push(
        `a count of pages: ${name} is ${found.value}, which other answers contradict`,
      );
    }
  }

  /** Reads counts and flags that all answers agree on. */
  readCounts(): void {
    const pages = this.seen.map((answer) => ({ answer, records: this.idsOf(answer)?.length ?? 0 }));
    const [, ...later] = pages;
    const isSteady = (found: CountPlace, read: (answer: Answer) => CountPlace[]) => {
      const same = (one: CountPlace) => JSON.stringify(one.place) === JSON.stringify(found.place);
      return pages
        .flatMap(({ answer }) => read(answer).filter(same))
        .every(({ value }) => value === found.value);
    };
    const last = (later.at(-1) ?? pages[0])?.answer ?? this.first;
    const total = totalsIn(last).find((found) => {
      const most = Math.max(...pages.map(({ records }) => records));
      const isPages = pages.length > 1 && pages.some(({ records }) => records !== found.value);
      return found.value >= most && isSteady(found, totalsIn) && (isPages || !isVague(found));
    });
    this.evidence.total = total?.place ?? null;
    this.evidence.said = total?.value ?? this.evidence.said;
    if (this.evidence.paging.by === 'page') this.readPageTotal(last);
    this.evidence.more = flagsIn(last)[0] ?? null;
  }
}

/** Returns whether the counts of pages fit one number of records, each with the records of its first page. */
function fitOneTotal(counts: readonly { records: number; pages: number }[], total: number | null): boolean {
  const least = counts.map(({ records, pages }) => (pages === 1 ? records : (pages - 1) * records + 1));
  const most = counts.map(({ records, pages }) => pages * records);
  return Math.max(...least, total ?? 0) <= Math.min(...most, total ?? Infinity);
}

/** Returns whether most records of an answer are on a page. */
const isAlike = (ids: readonly string[], page: readonly string[]): boolean =>
  2 * ids.filter((id) => page.includes(id)).length > ids.length;

const DEAD_END: Record<Exclude<Effect, 'wanted'>, string> = {
  same: 'it leads to the same records again',
  empty: 'it leads to an empty page',
  refused: 'the API refuses it',
  other: 'it leads to records of the first page',
};

const deadEnd = (hint: NextHint, why: string) => `${placeText(hint)} looks like the next page, but ${why}`;

/** Returns whether a token is only a time, in plain text or in base64: then records of that time can be lost between pages. */
function isTime(token: string): boolean {
  const TIME = /^"?\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?"?$/i;
  return TIME.test(token) || TIME.test(Buffer.from(token, 'base64').toString('utf8'));
}

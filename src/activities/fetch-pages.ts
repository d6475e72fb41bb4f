import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import type { Destination } from '../destinations/destination.js';
import { ConfigurationError, ContradictingAnswerError, SourceRefusedError } from '../errors.js';
import { faultPoint } from '../faults.js';
import {
  allChildren,
  type Cursor,
  type FetchedPages,
  type FetchPagesInput,
  type Note,
  type PageRequest,
  type PageSummary,
} from '../protocol.js';
import { planStrategy } from '../plan/strategy.js';
import { streamKey } from '../plan/stream-key.js';
import { refusedPageSize, type HttpSource } from '../sources/http.js';
import type { InFlight, KeptRequests } from '../sources/in-flight.js';
import { RecordSplitter } from '../sources/record-splitter.js';
import { RateLimitedError, type PageAnswer, type RecordPart } from '../sources/source.js';
import { sourceOf } from '../sources/stream-source.js';
import { Staging } from '../staging/staging.js';
import { counted } from '../text.js';
import {
  ContradictionError,
  DoubtError,
  type Extent,
  extentOf,
  heldToken,
  PASS_RESTARTED,
  restartPass,
  type Strategy,
  UnfollowableError,
  withLatestNote,
  withNote,
} from '../strategies/index.js';
import { BatchStager } from './batch-stager.js';
import type { Activities, Dependencies } from './context.js';
import { beating, reporting } from './failures.js';
import { PageRecordsRead } from './page-records.js';
import { ParentWalk } from './parent-walk.js';
import { rangesOf } from './ranges.js';
import { writeRequest } from './write-batch.js';

/** Reads consecutive pages at the cursor into staged batches, until the budget is used up or the pass ends. */
export const fetchPages =
  (dependencies: Dependencies): Activities['fetchPages'] =>
  (input) => {
    const at = new Date().toISOString();
    const progress: FetchParts['progress'] = { pages: 0, records: 0, at, read: null, total: null };
    return reporting(
      () =>
        beating(
          () => progress,
          async () => (await openFetch(dependencies, input, progress)).run(),
        ),
      () => input.plan.intervalSeconds !== null,
    );
  };

interface FetchParts {
  input: FetchPagesInput;
  /**
   * Counts what was read, for heartbeats: in this call, and of the pass and all of its records as far as that is known;
   * `at` is when the last page arrived, or the call began.
   */
  progress: { pages: number; records: number; at: string } & Extent;
  destination: Destination;
  staging: Staging;
  stager: BatchStager;
  strategy: Strategy;
  /** Leads from one parent to the next; null for a stream without a parent. */
  walk: ParentWalk | null;
  http: HttpSource;
  source: InFlight;
  kept: KeptRequests;
  now: () => Date;
  cursor: Cursor;
  signal: AbortSignal;
}

async function openFetch(
  { host, observe, kept, now = () => new Date(), ...surroundings }: Dependencies,
  input: FetchPagesInput,
  progress: FetchParts['progress'],
): Promise<PageFetch> {
  const { plan, destination: path, base, begin, resumed: endsWait = false } = input;
  const { cancellationSignal: signal } = Context.current();
  const { destination, beside } = await host.get(path);
  const { strategy, perParent } = planStrategy(plan, surroundings.extensions.strategies);
  const { range, ...whole } = plan;
  // Read before the first request: rows that are written from here on may be newer.
  const began = range === undefined ? null : await rangesOf(destination).now(streamKey(plan));
  const observed = observe?.(Context.current(), plan, path);
  const http = await sourceOf(plan, surroundings, beside, {
    remembers: strategy.remembers,
    ...(observed !== undefined && { observe: observed }),
  });
  if (endsWait) http.endWait();
  const isBegun = base.cursor !== null && !begin;
  const cursor = isBegun ? (base.cursor as Cursor) : strategy.begin(base.cursor, now().toISOString());
  const staging = new Staging(beside, streamKey(plan));
  const { children } = plan;
  const split =
    children === undefined
      ? null
      : {
          split: () => new RecordSplitter({ ...plan, children }, http.mask),
          tables: allChildren(children).length,
        };
  const stager = new BatchStager(staging, base.id, plan.batch, began, split);
  const source = kept.take(nameOfCall(input, base.id), http, signal, now().toISOString());
  const walk =
    perParent === null || plan.parent == null
      ? null
      : new ParentWalk(perParent, destination, streamKey(whole), plan.parent, source.memory);
  return new PageFetch({
    input,
    progress,
    destination,
    staging,
    stager,
    strategy,
    walk,
    http,
    source,
    kept,
    now,
    cursor,
    signal,
  });
}

/** Names the call that reads on from a checkpoint. */
const nameOfCall = ({ destination, plan }: FetchPagesInput, checkpoint: string) =>
  JSON.stringify([destination, plan, checkpoint]);

/** Reads pages in one activity, from a cursor to the end of its budget. */
class PageFetch {
  private readonly deadline: number;
  private cursor: Cursor;
  private wait: FetchedPages['wait'] = null;
  /** The source has asked to wait. */
  private isRateLimited = false;
  private isPageSizeLowered = false;
  /** How often the current page was asked for: answers that the strategy doubts are asked for again. */
  private asked: number;
  /** The most records of an answer that was doubted. */
  private heldBefore: number | undefined;
  /** Pages in a row that were the same when they were asked for again. */
  private unchanged = 0;

  constructor(private readonly parts: FetchParts) {
    this.cursor = parts.cursor;
    this.asked = 1 + (parts.cursor.doubted ?? 0);
    this.deadline = performance.now() + parts.input.budget.seconds * 1000;
  }

  async run(): Promise<FetchedPages> {
    const { input, source, kept, stager, signal } = this.parts;
    const isRange = input.plan.range !== undefined;
    /** The call that takes over the requests in flight; they are older than the call that would read a range. */
    let nextCall: string | null = null;
    try {
      for (let goesOn = true; goesOn;) goesOn = await this.readNext();
      const batches = await stager.end(this.cursor);
      this.prepareWrites(batches);
      const { cursor, wait } = this;
      if (cursor.ended === null && !isRange)
        nextCall = nameOfCall(input, batches.at(-1)?.next ?? input.base.id);
      return { batches, cursor, state: this.parts.strategy.state(cursor), wait };
    } catch (thrown) {
      await stager.abandon();
      // The next attempt begins where this one did, and can use the requests in flight.
      if (!isRange && !signal.aborted) nextCall = nameOfCall(input, input.base.id);
      throw thrown;
    } finally {
      if (nextCall === null) source.stop();
      else kept.keep(nextCall, source, this.isRateLimited);
    }
  }

  /** Lets the destination get ready for batches that it will be asked to write. */
  private prepareWrites(batches: FetchedPages['batches']): void {
    const { input, destination, staging } = this.parts;
    for (const batch of batches) destination.prepare(writeRequest(input.plan, staging, batch));
  }

  /** Reads the next page. Returns whether another one is to be read in this call. */
  private async readNext(): Promise<boolean> {
    const { input, progress, stager, strategy, walk } = this.parts;
    const entered = walk === null ? this.cursor : await walk.enterParent(this.cursor);
    if (entered === null) {
      const until = new Date(Date.now() + PARENT_MILLISECONDS).toISOString();
      this.wait = {
        until,
        seconds: PARENT_MILLISECONDS / 1000,
        for: 'parent',
        reason: `stream ${input.plan.parent?.stream ?? ''} has not been read yet`,
      };
      return false;
    }
    this.cursor = entered;
    const request = strategy.request(entered);
    if ('end' in request) {
      if (entered.ended === null) throw neverEnds(strategy.name);
      return false;
    }
    const page = new PageRecordsRead(strategy, entered);
    stager.beginPage();
    faultPoint('page.before');
    try {
      await this.takePage(request, page);
    } catch (thrown) {
      return this.recoverFrom(thrown, request, page.count);
    }
    faultPoint('page.after');
    progress.pages = stager.pages;
    progress.records = stager.records;
    progress.at = new Date().toISOString();
    Object.assign(progress, extentOf(this.cursor));
    return !this.isBudgetUsedUp();
  }

  private isBudgetUsedUp(): boolean {
    const { input, stager } = this.parts;
    return (
      stager.records >= input.budget.rows ||
      stager.bytes >= stager.mostBytes ||
      performance.now() >= this.deadline
    );
  }

  /** Stages the records of a page, and moves the cursor behind it. */
  private async takePage(request: PageRequest, page: PageRecordsRead): Promise<void> {
    const { input, source, stager, strategy, walk } = this.parts;
    const { plan } = input;
    const before = this.cursor;
    const isAudit = plan.range?.kind === 'audit';
    // Requests of these that this call does not need are kept for the next one.
    const ahead = (walk ?? strategy).ahead?.(before, plan.inFlight - 1) ?? [];
    const answer = await source.read(request, ahead, async (part: RecordPart) => {
      page.addPart(part.records, part.sent ?? part.lines);
      stager.addRejects(part.rejects);
      await stager.append(part, before);
      if (part.outside !== undefined && part.outside.records > 0)
        await stager.appendOutside(part.outside, part.longest, before, isAudit);
    });
    const { asked, heldBefore } = this;
    const summary: PageSummary = {
      ...page.summary(answer),
      asked,
      ...(heldBefore !== undefined && { heldBefore }),
    };
    const { doubted: _, ...believed } = before;
    // Inference gives undeclared members a column.
    const lists = (plan.children ?? []).map(({ from: [first] }) => first);
    const undeclared =
      plan.table.inference === undefined ? answer.undeclared.filter((name) => !lists.includes(name)) : [];
    const remarks = [...(answer.remarks ?? []), ...stager.remarks];
    this.cursor = withRemarks(this.countable(strategy.advance(believed, summary)), {
      ...answer,
      undeclared,
      remarks,
    });
    walk?.countPage(summary);
    stager.endPage();
    if (walk !== null && plan.range === undefined && strategy.remembers.values === 'all')
      stager.keepMark(this.cursor);
    if (asked > 1) this.unchanged = summary.records === heldBefore ? this.unchanged + 1 : 0;
    this.believeNext();
  }

  /** Of rows that a transform made, the source's count of its records says nothing. */
  private countable(cursor: Cursor): Cursor {
    if (this.parts.input.plan.request.shape?.transform === undefined) return cursor;
    const { counted: _, ...rest } = cursor;
    return rest;
  }

  /**
   * Does what the failure of a page asks for. Returns whether another page is to be read in this call.
   * @param held records of the page that came before the failure.
   */
  private async recoverFrom(thrown: unknown, request: PageRequest, held: number): Promise<boolean> {
    const { http, now, signal, stager, strategy } = this.parts;
    const maximum =
      strategy.lowerPageSize === undefined || this.isPageSizeLowered ? null : refusedPageSize(thrown);
    if (maximum !== null && strategy.lowerPageSize !== undefined) {
      this.isPageSizeLowered = true;
      await this.askFrom(strategy.lowerPageSize(this.cursor, maximum));
      return true;
    }
    if (thrown instanceof DoubtError) {
      await this.askAgain(held);
      return true;
    }
    // After the wait the page has been asked for as often as before it.
    if (thrown instanceof RateLimitedError && this.asked > 1)
      this.cursor = { ...this.cursor, doubted: this.asked - 1 };
    this.believeNext();
    const restart = restartFor(thrown, this.cursor);
    if (restart !== null) {
      await this.askFrom(restartPass(strategy, this.cursor, restart, now().toISOString()));
      return true;
    }
    if (thrown instanceof RateLimitedError) {
      await stager.undoPage();
      this.wait = thrown.wait;
      this.isRateLimited = true;
      return false;
    }
    const leadsNowhere = thrown instanceof UnfollowableError || thrown instanceof ContradictionError;
    // Pages that were read are worth keeping; the next call meets the failure again.
    if (stager.pages > 0 && !signal.aborted && !leadsNowhere) {
      await stager.undoPage();
      return false;
    }
    throw leadsNowhere ? ofStream(thrown, http.shownRequest(request)) : thrown;
  }

  /** Asks for the current page again, after a pause. */
  private async askAgain(held: number): Promise<void> {
    const { asked } = this;
    await this.askFrom(this.cursor);
    const isAtOnce = asked === 1 && this.unchanged >= UNCHANGED_LIMIT;
    const pause = isAtOnce ? 0 : ASK_AGAIN_MILLISECONDS * ASK_AGAIN_GROWTH ** (asked - 1);
    await sleep(pause, undefined, { signal: this.parts.signal });
    this.asked = asked + 1;
    this.heldBefore = Math.max(this.heldBefore ?? 0, held);
  }

  private async askFrom(cursor: Cursor): Promise<void> {
    this.cursor = cursor;
    await this.parts.stager.undoPage();
  }

  /** Forgets the doubts about the page before. */
  private believeNext(): void {
    this.asked = 1;
    this.heldBefore = undefined;
  }
}

/** A strategy of an extension that has no more requests and does not say so in its cursor: the pass would never end. */
const neverEnds = (strategy: string): ConfigurationError =>
  new ConfigurationError([
    {
      path: 'strategy',
      message:
        `${strategy} ended the pass in request(), but its cursor has no "ended". The extension must set "ended" in ` +
        'advance() or begin(); its laws would find this (docs/write-a-strategy.md)',
    },
  ]);

/** How often parents that have not been read yet are looked for. */
const PARENT_MILLISECONDS = 3000;

/** Pause before a page is asked for again, and how much longer the next one is: a slip passes, and so may a short outage. */
const [ASK_AGAIN_MILLISECONDS, ASK_AGAIN_GROWTH] = [250, 6];
/**
 * Pages in a row that were the same when they were asked for again; then the first pause is left out. The lists of
 * thousands of parents each end with such a page.
 */
const UNCHANGED_LIMIT = 10;

/** A failure of the source's pages as an error of the stream. @param request method and address, secrets masked. */
function ofStream(thrown: UnfollowableError | ContradictionError, request: string): Error {
  const [method = 'GET', address = ''] = request.split(' ');
  return thrown instanceof ContradictionError
    ? new ContradictingAnswerError(address, thrown.message, method)
    : new SourceRefusedError(address, thrown.message, null, '', method);
}

/** Statuses by which a source says that it does not know a page token any more. */
const DEAD_TOKEN = [400, 404, 410];

/**
 * Why a pass is to begin again from its mark, once: what contradicts the source may lie before this page, or the page
 * token has grown old. Null where it is not.
 */
function restartFor(thrown: unknown, { pass, notes, position }: Cursor): string | null {
  if (notes.some(({ code }) => code === PASS_RESTARTED)) return null;
  if (thrown instanceof ContradictionError) return thrown.message;
  const token = heldToken(position);
  if (!(thrown instanceof SourceRefusedError) || token === null || pass === 0) return null;
  if (thrown.status === null || !DEAD_TOKEN.includes(thrown.status)) return null;
  return `the source answered ${String(thrown.status)} to its own page token, which has probably expired`;
}

/** The cursor with what an answer has to say. */
function withRemarks(cursor: Cursor, { ignored, undeclared, remarks = [], dropped }: PageAnswer): Cursor {
  let { notes } = cursor;
  if (dropped !== undefined) notes = withLatestNote(notes, droppedNote(notes, dropped));
  for (const note of remarks) notes = withNote(notes, note);
  if (ignored === true) notes = withNote(notes, ANSWER_IGNORED);
  if (undeclared.length > 0) {
    const message = `members without a declared column are not stored: ${undeclared.join(', ')}`;
    notes = withNote(notes, { code: 'undeclared_members', message });
  }
  return { ...cursor, notes };
}

/** Counts the records of a pass of which a transform made no row. */
function droppedNote(notes: readonly Note[], { records, hook }: NonNullable<PageAnswer['dropped']>): Note {
  const code = 'records_dropped';
  const count = records + (notes.find((note) => note.code === code)?.count ?? 0);
  return { code, message: `the hook ${hook} made no row of ${counted(count, 'record')} of this pass`, count };
}

const ANSWER_IGNORED: Note = {
  code: 'answer_ignored',
  message: 'a rule in "errors" treated a response as an empty page: the pass may not have read everything',
};

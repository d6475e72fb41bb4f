import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { Context } from '@temporalio/activity';
import type { ParentMark } from '../destinations/destination.js';
import { ContradictingAnswerError, RecordError, SourceRefusedError } from '../errors.js';
import { faultPoint } from '../faults.js';
import type {
  BatchBudget,
  Cursor,
  FetchedPages,
  Note,
  PageRecords,
  PageSummary,
  Reject,
  StagedBatch,
  StagedFile,
} from '../protocol.js';
import { refusedPageSize } from '../sources/http.js';
import { InFlight } from '../sources/in-flight.js';
import { RateLimitedError, type PageAnswer } from '../sources/source.js';
import { sourceOf } from '../sources/stream-source.js';
import { Staging, type StagedMark, type StagedWriter } from '../staging/staging.js';
import {
  ContradictionError,
  DoubtError,
  isComparedUnordered,
  PASS_RESTARTED,
  restartPass,
  strategyOf,
  type PerParentCursor,
  type Strategy,
  UnfollowableError,
  withNote,
} from '../strategies/index.js';
import type { Activities, Dependencies } from './context.js';
import { beating, reporting } from './failures.js';
import { ParentWalk } from './parent-walk.js';
import { rangesOf } from './ranges.js';
import { streamKey } from '../plan/stream-key.js';
import { stagedFiles, writeRequest } from './write-batch.js';

/** Reads consecutive pages at the cursor into staged batches, until the budget is used up or the pass ends. */
export const fetchPages =
  ({ host, observe, ...surroundings }: Dependencies): Activities['fetchPages'] =>
  ({ plan, destination: path, base, budget, begin, resumed: endsWait = false }) => {
    const { cancellationSignal } = Context.current();
    const progress = { pages: 0, records: 0 };
    return reporting(
      () =>
        beating(
          () => progress,
          async () => {
            const { destination, beside } = await host.get(path);
            const { strategy, perParent } = strategyOf(plan);
            const { range, ...whole } = plan;
            // Before anything is asked for: what is written from here on may be newer.
            const began = range === undefined ? null : await rangesOf(destination).now(streamKey(plan));
            const watched = observe?.(Context.current(), plan, path);
            const http = await sourceOf(plan, surroundings, beside, strategy.remembers, watched);
            if (endsWait) http.endWait();
            /** Names the call that goes on from a checkpoint. */
            const callFrom = (checkpoint: string) => JSON.stringify([path, plan, checkpoint]);
            const resumed = base.cursor === null || begin;
            let cursor = resumed
              ? strategy.begin(base.cursor, new Date().toISOString())
              : (base.cursor as Cursor);
            const staging = new Staging(beside, streamKey(plan));
            const stager = new BatchStager(staging, base.id, plan.batch, began);
            const keepsOutside = range?.kind === 'audit';
            const deadline = performance.now() + budget.seconds * 1000;
            let wait: FetchedPages['wait'] = null;
            let lowered = false;
            /** Answers to the same request, which was asked again because the ones before were not believed. */
            let asked = 1 + (cursor.doubted ?? 0);
            let heldBefore: number | undefined;
            /** Pages in a row that were the same when they were asked for again. */
            let needless = 0;
            const askFrom = async (next: Cursor) => {
              cursor = next;
              await stager.undoPage();
            };
            /** What to ask for already; what this call does not take is kept for the next. */
            const ahead = () => (walk ?? strategy).ahead?.(cursor, plan.inFlight - 1) ?? [];
            const source = InFlight.take(callFrom(base.id), http, cancellationSignal);
            const walk =
              perParent === null || plan.parent == null
                ? null
                : new ParentWalk(perParent, destination, streamKey(whole), plan.parent, source.memory);
            let keepAs: string | null = null;
            let isWaiting = false;

            try {
              for (;;) {
                const entered = walk === null ? cursor : await walk.enter(cursor);
                if (entered === null) {
                  const until = new Date(Date.now() + PARENT_MILLISECONDS).toISOString();
                  wait = {
                    ...{ until, seconds: PARENT_MILLISECONDS / 1000, for: 'parent' },
                    reason: `stream ${plan.parent?.stream ?? ''} has not been read yet`,
                  };
                  break;
                }
                cursor = entered;
                const request = strategy.request(cursor);
                if ('end' in request) break;
                const before = cursor;
                const page = new PageRecordsRead(strategy, before);
                stager.beginPage();
                faultPoint('page.before');
                try {
                  const answer = await source.read(
                    request,
                    ahead(),
                    async (lines, records, longest, kept, rejects, outside) => {
                      page.add(records, lines);
                      stager.putAside(rejects);
                      if (kept > 0) await stager.append(lines, kept, longest, before);
                      if (outside === undefined || outside.records === 0) return;
                      await stager.appendOutside(outside, longest, before, keepsOutside);
                    },
                  );
                  // What has no column yet gets one.
                  const undeclared = plan.table.inference === undefined ? answer.undeclared : [];
                  const summary = {
                    ...page.summary(answer),
                    asked,
                    ...(heldBefore !== undefined && { heldBefore }),
                  };
                  const { doubted: _, ...believed } = cursor;
                  cursor = withRemarks(strategy.advance(believed, summary), {
                    ...answer,
                    undeclared,
                  });
                  walk?.learn(summary);
                  stager.endPage();
                  if (walk !== null && range === undefined && strategy.remembers.values === 'all')
                    stager.keepMark(cursor);
                  if (asked > 1) needless = summary.records === heldBefore ? needless + 1 : 0;
                  [asked, heldBefore] = [1, undefined];
                } catch (thrown) {
                  const maximum =
                    strategy.lowerPageSize !== undefined && !lowered ? refusedPageSize(thrown) : null;
                  if (maximum !== null && strategy.lowerPageSize !== undefined) {
                    lowered = true;
                    await askFrom(strategy.lowerPageSize(cursor, maximum));
                    continue;
                  }
                  if (thrown instanceof DoubtError) {
                    await askFrom(cursor);
                    const isAtOnce = asked === 1 && needless >= NEEDLESS_LIMIT;
                    const pause = isAtOnce ? 0 : ASK_AGAIN_MILLISECONDS * ASK_AGAIN_GROWTH ** (asked - 1);
                    await sleep(pause, undefined, { signal: cancellationSignal });
                    [asked, heldBefore] = [asked + 1, Math.max(heldBefore ?? 0, page.count)];
                    continue;
                  }
                  // After the wait the page has been asked for as often as before it.
                  if (thrown instanceof RateLimitedError && asked > 1)
                    cursor = { ...cursor, doubted: asked - 1 };
                  [asked, heldBefore] = [1, undefined];
                  const restart = restartFor(thrown, cursor);
                  if (restart !== null) {
                    await askFrom(restartPass(strategy, cursor, restart, new Date().toISOString()));
                    continue;
                  }
                  if (thrown instanceof RateLimitedError) {
                    await stager.undoPage();
                    ({ wait } = thrown);
                    isWaiting = true;
                    break;
                  }
                  // Pages that are here are worth keeping; the next call meets the failure on its own.
                  const leadsNowhere =
                    thrown instanceof UnfollowableError || thrown instanceof ContradictionError;
                  if (stager.pages > 0 && !cancellationSignal.aborted && !leadsNowhere) {
                    await stager.undoPage();
                    break;
                  }
                  throw leadsNowhere ? ofStream(thrown, http.shownRequest(request)) : thrown;
                }
                faultPoint('page.after');
                progress.pages = stager.pages;
                progress.records = stager.records;
                if (
                  stager.records >= budget.rows ||
                  stager.bytes >= stager.mostBytes ||
                  performance.now() >= deadline
                )
                  break;
              }
              const batches = await stager.end(cursor);
              for (const batch of batches) destination.prepare(writeRequest(plan, staging, batch));
              // What a range asks for ahead would be older than the call that reads it.
              if (cursor.ended === null && range === undefined)
                keepAs = callFrom(batches.at(-1)?.next ?? base.id);
              return { batches, cursor, state: strategy.state(cursor), wait };
            } catch (thrown) {
              await stager.abandon();
              // The next attempt begins where this one did, and has use for what it asked for ahead.
              if (range === undefined && !cancellationSignal.aborted) keepAs = callFrom(base.id);
              throw thrown;
            } finally {
              if (keepAs === null) source.stop();
              else source.keep(keepAs, isWaiting);
            }
          },
        ),
      () => plan.intervalSeconds !== null,
    );
  };

/** Records put aside of one answer; more than that is a wrong column, and would fill memory. */
const REJECTS_LIMIT = 10_000;

/** How often parents that have not been read yet are looked for. */
const PARENT_MILLISECONDS = 3000;

/** Pause before a page is asked for again, and how much longer the next one is: a slip passes, and so may a short outage. */
const [ASK_AGAIN_MILLISECONDS, ASK_AGAIN_GROWTH] = [250, 6];
/**
 * Pages in a row that were the same when they were asked for again; then the first pause is left out. The lists of
 * thousands of parents each end with such a page.
 */
const NEEDLESS_LIMIT = 10;

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
  return `the source refused a page token that it had given (${String(thrown.status)}), as sources do with old ones`;
}

/** The page token that a position asks by; null where it asks by none. */
function heldToken(position: Cursor['position']): string | null {
  if (typeof position !== 'object' || position === null || Array.isArray(position)) return null;
  const { token, inner } = position;
  if (typeof inner === 'object' && inner !== null && !Array.isArray(inner))
    return heldToken(inner['position'] ?? null);
  return typeof token === 'string' ? token : null;
}

/** Bytes at each end of a part of a page that its checksum is made of. */
const PROBED_BYTES = 512;

/** A digest of lines that does not depend on their order. */
class LinesDigest {
  private sum = 0;
  private mixed = 0;

  add(lines: Buffer): void {
    for (let start = 0; start < lines.length;) {
      const found = lines.indexOf(NEWLINE, start);
      const end = found === -1 ? lines.length : found;
      const line = crc32(lines.subarray(start, end));
      this.sum += line;
      this.mixed ^= Math.imul(line, 0x9e3779b1);
      start = end + 1;
    }
  }

  text = (): string => `${this.sum.toString(36)} ${this.mixed.toString(36)}`;
}

const NEWLINE = 0x0a;

/** How many pages of its pass a position has behind it, as far as it counts them. */
function pagesBehind(position: Cursor['position']): number {
  if (typeof position !== 'object' || position === null || Array.isArray(position)) return 0;
  const { evidence } = position;
  if (typeof evidence !== 'object' || evidence === null || Array.isArray(evidence)) return 0;
  return Number(evidence['pages'] ?? 0);
}

/** What a page's records tell the strategy; condensed part by part where the strategy can. */
class PageRecordsRead {
  private keys: string[] = [];
  private values: (string | null)[] = [];
  private records = 0;
  private first: number | null = null;
  private last = 0;
  private readonly digest: LinesDigest | null;

  constructor(
    private readonly strategy: Strategy,
    private readonly cursor: Cursor,
  ) {
    this.digest = isComparedUnordered(pagesBehind(cursor.position)) ? new LinesDigest() : null;
  }

  /** Records so far. */
  get count(): number {
    return this.records;
  }

  /** @param lines the records that are kept, as text. */
  add(part: PageRecords, lines: Buffer): void {
    this.records += part.records;
    if (lines.length > 0) {
      this.first ??= crc32(lines.subarray(0, PROBED_BYTES));
      this.last = crc32(lines.subarray(-PROBED_BYTES));
      this.digest?.add(lines);
    }
    this.keys = this.keys.concat(part.keys);
    this.values = this.values.concat(part.values);
    const condensed = this.strategy.condense?.(this.cursor, { keys: this.keys, values: this.values });
    if (condensed !== undefined) {
      this.keys = [...condensed.keys];
      this.values = [...condensed.values];
    }
  }

  summary({ undeclared: _, remarks: _remarks, ...said }: PageAnswer): PageSummary {
    const probe =
      this.first === null ? {} : { probe: `${this.first.toString(36)} ${this.last.toString(36)}` };
    const unordered = this.digest === null ? {} : { unordered: this.digest.text() };
    return { keys: this.keys, values: this.values, records: this.records, ...probe, ...unordered, ...said };
  }
}

/** The cursor with what an answer has to say. */
function withRemarks(cursor: Cursor, { ignored, undeclared, remarks = [] }: PageAnswer): Cursor {
  let { notes } = cursor;
  for (const note of remarks) notes = withNote(notes, note);
  if (ignored === true) notes = withNote(notes, ANSWER_IGNORED);
  if (undeclared.length > 0) {
    const message = `records have members that no column is declared for, which are not stored: ${undeclared.join(', ')}`;
    notes = withNote(notes, { code: 'undeclared_members', message });
  }
  return { ...cursor, notes };
}

const ANSWER_IGNORED: Note = {
  code: 'answer_ignored',
  message:
    'an answer was taken for an empty page, as a rule for errors says: the pass may not have read everything',
};

/** Stages pages as batches, each naming the checkpoint it follows. */
/** Bytes; a value that has no room in a block of DuckDB's stays in memory, several times over, until its batch is written. */
const WIDE_RECORD = 128 * 1024;
const WIDE_BATCH = 4 * 1024 * 1024;

class BatchStager {
  pages = 0;
  records = 0;
  bytes = 0;

  private readonly finished: StagedBatch[] = [];
  private batch: OpenBatch | null = null;
  /** Length of the longest record. */
  private longest = 0;
  /** Of parents that are done. */
  private marks: ParentMark[] = [];
  /** Where the page in hand began. */
  private page: {
    batch: OpenBatch | null;
    mark: StagedMark | null;
    markBeyond: StagedMark | null;
    records: number;
    outside: number;
    bytes: number;
    rejects: Reject[];
  };
  /** Of whole pages. */
  private rejects: Reject[] = [];

  /** @param began when the first record may have been asked for, where that is to be kept. */
  constructor(
    private readonly staging: Staging,
    private base: string,
    private readonly limit: Pick<BatchBudget, 'rows' | 'bytes'>,
    private readonly began: string | null,
  ) {
    this.page = NO_PAGE;
  }

  beginPage(): void {
    const { batch } = this;
    const [mark, markBeyond] = [batch?.writer.mark() ?? null, batch?.beyond.mark() ?? null];
    this.page = { ...NO_PAGE, batch, mark, markBeyond, rejects: [] };
  }

  /** How many bytes a batch may have; fewer where records are wide. */
  get mostBytes(): number {
    return this.longest < WIDE_RECORD ? this.limit.bytes : Math.min(this.limit.bytes, WIDE_BATCH);
  }

  /** Takes records of the page in hand; a body too large for one batch is cut, with the cursor as it was before. */
  async append(lines: Buffer, records: number, longest: number, before: Cursor): Promise<void> {
    const batch = await this.room(lines.length, longest, before);
    batch.records += records;
    this.page.records += records;
    await batch.writer.append(lines);
  }

  /** Counts records of the page in hand that are outside of a range. @param keeps their keys are wanted. */
  async appendOutside(
    { lines, records }: { lines: Buffer; records: number },
    longest: number,
    before: Cursor,
    keeps: boolean,
  ): Promise<void> {
    const batch = await this.room(keeps ? lines.length : 0, longest, before);
    batch.outside += records;
    this.page.outside += records;
    if (keeps) await batch.beyond.append(lines);
  }

  /** The batch that takes what comes next: a new one where it is full in the middle of a page. */
  private async room(bytes: number, longest: number, before: Cursor): Promise<OpenBatch> {
    const { batch, limit, page } = this;
    const isFull =
      batch !== null &&
      (batch.records + (batch.beyond.bytes > 0 ? batch.outside : 0) >= limit.rows ||
        batch.writer.bytes + batch.beyond.bytes >= this.mostBytes);
    if (isFull && page.records + page.outside > 0) await this.cut(before);
    this.batch ??= this.start();
    this.batch.longest = Math.max(this.batch.longest, longest);
    this.longest = Math.max(this.longest, longest);
    this.page.bytes += bytes;
    return this.batch;
  }

  /** Takes records of the page in hand that cannot be stored. @throws {RecordError} where they are no exception. */
  putAside(rejects: readonly Reject[]): void {
    this.page.rejects.push(...rejects);
    if (this.page.rejects.length <= REJECTS_LIMIT) return;
    throw new RecordError(
      `more than ${REJECTS_LIMIT} records of one answer do not fit, the first as ${rejects[0]?.reason ?? ''}: that is no exception`,
    );
  }

  endPage(): void {
    this.rejects.push(...this.page.rejects);
    // Also where it has no record, as the list of a parent may have none.
    this.batch ??= this.start();
    this.batch.pages++;
    this.pages++;
    this.records += this.page.records + this.page.outside;
    this.bytes += this.page.bytes;
  }

  /** Takes note of the mark of a parent that the cursor has just left. */
  keepMark(cursor: Cursor): void {
    const { finished } = (cursor as PerParentCursor).position ?? {};
    if (finished == null) return;
    this.marks.push({ parent: JSON.stringify(finished.parent), mark: JSON.stringify(finished.mark) });
  }

  /**
   * Forgets what the page in hand has staged. Batches that were cut inside it stay: their records are whole, and
   * their cursor is the one before the page.
   */
  async undoPage(): Promise<void> {
    const { batch, page } = this;
    if (batch === null) return;
    if (batch === page.batch && page.mark !== null && page.markBeyond !== null) {
      await batch.writer.rollback(page.mark);
      await batch.beyond.rollback(page.markBeyond);
      batch.records -= page.records;
      batch.outside -= page.outside;
    } else {
      await batch.writer.abandon();
      await batch.beyond.abandon();
      this.batch = null;
    }
  }

  /** Ends the last batch; one without records still commits the cursor. */
  async end(cursor: Cursor): Promise<StagedBatch[]> {
    if (this.batch !== null || this.pages > 0 || cursor.ended !== null) await this.cut(cursor);
    return this.finished;
  }

  async abandon(): Promise<void> {
    await this.batch?.writer.abandon();
    await this.batch?.beyond.abandon();
    for (const batch of this.finished) await this.staging.discard(stagedFiles(batch));
  }

  private start(): OpenBatch {
    // Short: DuckDB keeps texts of up to 12 letters in a row's own place, and each row names its batch. 72 random bits.
    const id = randomBytes(9).toString('base64url');
    const [writer, beyond] = [this.staging.begin(id), this.staging.begin(`${id}.beyond`)];
    return { id, writer, beyond, pages: 0, records: 0, outside: 0, longest: 0 };
  }

  private async cut(cursor: Cursor): Promise<void> {
    const { id, writer, beyond: other, pages, records, outside, longest } = this.batch ?? this.start();
    const files = await writer.end();
    const beyond = await other.end();
    const marks = await this.stageBeside(`${id}.marks`, this.marks.splice(0));
    const rejects = await this.stageBeside(`${id}.rejects`, this.rejects.splice(0));
    this.finished.push({
      base: this.base,
      next: id,
      cursor,
      files,
      ...(marks.length > 0 && { marks }),
      ...(rejects.length > 0 && { rejects }),
      ...(beyond.length > 0 && { beyond }),
      ...(this.began !== null && { outside, began: this.began }),
      pages,
      records,
      bytes: writer.bytes,
      longest,
    });
    this.base = id;
    this.batch = null;
  }

  /** What goes into the destination with a batch, and is no row of its table. */
  private async stageBeside(name: string, lines: readonly object[]): Promise<StagedFile[]> {
    if (lines.length === 0) return [];
    const writer = this.staging.begin(name);
    await writer.append(Buffer.from(lines.map((line) => JSON.stringify(line)).join('\n')));
    return writer.end();
  }
}

const NO_PAGE = {
  ...{ batch: null, mark: null, markBeyond: null },
  ...{ records: 0, outside: 0, bytes: 0, rejects: [] },
};

interface OpenBatch {
  /** The checkpoint that the batch will make. */
  id: string;
  writer: StagedWriter;
  /** Takes what is outside of a range. */
  beyond: StagedWriter;
  pages: number;
  records: number;
  outside: number;
  longest: number;
}

import { randomBytes } from 'node:crypto';
import type { ParentMark } from '../destinations/destination.js';
import { RecordError } from '../errors.js';
import type { BatchBudget, Cursor, Note, Reject, StagedBatch, StagedFile } from '../protocol.js';
import type { RecordSplitter } from '../sources/record-splitter.js';
import type { RecordPart } from '../sources/source.js';
import type { Staging, StagedMark, StagedWriter } from '../staging/staging.js';
import type { PerParentCursor } from '../strategies/index.js';
import { ChildStager, type ChildMark } from './child-stager.js';
import { stagedFiles } from './write-batch.js';

/** Rejected records of one answer, and their bytes; more mean a wrong column, and would fill memory. */
const REJECTS_LIMIT = 10_000;
const REJECTED_BYTES = 64 * 1024 * 1024;

/** Bytes; a value that has no room in a block of DuckDB's stays in memory, several times over, until its batch is written. */
const WIDE_RECORD = 128 * 1024;
const WIDE_BATCH = 4 * 1024 * 1024;

/** Stages pages as batches, each naming the checkpoint it follows. */
export class BatchStager {
  pages = 0;
  records = 0;
  bytes = 0;

  private readonly finished: StagedBatch[] = [];
  private batch: OpenBatch | null = null;
  /** Length of the longest record. */
  private longest = 0;
  /** Marks of parents that were read to their end. */
  private marks: ParentMark[] = [];
  /** The state before the current page, to which {@link undoPage} leads back. */
  private page: {
    batch: OpenBatch | null;
    mark: StagedMark | null;
    markBeyond: StagedMark | null;
    markChildren: ChildMark | null;
    records: number;
    outside: number;
    bytes: number;
    rejects: Reject[];
    rejectedBytes: number;
  };
  /** Rejected records of whole pages. */
  private rejects: Reject[] = [];
  /** Splits the records of the current page. */
  private splitter: RecordSplitter | null = null;

  /**
   * @param began when the first record may have been asked for, where that is to be kept.
   * @param children how records are split, and how many child tables there are; null if there are none.
   */
  constructor(
    private readonly staging: Staging,
    private base: string,
    private readonly limit: Pick<BatchBudget, 'rows' | 'bytes'>,
    private readonly began: string | null,
    private readonly children: { split: () => RecordSplitter; tables: number } | null = null,
  ) {
    this.page = NO_PAGE;
  }

  beginPage(): void {
    const { batch } = this;
    const [mark, markBeyond] = [batch?.writer.mark() ?? null, batch?.beyond.mark() ?? null];
    this.page = {
      ...NO_PAGE,
      batch,
      mark,
      markBeyond,
      markChildren: batch?.children?.mark() ?? null,
      rejects: [],
    };
    this.splitter = this.children?.split() ?? null;
  }

  /** Notes on the child rows of the current page. */
  get remarks(): Note[] {
    return this.splitter?.remarks ?? [];
  }

  /** How many bytes a batch may have; fewer where records are wide. */
  get mostBytes(): number {
    return this.longest < WIDE_RECORD ? this.limit.bytes : Math.min(this.limit.bytes, WIDE_BATCH);
  }

  /** Takes records of the current page; a body too large for one batch is cut, with the cursor as it was before. */
  async append({ lines, kept, longest, rejects }: RecordPart, before: Cursor): Promise<void> {
    if (kept === 0 && (this.splitter === null || rejects.length === 0)) return;
    const batch = await this.batchFor(lines.length, longest, before);
    batch.records += kept;
    this.page.records += kept;
    const { splitter } = this;
    if (splitter === null || batch.children === null) return batch.writer.append(lines);
    const split = splitter.split(kept === 0 ? NO_LINES : lines, rejects, batch.children.records);
    // First, as it counts the records.
    await batch.children.append(split);
    if (kept > 0) await batch.writer.append(split.lines);
  }

  /** Counts records of the current page that are outside of a range. @param keeps their keys are wanted. */
  async appendOutside(
    { lines, records }: { lines: Buffer; records: number },
    longest: number,
    before: Cursor,
    keeps: boolean,
  ): Promise<void> {
    const batch = await this.batchFor(keeps ? lines.length : 0, longest, before);
    batch.outside += records;
    this.page.outside += records;
    if (keeps) await batch.beyond.append(this.splitter?.strip(lines) ?? lines);
  }

  /** The batch that takes what comes next: a new one where it is full in the middle of a page. */
  private async batchFor(bytes: number, longest: number, before: Cursor): Promise<OpenBatch> {
    const { batch, limit, page } = this;
    const isFull =
      batch !== null &&
      (batch.records + (batch.beyond.bytes > 0 ? batch.outside : 0) >= limit.rows ||
        batch.writer.bytes + batch.beyond.bytes + (batch.children?.bytes ?? 0) >= this.mostBytes);
    if (isFull && page.records + page.outside > 0) await this.cutBatch(before);
    this.batch ??= this.startBatch();
    this.batch.longest = Math.max(this.batch.longest, longest);
    this.longest = Math.max(this.longest, longest);
    this.page.bytes += bytes;
    return this.batch;
  }

  /** Takes records of the current page that cannot be stored. @throws {RecordError} where they are no exception. */
  addRejects(rejects: readonly Reject[]): void {
    const { page } = this;
    for (const reject of rejects) {
      page.rejects.push(reject);
      page.rejectedBytes += reject.record.length;
      page.bytes += reject.record.length;
      const isTooMuch = page.rejectedBytes > REJECTED_BYTES;
      if (page.rejects.length <= REJECTS_LIMIT && !isTooMuch) continue;
      const many = isTooMuch
        ? `records with more than ${REJECTED_BYTES} bytes in total`
        : `more than ${REJECTS_LIMIT} records`;
      throw new RecordError(
        `${many} of one response do not fit, too many to quarantine; the first because ${page.rejects[0]?.reason ?? ''}`,
      );
    }
  }

  endPage(): void {
    for (const reject of this.page.rejects) this.rejects.push(reject);
    // Also where it has no record, as the list of a parent may have none.
    this.batch ??= this.startBatch();
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
   * Forgets what the current page has staged. Batches that were cut inside it stay: their records are whole, and
   * their cursor is the one before the page.
   */
  async undoPage(): Promise<void> {
    const { batch, page } = this;
    if (batch === null) return;
    if (batch === page.batch && page.mark !== null && page.markBeyond !== null) {
      await batch.writer.rollback(page.mark);
      await batch.beyond.rollback(page.markBeyond);
      if (page.markChildren !== null) await batch.children?.rollback(page.markChildren);
      batch.records -= page.records;
      batch.outside -= page.outside;
    } else {
      await batch.writer.abandon();
      await batch.beyond.abandon();
      await batch.children?.abandon();
      this.batch = null;
    }
  }

  /** Ends the last batch; one without records still commits the cursor. */
  async end(cursor: Cursor): Promise<StagedBatch[]> {
    if (this.batch !== null || this.pages > 0 || cursor.ended !== null) await this.cutBatch(cursor);
    return this.finished;
  }

  async abandon(): Promise<void> {
    await this.batch?.writer.abandon();
    await this.batch?.beyond.abandon();
    await this.batch?.children?.abandon();
    for (const batch of this.finished) await this.staging.discard(stagedFiles(batch));
  }

  private startBatch(): OpenBatch {
    // Short: DuckDB keeps texts of up to 12 letters in a row's own place, and each row names its batch. 72 random bits.
    const id = randomBytes(9).toString('base64url');
    const [writer, beyond] = [this.staging.begin(id), this.staging.begin(`${id}.beyond`)];
    const children = this.children === null ? null : new ChildStager(this.staging, id, this.children.tables);
    return { id, writer, beyond, children, pages: 0, records: 0, outside: 0, longest: 0 };
  }

  private async cutBatch(cursor: Cursor): Promise<void> {
    const open = this.batch ?? this.startBatch();
    const { id, writer, beyond: other, pages, records, outside, longest } = open;
    const files = await writer.end();
    const beyond = await other.end();
    const marks = await this.stageLines(`${id}.marks`, this.marks.splice(0));
    const rejects = await this.stageLines(`${id}.rejects`, this.rejects.splice(0));
    const stageRejects = (table: number, found: readonly Reject[]) =>
      this.stageLines(`${id}.child${table}.rejects`, found);
    const children = (await open.children?.end(stageRejects)) ?? null;
    this.finished.push({
      base: this.base,
      next: id,
      cursor,
      files,
      ...(marks.length > 0 && { marks }),
      ...(rejects.length > 0 && { rejects }),
      ...(beyond.length > 0 && { beyond }),
      ...(children !== null && { children }),
      ...(this.began !== null && { outside, began: this.began }),
      pages,
      records,
      bytes: writer.bytes,
      longest,
    });
    this.base = id;
    this.batch = null;
  }

  /** Stages lines that the destination stores with a batch, outside of its table. */
  private async stageLines(name: string, lines: readonly object[]): Promise<StagedFile[]> {
    if (lines.length === 0) return [];
    const writer = this.staging.begin(name);
    for (const line of lines) await writer.append(Buffer.from(`${JSON.stringify(line)}\n`));
    return writer.end();
  }
}

const NO_LINES = Buffer.alloc(0);

const NO_PAGE = {
  batch: null,
  mark: null,
  markBeyond: null,
  markChildren: null,
  records: 0,
  outside: 0,
  bytes: 0,
  rejects: [],
  rejectedBytes: 0,
};

interface OpenBatch {
  /** The checkpoint that the batch will make. */
  id: string;
  writer: StagedWriter;
  /** Takes records outside of a range. */
  beyond: StagedWriter;
  /** Takes child rows; null if the stream has no child tables. */
  children: ChildStager | null;
  pages: number;
  records: number;
  outside: number;
  longest: number;
}

/** Stages the rows of child tables with the batch of the records that they come from. */
import type { Reject, StagedChildren, StagedFile } from '../protocol.js';
import type { SplitRecords } from '../sources/record-splitter.js';
import type { StagedMark, StagedWriter, Staging } from '../staging/staging.js';

interface OpenTable {
  writer: StagedWriter;
  rejects: Reject[];
  records: number;
  longest: number;
}

/** A place in a batch, to which {@link ChildStager.rollback} leads back. */
export interface ChildMark {
  roots: StagedMark;
  records: number;
  tables: { mark: StagedMark; rejects: number; records: number }[];
}

/** The child rows of one batch. */
export class ChildStager {
  /** Number of the next record. */
  records = 0;
  private readonly roots: StagedWriter;
  private readonly tables: OpenTable[];

  /**
   * @param id of the batch.
   * @param count of child tables.
   */
  constructor(staging: Staging, id: string, count: number) {
    this.roots = staging.begin(`${id}.roots`);
    this.tables = Array.from({ length: count }, (_, i) => ({
      writer: staging.begin(`${id}.child${i}`),
      rejects: [],
      records: 0,
      longest: 0,
    }));
  }

  get bytes(): number {
    return this.tables.reduce((sum, { writer }) => sum + writer.bytes, 0);
  }

  async append({ roots, records, children }: SplitRecords): Promise<void> {
    if (records === 0) return;
    this.records += records;
    // Without the last line end, which the writer adds.
    await this.roots.append(roots.subarray(0, -1));
    for (const [i, table] of this.tables.entries()) {
      const found = children[i];
      if (found === undefined) continue;
      table.records += found.records;
      table.longest = Math.max(table.longest, found.longest);
      table.rejects.push(...found.rejects);
      for (const lines of found.lines) await table.writer.append(lines);
    }
  }

  mark(): ChildMark {
    return {
      roots: this.roots.mark(),
      records: this.records,
      tables: this.tables.map(({ writer, rejects, records }) => ({
        mark: writer.mark(),
        rejects: rejects.length,
        records,
      })),
    };
  }

  async rollback({ roots, records, tables }: ChildMark): Promise<void> {
    this.records = records;
    await this.roots.rollback(roots);
    for (const [i, table] of this.tables.entries()) {
      const at = tables[i];
      if (at === undefined) continue;
      await table.writer.rollback(at.mark);
      table.rejects.length = at.rejects;
      table.records = at.records;
    }
  }

  async abandon(): Promise<void> {
    await this.roots.abandon();
    for (const { writer } of this.tables) await writer.abandon();
  }

  /**
   * Ends the batch.
   * @param stageRejects stages the rejects of the table with this number.
   */
  async end(
    stageRejects: (table: number, rejects: readonly Reject[]) => Promise<StagedFile[]>,
  ): Promise<StagedChildren | null> {
    if (this.records === 0) {
      await this.abandon();
      return null;
    }
    const staged: StagedChildren = { roots: await this.roots.end(), tables: [] };
    for (const [i, { writer, rejects, records, longest }] of this.tables.entries()) {
      const files = await writer.end();
      const aside = await stageRejects(i, rejects);
      staged.tables.push({ files, ...(aside.length > 0 && { rejects: aside }), records, longest });
    }
    return staged;
  }
}

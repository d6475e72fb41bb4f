/** Staged batches: pages that are read and not yet written. */
import type { Cursor } from './strategies.js';

/** Size limits of a batch; the first one reached closes it. */
export interface BatchBudget {
  rows: number;
  bytes: number;
  seconds: number;
}

/** A staged file of newline-delimited JSON records. */
export interface StagedFile {
  name: string;
  bytes: number;
  /** CRC-32 of the file's bytes. */
  crc32: number;
}

/** Rows of a child table that were read but not yet written. */
export interface StagedChild {
  files: StagedFile[];
  /** Items quarantined while they were read; absent if there are none. */
  rejects?: StagedFile[];
  records: number;
  /** Length of the longest row, in bytes. */
  longest: number;
}

/** Child rows of a batch. */
export interface StagedChildren {
  /** The primary key of each record of the batch, with its number; see {@link PARENT}. */
  roots: StagedFile[];
  /** In the order of the plan's child tables. */
  tables: StagedChild[];
}

/** Pages read but not yet written: a reference, never the rows themselves. */
export interface StagedBatch {
  /** The checkpoint this batch was fetched from. */
  base: string;
  /** The checkpoint that writing the batch creates. */
  next: string;
  cursor: Cursor;
  files: StagedFile[];
  /** Marks of the parents finished in this batch; absent if there are none. */
  marks?: StagedFile[];
  /** Records quarantined while they were read; absent if there are none. */
  rejects?: StagedFile[];
  /** For an audit: records outside of the range whose keys were seen. */
  beyond?: StagedFile[];
  /** Absent if the stream has no child tables, or the batch no records. */
  children?: StagedChildren;
  /** For a range: number of records outside of it. */
  outside?: number;
  /** For a range: no record of the batch was requested before this time, by the destination's clock. */
  began?: string;
  pages: number;
  records: number;
  bytes: number;
  /** Length of the longest record, in bytes. */
  longest: number;
}

/** The messages between a worker and the thread of a hook. */
import type { Json } from '../protocol.js';

/** What a thread is started with. */
export interface ThreadData {
  /** Path of the hook's module. */
  path: string;
  /** Address of the module that `highwater/hooks` is. */
  library: string;
  progress: SharedArrayBuffer;
}

/** Records to make rows of. */
export interface Batch {
  /** JSON texts. */
  records: readonly string[];
  stream: string;
  parent: { [field: string]: Json } | null;
}

/** Why a hook made no rows of a record. */
export interface HookFailure {
  /** In the words of the hook, which may quote the record. */
  failure: string;
  /** The line of the hook, as `tidy.mjs:3:14`; null if it is not known. */
  place: string | null;
}

/** The rows that a hook made of a record, as JSON texts; or why it made none. */
export type Outcome = readonly string[] | HookFailure;

/** A failure as text, with its place. */
export const failureText = ({ failure, place }: HookFailure): string =>
  place === null ? failure : `${failure} (${place})`;

export type Answer = { loaded: true } | { unloadable: string } | { outcomes: Outcome[] };

/** The record that a thread works on. Written before each record, and read when the thread does not answer. */
export class Progress {
  private readonly at: Int32Array;
  private readonly since: Float64Array;

  constructor(readonly buffer = new SharedArrayBuffer(16)) {
    this.since = new Float64Array(buffer, 0, 1);
    this.at = new Int32Array(buffer, 8, 1);
  }

  /** @param place of the record in its batch. */
  begin(place: number): void {
    this.since[0] = Date.now();
    this.at[0] = place;
  }

  /** Place of the record in its batch. */
  get place(): number {
    return this.at[0] ?? 0;
  }

  /** Milliseconds since its begin. */
  get milliseconds(): number {
    return Date.now() - (this.since[0] ?? 0);
  }
}

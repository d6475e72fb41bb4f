import { ApplicationFailure } from '@temporalio/common';
import type { FailureType } from '../failures.js';
import type { Json, MoveTarget } from '../protocol.js';

/** Outcome of a request that needs the stream to be reopened. */
export interface Reopened {
  /** False: the run ended first, and the next one carries the request out. */
  done: boolean;
  /** The committed cursor, as the query `state` shows it. */
  state: { [name: string]: Json };
}

/** A request that needs the stream to be reopened. */
export type ReopenRequest =
  | { id: string; kind: 'move'; to: MoveTarget }
  /** `hash` identifies the configuration; of a part it is the hash of the whole. */
  | { id: string; kind: 'configure'; configuration: Json; hash?: string };

/** @param type the error that the configuration meets; `ChangeRefusedError` unless told. */
export const changeRefusal = (
  problem: string,
  type: string = 'ChangeRefusedError' satisfies FailureType,
): ApplicationFailure =>
  ApplicationFailure.nonRetryable(`the configuration was not changed: ${problem}`, type);

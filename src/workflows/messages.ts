import { defineQuery, defineSignal } from '@temporalio/workflow';
import type { Json, Progress } from '../protocol.js';

/** Stop after the batch in hand, until `resume`. */
export const pauseSignal = defineSignal('pause');
/** Go on; also ends a wait that the source asked for. */
export const resumeSignal = defineSignal('resume');
/** The committed cursor, under the names of the reference connector's state. */
export const stateQuery = defineQuery<{ [name: string]: Json }>('state');
/** Counts, status, and what is being waited for. */
export const progressQuery = defineQuery<Progress>('progress');

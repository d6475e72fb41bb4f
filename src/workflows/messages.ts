import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Json, Progress, Trouble } from '../protocol.js';
import type { Decide, Decided } from './deletes.js';
import type { MoveInput, Reopened } from './moves.js';
import type { Change, Settings } from './settings.js';

/** Stop after the batch in hand, until `resume`. */
export const pauseSignal = defineSignal('pause');
/** Go on; also ends a wait that the source asked for, and tries again what has failed. */
export const resumeSignal = defineSignal('resume');
/** End after the batch in hand; the next sync goes on from there. */
export const stopSignal = defineSignal('stop');
/** Make a pass now, or once more after the one in hand. */
export const triggerSignal = defineSignal('trigger');
/** What a sync of several streams hands on to each of them. */
export const settingsSignal = defineSignal<[Change]>('settings');
/** Change settings while it runs; answers with all that are changed. */
export const setUpdate = defineUpdate<Settings, [{ [name: string]: Json }]>('set');
/** The committed cursor, under the names of the reference connector's state. */
export const stateQuery = defineQuery<{ [name: string]: Json }>('state');
/** Counts, status, and what is being waited for. */
export const progressQuery = defineQuery<Progress>('progress');
/** Move the cursor, here and in the destination together; answers with the cursor that it then stands at. */
export const moveUpdate = defineUpdate<Reopened, [MoveInput]>('move');
/** Go on with another configuration of the same sync; by its hash, if that is given, it is known again. */
export const configureUpdate = defineUpdate<Reopened, [configuration: Json, hash?: string]>('configure');
/** The part of a new configuration that a sync of several streams hands each of them, and the hash of the whole. */
export const configurationSignal = defineSignal<[configuration: Json, hash?: string]>('configuration');
/** Let the pass that waits remove the rows that it asks about. */
export const approveUpdate = defineUpdate<Decided>('approve');
/** Let the pass that waits end without removing rows. */
export const rejectUpdate = defineUpdate<Decided>('reject');
/** Hands a decision on from a sync of several streams to one of them. */
export const decideSignal = defineSignal<[Decide]>('decide');
/** Tells a sync of several streams that one of them waits for a decision, or, with null, that it no longer does. */
export const asksSignal = defineSignal<[stream: string, trouble: Trouble | null]>('asks');
/** The configuration that it works by; secrets in it are references. */
export const configurationQuery = defineQuery<Json>('configuration');

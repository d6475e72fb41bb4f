import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Json, Progress, Trouble } from '../protocol.js';
import type { Decide, Decided } from './deletes.js';
import type { MoveInput } from '../move-target.js';
import type { Reopened } from './moves.js';
import type { Settings } from '../settings.js';
import type { Change } from './settings.js';

/** Pauses after the current batch, until `resume`. */
export const pauseSignal = defineSignal('pause');
/** Continues; also ends a wait that the source asked for, and retries what has failed. */
export const resumeSignal = defineSignal('resume');
/** Ends after the current batch; the next sync continues from there. */
export const stopSignal = defineSignal('stop');
/** Makes a pass now, or another one after the current pass. */
export const triggerSignal = defineSignal('trigger');
/** Sent by a sync of several streams to each of them: changed settings. */
export const settingsSignal = defineSignal<[Change]>('settings');
/** Changes settings of a running sync; answers with all that differ from the configuration. */
export const setUpdate = defineUpdate<Settings, [{ [name: string]: Json }]>('set');
/** The committed cursor, under the names of the reference connector's state. */
export const stateQuery = defineQuery<{ [name: string]: Json }>('state');
/** Counts, status, and what the sync waits for. */
export const progressQuery = defineQuery<Progress>('progress');
/** Moves the cursor, in the sync and in the destination; answers with the new cursor. */
export const moveUpdate = defineUpdate<Reopened, [MoveInput]>('move');
/** Continues with another configuration of the same sync. The hash identifies it in the memo. */
export const configureUpdate = defineUpdate<Reopened, [configuration: Json, hash?: string]>('configure');
/** Sent by a sync of several streams to each of them: its part of a new configuration, and the hash of the whole. */
export const configurationSignal = defineSignal<[configuration: Json, hash?: string]>('configuration');
/** Lets the waiting pass remove the rows that it asks about. */
export const approveUpdate = defineUpdate<Decided>('approve');
/** Lets the waiting pass end without removing rows. */
export const rejectUpdate = defineUpdate<Decided>('reject');
/** Sent by a sync of several streams to one of them: a decision about deletes. */
export const decideSignal = defineSignal<[Decide]>('decide');
/** Sent to a sync of several streams by one of them that waits for a decision; with null, no longer. */
export const asksSignal = defineSignal<[stream: string, trouble: Trouble | null]>('asks');
/** The current configuration; secrets in it are references. */
export const configurationQuery = defineQuery<Json>('configuration');

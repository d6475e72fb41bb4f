/** Reads the state of a sync from Temporal and its worker. */
import type { SyncHandle } from '../client.js';
import { messageOf } from '../errors.js';
import { PayloadKeyError } from '../payloads/encryption.js';
import type { SyncResult } from '../protocol.js';
import {
  queuedStanding,
  standingOf,
  standingOfSeveral,
  type Facts,
  type Standing,
} from '../sync-condition.js';
import { isPolled } from '../task-queue.js';
import { askSyncs, type Answer, type Connected } from './asking.js';

/** A stream of a sync of several. */
export interface StreamLook {
  stream: string;
  /** As the parent knows it: queued, running, done, failed. */
  status: string;
  answer: Answer | null;
  standing: Standing;
}

/** A sync at a moment. */
export interface Look {
  id: string;
  runId: string;
  /** RUNNING, COMPLETED, … */
  execution: string;
  standing: Standing;
  /** Null where no worker answers, and of a sync that has ended. */
  answer: Answer | null;
  retry: Facts['retry'];
  streams: StreamLook[];
  /** Null while the sync runs. */
  outcome: { result: SyncResult | null; error: string | null } | null;
}

type Client = Connected['client'];

const ASKED_AT_ONCE = 25;

/** @throws {NoSuchSyncError} */
export async function lookAt(client: Client, id: string, now = Date.now()): Promise<Look> {
  const handle = client.sync(id);
  const described = await handle.summary();
  const known = { id, runId: described.runId, execution: described.status };
  if (described.status !== 'RUNNING') {
    const outcome = await outcomeOf(handle);
    const facts = endedFacts(id, described, outcome);
    return { ...known, standing: standingOf(facts, now), answer: null, retry: null, streams: [], outcome };
  }
  const [[answer = null], work] = await Promise.all([
    askSyncs(client, [handle]),
    handle.work({ withBeginning: true }),
  ]);
  const polled = answer === null ? await isPolled(client, work.taskQueue) : true;
  const streams = answer === null ? [] : await lookAtStreams(client, id, answer, now);
  const facts: Facts = {
    ...runningFacts(id, work.taskQueue),
    ...{ progress: answer?.progress ?? null, retry: work.retry, isPolled: polled },
    quietSince: work.reading?.at ?? null,
  };
  const standing = standingOfSeveral(standingOf(facts, now), streams);
  return { ...known, standing, answer, retry: work.retry, streams, outcome: null };
}

const runningFacts = (id: string, taskQueue: string): Facts => ({
  ...{
    id,
    taskQueue,
    execution: 'RUNNING',
    progress: null,
    retry: null,
    isPolled: true,
    ended: null,
    outcome: null,
  },
});

const endedFacts = (
  id: string,
  { status, ended, taskQueue }: { status: string; ended: string | null; taskQueue: string },
  { result, error }: { result: SyncResult | null; error: string | null },
): Facts => ({
  ...runningFacts(id, taskQueue),
  ...{ execution: status, ended, outcome: { status: result?.status ?? null, error } },
});

/** The streams of a sync of several: those that have begun are asked themselves. */
async function lookAtStreams(
  client: Client,
  id: string,
  { progress }: Answer,
  now: number,
): Promise<StreamLook[]> {
  const running = progress.streams.filter(({ status }) => ['running', 'blocked'].includes(status));
  const handles = running.map(({ stream }) => client.sync(`${id}/${stream}`));
  const answers: (Answer | null)[] = [];
  // A worker answers queries one at a time; if all were sent at once, the last would time out.
  for (let from = 0; from < handles.length; from += ASKED_AT_ONCE)
    answers.push(...(await askSyncs(client, handles.slice(from, from + ASKED_AT_ONCE))));
  const works = await Promise.all(
    handles.map((handle) => handle.work({ withBeginning: true }).catch(() => null)),
  );
  const asked = new Map(
    running.map(({ stream }, i) => [stream, { answer: answers[i] ?? null, work: works[i] ?? null }]),
  );
  return Promise.all(
    progress.streams.map(async ({ stream, status }): Promise<StreamLook> => {
      const own = `${id}/${stream}`;
      const { answer = null, work = null } = asked.get(stream) ?? {};
      const look = (standing: Standing): StreamLook => ({ stream, status, answer, standing });
      if (status === 'queued') return look(queuedStanding());
      if (status === 'done' || status === 'failed') {
        const described = await client
          .sync(own)
          .summary()
          .catch(() => null);
        const outcome = described === null ? NOT_READ : await outcomeOf(client.sync(own));
        const facts = endedFacts(own, described ?? { status: 'FAILED', ended: null, taskQueue: '' }, outcome);
        return look(standingOf(facts, now));
      }
      const facts: Facts = {
        ...runningFacts(own, work?.taskQueue ?? ''),
        ...{ progress: answer?.progress ?? null, retry: work?.retry ?? null },
        quietSince: work?.reading?.at ?? null,
      };
      return look(standingOf(facts, now));
    }),
  );
}

const NOT_READ = { result: null, error: 'it was not read, because its parent failed' };

export const outcomeOf = (handle: SyncHandle): Promise<{ result: SyncResult | null; error: string | null }> =>
  handle.result().then(
    (result) => ({ result, error: null }),
    (thrown: unknown) => {
      if (thrown instanceof PayloadKeyError) throw thrown;
      return { result: null, error: messageOf(thrown) };
    },
  );

/** Histories of syncs, as the Temporal server keeps them. */
import type { WorkflowHandle } from '@temporalio/client';
import type { HighwaterClient } from '../client.js';

export type Event = NonNullable<Awaited<ReturnType<WorkflowHandle['fetchHistory']>>['events']>[number];

type History = Awaited<
  ReturnType<HighwaterClient['temporal']['connection']['workflowService']['getWorkflowExecutionHistory']>
>;

/** Events asked for at once; fewer where they are large. */
const PAGE = 200;
/** gRPC: a message is larger than the client takes, 4 MB. */
const RESOURCE_EXHAUSTED = 8;

/**
 * Returns the events of a run. Each start of a stream holds its configuration: an answer with many of them may be larger
 * than a message can be, and is then asked for in smaller pages.
 */
export async function eventsOf(
  client: HighwaterClient,
  execution: { workflowId: string; runId?: string },
): Promise<Event[]> {
  const { connection, options } = client.temporal;
  const events: Event[] = [];
  let maximumPageSize = PAGE;
  for (let nextPageToken: Uint8Array | null | undefined = null; ;) {
    const answer: History | null = await connection.workflowService
      .getWorkflowExecutionHistory({
        namespace: options.namespace,
        execution,
        maximumPageSize,
        ...(nextPageToken != null && { nextPageToken }),
      })
      .catch((thrown: unknown) => {
        const isTooLarge = (thrown as { code?: unknown }).code === RESOURCE_EXHAUSTED;
        if (!isTooLarge || maximumPageSize === 1) throw thrown;
        maximumPageSize = Math.max(1, Math.floor(maximumPageSize / 4));
        return null;
      });
    if (answer === null) continue;
    events.push(...(answer.history?.events ?? []));
    nextPageToken = answer.nextPageToken;
    if (nextPageToken == null || nextPageToken.length === 0) return events;
  }
}

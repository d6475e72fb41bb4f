import { Context } from '@temporalio/activity';
import { Connection, type ConnectionLike } from '@temporalio/client';
import { isSameCluster } from '../destinations/checkpoints.js';
import { InputRefusedError } from '../errors.js';
import type { Holder } from '../protocol.js';

const ANSWER_MILLISECONDS = 3000;
/** Workflow statuses, and gRPC status codes. */
const RUNNING = 1;
const NOT_FOUND = 5;
/** Answers about a workflow that is not there: NOT_FOUND; INVALID_ARGUMENT, for what is no workflow's name. */
const NOT_RUNNING = [NOT_FOUND, 3];
/** gRPC status codes of a server that does not give its id: NOT_FOUND, PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED. */
const NOT_TOLD = [NOT_FOUND, 7, 12, 16];
const codeOf = (thrown: unknown) => Number((thrown as { code?: unknown }).code);

/** The Temporal server of a worker. */
export interface Server {
  address: string;
  /** Whether it is asked without credentials and TLS, so that another one may be asked in the same way. */
  isPlain: boolean;
}

/** The id of a Temporal server, whatever its address; undefined where it does not say. */
export async function clusterIdOf(connection: ConnectionLike): Promise<string | undefined> {
  try {
    const { clusterId } = await connection.withDeadline(Date.now() + ANSWER_MILLISECONDS, () =>
      connection.workflowService.getClusterInfo({}),
    );
    return clusterId === '' ? undefined : (clusterId ?? undefined);
  } catch (thrown) {
    if (NOT_TOLD.includes(codeOf(thrown))) return undefined;
    throw thrown;
  }
}

/** The workflow of this activity, as it claims a stream. Its server is asked each time: another may answer there by now. */
export async function ownHolder(firstRunId: string, { address }: Server): Promise<Holder> {
  const { client, info } = Context.current();
  if (info.workflowExecution === undefined)
    throw new InputRefusedError('an activity without a workflow', ['a stream is held by a workflow']);
  const clusterId = await clusterIdOf(client.connection);
  return {
    workflowId: info.workflowExecution.workflowId,
    runId: info.workflowExecution.runId,
    firstRunId,
    namespace: info.workflowNamespace ?? '',
    cluster: address,
    ...(clusterId !== undefined && { clusterId }),
  };
}

/**
 * Whether the workflow that holds a stream still runs. A server that is another one is asked where the holder's worker
 * found it, never with our credentials. Of one that cannot be asked so it is not known; then it does not count as
 * running, and the compare-and-set refuses its next write.
 */
export async function isRunning(holder: Holder, own: Holder, { isPlain }: Server): Promise<boolean> {
  if (isSameCluster(holder, own)) return runsAt(Context.current().client.connection, holder);
  if (!isPlain || holder.clusterId === undefined || holder.cluster === '') return false;
  let connection: Connection;
  try {
    connection = await Connection.connect({ address: holder.cluster, connectTimeout: ANSWER_MILLISECONDS });
  } catch {
    return false;
  }
  try {
    return (await clusterIdOf(connection)) === holder.clusterId && (await runsAt(connection, holder));
  } catch {
    return false;
  } finally {
    await connection.close();
  }
}

async function runsAt(connection: ConnectionLike, { namespace, workflowId }: Holder): Promise<boolean> {
  try {
    const { workflowExecutionInfo } = await connection.withDeadline(Date.now() + ANSWER_MILLISECONDS, () =>
      connection.workflowService.describeWorkflowExecution({ namespace, execution: { workflowId } }),
    );
    return Number(workflowExecutionInfo?.status) === RUNNING;
  } catch (thrown) {
    if (NOT_RUNNING.includes(codeOf(thrown))) return false;
    throw thrown;
  }
}

import { Context } from '@temporalio/activity';
import { isSameSync } from '../destinations/checkpoints.js';
import type { ChildrenWrite, WriteRequest } from '../destinations/destination.js';
import { CheckpointConflictError } from '../errors.js';
import { faultPoint } from '../faults.js';
import {
  allChildren,
  childTable,
  type ChildSpec,
  type StagedBatch,
  type StagedChildren,
  type StagedFile,
  type StreamPlan,
} from '../protocol.js';
import { Staging } from '../staging/staging.js';
import { ownHolder, type Server } from './cluster.js';
import type { Activities, Dependencies } from './context.js';
import { beating, reporting } from './failures.js';
import { fingerprintOf } from '../plan/fingerprint.js';
import { cursorColumn } from './ranges.js';
import { streamKey } from '../plan/stream-key.js';

/** Puts a staged batch and the checkpoint it makes into the destination, in one transaction. */
export const writeBatch =
  ({ host, server, turns }: Dependencies): Activities['writeBatch'] =>
  ({ plan, destination: path, batch, behind = false, deletes }) =>
    reporting(
      () =>
        beating(
          () => ({ records: batch.records }),
          async () => {
            const { destination, beside } = await host.get(path);
            const staging = new Staging(beside, streamKey(plan));
            faultPoint('transaction.before');
            const request = {
              ...writeRequest(plan, staging, batch),
              ...(deletes !== undefined && { deletes }),
            };
            const outcome = await turns
              .writeInTurn(request, behind, () => destination.write(request))
              .catch((thrown: unknown) => refused(thrown, server));
            faultPoint('commit.after');
            // Committed: should this activity run again, the checkpoint says so before a file is asked for. At the end of
            // a pass all is committed, so that what remains was left by attempts whose answer never arrived.
            await (batch.cursor.ended === null ? staging.discard(stagedFiles(batch)) : staging.clear());
            faultPoint('report.before');
            return outcome;
          },
        ),
      () => plan.intervalSeconds !== null,
    );

/** Says of a refusal whether the stream is held by the sync itself: then it may go on from there. */
async function refused(thrown: unknown, server: Server): Promise<never> {
  if (thrown instanceof CheckpointConflictError && thrown.holder !== null)
    thrown.details = { ours: isSameSync(thrown.holder, await ownHolder('', server)) };
  throw thrown;
}

export const stagedFiles = ({
  files,
  marks = [],
  rejects = [],
  beyond = [],
  children,
}: StagedBatch): StagedFile[] => [
  ...files,
  ...marks,
  ...rejects,
  ...beyond,
  ...(children?.roots ?? []),
  ...(children?.tables ?? []).flatMap((table) => [...table.files, ...(table.rejects ?? [])]),
];

/** Makes the request to write a batch; its files are verified when the destination asks for them. */
export function writeRequest(plan: StreamPlan, staging: Staging, batch: StagedBatch): WriteRequest {
  const { base, next, cursor, records, pages, bytes, longest } = batch;
  const { range } = plan;
  // One after the other, in the same memory.
  const verified = async (files: StagedFile[] = []) => {
    const paths: string[] = [];
    for (const file of files) paths.push(await staging.verify(file));
    return paths;
  };
  return {
    key: streamKey(plan),
    table: plan.table,
    base,
    next,
    cursor,
    records,
    pages,
    bytes,
    longest,
    files: () => verified(batch.files),
    ...(batch.marks !== undefined && { marks: () => verified(batch.marks) }),
    ...(batch.rejects !== undefined && { rejects: () => verified(batch.rejects) }),
    ...(range !== undefined && {
      range: {
        kind: range.kind,
        writes: range.kind === 'backfill' || range.repair,
        began: batch.began ?? range.began,
        cursor: cursorColumn(plan),
        ...(batch.beyond !== undefined && { beyond: () => verified(batch.beyond) }),
      },
    }),
    ...(plan.children !== undefined && { children: childrenOf(plan.children, batch.children, verified) }),
    ...(range === undefined && { fingerprint: fingerprintOf(plan) }),
    workflowId: Context.current().info.workflowExecution?.workflowId ?? '',
  };
}

/** The child rows of a batch, as the destination takes them. */
function childrenOf(
  children: readonly ChildSpec[],
  staged: StagedChildren | undefined,
  verified: (files?: StagedFile[]) => Promise<string[]>,
): ChildrenWrite {
  return {
    ...(staged !== undefined && { roots: () => verified(staged.roots) }),
    tables: allChildren(children).map((child, i) => {
      const { files, rejects, records = 0, longest = 0 } = staged?.tables[i] ?? {};
      return {
        table: childTable(child),
        records,
        longest,
        files: () => verified(files),
        ...(rejects !== undefined && { rejects: () => verified(rejects) }),
      };
    }),
  };
}

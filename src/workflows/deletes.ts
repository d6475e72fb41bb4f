import {
  ApplicationFailure,
  getExternalWorkflowHandle,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type {
  DeletesDecision,
  Note,
  StagedBatch,
  TooManyDeletes,
  Trouble,
  WriteBatchInput,
} from '../protocol.js';
import { isValidSignal } from './inputs.js';
import { approveUpdate, asksSignal, decideSignal, rejectUpdate } from './messages.js';

/** A decision that a sync of several streams hands on; an approval is for at most so many rows. */
export type Decide = { how: 'approve' | 'reject'; deletes: number };

/** Streams whose deletes were decided about. */
export interface Decided {
  streams: { stream: string; table: string; deletes: number; rows: number }[];
}

/** What was decided, and about what; it holds until the pass that asked has ended. */
export interface DecisionCarry {
  question: TooManyDeletes;
  decision: DeletesDecision;
}

export const APPROVE_DESCRIPTION =
  'Let the pass that waits remove the rows that it asks about, and no more than those.';
export const REJECT_DESCRIPTION =
  'Keep the rows that the pass that waits would remove. The next pass asks again if they are still gone.';

/** The workflow of one stream of a sync of several. */
export const childId = (workflowId: string, stream: string): string => `${workflowId}/${stream}`;

export const nothingWaits = (status: string): ApplicationFailure =>
  ApplicationFailure.nonRetryable(
    `nothing was decided: no pass waits for a decision about deletes (the sync is ${status})`,
    'NothingToDecide',
  );

/** What to do about a question of a sync that waits. */
export const decideAdvice = (workflowId: string): string =>
  `Look at the source first. "highwater approve ${workflowId}" removes them, "highwater reject ${workflowId}" keeps them, ` +
  `and "highwater resume ${workflowId}" reads the source again.`;

/** What to do about a question of a sync that does not wait. */
export const runAdvice = ({ deletes }: TooManyDeletes): string =>
  `If they are gone for good, run it again with "--max-deletes any" (or "--max-deletes ${deletes}", or a share such as "50%"), ` +
  'or set "max_deletes" in the configuration.';

/** Asks about deletes that are too many, and keeps what was decided until the pass that asked has ended. */
export class DeletesGuard {
  private question: TooManyDeletes | null = null;
  private decided: DecisionCarry | null;

  /** @param status what the sync is doing, for refusals. */
  constructor(
    private readonly stream: string,
    private readonly status: () => string,
    carry: DecisionCarry | null,
  ) {
    this.decided = carry;
    const validator = () => {
      if (this.question === null || this.decided !== null) throw nothingWaits(status());
    };
    setHandler(approveUpdate, () => this.decide('approve'), { validator, description: APPROVE_DESCRIPTION });
    setHandler(rejectUpdate, () => this.decide('reject'), { validator, description: REJECT_DESCRIPTION });
    const decide = (said: Decide) => {
      if (!isValidSignal('decide', said)) return;
      const { how, deletes } = said;
      if (this.question !== null && this.decided === null) this.decide(how, deletes);
    };
    setHandler(decideSignal, decide, {
      description: 'What a sync of several streams hands on to each; use the updates "approve" and "reject".',
    });
  }

  /** Whether there is a decision that has not been carried out yet. */
  get isDecided(): boolean {
    return this.decided !== null;
  }

  ask(question: TooManyDeletes, trouble: Trouble): void {
    this.question = question;
    this.decided = null;
    this.tellParent(trouble);
  }

  /** The question is decided, or no longer asked. */
  settle(): void {
    if (this.question === null) return;
    this.question = null;
    this.tellParent(null);
  }

  /** The pass has ended, or the stream was moved: what was decided about it holds no longer. */
  forget(): void {
    this.decided = null;
  }

  /** The batch with the note that its deletes were rejected, where they were. */
  noted(batch: StagedBatch): StagedBatch {
    if (this.decisionOn(batch) !== 'withheld' || this.decided === null) return batch;
    const { cursor } = batch;
    return { ...batch, cursor: { ...cursor, notes: [...cursor.notes, rejectedNote(this.decided.question)] } };
  }

  /** What the write of a batch is told besides the batch. */
  permission(batch: StagedBatch): Pick<WriteBatchInput, 'deletes'> {
    const deletes = this.decisionOn(batch);
    return deletes === null ? {} : { deletes };
  }

  carry(): DecisionCarry | null {
    return this.decided;
  }

  private decisionOn({ cursor }: StagedBatch): DeletesDecision | null {
    if (this.decided === null || cursor.ended === null) return null;
    return cursor.pass === this.decided.question.pass ? this.decided.decision : null;
  }

  private decide(how: Decide['how'], approved?: number): Decided {
    const { question, stream } = this;
    // Of several decisions at once the first one counts.
    if (question === null || this.decided !== null) throw nothingWaits(this.status());
    this.decided = {
      question,
      decision: how === 'approve' ? { approved: approved ?? question.deletes } : 'withheld',
    };
    const { table, deletes, rows } = question;
    return { streams: [{ stream, table, deletes, rows }] };
  }

  /** A sync of several streams hands decisions on to the streams that wait for one. */
  private tellParent(trouble: Trouble | null): void {
    const { parent, workflowId } = workflowInfo();
    if (parent === undefined || workflowId !== childId(parent.workflowId, this.stream)) return;
    getExternalWorkflowHandle(parent.workflowId)
      .signal(asksSignal, this.stream, trouble)
      // It has ended, and nobody asks it any more.
      .catch(() => undefined);
  }
}

const rejectedNote = ({ deletes, rows, table }: TooManyDeletes): Note => ({
  code: 'deletes_rejected',
  message:
    `${deletes} of the ${rows} rows of table ${table} were gone from the source, and are still there: their removal was ` +
    'rejected. The next pass asks again if they are still gone.',
});

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

/** A decision that a sync of several streams sends to one of them. `deletes`: rows that an approval is for, at most. */
export type Decide = { how: 'approve' | 'reject'; deletes: number };

/** Streams that a decision was made for. */
export interface Decided {
  streams: { stream: string; table: string; deletes: number; rows: number }[];
}

/** A decision and its question; it holds until the pass that asked has ended. */
export interface DecisionCarry {
  question: TooManyDeletes;
  decision: DeletesDecision;
}

export const APPROVE_DESCRIPTION =
  'Let the waiting pass remove the rows that it asks about, and no more than those.';
export const REJECT_DESCRIPTION =
  'Keep the rows that the waiting pass would remove. The next pass asks again if they are still gone.';

/** Returns the workflow ID of one stream of a sync of several. */
export const childId = (workflowId: string, stream: string): string => `${workflowId}/${stream}`;

export const nothingToDecide = (status: string): ApplicationFailure =>
  ApplicationFailure.nonRetryable(
    `nothing was decided: no pass waits for a decision about deletes (the sync is ${status})`,
    'NothingToDecide',
  );

/** Advice for the operator of a sync that waits for a decision. */
export const decideAdvice = (workflowId: string): string =>
  `Look at the source first. "highwater approve ${workflowId}" removes them, "highwater reject ${workflowId}" keeps them, ` +
  `and "highwater resume ${workflowId}" reads the source again.`;

/** Advice for the operator of a sync that does not wait for a decision. */
export const runAdvice = ({ deletes }: TooManyDeletes): string =>
  `If they are gone for good, run it again with "--max-deletes any" (or "--max-deletes ${deletes}", or a share such as "50%"), ` +
  'or set "max_deletes" in the configuration.';

/** Asks for a decision about too many deletes, and keeps it until the pass that asked has ended. */
export class DeletesGuard {
  private question: TooManyDeletes | null = null;
  private decided: DecisionCarry | null;

  /** @param status the status of the sync, for refusals. */
  constructor(
    private readonly stream: string,
    private readonly status: () => string,
    carry: DecisionCarry | null,
  ) {
    this.decided = carry;
    const validator = () => {
      if (this.question === null || this.decided !== null) throw nothingToDecide(status());
    };
    setHandler(approveUpdate, () => this.decide('approve'), { validator, description: APPROVE_DESCRIPTION });
    setHandler(rejectUpdate, () => this.decide('reject'), { validator, description: REJECT_DESCRIPTION });
    const handleSignal = (sent: Decide) => {
      if (!isValidSignal('decide', sent)) return;
      const { how, deletes } = sent;
      if (this.question !== null && this.decided === null) this.decide(how, deletes);
    };
    setHandler(decideSignal, handleSignal, {
      description:
        'Sent by a sync of several streams to each of them; use the updates "approve" and "reject".',
    });
  }

  /** Whether a decision has not been carried out yet. */
  get isDecided(): boolean {
    return this.decided !== null;
  }

  askFor(question: TooManyDeletes, trouble: Trouble): void {
    this.question = question;
    this.decided = null;
    this.notifyParent(trouble);
  }

  /** Withdraws the question: it is decided, or the stream is read again. */
  withdrawQuestion(): void {
    if (this.question === null) return;
    this.question = null;
    this.notifyParent(null);
  }

  /** Forgets the decision: its pass has ended, or the stream was moved. */
  forgetDecision(): void {
    this.decided = null;
  }

  /** Returns the batch, with a note where its deletes were rejected. */
  withNote(batch: StagedBatch): StagedBatch {
    if (this.decisionOn(batch) !== 'withheld' || this.decided === null) return batch;
    const { cursor } = batch;
    return { ...batch, cursor: { ...cursor, notes: [...cursor.notes, rejectedNote(this.decided.question)] } };
  }

  /** Returns the decision as a part of the input that writes the batch. */
  decisionInput(batch: StagedBatch): Pick<WriteBatchInput, 'deletes'> {
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
    // The first of several decisions counts.
    if (question === null || this.decided !== null) throw nothingToDecide(this.status());
    this.decided = {
      question,
      decision: how === 'approve' ? { approved: approved ?? question.deletes } : 'withheld',
    };
    const { table, deletes, rows } = question;
    return { streams: [{ stream, table, deletes, rows }] };
  }

  /** Tells a sync of several streams, which sends decisions to the streams that wait for one. */
  private notifyParent(trouble: Trouble | null): void {
    const { parent, workflowId } = workflowInfo();
    if (parent === undefined || workflowId !== childId(parent.workflowId, this.stream)) return;
    getExternalWorkflowHandle(parent.workflowId)
      .signal(asksSignal, this.stream, trouble)
      // A parent that has ended needs no notice.
      .catch(() => undefined);
  }
}

const rejectedNote = ({ deletes, rows, table }: TooManyDeletes): Note => ({
  code: 'deletes_rejected',
  message:
    `${deletes} of the ${rows} rows of table ${table} are gone from the source but stay in the table, because their removal was ` +
    'rejected. The next pass asks again if they are still gone.',
});

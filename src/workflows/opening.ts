import { CancellationScope, upsertMemo, workflowInfo } from '@temporalio/workflow';
import type { Json, OpenedStream, OpenStreamInput } from '../protocol.js';
import { partFor } from './configurations.js';
import type { Control } from './control.js';
import type { DeletesGuard } from './deletes.js';
import type { Display } from './display.js';
import type { FailureHandling } from './failure-handling.js';
import { readFailure } from './failure-policy.js';
import { moveRefusal } from '../move-target.js';
import { changeRefusal, type ReopenRequest } from './moves.js';
import type { Notices } from './notices.js';
import type { Reopening } from './reopening.js';
import { openWhereItIs } from './stream-activities.js';
import type { StreamState } from './stream-state.js';
import type { SyncOptions } from './sync.js';

/** The parts of the loop that an opening uses. */
export interface OpeningParts {
  stream: StreamState;
  control: Control;
  reopening: Reopening;
  display: Display;
  deletes: DeletesGuard;
  notices: Notices;
  failures: FailureHandling;
}

/** Opens the stream by the current configuration, and carries out the requests that need it to be reopened. */
export class Opening {
  /** The current configuration; of several streams, the part of this one. */
  configuration: Json;

  constructor(
    configuration: Json,
    private readonly options: SyncOptions,
    private readonly parts: OpeningParts,
  ) {
    this.configuration = partFor(configuration, options.stream);
  }

  /** Opens the stream where its destination is, and carries out the first request for that. */
  async open(): Promise<void> {
    const { control, display, reopening, stream } = this.parts;
    // A sync that fails shows so until it could be opened: each try takes its time.
    if (display.status !== 'failing') display.show('opening');
    const request = reopening.beginOpening();
    const scope = new CancellationScope();
    control.allowInterruption(scope);
    const opened = await scope
      .run(() => openWhereItIs(this.openInput(request)))
      .catch((thrown: unknown) => {
        if (request?.kind !== 'configure' || !(thrown instanceof Error)) throw thrown;
        const { rule, reason, type } = readFailure(thrown);
        if (rule.refusesConfiguration !== true) throw thrown;
        reopening.settle(request, changeRefusal(reason, type));
        return null;
      })
      .finally(() => control.endInterruption(scope));
    if (opened === null) return this.open();
    stream.recordOpening(opened);
    if (request !== null) this.carryOut(request, opened);
  }

  private openInput(request: ReopenRequest | null): OpenStreamInput {
    const { options } = this;
    const { stream, failures } = this.parts;
    const startsOver = request?.kind === 'move' && 'start' in request.to && failures.mayStartOver;
    return {
      configuration: request?.kind === 'configure' ? request.configuration : this.configuration,
      stream: options.stream ?? null,
      full: options.full ?? false,
      // Once: a sync that has taken the stream does not take it back from the next one.
      takeOver: (options.takeOver ?? false) && stream.database === null,
      firstRunId: workflowInfo().firstExecutionRunId,
      expectDatabase: startsOver ? null : stream.database,
      ...(request?.kind === 'move' && { move: { id: request.id, to: request.to } }),
      ...(request?.kind === 'configure' && { change: { id: request.id, from: stream.lastOpened } }),
      ...(options.range !== undefined && { range: stream.range ?? options.range }),
    };
  }

  /** Records what an opening has done for a request. */
  private carryOut(request: ReopenRequest, { moved, configurationHash }: OpenedStream): void {
    const { stream, reopening, notices, deletes } = this.parts;
    if (request.kind === 'move') {
      const problem = moved?.refused ?? null;
      if (problem === null) {
        stream.forgetPass();
        deletes.forgetDecision();
      }
      reopening.settle(request, problem === null ? null : moveRefusal(problem));
      return;
    }
    this.configuration = request.configuration;
    notices.configure(noticeSettings(request.configuration, this.options));
    reopening.refusals = [];
    upsertMemo({ configuration: request.hash ?? configurationHash ?? '' });
    reopening.settle(request, null);
  }
}

/** Returns the configuration of the webhook; none for a range or a move, whose caller looks at the result. */
export const noticeSettings = (configuration: Json, { range, moveOnly }: SyncOptions): Json =>
  range === undefined && moveOnly !== true ? configuration : null;

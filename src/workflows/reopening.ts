import { type ApplicationFailure, condition, setHandler, uuid4, workflowInfo } from '@temporalio/workflow';
import type { Json, Note, RangeRequest } from '../protocol.js';
import type { Carry } from './carry.js';
import { partFor, streamChangeProblem } from './configurations.js';
import type { Control } from './control.js';
import { configureProblem, isValidSignal } from './inputs.js';
import { configurationSignal, configureUpdate, moveUpdate } from './messages.js';
import { moveRefusal, readTarget } from '../move-target.js';
import { changeRefusal, type Reopened, type ReopenRequest } from './moves.js';

/**
 * The state of requests that need the stream to be reopened:
 * - `none`: there is none
 * - `requested`: one has come that no opening was tried with; current work ends, so that the stream is reopened
 * - `opening`: the first of them is tried, also again after a failure
 * - `handing over`: the run ends, and the next one carries out what is left
 * - `ended`: the sync ends, and refuses what is left
 */
type ReopeningState = 'none' | 'requested' | 'opening' | 'handing over' | 'ended';

const ENDING = 'it is ending';

/** The parts of the loop that the handlers use. */
export interface ReopenedLoop {
  /** A request has come: reading ends, so that the stream is reopened. */
  onRequest(): void;
  /** The committed cursor, for the answers to callers. */
  shownCursor(): { [name: string]: Json };
}

/** Requests to move the cursor or to change the configuration, each carried out by reopening the stream. */
export class Reopening {
  /** Refusals with no waiting caller, as warnings. */
  refusals: Note[];
  private state: ReopeningState;
  /** Carried out in this order. */
  private requests: ReopenRequest[];
  /** Requests whose callers wait in this run. */
  private readonly callers = new Set<string>();
  /** Null for a request that was carried out; else why it was refused. */
  private readonly outcomes = new Map<string, ApplicationFailure | null>();

  /**
   * @param stream which one of several; undefined for the only one.
   * @param range what is read beside the sync, which cannot be moved or configured.
   */
  constructor(
    { requests, refusals }: Carry['reopening'],
    private readonly control: Control,
    private readonly stream: string | undefined,
    private readonly range: RangeRequest | undefined,
  ) {
    this.requests = requests;
    this.refusals = refusals;
    this.state = requests.length > 0 ? 'opening' : 'none';
  }

  /** Whether a request has come that no opening was tried with. */
  get isRequested(): boolean {
    return this.state === 'requested';
  }

  get hasRequests(): boolean {
    return this.requests.length > 0;
  }

  /** Whether the run carries out no more requests. */
  get isOver(): boolean {
    return this.state === 'handing over' || this.state === 'ended';
  }

  /** Returns the request that the stream is now opened for; null where there is none. */
  beginOpening(): ReopenRequest | null {
    const [first] = this.requests;
    this.state = first === undefined ? 'none' : 'opening';
    return first ?? null;
  }

  /**
   * Records that a request was carried out, or why it was refused.
   * @throws {ApplicationFailure} the refusal of what the sync was started for.
   */
  settle(request: ReopenRequest, refusal: ApplicationFailure | null): void {
    this.requests = this.requests.filter((one) => one !== request);
    this.state = this.hasRequests ? 'requested' : 'none';
    this.outcomes.set(request.id, refusal);
    if (refusal === null) return;
    if (request.id === workflowInfo().firstExecutionRunId) throw refusal;
    // Sent by another workflow, or in an earlier run.
    if (!this.callers.has(request.id))
      this.refusals = [{ code: `${request.kind}_refused`, message: refusal.message }];
  }

  finish(how: 'handing over' | 'ended'): void {
    this.state = how;
  }

  carry(): Carry['reopening'] {
    return { requests: this.requests, refusals: this.refusals };
  }

  registerHandlers(loop: ReopenedLoop): void {
    setHandler(moveUpdate, (raw) => this.carryOut({ id: uuid4(), kind: 'move', to: readTarget(raw) }, loop), {
      validator: (raw) => {
        readTarget(raw);
        const problem = this.findProblem();
        if (problem !== null) throw moveRefusal(problem);
      },
      description:
        'Move the cursor, in the sync and in the destination: {"to": "start"}, {"to": "2026-11-22T10:00:00Z"} (where it ' +
        'was then), {"to": "BATCH"}, or {"state": {"last_updated_at": "…"}}.',
    });
    setHandler(
      configureUpdate,
      (configuration, hash?: string) => this.carryOut(this.configureRequest(configuration, hash), loop),
      {
        validator: (configuration: Json, hash?: string) => {
          const problem =
            this.findProblem() ??
            configureProblem(configuration, hash) ??
            streamChangeProblem(configuration, this.stream ?? null);
          if (problem !== null) throw changeRefusal(problem);
        },
        description:
          'Continue with another configuration of the same sync, given as a whole, as for a start. Table, strategy, ' +
          'source and destination must stay the same.',
      },
    );
    setHandler(
      configurationSignal,
      (configuration, hash?: string) => {
        const said = { configuration, ...(hash !== undefined && { hash }) };
        if (isValidSignal('configure', said))
          this.addRequest(this.configureRequest(configuration, hash), loop);
      },
      { description: 'Sent by a sync of several streams to each of them; use the update "configure".' },
    );
  }

  /** Adds a request and waits for its outcome. */
  private async carryOut(request: ReopenRequest, loop: ReopenedLoop): Promise<Reopened> {
    this.callers.add(request.id);
    this.addRequest(request, loop);
    await condition(() => this.outcomes.has(request.id) || this.isOver);
    const refusal = this.outcomes.get(request.id);
    if (refusal === undefined && this.state === 'ended')
      throw request.kind === 'move' ? moveRefusal(ENDING) : changeRefusal(ENDING);
    if (refusal !== undefined && refusal !== null) throw refusal;
    return { done: refusal === null, state: loop.shownCursor() };
  }

  private addRequest(request: ReopenRequest, loop: ReopenedLoop): void {
    this.requests.push(request);
    if (!this.isOver) this.state = 'requested';
    loop.onRequest();
  }

  private configureRequest(whole: Json, hash = ''): ReopenRequest {
    const configuration = partFor(whole, this.stream);
    return { id: uuid4(), kind: 'configure', configuration, ...(hash !== '' && { hash }) };
  }

  /** Returns why requests are refused, or null. */
  private findProblem(): string | null {
    if (this.range !== undefined)
      return `it is the ${this.range.kind} of a range, which cannot be changed; send this to the sync itself`;
    return this.control.isStopping || this.state === 'ended' ? ENDING : null;
  }
}

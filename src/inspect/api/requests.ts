/** Sends the probing requests: few, sequential, and waiting when the API asks. */
import { setTimeout as delay } from 'node:timers/promises';
import { HighwaterError } from '../../errors.js';
import type { StreamPlan } from '../../protocol.js';
import { RawSource } from '../../sources/raw.js';
import { ownSurroundings } from '../../surroundings.js';
import type { ProbeOptions } from '../probe.js';
import type { Answer } from './answers.js';
import type { RequestBudget } from '../request-budget.js';
import type { Api, Params } from './find-parameter.js';

/** The API asks for a wait longer than LONGEST_WAIT_SECONDS. */
export class TooBusyError extends HighwaterError {
  override readonly name = 'TooBusyError';
}

/** A longer wait is left to the user. */
const LONGEST_WAIT_SECONDS = 60;
/** Waits where a 429 does not say for how long. */
const DEFAULT_WAIT_SECONDS = 5;

/** An API as it is, asked with the address and credentials of a plan. */
export class LiveApi implements Api {
  private constructor(
    private readonly source: RawSource,
    private readonly onWait: (seconds: number) => void,
    private readonly budget: RequestBudget,
    private readonly reserve: number,
  ) {}

  /**
   * @param reserve requests of the budget that are kept for later.
   * @throws {HighwaterError} where the plan's references lead nowhere.
   */
  static async of(
    plan: StreamPlan,
    options: ProbeOptions,
    onWait: (seconds: number) => void,
    budget: RequestBudget,
    reserve: number,
  ): Promise<LiveApi> {
    const source = await RawSource.of(
      plan,
      ownSurroundings(options.environment, options.extensions),
      options.destination,
    );
    return new LiveApi(source, onWait, budget, reserve);
  }

  ask(params: Params): Promise<Answer> {
    return this.send(() => this.source.read(params, null));
  }

  follow(address: string): Promise<Answer> {
    return this.send(() => this.source.read({}, address));
  }

  close(): void {
    this.source.close();
  }

  private async send(read: () => ReturnType<RawSource['read']>): Promise<Answer> {
    for (let waits = 0; ; waits++) {
      this.budget.spend(this.reserve);
      const { waitSeconds, text, ...answer } = await read();
      if (waitSeconds === null) return { ...answer, document: parsed(text) };
      const seconds = waitSeconds === 0 ? DEFAULT_WAIT_SECONDS : waitSeconds;
      if (seconds > LONGEST_WAIT_SECONDS || waits === 3) {
        throw new TooBusyError(
          `the source answered ${answer.status} and asks to wait ${Math.ceil(seconds)} s; run the command again after that`,
        );
      }
      this.onWait(seconds);
      await delay(seconds * 1000);
    }
  }
}

/** Parses an answer; integers that a number would round become texts, so that a key can be sent back as it came. */
function parsed(text: string): unknown {
  const plain = text.replace(/^\uFEFF/, '');
  try {
    return JSON.parse(LONG_DIGITS.test(plain) ? plain.replace(STRING_OR_NUMBER, exactly) : plain);
  } catch {
    return undefined;
  }
}

const LONG_DIGITS = /\d{16}/;
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;

const exactly = (part: string) =>
  /^-?\d+$/.test(part) && !Number.isSafeInteger(Number(part)) ? `"${part}"` : part;

/** Asks questions on a terminal; what is asked goes to standard error. */
import { createInterface, type Interface } from 'node:readline/promises';
import { HighwaterError } from '../errors.js';
import { note } from './output.js';
import { suggestion } from '../text.js';

/** The user has left at a question. */
export class InterruptedError extends HighwaterError {
  override readonly name = 'InterruptedError';
}

export class Questions {
  private readonly terminal: Interface;
  private readonly gone = new AbortController();

  constructor() {
    this.terminal = createInterface({ input: process.stdin, output: process.stderr });
    // Ctrl-C and Ctrl-D end it: nothing has been written yet.
    this.terminal.once('close', () => this.gone.abort());
  }

  /**
   * Asks for a text until it is right.
   * @param problem says what is wrong with an answer; null: nothing.
   * @throws {InterruptedError}
   */
  async text(
    what: string,
    otherwise: string,
    problem: (said: string) => string | null = () => null,
  ): Promise<string> {
    const shown = otherwise === '' ? '' : ` (${otherwise})`;
    for (;;) {
      const said = (await this.ask(`${what}${shown}: `)).trim();
      const wrong = said === '' ? null : problem(said);
      if (wrong === null) return said === '' ? otherwise : said;
      note(wrong);
    }
  }

  /** Asks for one of some words. @throws {InterruptedError} */
  async oneOf<T extends string>(what: string, words: readonly T[], otherwise: T): Promise<T> {
    const problem = (said: string) =>
      words.some((word) => word === said)
        ? null
        : `${JSON.stringify(said)} is not one of them${suggestion(said, words)}`;
    return (await this.text(`${what}: ${words.join(', ')}`, otherwise, problem)) as T;
  }

  close(): void {
    this.terminal.close();
  }

  private async ask(question: string): Promise<string> {
    try {
      return await this.terminal.question(question, { signal: this.gone.signal });
    } catch (thrown) {
      if (this.gone.signal.aborted) throw new InterruptedError('interrupted; nothing was written');
      throw thrown;
    }
  }
}

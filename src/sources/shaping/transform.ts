import { failureText, type HookFailure, type Outcome } from '../../hooks/messages.js';
import type { Mask } from '../../secrets/masking.js';
import type { Origins } from '../origins.js';
import type { Draft, ShapingStep } from './step.js';

/**
 * Runs a hook on records.
 * @returns an outcome for each; fewer where a failure stops the sync.
 */
export type RunHook = (records: readonly string[]) => Promise<readonly Outcome[]>;

export interface TransformOptions {
  /** Name of the hook. */
  hook: string;
  run: RunHook;
  /** Takes the records as the source sent them. */
  origins: Origins;
  /** Hides secrets in what the hook says. */
  mask: Mask;
  /** Nothing of a record may be shown: the hook may quote it. */
  withholds: boolean;
  /**
   * Is told what became of each record that the filter keeps; one for which the hook failed then is no misfit, and makes no
   * row. @param record null where it may not be shown. @param identity JSON text of an object with its key, as it is stored.
   */
  onOutcome?: (record: string | null, outcome: Outcome, identity: string) => void;
}

/** Characters of a failure that are shown. */
const FAILURE_LENGTH = 500;

const WITHHELD_FAILURE = 'its message is not shown, because columns are hashed, masked or excluded';

/** Makes rows of records with a hook: none, one or several of each. A record for which it fails is a misfit. */
export class Transform implements ShapingStep {
  /** @param then the steps that follow: they make keys and cursor values of records that did not go through the hook. */
  constructor(
    private readonly options: TransformOptions,
    private readonly then: readonly ShapingStep[],
  ) {}

  async apply(drafts: Draft[]): Promise<Draft[]> {
    const { hook, run, origins, withholds, onOutcome } = this.options;
    const records = drafts.filter(({ isKept }) => isKept).map(({ text }) => text);
    const outcomes = records.length === 0 ? [] : await run(records);
    const identities = await this.identitiesOf(drafts);
    const made: Draft[] = [];
    let next = 0;
    for (const [i, { text, isKept }] of drafts.entries()) {
      const identity = identities[i]?.text ?? '{}';
      if (!isKept) {
        origins.add({ text, identity, rows: 0 });
        continue;
      }
      const said = outcomes[next++];
      // The failure before it stops the sync.
      if (said === undefined) break;
      const outcome = 'failure' in said ? this.shown(said) : said;
      onOutcome?.(withholds ? null : text, outcome, identity);
      if ('failure' in outcome) {
        const isMisfit = onOutcome === undefined;
        origins.add({ text, identity, rows: isMisfit ? 1 : 0 });
        if (isMisfit)
          made.push({ text, isKept: true, refusal: `the hook ${hook} failed: ${failureText(outcome)}` });
        continue;
      }
      origins.add({ text, identity, rows: outcome.length });
      if (outcome.length === 0) origins.dropped++;
      for (const row of outcome) made.push({ text: row, isKept: true });
    }
    return made;
  }

  /** Records as what follows would leave of them if the filter left them out: their keys and cursor values. */
  private async identitiesOf(records: readonly Draft[]): Promise<Draft[]> {
    let drafts = records.map(({ text }): Draft => ({ text, isKept: false }));
    for (const step of this.then) drafts = await step.apply(drafts);
    return drafts;
  }

  /** A failure in words that may be shown. */
  private shown({ failure, place }: HookFailure): HookFailure {
    const { mask, withholds } = this.options;
    return { failure: withholds ? WITHHELD_FAILURE : mask(failure).slice(0, FAILURE_LENGTH), place };
  }
}

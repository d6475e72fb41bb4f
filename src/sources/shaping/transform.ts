import { failureText, type Outcome } from '../../hooks/messages.js';
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
  /** Is told what became of each record that the filter keeps; one for which the hook failed then is no misfit, and makes no row. */
  onOutcome?: (record: string, outcome: Outcome) => void;
}

/** Characters of a failure that are shown. */
const FAILURE_LENGTH = 500;

/** Makes rows of records with a hook: none, one or several of each. A record for which it fails is a misfit. */
export class Transform implements ShapingStep {
  constructor(private readonly options: TransformOptions) {}

  async apply(drafts: Draft[]): Promise<Draft[]> {
    const { hook, run, origins, mask, onOutcome } = this.options;
    const records = drafts.filter(({ isKept }) => isKept).map(({ text }) => text);
    const outcomes = records.length === 0 ? [] : await run(records);
    const made: Draft[] = [];
    let next = 0;
    for (const { text, isKept } of drafts) {
      if (!isKept) {
        origins.add(text, 0);
        continue;
      }
      const outcome = outcomes[next++];
      // The failure before it stops the sync.
      if (outcome === undefined) break;
      onOutcome?.(text, outcome);
      if ('failure' in outcome) {
        const isMisfit = onOutcome === undefined;
        origins.add(text, isMisfit ? 1 : 0);
        if (!isMisfit) continue;
        made.push({
          text,
          isKept: true,
          refusal: `the hook ${hook} failed: ${mask(failureText(outcome)).slice(0, FAILURE_LENGTH)}`,
        });
        continue;
      }
      origins.add(text, outcome.length);
      if (outcome.length === 0) origins.dropped++;
      for (const row of outcome) made.push({ text: row, isKept: true });
    }
    return made;
  }
}

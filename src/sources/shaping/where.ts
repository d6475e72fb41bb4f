import { isTooMuch } from '../../request/json-path.js';
import { passes } from '../../request/paths.js';
import { ScanError } from '../record-scanner.js';
import type { Draft, ShapingStep } from './step.js';

/** Leaves out the records that do not match the filter `where`. */
export class Where implements ShapingStep {
  constructor(private readonly filter: string) {}

  apply(drafts: Draft[]): Draft[] {
    for (const draft of drafts) draft.isKept &&= this.passes(draft.text);
    return drafts;
  }

  private passes(record: string): boolean {
    try {
      return passes(record, this.filter);
    } catch (thrown) {
      if (!isTooMuch(thrown)) throw thrown;
      throw new ScanError(`"where" cannot be evaluated for a record: ${thrown.message}`, 'record');
    }
  }
}

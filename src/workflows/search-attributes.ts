import { defineSearchAttributeKey, type SearchAttributeUpdatePair } from '@temporalio/common';
import { upsertSearchAttributes } from '@temporalio/workflow';
import { SEARCH_ATTRIBUTES, type SearchAttributeName } from '../protocol.js';

/** Values of the search attributes; null where one is not known. */
export type Findable = { [Name in SearchAttributeName]: string | number | Date | null };

/** Least time between two upserts, as each is an event in the history. */
const LEAST_MILLISECONDS = 10_000;
/** Temporal refuses longer keywords. */
const KEYWORD_LIMIT = 255;

/** Upserts the search attributes when the status changes or a pass ends, but not in quick succession. */
export class SearchAttributes {
  private readonly shown = new Map<string, string | number>();
  private last = -Infinity;
  private occasion = '';

  /** @param isLasting the state stays for a while, so that it is shown at once. */
  show(values: Findable, isLasting: boolean): void {
    const occasion = [values.HighwaterStatus, values.HighwaterLastPassEnd].map(String).join(' ');
    if (occasion === this.occasion || (!isLasting && Date.now() - this.last < LEAST_MILLISECONDS)) return;
    const pairs: SearchAttributeUpdatePair[] = [];
    for (const [name, value] of Object.entries(values)) {
      const compared = value instanceof Date ? value.getTime() : value;
      if (value === null || compared === null || this.shown.get(name) === compared) continue;
      this.shown.set(name, compared);
      const key = defineSearchAttributeKey(name, SEARCH_ATTRIBUTES[name as SearchAttributeName]);
      const kept = typeof value === 'string' ? value.slice(0, KEYWORD_LIMIT) : value;
      pairs.push({ key, value: kept } as SearchAttributeUpdatePair);
    }
    this.occasion = occasion;
    this.last = Date.now();
    upsertSearchAttributes(pairs);
  }
}

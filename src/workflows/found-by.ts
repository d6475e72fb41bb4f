import { defineSearchAttributeKey, type SearchAttributeUpdatePair } from '@temporalio/common';
import { upsertSearchAttributes } from '@temporalio/workflow';
import { SEARCH_ATTRIBUTES, type SearchAttributeName } from '../protocol.js';

/** What a sync is to be found by; null where it is not known. */
export type FoundBy = { [Name in SearchAttributeName]: string | number | Date | null };

/** Each upsert is an event of the history: in quick succession only the last one counts. */
const LEAST_MILLISECONDS = 10_000;
/** Keywords longer than this are refused. */
const KEYWORD_LIMIT = 255;

/** Tells Temporal what the sync can be found by: when its status changes or a pass ends, and not too often. */
export class SearchAttributes {
  private readonly shown = new Map<string, string | number>();
  private last = -Infinity;
  private occasion = '';

  /** @param stays nothing else will be said for a while: not to be put off. */
  show(found: FoundBy, stays: boolean): void {
    const occasion = [found.HighwaterStatus, found.HighwaterLastPassEnd].map(String).join(' ');
    if (occasion === this.occasion || (!stays && Date.now() - this.last < LEAST_MILLISECONDS)) return;
    const pairs: SearchAttributeUpdatePair[] = [];
    for (const [name, value] of Object.entries(found)) {
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

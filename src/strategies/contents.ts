/** Recognises a page that has been read before by what it holds, whatever it was asked by. */
import type { PageSummary } from '../protocol.js';

/** The traits by which a page is recognised. */
type PageSign = {
  /** Number of records, and digests of the first and the last key, or of key and cursor value. */
  keys: string;
  /** Checksum over the beginning and the end of the records; null where it is not known. */
  bytes: string | null;
  /** First and last key are the same, as on a page of one record. */
  single: boolean;
};

/**
 * The page before, and one older page, which is replaced after 1, 2, 4, 8 … pages (Brent's algorithm): pages that come
 * round in a circle meet it again within one more round.
 */
export type ContentTrail = {
  last: PageSign;
  kept: PageSign;
  steps: number;
  limit: number;
  /** How many pages in a row were the same as the one before. */
  alike: number;
  /** How many had the same keys, where these are more. */
  alikeByKeys?: number;
  /** The digest of the last page's records in any order, where it has one. */
  unordered?: string;
};

/** How a page repeats an older one; null where it does not. */
export type Repetition = 'the previous page' | 'an earlier page' | null;

/** The number of first pages of a pass that are also compared by their records in any order. */
const COMPARED_UNORDERED = 64;

/**
 * Whether the page after this number of pages of its pass is compared by its records in any order: a source that does not know
 * the parameter by which pages are asked for may give the same records in another order each time.
 */
export const isComparedUnordered = (pages: number): boolean =>
  pages % COMPARED_UNORDERED >= COMPARED_UNORDERED - 2;

/** The key of a record where no primary key is known yet. */
const NO_KEY = '[]';
/** Pages in a row with the very same keys are no feed of updates any more, whatever their bytes. */
const ALIKE_LIMIT = 200;
/** A page of a single key may show one record's updates, or a list that grows, unless it comes so often. */
const SINGLE_ALIKE_LIMIT = 4;
const SINGLE_ALIKE_LIMIT_BY_PLACE = 16;

/**
 * Compares a page with those before it.
 * @param how.byPlace pages are asked for by their place in a list: the same keys are then the same page, even where a
 *   record shows the time at which it was read.
 * @param how.byValue a record whose cursor value has changed is another one; for pages with all their values.
 * @returns how it repeats one of them, and the trail with it. A page without records or without keys is not looked at.
 */
export function compareContents(
  trail: ContentTrail | null,
  page: PageSummary,
  { byPlace = false, byValue = false }: { byPlace?: boolean; byValue?: boolean },
): { repeats: Repetition; trail: ContentTrail | null } {
  const first = page.keys[0];
  const last = page.keys.at(-1);
  const hasKeys = first !== undefined && last !== undefined && first !== NO_KEY;
  if (page.records === 0 || !hasKeys) return { repeats: null, trail };
  const sign: PageSign = {
    keys: [String(page.records), first, last, ...(byValue ? [page.values[0], page.values.at(-1)] : [])]
      .map((text) => (text == null ? '' : digest(text)))
      .join(' '),
    bytes: page.probe ?? null,
    single: first === last,
  };
  if (trail === null)
    return { repeats: null, trail: { last: sign, kept: sign, steps: 0, limit: 1, alike: 0 } };
  const alike = isSame(sign, trail.last, byPlace) ? trail.alike + 1 : 0;
  const alikeByKeys = sign.keys === trail.last.keys ? (trail.alikeByKeys ?? 0) + 1 : 0;
  const steps = trail.steps + 1;
  const isRenewed = steps >= trail.limit;
  const next: ContentTrail = {
    last: sign,
    ...(isRenewed
      ? { kept: sign, steps: 0, limit: trail.limit * 2 }
      : { kept: trail.kept, steps, limit: trail.limit }),
    alike,
    ...(alikeByKeys > alike && { alikeByKeys }),
    ...(page.unordered !== undefined && { unordered: page.unordered }),
  };
  const isLast = sign.single
    ? alike >= (byPlace ? SINGLE_ALIKE_LIMIT_BY_PLACE : SINGLE_ALIKE_LIMIT)
    : alike > 0 || alikeByKeys >= ALIKE_LIMIT;
  const isReordered = !sign.single && page.unordered !== undefined && page.unordered === trail.unordered;
  const isOlder = isReordered || (!sign.single && isSame(sign, trail.kept, byPlace));
  return { repeats: isLast ? 'the previous page' : isOlder ? 'an earlier page' : null, trail: next };
}

function isSame(a: PageSign, b: PageSign, byPlace: boolean): boolean {
  if (a.keys !== b.keys) return false;
  return a.bytes === b.bytes || (byPlace && !a.single);
}

/** A short digest of text (cyrb53, 53 bits): it tells keys apart, and is no protection against anyone. */
function digest(text: string): string {
  let [high, low] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    high = Math.imul(high ^ code, 2654435761);
    low = Math.imul(low ^ code, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return (4294967296 * (2097151 & low) + (high >>> 0)).toString(36);
}

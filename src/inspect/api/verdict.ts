/** Makes the configuration of a stream from evidence, and says in words what it rests on. Pure. */
import { counted } from '../../text.js';
import { type CountPlace, type NextHint, placeText } from './answers.js';
import { EPOCH, type Filter } from './filter.js';
import { type Evidence, ROUND } from './investigate.js';
import { nextKey, placeKey, setFlag, setNames, type StreamKeys } from './stream-keys.js';

/** Facts, assumptions and gaps, in words. */
export interface Findings {
  found: { what: string; text: string }[];
  assumed: string[];
  unknown: string[];
}

/** The keys of a stream, and what they rest on. */
export interface Verdict extends Findings {
  keys: StreamKeys;
  /** The way in which further pages are asked for; also among `found`. */
  paging: string;
}

/** Returns the keys of a stream that say how to page, and what they rest on. */
export function pagingVerdict(evidence: Evidence): Verdict {
  const { paging, size, records, list, said } = evidence;
  const count = list.records.length;
  const found = [
    {
      what: 'records',
      text: `${records === '$' ? 'the answer itself' : records}, ${counted(count, 'record')} in the first answer`,
    },
  ];
  const verdict: Verdict = { keys: { records }, paging: '', found, assumed: [], unknown: [] };
  const { keys } = verdict;
  verdict.unknown.push(...evidence.deadEnds, ...evidence.remarks);
  switch (paging.by) {
    case 'next':
      keys['strategy'] = 'cursor';
      keys['next'] = nextKey(paging.hint);
      sayPaging(verdict, nextText(paging.hint, paging.parameter));
      setNames(keys, { scroll_param: paging.parameter });
      break;
    case 'page':
      keys['strategy'] = 'page_number';
      setNames(keys, { page: paging.parameter });
      if (paging.first === 0) keys['first_page'] = 0;
      sayPaging(verdict, `page numbers: ${paging.parameter}, from ${paging.first}`);
      break;
    case 'offset':
      keys['strategy'] = 'offset';
      setNames(keys, { offset: paging.parameter });
      if (paging.first === 1) keys['first_offset'] = 1;
      if (!paging.takesAny) keys['overlap'] = false;
      sayPaging(
        verdict,
        `offset: ${paging.parameter}${paging.first === 1 ? ', which counts from 1' : ''}${paging.takesAny ? '' : ', only multiples of the page size'}`,
      );
      if (size === null) keys['page_size'] = count;
      break;
    case 'last_key':
      keys['strategy'] = 'cursor';
      keys['next'] = 'last_key';
      keys['primary_key'] = paging.member;
      setNames(keys, { scroll_param: paging.parameter });
      sayPaging(verdict, `the key of the last record: ${paging.parameter}`);
      break;
    case 'none':
      keys['strategy'] = 'cursor';
      keys['next'] = 'none';
      sayNoPaging(verdict, evidence);
  }
  if (paging.by !== 'none') saySize(verdict, evidence);
  sayCounts(verdict, evidence);
  if (evidence.isCutShort)
    verdict.unknown.push('the limit of requests was reached before everything was tried');
  if (said !== null && paging.by === 'none' && said > count) {
    verdict.unknown.push(
      `the rest of the list: the answer says that there are ${said} records, and has ${count}`,
    );
  }
  return verdict;
}

/** Returns whether the list was not found whole: a sync would store a part of it at most. */
export const isPartOnly = ({
  paging,
  said,
  list,
  more,
  deadEnds,
  slides,
  limited,
  isCutShort,
}: Evidence): boolean =>
  paging.by === 'none' &&
  (slides ||
    limited === 'to a part' ||
    (said !== null && said > list.records.length) ||
    (more !== null && more.value !== more.isEnd) ||
    deadEnds.length > 0 ||
    isCutShort);

function sayPaging(verdict: Verdict, text: string): void {
  verdict.paging = text;
  verdict.found.push({ what: 'paging', text });
}

function nextText(hint: NextHint, parameter: string | null): string {
  return parameter === null
    ? `the address of the next page, in ${placeText(hint)}`
    : `a token for the next page, in ${placeText(hint)}, sent as ${parameter}`;
}

function saySize({ keys, found, unknown }: Verdict, { size, tried }: Evidence): void {
  if (size === null) {
    if (tried.size.length > 0)
      unknown.push(`no parameter for the page size: ${tried.size.length} names had no effect`);
    return;
  }
  keys['page_size'] = size.records;
  setNames(keys, { limit: size.parameter });
  found.push({ what: 'page size', text: `${size.parameter}, ${size.records} at a time` });
}

function sayNoPaging(verdict: Verdict, evidence: Evidence): void {
  const { keys, assumed, unknown } = verdict;
  const { tried, list, size, slides, limited } = evidence;
  const count = list.records.length;
  if (count === 0) {
    unknown.push('everything else: the list is empty');
    return;
  }
  const names = [...new Set([...tried.page, ...tried.offset, ...tried.last_key])];
  sayPaging(verdict, `none: ${names.length} parameters had no effect (${names.slice(0, 4).join(', ')}, …)`);
  if (slides)
    unknown.push(
      'the rest of the list: the first answer had records that a later one lacked, so it seems to be the first page of a list that changes',
    );
  if (limited === 'to a part' && size !== null)
    unknown.push(
      `how to get the records after the first page: ${size.parameter} limits their number, but no parameter for the page was found`,
    );
  if (isPartOnly(evidence)) return;
  if (limited !== null && limited !== 'to a part') {
    // As the page size, so that a pass notices once the list has grown to it.
    keys['page_size'] = limited.asked;
    setNames(keys, { limit: limited.parameter });
    assumed.push(
      `${limited.parameter}=${limited.asked} gets the whole list: it gave ${counted(limited.records, 'record')}. Once the list is as long as page_size, a pass says so: it needs a greater number then`,
    );
  } else if (ROUND.has(count)) {
    assumed.push(
      `the first answer has the whole list. It has ${count} records, which may also be a first page: compare with the API's documentation`,
    );
  } else assumed.push('the first answer has the whole list');
}

function sayCounts({ keys, found, unknown }: Verdict, evidence: Evidence): void {
  const { total, totalPages, more, paging } = evidence;
  if (total !== null) {
    keys['total'] = placeKey(total);
    found.push({ what: 'total', text: `${placeName(total)}: ${evidence.said}` });
  }
  if (totalPages !== null) {
    keys['total_pages'] = placeKey(totalPages);
    found.push({ what: 'pages', text: placeName(totalPages) });
  }
  const needsFlag =
    paging.by === 'last_key' || (total === null && paging.by !== 'next' && paging.by !== 'none');
  if (more !== null && needsFlag) {
    setFlag(keys, more);
    found.push({ what: 'end', text: `${more.path}: ${more.isEnd} marks the last page` });
  } else if (total === null && totalPages === null && (paging.by === 'page' || paging.by === 'offset')) {
    unknown.push('a count of all records: a pass ends at an empty page');
  }
}

const placeName = (place: CountPlace['place']) =>
  'path' in place ? place.path : `the header ${place.header}`;

/**
 * Adds a filter by change.
 * @param isOrdered records come in ascending order of the cursor field.
 */
export function withFilter(
  verdict: Verdict,
  evidence: Evidence,
  filter: { filter: Filter; field: string; isOrdered: boolean },
): void {
  const { keys, found, assumed } = verdict;
  const { parameter, isInclusive, takesYearOne } = filter.filter;
  const { paging } = evidence;
  keys['cursor_field'] = filter.field;
  // Without a start, a pass over numbers sends no filter at first.
  if (!takesYearOne && keys['cursor_format'] === undefined) keys['start'] = EPOCH;
  found.push({
    what: 'changes',
    text: `${parameter} returns only records whose ${filter.field} is ${isInclusive ? 'the same or later' : 'later'}`,
  });
  if (paging.by === 'none') {
    keys['strategy'] = 'timestamp';
    delete keys['next'];
    delete keys['total'];
    setNames(keys, { since: parameter });
    return;
  }
  if (paging.by === 'next' && paging.isTime && filter.isOrdered) {
    // Its tokens are times: records that share a time with the end of a page would be lost.
    keys['strategy'] = 'keyset';
    setNames(keys, { updated_since: parameter === 'updated_since' ? null : parameter });
    assumed.push(`records always come in ascending order of ${filter.field}, as those of the first page do`);
    return;
  }
  setNames(keys, { updated_since: parameter });
  if (!isInclusive) keys['lookback'] = '1s';
  assumed.push(`every change of a record changes its ${filter.field}`);
}

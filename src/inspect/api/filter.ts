/** Finds the parameter by which an API returns only what changed since a time. */
import { type Answer, type CountPlace, identities, type JsonObject, listsIn, totalsIn } from './answers.js';
import { type Api, type Effect, findParameter, type Params } from './find-parameter.js';
import { SINCE_PARAMETERS } from './names.js';

/** A filter by change, as requests have shown it. */
export interface Filter {
  parameter: string;
  /** The answer has records of the very time that was asked for. */
  isInclusive: boolean;
  /** The API takes the beginning of time. */
  takesYearOne: boolean;
  /** Records that the API counts since the beginning of time, where these are fewer than all; null otherwise. */
  reaches: number | null;
}

const BEGINNING = '0001-01-01T00:00:00Z';
/** The beginning for APIs that do not take the other one. */
export const EPOCH = '1970-01-01T00:00:00Z';
const BEGINNING_OF_EPOCH = '0';

/** A cursor field, and the format of its values if they are numbers. */
export interface Field {
  name: string;
  format?: 'epoch_s' | 'epoch_ms';
}

/**
 * Asks for records since a time in the middle of those of a page; all records of the answer must be as late.
 * @param field the cursor field.
 * @param total the count of all records, and its place in answers; null where answers have none.
 * @returns null where no parameter has that effect, or the page has only one time.
 */
export async function findFilter(
  api: Api,
  page: readonly JsonObject[],
  field: Field,
  stream: string,
  total: CountPlace | null = null,
  base: Params = {},
): Promise<Filter | null> {
  const middle = middleTime(page, field);
  if (middle === null) return null;
  const before = identities(page, null);
  const timesOf = (answer: Answer): number[] | null => {
    const [list] = answer.status === 200 ? listsIn(answer.document, stream) : [];
    return list === undefined ? null : list.records.map((record) => timeOf(record, field));
  };
  const effect = (answer: Answer): Effect => {
    const times = timesOf(answer);
    if (times === null) return 'refused';
    if (times.length === 0) return 'empty';
    if (times.every((time) => time >= middle.time)) return 'wanted';
    const [list] = listsIn(answer.document, stream);
    return JSON.stringify(identities(list?.records ?? [], null)) === JSON.stringify(before)
      ? 'same'
      : 'other';
  };
  for (const names of SINCE_PARAMETERS) {
    const parameter = await findParameter(api, { names, value: middle.text, base, effect });
    if (parameter === null) continue;
    const since = await api.ask({ ...base, [parameter]: middle.text });
    const all = await api.ask({
      ...base,
      [parameter]: field.format === undefined ? BEGINNING : BEGINNING_OF_EPOCH,
    });
    const takesYearOne = (timesOf(all)?.length ?? 0) >= page.length;
    const needsEpoch = !takesYearOne && total !== null && field.format === undefined;
    const widest = needsEpoch ? await api.ask({ ...base, [parameter]: EPOCH }) : all;
    const isSame = ({ place }: CountPlace) => JSON.stringify(place) === JSON.stringify(total?.place);
    const counted = totalsIn(widest).find(isSame)?.value ?? null;
    return {
      parameter,
      isInclusive: timesOf(since)?.includes(middle.time) ?? false,
      takesYearOne,
      reaches: total !== null && counted !== null && counted < total.value ? counted : null,
    };
  }
  return null;
}

function timeOf(record: JsonObject, { name, format }: Field): number {
  const value = record[name];
  if (format !== undefined) return typeof value === 'number' ? value : NaN;
  return typeof value === 'string' ? Date.parse(value) : NaN;
}

/** A time of a page such that some of its records are earlier; null where there is none. */
function middleTime(page: readonly JsonObject[], field: Field): { text: string; time: number } | null {
  const times = page
    .map((record) => ({ text: String(record[field.name]), time: timeOf(record, field) }))
    .filter(({ time }) => !Number.isNaN(time))
    .sort((a, b) => a.time - b.time);
  const [earliest] = times;
  const later = times.filter(({ time }) => time > (earliest?.time ?? Infinity));
  return later[Math.floor((later.length - 1) / 2)] ?? null;
}

/** Returns whether the times of a page never decrease, and there is more than one. */
export function isAscending(page: readonly JsonObject[], field: Field): boolean {
  const times = page.map((record) => timeOf(record, field));
  const isOrdered = times.every((time, i) => i === 0 || time >= (times[i - 1] ?? time));
  return isOrdered && new Set(times).size > 1;
}

/** Reads what an answer says besides its records: what is next, how many there are, whether there is more. */
import type { AnswerPath, AnswerPlace } from '../protocol.js';
import { type JsonDocument, memberNames, misspelt, pathText, valueAtPath } from '../request/paths.js';
import type { Mask } from '../secrets/masking.js';
import { ScanError } from './record-scanner.js';

/** The headers of an answer. */
export interface AnswerHeaders {
  get(name: string): string | null;
}

export class Envelope {
  /** @param mask hides secrets in what an error quotes of the answer. */
  constructor(
    readonly document: JsonDocument,
    private readonly headers: AnswerHeaders,
    private readonly mask: Mask,
  ) {}

  /**
   * Gives what stands at a path; undefined where nothing does.
   * @param key of the configuration that has the path.
   * @throws {ScanError} where the path is meant for one member whose name has dots in it.
   */
  value(key: string, path: AnswerPath): unknown {
    const { value } = this.document;
    const found = valueAtPath(value, path);
    const meant = found === undefined ? misspelt(value, path) : null;
    if (meant === null) return found;
    throw new ScanError(
      `"${key}" is ${pathText(path)}, which matches nothing, but the response has a member of that name: ` +
        `quote a name that contains dots: ${this.mask(meant)}`,
      'shape',
    );
  }

  header(name: string): string | null {
    return this.headers.get(name);
  }

  /** A count of records or pages; null where the answer has none that can be one. */
  count(key: string, place: AnswerPlace | null | undefined): number | null {
    return countOf(this.plain(key, place));
  }

  /** Yes or no, by true and false or by words that mean the same; null where the answer does not say. */
  flag(key: string, place: AnswerPlace | null): boolean | null {
    const value = this.plain(key, place);
    if (typeof value === 'boolean') return value;
    const word = typeof value === 'string' || typeof value === 'number' ? String(value).trim() : '';
    return FLAGS.get(word.toLowerCase()) ?? null;
  }

  /** @throws {ScanError} where an object or a list stands there: no such value can be read from it. */
  private plain(key: string, place: AnswerPlace | null | undefined): unknown {
    if (place == null) return null;
    if (isHeader(place)) return this.header(place.header);
    const value = this.value(key, place);
    if (typeof value !== 'object' || value === null) return value;
    // {"value": 10000, "relation": "gte"}, as Elasticsearch counts: no more than that were counted.
    const { value: counted, relation } = value as { value?: unknown; relation?: unknown };
    if (typeof counted === 'number') return relation === undefined || relation === 'eq' ? counted : null;
    if (Object.keys(value).length === 0) return null;
    throw new ScanError(
      `"${key}" is ${pathText(place)}, which is ${kindOf(value, this.mask)}, not a value`,
      'shape',
    );
  }
}

const isHeader = (place: AnswerPlace): place is { header: string } =>
  typeof place === 'object' && !Array.isArray(place);

const FLAGS = new Map([
  ...['true', '1', 'yes'].map((word) => [word, true] as const),
  ...['false', '0', 'no'].map((word) => [word, false] as const),
]);

/** A whole number that is not negative, as a number or as text; of "items 0-9/47", as Content-Range has it, the last. */
function countOf(value: unknown): number | null {
  if (typeof value !== 'number' && typeof value !== 'string') return null;
  const [, digits] = /^\s*(?:(?:[a-z]+\s+)?(?:\d+-\d+|\*)\/)?(\d+)\s*$/i.exec(String(value)) ?? [];
  const count = digits === undefined ? NaN : Number(digits);
  return Number.isSafeInteger(count) ? count : null;
}

/** Says of an object or a list what it is: "an object with id, sort", "a list of 2". */
export function kindOf(value: object, mask: Mask): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return `an object with ${memberNames(value, mask)}`;
}

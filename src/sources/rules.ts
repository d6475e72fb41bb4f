/** Which answers are no pages, and what to do about them. */
import type { AnswerPath, ErrorRule } from '../protocol.js';
import { namesOf, pathText, valueAtPath } from '../request/paths.js';
import { patternOf } from '../request/patterns.js';

/** The first rule that fits an answer. @param body its beginning, or its JSON without the records. */
export function fittingRule(
  rules: readonly ErrorRule[],
  status: number,
  body: { text: string } | { value: unknown },
): ErrorRule | undefined {
  const isFine = status >= 200 && status < 300;
  const text = () => ('text' in body ? body.text : (JSON.stringify(body.value) ?? ''));
  let parsed: unknown;
  const value = () => {
    if ('value' in body) return body.value;
    if (parsed === undefined) {
      try {
        parsed = JSON.parse(body.text);
      } catch {
        parsed = null;
      }
    }
    return parsed;
  };
  return rules.find((rule) => {
    if (
      rule.statuses === null ? isFine && rule.path === null : !rule.statuses.some((one) => fits(one, status))
    )
      return false;
    if (rule.body !== null && !patternOf(rule.body, true).isIn(text())) return false;
    return rule.path === null || isThere(valueAtPath(value(), rule.path));
  });
}

const fits = (pattern: string, status: number) =>
  pattern.length === 3 && [...pattern].every((c, i) => c === 'x' || c === String(status)[i]);

const isThere = (value: unknown) =>
  value !== undefined &&
  value !== null &&
  value !== false &&
  value !== '' &&
  !(Array.isArray(value) && value.length === 0);

/** Errors that GraphQL answers with 200: data beside them are not whole. */
export const GRAPHQL_ERRORS: ErrorRule = {
  statuses: null,
  body: null,
  path: ['errors'],
  action: 'fail',
  waitSeconds: 0,
};

/** A sign in an answer of status 2xx that the request has failed. */
export interface Failure {
  /** Its place. */
  at: string;
  /** Its place, and its value if the place says little. */
  where: string;
  /** The condition of a rule that fits such answers, as a configuration has it. */
  rule: string;
  /** The source's description of it: some JSON value. */
  words: unknown;
}

/**
 * Looks for a failure in an answer that has no records: a value under "error" or "errors", a "success" or "ok" that is
 * false, a "status" or a code of an error; at the top, beside the records, and in "meta". Members that say that all is
 * well ("errors": [], "error": false, "message": "success") are none.
 * @param isAsked whether the request had this parameter: some sources say back what they were asked.
 */
export function failureIn(
  envelope: unknown,
  records: AnswerPath,
  isAsked: (name: string, value: unknown) => boolean,
): Failure | null {
  const way = namesOf(records);
  const places = [[], ...way.map((_, i) => way.slice(0, i + 1)), ['meta'], ['metadata'], ['status']];
  for (const place of places) {
    const object = valueAtPath(envelope, place);
    if (typeof object !== 'object' || object === null || Array.isArray(object)) continue;
    const members = Object.entries(object) as [string, unknown][];
    const isWay = (name: string) => way[place.length] === name && place.every((part, i) => part === way[i]);
    const sign = members.find(
      ([name, value]) =>
        !isWay(name) && saysFailure(name, value) && !(isScalar(value) && isAsked(name, value)),
    );
    const code = place.length === 0 && sign === undefined ? errorCode(object) : undefined;
    const [name, value] = sign ?? code ?? [];
    if (name === undefined) continue;
    const at = pathText([...place, name]);
    const where = isScalar(value) && typeof value !== 'string' ? `${at} (${String(value)})` : at;
    // If the member is in every answer, its value makes the difference.
    const isOften = /^(success|ok|(status|code)(_?code)?)$/i.test(name);
    const text = JSON.stringify({ [name]: value }).slice(1, -1);
    const rule = isOften ? `status: 200, body: '${text}'` : `path: ${at}`;
    return { at, where, rule, words: wordsOf(object, value) };
  }
  return null;
}

const isScalar = (value: unknown) => typeof value !== 'object' || value === null;

/** Texts that say, where an error would be, that there is none. */
const FINE = /^\s*(0+|200|no|none|null|nil|n\/a|-|false|ok|okay|success|successful|no[ _-]?errors?)?\.?\s*$/i;

/** Whether a value is an error, where one would stand. */
function isError(value: unknown): boolean {
  if (typeof value === 'string' || typeof value === 'number') return !FINE.test(String(value));
  if (typeof value !== 'object' || value === null) return value === true;
  return Object.values(value).some(isError);
}

function saysFailure(name: string, value: unknown): boolean {
  switch (name.toLowerCase().replace(/[_-]/g, '')) {
    case 'error':
    case 'errormessage':
    case 'errormsg':
    case 'errorcode':
    case 'errcode':
      return isError(value);
    case 'errors':
      // A number of them may be what is asked for.
      return typeof value !== 'number' && isError(value);
    case 'success':
    case 'ok':
      return value === false || value === 'false';
    case 'status':
      return typeof value === 'string' && /^(error|fail|failed|failure)$/i.test(value);
    default:
      return false;
  }
}

/** A status of an error with its words. One that says that there is nothing is none here. */
function errorCode(object: object): [string, unknown] | undefined {
  const members = Object.entries(object) as [string, unknown][];
  const hasWords = members.some(
    ([name, value]) => /^(message|msg|detail|reason)$/i.test(name) && isError(value),
  );
  if (!hasWords) return undefined;
  return members.find(([name, value]) => {
    const status = /^(code|status|status_?code)$/i.test(name) ? String(value) : '';
    return /^[45]\d\d$/.test(status) && !['404', '410', '416'].includes(status);
  });
}

const WORDS = ['error_description', 'error_message', 'errorMessage', 'message', 'msg', 'detail', 'reason'];

/** Returns the description in an object that has a sign of a failure. */
function wordsOf(object: object, sign: unknown): unknown {
  if (!isScalar(sign) || (typeof sign === 'string' && /\s/.test(sign))) return sign;
  const members = object as Record<string, unknown>;
  const said = ['error', 'errors', ...WORDS]
    .map((name) => members[name])
    .find((value) => isError(value) && typeof value !== 'boolean' && typeof value !== 'number');
  return said ?? object;
}

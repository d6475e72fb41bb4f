/** Which answers are no pages, and what to do about them. */
import type { ErrorRule } from '../protocol.js';
import { valueAtPath } from './paths.js';

/** The first rule that fits an answer. @param body its beginning, or its JSON without the records. */
export function fittingRule(
  rules: readonly ErrorRule[],
  status: number,
  body: { text: string } | { value: unknown },
): ErrorRule | undefined {
  const isFine = status >= 200 && status < 300;
  const text = () => ('text' in body ? body.text : JSON.stringify(body.value));
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
    if (rule.body !== null && !new RegExp(rule.body, 'i').test(text())) return false;
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

/** What GraphQL answers with 200 where it could not: data beside it is not whole. */
export const GRAPHQL_ERRORS: ErrorRule = {
  statuses: null,
  body: null,
  path: ['errors'],
  action: 'fail',
  waitSeconds: 0,
};

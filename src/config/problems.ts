/** Problems of a configuration, in words. */
import type { z } from 'zod';
import type { Problem } from '../errors.js';
import { suggestion } from '../text.js';

/** Valid configurations are nested less deeply. */
const DEPTH_LIMIT = 20;
const LEVEL_LIMIT = 100_000;

/**
 * Finds problems that checks of single keys would miss or not survive: endless nesting (YAML can refer back to itself),
 * and a member `__proto__`, which would vanish from objects.
 */
export function shapeProblem(raw: unknown): Problem | null {
  let level: { path: string; value: unknown }[] = [{ path: '', value: raw }];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH_LIMIT) {
      return { path: level[0]?.path.slice(0, 40) ?? '', message: `is nested deeper than ${DEPTH_LIMIT}` };
    }
    if (level.length > LEVEL_LIMIT) return { path: '', message: 'contains far too many values' };
    level = level.flatMap(({ path, value }) =>
      typeof value === 'object' && value !== null
        ? Object.entries(value as Record<string, unknown>).map(([name, inner]) => ({
            path: `${path}.${name}`.slice(0, 80),
            value: inner,
          }))
        : [],
    );
    const swallowed = level.find(({ path }) => path.endsWith('.__proto__'));
    if (swallowed !== undefined) {
      return { path: swallowed.path.slice(1), message: 'is not allowed as a name here' };
    }
  }
  return null;
}

export function describe(issue: z.core.$ZodIssue, raw: unknown, keys: readonly string[]): Problem[] {
  const path = cutShort(pathText(issue.path));
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        path: cutShort(path === '' ? key : `${path}.${key}`),
        message: `is not a known key${keys.includes(key) ? ' here' : suggestion(key, keys)}`,
      }));
    case 'invalid_value': {
      const words = issue.values.map(String);
      return [
        {
          path,
          message: `${show(issue.input)} is not one of ${words.join(', ')}${suggestion(String(issue.input), words)}`,
        },
      ];
    }
    case 'invalid_type':
      if (path === '') {
        return [{ path, message: `must be an object of keys and values, not ${kindOf(raw)}` }];
      }
      return [{ path, message: `must be ${article(issue.expected)}, not ${show(issue.input)}` }];
    case 'too_small':
      return [{ path, message: `${show(issue.input)} is too small: the minimum is ${issue.minimum}` }];
    case 'too_big':
      if (issue.origin === 'string')
        return [
          { path, message: `${show(issue.input)} is too long: the maximum is ${issue.maximum} characters` },
        ];
      return [{ path, message: `${show(issue.input)} is too large: the maximum is ${issue.maximum}` }];
    case 'invalid_union': {
      // If one of the forms fits but for its values, report only those problems.
      const fitting = issue.errors.find(
        (inner) => inner.length > 0 && inner.every(({ code }) => code === 'custom'),
      );
      if (fitting !== undefined) {
        return fitting.map((inner) => ({
          path: cutShort(pathText([...issue.path, ...inner.path])),
          message: inner.message,
        }));
      }
      // If the value is of the type of one form only, that form is meant.
      const meant = issue.errors.filter((inner) => !inner.some(isOfOtherType));
      const [only] = meant;
      if (only !== undefined && only.length > 0 && meant.length === 1)
        return only.flatMap((inner) =>
          describe({ ...inner, path: [...issue.path, ...inner.path] }, raw, keys),
        );
      return [{ path, message: `${show(issue.input)} is not allowed here: ${unionWords(issue)}` }];
    }
    case 'invalid_key':
      return [{ path, message: `the name is not allowed: ${issue.issues.map(nameProblem).join('; ')}` }];
    default:
      return [{ path, message: issue.message }];
  }
}

/** Returns whether the value itself has another type than a form of a union asks for. */
const isOfOtherType = ({ code, path }: z.core.$ZodIssue): boolean =>
  code === 'invalid_type' && path.length === 0;

function unionWords(issue: z.core.$ZodIssueInvalidUnion): string {
  const words = issue.errors
    .flat()
    .map((inner) => (inner.code === 'invalid_type' ? `expected ${article(inner.expected)}` : inner.message));
  return [...new Set(words)].join(', or ');
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text === '' ? String(part) : `${text}.${String(part)}`,
    '',
  );
}

const KINDS: Record<string, string> = { int: 'a whole number', array: 'a list', record: 'an object' };
const article = (type: string) => KINDS[type] ?? (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`);

const cutShort = (text: string) => (text.length > 100 ? `${text.slice(0, 99)}…` : text);

export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  return Array.isArray(value) ? 'a list' : article(typeof value);
}

export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

const nameProblem = (issue: z.core.$ZodIssue): string =>
  issue.code === 'too_big' ? `it is too long: the maximum is ${issue.maximum} characters` : issue.message;

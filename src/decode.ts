/** Checks inputs of any caller who may start workflows, before they are used. */
import * as z from './zod.js';

/** Nothing of ours is nested deeper, and functions that go into depth are safe below it. */
const DEPTH_LIMIT = 100;
const PROBLEMS_SHOWN = 20;
const NAME_SHOWN = 80;

/**
 * Checks a value against a schema that changes nothing.
 * @returns one line for each problem: the path to it and what was expected there; null where there is none. Values that
 *   are refused are not shown, as they may be secrets.
 */
export function problemsOf(schema: z.Schema, value: unknown): string[] | null {
  const misshapen = shapeProblem(value);
  if (misshapen !== null) return [misshapen];
  const { error } = z.safeParse(schema, value);
  if (error === undefined) return null;
  const problems = error.issues.flatMap((issue) => lines(issue, value));
  const shown = problems.slice(0, PROBLEMS_SHOWN);
  const more = problems.length - shown.length;
  return more > 0 ? [...shown, `… and ${more} more`] : shown;
}

/** Inputs that would harm the checking code itself. */
function shapeProblem(value: unknown): string | null {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH_LIMIT) return `it is nested deeper than ${DEPTH_LIMIT}`;
    const next: unknown[] = [];
    for (const inner of level) {
      if (typeof inner !== 'object' || inner === null) continue;
      if (Object.hasOwn(inner, '__proto__')) return '"__proto__" is not allowed as a name';
      for (const one of Object.values(inner)) if (typeof one === 'object' && one !== null) next.push(one);
    }
    level = next;
  }
  return null;
}

function lines(issue: z.Issue, root: unknown): string[] {
  const { path } = issue;
  const at = (text: string) => [path.length === 0 ? text : `${pathText(path)}: ${text}`];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => `${pathText([...path, key])}: is not a known key`);
    case 'invalid_type':
      return at(`must be ${KINDS[issue.expected] ?? issue.expected}, but ${kindOf(valueAt(root, path))}`);
    case 'invalid_value':
      return at(
        `must be ${issue.values.length === 1 ? '' : 'one of '}${issue.values.map(String).join(', ')}`,
      );
    case 'too_small':
      return at(`must be ${amount(issue.origin, 'at least', Number(issue.minimum))}`);
    case 'too_big':
      return at(`must be ${amount(issue.origin, 'at most', Number(issue.maximum))}`);
    case 'invalid_key':
      return at('is not a valid name');
    case 'invalid_union':
      return unionLines(issue, root);
    case 'invalid_format':
      return at('has an invalid format');
    default:
      return at(issue.message === 'Invalid input' ? 'has an invalid format' : issue.message);
  }
}

/** Reports the problems of the form that fits best, of several. */
function unionLines(issue: z.Issue & { code: 'invalid_union' }, root: unknown): string[] {
  const where = issue.path.length === 0 ? '' : `${pathText(issue.path)}: `;
  if (issue.errors.length === 0) {
    const { options } = issue as { options?: readonly unknown[] };
    return [`${where}must be one of ${(options ?? []).map(String).join(', ')}`];
  }
  const depth = (issues: readonly z.Issue[]) => Math.max(...issues.map(({ path }) => path.length));
  const [best = []] = [...(issue.errors as z.Issue[][])].sort((one, other) => depth(other) - depth(one));
  if (depth(best) > 0)
    return best.flatMap((one) => lines({ ...one, path: [...issue.path, ...one.path] }, root));
  const forms = (issue.errors as z.Issue[][]).flat().map(formText);
  return [`${where}must be ${[...new Set(forms)].join(' or ')}, but ${kindOf(valueAt(root, issue.path))}`];
}

function formText(issue: z.Issue): string {
  if (issue.code === 'invalid_type') return KINDS[issue.expected] ?? issue.expected;
  if (issue.code === 'invalid_value') return issue.values.map(String).join(' or ');
  return 'in another form';
}

const KINDS: { [expected: string]: string } = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'an object',
  record: 'an object',
  array: 'a list',
  null: 'null',
};

function kindOf(value: unknown): string {
  if (value === undefined) return 'is missing';
  if (value === null) return 'is null';
  if (Array.isArray(value)) return 'is a list';
  const kind = { string: 'a text', number: 'another number', boolean: 'true or false' }[
    typeof value as string
  ];
  return `is ${kind ?? 'an object'}`;
}

function amount(origin: string, bound: string, limit: number): string {
  if (origin === 'string') return `${bound} ${limit} characters long`;
  return origin === 'array' ? `a list of ${bound} ${limit}` : `${bound} ${limit}`;
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null
        ? (value as { [key: PropertyKey]: unknown })[key]
        : undefined,
    root,
  );
}

/** `plan.range.keys`, `batches[2].files` */
function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((key, i) => {
      if (typeof key === 'number') return `[${key}]`;
      const name = String(key).slice(0, NAME_SHOWN);
      if (!/^[\w-]+$/.test(name)) return `[${JSON.stringify(name)}]`;
      return i === 0 ? name : `.${name}`;
    })
    .join('');
}

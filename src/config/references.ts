/** Checks the references that a configuration holds: what nothing looks up would be sent to the API as it is written. */
import type { Problem } from '../errors.js';
import { VALUE_REFERENCE } from '../request/templates.js';
import { REFERENCE, SECRET_REFERENCES } from '../secrets/reference-syntax.js';
import { suggestion } from '../text.js';

const VALUE_REFERENCES: Record<string, string> = {
  cursor: '${cursor:NAME}',
  parent: '${parent:COLUMN}',
};
const KINDS = [...Object.keys(SECRET_REFERENCES), ...Object.keys(VALUE_REFERENCES)];

/** Keys whose texts may refer to secrets, and to what changes from request to request. */
const REQUEST_KEYS = ['base_url', 'path', 'params', 'headers', 'body'];
/** Keys whose texts may refer to secrets. */
const HASH_KEY = 'columns.NAME.key';
const SECRET_KEYS = ['auth', 'destination', 'notify', HASH_KEY];
/** Keys whose texts are compared with what records and answers hold, where anything may stand. */
const COMPARED_KEYS = [
  ...['where', 'errors', 'records', 'next', 'total', 'total_pages', 'more', 'ends'],
  ...[
    'columns',
    'exclude',
    'raw',
    'column_names',
    'cursor_field',
    'cursor_format',
    'start',
    'primary_key',
    'parent',
  ],
];

type Path = readonly (string | number)[];

/** Returns a problem for each reference of a kind that is not known, or that is not looked up where it stands. */
export function referenceProblems(configuration: unknown): Problem[] {
  const problems: Problem[] = [];
  const visit = (value: unknown, path: Path): void => {
    if (typeof value === 'string') {
      const message = problemOf(value, keyOf(path));
      if (message !== null) problems.push({ path: textOf(path), message });
    } else if (typeof value === 'object' && value !== null) {
      for (const [name, inner] of Object.entries(value)) {
        const at = [...path, Array.isArray(value) ? Number(name) : name];
        // Names are sent and stored as they are written.
        const message = Array.isArray(value) ? null : unresolved(name, true);
        if (message !== null) problems.push({ path: textOf(path), message });
        visit(inner, at);
      }
    }
  };
  visit(configuration, []);
  return problems;
}

/** The key of a stream or source that a path leads through. */
function keyOf(path: Path): string {
  const [first, second, third] = path.map(String);
  // The key of a column's hash is a secret.
  if (path.at(-1) === 'key' && path.at(-3) === 'columns') return HASH_KEY;
  const key = first === 'streams' ? third : first === 'source' || first === 'defaults' ? second : first;
  return key ?? '';
}

const textOf = (path: Path) =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('');

/** The text between the braces, up to its colon; or the name of a variable alone, as in a shell. */
const ANY_REFERENCE = /\$\{\s*(?:([A-Za-z][\w-]{0,30})\s*:|([A-Z_][A-Z0-9_]{2,100})\})/;

function problemOf(text: string, key: string): string | null {
  const isRequest = REQUEST_KEYS.includes(key);
  if (!isRequest && !SECRET_KEYS.includes(key)) return unresolved(text, COMPARED_KEYS.includes(key));
  const known = isRequest ? KINDS : Object.keys(SECRET_REFERENCES);
  const written = { ...SECRET_REFERENCES, ...(isRequest && VALUE_REFERENCES) };
  const forms = Object.values(written);
  const list = `${forms.slice(0, -1).join(', ')} and ${forms.at(-1)}`;
  const secrets = text.replace(REFERENCE, '');
  const [, kind, variable] =
    ANY_REFERENCE.exec(isRequest ? secrets.replace(VALUE_REFERENCE, '') : secrets) ?? [];
  if (variable !== undefined) return `contains \${${variable}}; write \${env:${variable}}`;
  if (kind === undefined) return null;
  // Nothing but its kind is repeated: a secret may have been written in it.
  if (known.includes(kind)) return `contains an incomplete reference \${${kind}:…}; write ${written[kind]}`;
  if (KINDS.includes(kind)) return `contains \${${kind}:…}, which has no value here; allowed: ${list}`;
  return `contains \${${kind}:…}, which is not a kind of reference${suggestion(kind, known)}; allowed: ${list}`;
}

/** Says that a reference stands where none is looked up. @param onlyKnown anything else may be meant as it is. */
function unresolved(text: string, onlyKnown: boolean): string | null {
  const [, kind] = ANY_REFERENCE.exec(text) ?? [];
  if (kind === undefined || (onlyKnown && !KINDS.includes(kind))) return null;
  return (
    `contains \${${kind}:…}, but references work only in ${REQUEST_KEYS.join(', ')}, ` +
    SECRET_KEYS.join(', ')
  );
}

/** Columns that are made: constants, expressions, hashes and masks; and members that are left out. */
import { z } from 'zod';
import type { Problem } from '../errors.js';
import {
  MASK_KINDS,
  type AnswerPath,
  type AnswerPlace,
  type ColumnType,
  type Json,
  type MadeColumn,
  type MaskKind,
} from '../protocol.js';
import { Expression, ExpressionError, type MemberType } from '../request/expressions.js';
import { mayReadMember } from '../request/path-overlap.js';
import { type Location, parsePath, pathText } from '../request/paths.js';
import {
  type Guarded,
  guardInside,
  guardOf,
  heldBy,
  type MemberPath,
  memberPathText,
  patternText,
} from './guarded-members.js';
import { recordPath, secret } from './request-schema.js';
import { columnType } from './values.js';

/** A column of a stream in full form. */
export interface Column {
  /** Null: it is inferred from the values. */
  type: ColumnType | null;
  /** Null: the member of the column's name. */
  from: (string | number)[] | null;
  value?: Json;
  expression?: string;
  hash?: { key: string | null };
  mask?: MaskKind;
}

const expression = z
  .string()
  .min(1)
  .superRefine((text, context) => {
    try {
      void new Expression(text);
    } catch (thrown) {
      if (!(thrown instanceof ExpressionError)) throw thrown;
      const message = `is not an expression in CEL such as "first + ' ' + last": ${thrown.message}`;
      context.addIssue({ code: 'custom', message });
    }
  });

const columnObject = z
  .strictObject({
    type: columnType
      .optional()
      .describe(
        "The type. Default for a hash or a mask: STRING; for a constant: that of the value; with `misfits: evolve`, an expression's type is inferred.",
      ),
    from: recordPath
      .optional()
      .describe(
        "Where the value is in the record, such as `user.login`, `changes[0].rev` or `$['@odata.id']`. Default: the member of the column's name.",
      ),
    value: z.json().optional().meta({ title: 'any value' }).describe('A constant: the same for every row.'),
    expression: expression
      .optional()
      .describe(
        "An expression in CEL over the record's members, such as `first + ' ' + last`; see [the guide](made-columns.md).",
      ),
    hash: z
      .literal('sha256')
      .optional()
      .describe('Stores the SHA-256 of the value, or its HMAC-SHA-256 if there is a `key`.'),
    key: secret.optional().describe('The key of the hash, such as `${env:PEPPER}`.'),
    mask: z
      .enum(MASK_KINDS)
      .optional()
      .describe(
        'Stores only a part of the value: `last4` its last four characters, `first1` its first, `email` the first and the domain, `full` none.',
      ),
  })
  .superRefine((column, context) => {
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    const { value, hash, mask, key, type } = column;
    if (value !== undefined) {
      for (const other of ['from', 'expression', 'hash', 'mask'] as const)
        if (column[other] !== undefined)
          refuse(other, 'has no effect beside "value", which is the same for every row');
      if (value === null && type === undefined) refuse('type', 'is required, because "value" is null');
      return;
    }
    if (hash !== undefined && mask !== undefined)
      refuse('mask', 'cannot be combined with "hash"; make two columns');
    if (key !== undefined && hash === undefined) refuse('key', 'needs "hash"');
    const isText = hash !== undefined || mask !== undefined;
    if (isText && type !== undefined && type !== 'STRING')
      refuse('type', `must be STRING, because a ${hash === undefined ? 'mask' : 'hash'} is text`);
    if (type === undefined && !isText && column.expression === undefined) refuse('type', 'is required');
  })
  .transform(({ type, from, value, expression: source, hash, key, mask }): Column => {
    const isText = hash !== undefined || mask !== undefined;
    const implied = value !== undefined ? typeOfValue(value) : isText ? ('STRING' as const) : null;
    return {
      type: type ?? implied,
      from: from ?? null,
      ...(value !== undefined && { value }),
      ...(source !== undefined && { expression: source }),
      ...(hash !== undefined && { hash: { key: key ?? null } }),
      ...(mask !== undefined && { mask }),
    };
  });

export const column = z.union([columnType.transform((type): Column => ({ type, from: null })), columnObject]);

/** Keys of a column. */
export const COLUMN_KEYS = ['type', 'from', 'value', 'expression', 'hash', 'key', 'mask'];

function typeOfValue(value: Json): ColumnType | null {
  if (typeof value === 'string') return 'STRING';
  if (typeof value === 'boolean') return 'BOOLEAN';
  if (typeof value === 'number') return Number.isSafeInteger(value) ? 'LONG' : 'DOUBLE';
  return value === null ? null : 'JSON';
}

/** "ssn", "contact.phone" or "raw.*" → names on the way to a member; null is any name. */
export const memberPattern = z
  .string()
  .min(1)
  .max(500)
  .transform((text, context): (string | null)[] => {
    const parts = partsOf(text);
    if (parts !== null) return parts;
    const message =
      'is not a path of members such as "ssn", "contact.phone" or "raw.*"; a path leads through lists without a place, and "*" is a whole name';
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });

function partsOf(text: string): (string | null)[] | null {
  const stars: string[] = text.split('.');
  if (stars.every((part) => part === '*' || /^[^.[\]*$?@'"]+$/.test(part)))
    return stars.map((part) => (part === '*' ? null : part));
  const parts = parsePath(text);
  if (parts === null) return null;
  const names = parts.filter((part) => typeof part === 'string');
  return names.length === parts.length && names.length > 0 ? names : null;
}

/** The keys of a stream that say how columns are made. */
export interface MakingStream {
  columns: Record<string, Column>;
  exclude?: (string | null)[][] | undefined;
  raw?: string | undefined;
  primary_key: readonly string[];
  cursor_field?: string[] | undefined;
  deleted_field?: string | undefined;
  strategy: string;
  next?: { in: string; path?: AnswerPath } | undefined;
  records: AnswerPath;
  total?: AnswerPlace | undefined;
  total_pages?: AnswerPlace | undefined;
  more?: AnswerPlace | undefined;
  parent?: { include: Record<string, string> } | undefined;
}

/** Returns whether a column holds something else than a member as it is. */
export const isMade = ({ value, expression: source, hash, mask }: Column): boolean =>
  value !== undefined || source !== undefined || hash !== undefined || mask !== undefined;
const isSecret = ({ hash, mask }: Column): boolean => hash !== undefined || mask !== undefined;

/** How the columns of a stream are made; null where none is. */
export function madeOf({ columns }: Pick<MakingStream, 'columns'>): { [column: string]: MadeColumn } | null {
  const types = memberTypes(columns);
  const made = Object.entries(columns).flatMap(([name, one]) =>
    isMade(one) ? [[name, madeColumn(name, one, types)] as const] : [],
  );
  return made.length === 0 ? null : Object.fromEntries(made);
}

function madeColumn(name: string, one: Column, types: Record<string, MemberType>): MadeColumn {
  const { value, from, expression: source, hash, mask } = one;
  if (value !== undefined) return { value };
  const read = source === undefined ? {} : typesRead(source, from ?? [name], types);
  return {
    from: from ?? [name],
    ...(source !== undefined && { expression: source }),
    ...(Object.keys(read).length > 0 && { types: read }),
    ...(hash !== undefined && { hash }),
    ...(mask !== undefined && { mask }),
  };
}

/** Types of members that columns declare, and read as they are. */
function memberTypes(columns: Record<string, Column>): Record<string, MemberType> {
  return Object.fromEntries(
    Object.entries(columns).flatMap(([name, one]) => {
      const type = one.from === null && !isMade(one) && one.type !== null ? memberType(one.type) : null;
      return type === null ? [] : [[name, type]];
    }),
  );
}

function memberType(type: ColumnType): MemberType | null {
  switch (type) {
    case 'SHORT':
    case 'INT':
    case 'LONG':
      return 'int';
    case 'FLOAT':
    case 'DOUBLE':
      return 'double';
    case 'STRING':
      return 'string';
    case 'BOOLEAN':
      return 'bool';
    default:
      return type.startsWith('DECIMAL') ? 'double' : null;
  }
}

function typesRead(
  source: string,
  from: Location,
  types: Record<string, MemberType>,
): Record<string, MemberType> {
  const { names } = new Expression(source);
  const read = new Set([...names, ...(names.includes('this') && from.length === 1 ? from.map(String) : [])]);
  return Object.fromEntries(Object.entries(types).filter(([name]) => read.has(name)));
}

/**
 * Problems of made columns that are valid on their own.
 * @param infers whether undeclared columns are stored.
 * @param below members of the items of child tables that are not stored as they are.
 */
export function* madeProblems(
  stream: MakingStream,
  infers: boolean,
  below: readonly Guarded[],
): Iterable<Problem> {
  const { columns, parent, raw } = stream;
  const guarded = [...guardedMembers([], stream), ...below];
  for (const [name, one] of Object.entries(columns))
    if (isMade(one) && Object.hasOwn(parent?.include ?? {}, name))
      yield { path: `columns.${name}`, message: 'is filled by "parent.include", and cannot be made as well' };
  yield* columnProblems(columns, { guarded, way: [], infers });
  const twin = Object.keys(columns).find((name) => name.toLowerCase() === raw?.toLowerCase());
  if (twin !== undefined)
    yield { path: 'raw', message: `is the name of a column; choose another one for the whole record` };
  yield* keyProblems(stream, guarded);
  yield* fieldProblems(stream, guarded);
  yield* answerProblems(stream, guarded);
}

/**
 * Problems of columns, of a stream or a child table.
 * @param way names on the way to the items of a child table; null is any name.
 */
export function* columnProblems(
  columns: Record<string, Column>,
  { guarded, way, infers }: { guarded: readonly Guarded[]; way: Way; infers: boolean },
): Iterable<Problem> {
  const types = memberTypes(columns);
  for (const [name, one] of Object.entries(columns)) {
    const path = `columns.${name}`;
    if (!isMade(one)) {
      yield* plainProblems(path, [...way, ...(one.from ?? [name])], guarded);
      continue;
    }
    if (one.type === null && !infers) {
      const message = 'is required, because only declared columns are stored (or set "misfits" to "evolve")';
      yield { path: `${path}.type`, message };
    }
    if (one.expression !== undefined) {
      const problem = new Expression(one.expression).problemWith(types);
      if (problem !== null)
        yield { path: `${path}.expression`, message: `does not fit the types of "columns": ${problem}` };
    }
  }
}

/** Names on the way to a record or an item; null is any name. */
export type Way = readonly (string | null)[];

/** Returns the members that a stream or a child table does not store as they are. @param way to its records or items. */
export function guardedMembers(
  way: Way,
  { columns, exclude = [] }: Pick<MakingStream, 'columns' | 'exclude'>,
): Guarded[] {
  const excluded = exclude.map((pattern) => ({
    pattern: [...way, ...pattern],
    why: 'which "exclude" leaves out',
  }));
  const secrets = Object.entries(columns).flatMap(([name, one]) => {
    if (!isSecret(one)) return [];
    const pattern = [...way, ...(one.from ?? [name]).filter((part) => typeof part === 'string')];
    return [{ pattern, why: `which column ${name} ${one.hash === undefined ? 'masks' : 'hashes'}` }];
  });
  return [...excluded, ...secrets];
}

function* plainProblems(path: string, from: MemberPath, guarded: readonly Guarded[]): Iterable<Problem> {
  const why = guardOf(from, guarded);
  if (why !== null)
    yield { path, message: `reads ${JSON.stringify(memberPathText(from))}, ${why}; remove one of them` };
}

/** Strategies and next pages that send the key of a record to the API. */
const sendsKeys = ({ strategy, next }: MakingStream): string | null => {
  if (strategy === 'step_size') return 'the strategy step_size';
  return next?.in === 'last_key' || next?.in === 'last_record' ? `next "${next.in}"` : null;
};

export const MASKED_KEY = 'cannot be a masked column, because different values may have the same mask';

function* keyProblems(stream: MakingStream, guarded: readonly Guarded[]): Iterable<Problem> {
  const { columns, primary_key: key, raw } = stream;
  const path = 'primary_key';
  for (const [i, name] of key.entries()) {
    const at = `${path}[${i}]`;
    if (name === raw) yield { path: at, message: 'cannot be the column of the whole record' };
    const one = Object.hasOwn(columns, name) ? columns[name] : undefined;
    if (one === undefined || !isMade(one)) {
      const why = guardOf(one?.from ?? [name], guarded);
      if (why !== null && one === undefined)
        yield { path: at, message: `names the member ${JSON.stringify(name)}, ${why}` };
      const held = guardInside(one?.from ?? [name], guarded);
      if (held !== null) yield { path: at, message: heldBy(name, held) };
      continue;
    }
    if (one.mask !== undefined) yield { path: at, message: MASKED_KEY };
    const sender = sendsKeys(stream);
    if (sender !== null && one.value === undefined)
      yield { path: at, message: `cannot be a made column, because ${sender} sends the key to the API` };
  }
  const isConstant = (name: string) => Object.hasOwn(columns, name) && columns[name]?.value !== undefined;
  if (key.length > 0 && key.every(isConstant))
    yield { path, message: 'has only constants, so that all records would be one row' };
}

function* fieldProblems(stream: MakingStream, guarded: readonly Guarded[]): Iterable<Problem> {
  const { columns, cursor_field: fields = [], deleted_field: deleted, raw } = stream;
  for (const name of fields) {
    const one = Object.hasOwn(columns, name) ? columns[name] : undefined;
    const why = guardOf(one?.from ?? [name], guarded);
    const held = guardInside(one?.from ?? [name], guarded);
    if (held !== null && (one === undefined || !isMade(one)))
      yield { path: 'cursor_field', message: heldBy(name, held) };
    const isPlain = name !== raw && (one === undefined || !isMade(one)) && why === null;
    if (!isPlain)
      yield {
        path: 'cursor_field',
        message: `must be a member as the source sends it, but ${JSON.stringify(name)} is made, hashed, masked or left out: its values are compared with the API's`,
      };
  }
  if (deleted === undefined) return;
  const one = Object.hasOwn(columns, deleted) ? columns[deleted] : undefined;
  if (one !== undefined && isSecret(one))
    yield { path: 'deleted_field', message: 'cannot be a hashed or masked column' };
  if (one !== undefined && isMade(one)) return;
  const why = guardOf(one?.from ?? [deleted], guarded);
  // A declared column is refused itself.
  if (why !== null && one === undefined)
    yield { path: 'deleted_field', message: `names the member ${JSON.stringify(deleted)}, ${why}` };
  const held = guardInside(one?.from ?? [deleted], guarded);
  if (held !== null) yield { path: 'deleted_field', message: heldBy(deleted, held) };
}

/**
 * Values read beside the records are kept in the history and shown: none may come from a member that is not stored as
 * it is.
 */
function* answerProblems(stream: MakingStream, guarded: readonly Guarded[]): Iterable<Problem> {
  const { next, records, total, total_pages: totalPages, more } = stream;
  const places = { next: next?.path, total, total_pages: totalPages, more };
  for (const [path, place] of Object.entries(places)) {
    if (place === undefined || (typeof place === 'object' && 'header' in place)) continue;
    const guard = guarded.find(({ pattern }) => mayReadMember(place, records, pattern));
    if (guard === undefined) continue;
    const member = patternText(guard.pattern);
    const kept = path === 'next' ? 'the history keeps the token of a page as it is' : KEPT;
    const message = `${pathText(place)} may lead to the member ${JSON.stringify(member)} of a record, ${guard.why}: ${kept}. Name a member beside the records, or one of a record without wildcards, slices and filters`;
    yield { path, message };
  }
}

const KEPT = 'the history keeps what is read there';

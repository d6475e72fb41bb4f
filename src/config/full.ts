import { ConfigurationError, messageOf, type Problem } from '../errors.js';
import { CUSTOM_NAME, STRATEGIES } from '../protocol.js';
import type {
  CursorFormat,
  Incremental,
  Json,
  RecordShape,
  RequestSpec,
  StrategyOptions,
  StreamPlan,
  TableSpec,
} from '../protocol.js';
import { PROVIDER_REFERENCE } from '../secrets/names.js';
import { references, referred, VALUE_REFERENCE } from '../request/templates.js';
import {
  type CustomStrategies,
  NO_STRATEGIES,
  optionsProblems,
  type StrategyDefinition,
  valuesOf,
  type Values,
} from '../strategies/index.js';
import { childGuardProblems } from './child-guards.js';
import {
  CHILD_KEYS,
  childExclusions,
  childProblems,
  childrenOf,
  childTables,
  guardedItems,
  itemShapes,
  keptFor,
} from './children.js';
import { schemaOf } from './destination-kind.js';
import {
  contradictions,
  inferenceOf,
  paceProblems,
  planBeside,
  readsTooLittle,
  rescansAlways,
  strategyOptions,
  tableSpec,
} from './flat.js';
import { COLUMN_KEYS, madeOf, madeProblems } from './made-columns.js';
import { parentGuardProblems } from './parent-guards.js';
import { describe, shapeProblem } from './problems.js';
import { filesProblem, isFiles, NO_CHILDREN_IN_FILES } from './files-address.js';
import {
  draftSchema,
  FILTER_FORMATS,
  FORMATS,
  fullSchema,
  streamSchema,
  type Full,
  type Stream as PlainStream,
} from './full-schema.js';
import { authKinds, authOf, joined } from './request-schema.js';
import { suggestion } from '../text.js';

/**
 * The full form: several streams of one source, and all that an API may want to be asked, without code.
 * Keys that a stream leaves out come from `defaults`.
 */

export const isFull = (raw: unknown): boolean =>
  typeof raw === 'object' && raw !== null && ('streams' in raw || 'source' in raw);

/** How the sync as a whole is to run. */
export interface SyncShape {
  name: string | null;
  maxStreams: number;
}

/**
 * Checks a configuration in full form and turns it into a plan for each stream.
 * @param draft columns, primary key and cursor field need not be given, and need not agree.
 * @throws {ConfigurationError} with every problem at once.
 */
export function plansFromFull(
  raw: unknown,
  file?: string,
  draft = false,
  custom: CustomStrategies = NO_STRATEGIES,
): { plans: StreamPlan[]; shape: SyncShape } {
  const misshapen = shapeProblem(raw);
  if (misshapen !== null) throw new ConfigurationError([misshapen], file);
  const { $schema: _schema, ...rest } = raw as Record<string, unknown>;
  const parsed = fullSchema.safeParse(rest, { reportInput: true });
  const problems: Problem[] = (parsed.error?.issues ?? []).flatMap((issue) =>
    describe(issue, rest, keysAt(issue.path)),
  );
  const lists = rest as { defaults?: unknown; streams?: unknown };
  const defaults = isObject(lists.defaults) ? lists.defaults : {};
  const sourceDefaults = isObject(rest['source']) ? pick(rest['source'], ['timeout', 'retry_for']) : {};
  const streams = (Array.isArray(lists.streams) ? lists.streams : []).filter(isObject);
  const sound = streams.map((stream, i) => {
    const merged = { ...sourceDefaults, ...defaults, ...stream };
    const definition = definitionOf(merged, custom);
    const read = readStream(merged, definition, draft);
    const whole = read.data === undefined ? undefined : withCustom(read.data, definition);
    const where = (key: string) =>
      Object.hasOwn(stream, key) || !Object.hasOwn(defaults, key) ? `streams[${i}]` : 'defaults';
    const keys = (path: readonly PropertyKey[]) => (path.length === 0 ? STREAM_KEYS : keysIn(path));
    const own = [
      ...(read.error?.issues ?? []).flatMap((issue) =>
        describe(issue, merged, keys(issue.path)).map((problem) => withExtensions(problem, merged, custom)),
      ),
      ...(definition === null ? misplacedOptions(merged) : optionsOfExtension(definition, merged)),
      ...(whole === undefined ? [] : inconsistent(whole, draft)),
    ];
    for (const problem of own) {
      const path = `${where(/^[^.[]*/.exec(problem.path)?.[0] ?? '')}.${problem.path}`;
      // Problems of the defaults are reported once.
      if (!problems.some((known) => known.path === path)) problems.push({ ...problem, path });
    }
    return whole;
  });
  problems.push(...twice(sound, parsed.data?.destination), ...orphans(sound, draft));
  problems.push(...unkept(sound, parsed.data?.destination, draft));
  if (parsed.data !== undefined && /[?#]/.test(parsed.data.source.base_url.replace(PROVIDER_REFERENCE, ''))) {
    problems.push({ path: 'source.base_url', message: 'must not contain a query; use "params"' });
  }
  if (parsed.data !== undefined) problems.push(...paceProblems(parsed.data));
  if (!parsed.success || problems.length > 0) throw new ConfigurationError(problems, file);
  const full = parsed.data;
  return {
    plans: streamsOf(sound).map((stream, _, all) => planOf(full, stream, all)),
    shape: { name: full.sync.name ?? null, maxStreams: full.sync.max_streams },
  };
}

/** A stream that was read; with the strategy of an extension, the rest of it is read as one of pages. */
type Stream = PlainStream & { custom?: { name: string; readsAll: boolean } };

/** Returns the strategy of an extension that a stream names; null for a built-in or an unknown one. */
function definitionOf(stream: { strategy?: unknown }, custom: CustomStrategies): StrategyDefinition | null {
  const { strategy } = stream;
  return typeof strategy === 'string' ? (custom.get(strategy) ?? null) : null;
}

const withCustom = (stream: PlainStream, definition: StrategyDefinition | null): Stream =>
  definition === null
    ? stream
    : { ...stream, custom: { name: definition.name, readsAll: definition.readsAll === true } };

function readStream(stream: object, definition: StrategyDefinition | null, draft: boolean) {
  const known = definition === null ? stream : { ...stream, strategy: 'page_number' };
  return (draft ? draftSchema : streamSchema).safeParse(known, { reportInput: true });
}

/** The schema of an extension checks its own options; what it says is shown as it is. */
function optionsOfExtension(
  definition: StrategyDefinition,
  { options = {} }: { options?: unknown },
): Problem[] {
  if (!isObject(options)) return [];
  return optionsProblems(definition, options as { [name: string]: Json }).map(({ path, message }) => ({
    path: ['options', ...path.map(String)].join('.'),
    message,
  }));
}

const misplacedOptions = ({ options, strategy }: { options?: unknown; strategy?: unknown }): Problem[] =>
  options === undefined || !(STRATEGIES as readonly unknown[]).includes(strategy)
    ? []
    : [{ path: 'options', message: `has no effect with the built-in strategy ${String(strategy)}` }];

/** Says where another strategy may come from, unless the name is a misspelt one. */
function withExtensions(
  problem: Problem,
  { strategy }: { strategy?: unknown },
  custom: CustomStrategies,
): Problem {
  const { path, message } = problem;
  const isUnknown = path === 'strategy' && typeof strategy === 'string' && CUSTOM_NAME.test(strategy);
  if (!isUnknown || message.includes('did you mean')) return problem;
  const similar = suggestion(strategy, [...custom.keys()]);
  const hint =
    similar !== ''
      ? similar
      : `; if it is an extension's, name the extension: HIGHWATER_EXTENSIONS, or --extension of a worker`;
  return { ...problem, message: `${message}${hint}` };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const STREAM_KEYS = Object.keys(streamSchema.shape);
const NAME_KEYS = Object.keys(streamSchema.shape.names.unwrap().shape);
const AUTH_KEYS = [...new Set(Object.values(authKinds).flatMap((kind) => Object.keys(kind.shape)))];
const KEYS_IN: Record<string, string[]> = {
  names: NAME_KEYS,
  auth: AUTH_KEYS,
  errors: ['status', 'body', 'path', 'action', 'wait'],
  parent: ['stream', 'include'],
  columns: COLUMN_KEYS,
  children: CHILD_KEYS,
  ends: ['path', 'is'],
};
const keysIn = (path: readonly PropertyKey[]) =>
  // Holds for a stream, and for a child table at any depth.
  (path.at(-2) === 'columns' ? COLUMN_KEYS : null) ??
  KEYS_IN[String(path[0])] ?? ['token', 'url', 'header', 'is', 'as'];

const pick = (from: Record<string, unknown>, keys: readonly string[]) =>
  Object.fromEntries(keys.flatMap((key) => (Object.hasOwn(from, key) ? [[key, from[key]]] : [])));

function keysAt(path: readonly PropertyKey[]): string[] {
  switch (path[0]) {
    case 'sync':
      return Object.keys(fullSchema.shape.sync.unwrap().shape);
    case 'source':
      return path[1] === 'auth' ? AUTH_KEYS : Object.keys(fullSchema.shape.source.shape);
    default:
      return Object.keys(fullSchema.shape);
  }
}

/** Keys that `discover` finds out: they need not be given to it, nor agree. */
const FOUND_BY_DISCOVER = ['columns', 'primary_key'] as const;

/** Problems of keys that are valid on their own but not together. */
function inconsistent(stream: Stream, draft: boolean): Problem[] {
  return [
    ...contradictions({ ...stream, columns: typesOf(stream) }, new Set(draft ? FOUND_BY_DISCOVER : [])),
    ...(draft ? [] : missingCursorField(stream)),
    ...misread(stream),
    ...nextProblems(stream),
    ...misused(stream, draft),
    ...bodyProblems(stream),
    ...cursorFieldProblems(stream, draft),
    ...cursorReferenceProblems(stream),
    ...madeProblems(stream, draft || isFollowing(stream), guardedItems(stream)),
    ...parentProblems(stream, draft),
    ...pagingProblems(stream),
    ...childProblems(stream, draft),
    ...childGuardProblems(stream),
  ];
}

function* missingCursorField({ strategy, names, next, cursor_field: field }: Stream): Iterable<Problem> {
  if (field !== undefined) return;
  const path = 'cursor_field';
  if (['keyset', 'timestamp', 'replay'].includes(strategy))
    yield { path, message: `is required: ${strategy} needs the field that says when a record changed last` };
  if (!['page_number', 'cursor', 'offset'].includes(strategy)) return;
  if (next?.in === 'last_record')
    yield { path, message: 'is required, because next "last_record" sends its value' };
  else if (names.updated_since !== undefined)
    yield { path, message: 'is required, because names.updated_since requests only changes' };
}

function* nextProblems(stream: Stream): Iterable<Problem> {
  const { strategy, names, next } = stream;
  const path = 'next';
  if (strategy === 'cursor' && next === undefined) {
    yield {
      path,
      message:
        'is required: "link", {"token": "path"}, {"url": "path"}, {"header": "name"}, "last_key", "last_record" or "none"',
    };
  }
  const byRecord = next?.in === 'last_record';
  if (next?.in === 'last_key' || byRecord || next?.in === 'none') {
    const name = JSON.stringify(next.in);
    if (strategy !== 'cursor') yield { path, message: `${name} works only with the strategy cursor` };
    else if (next.in !== 'none' && stream.primary_key.length > 1) {
      yield {
        path,
        message: `${name} needs a primary_key of one column, not of ${stream.primary_key.length}`,
      };
    } else if (byRecord && names.updated_since === undefined) {
      yield {
        path: 'names.updated_since',
        message: 'is required, because next "last_record" sends its value',
      };
    }
  }
  if (next?.in === 'body' && 'as' in next && references(textsOf(stream), 'scroll_param') > 0) {
    yield {
      path,
      message: '"as: params" sends the token as parameters, so ${cursor:scroll_param} has no value',
    };
  }
}

function* bodyProblems({ body, method, format, strategy, next, ...stream }: Stream): Iterable<Problem> {
  if (stream.record_names !== undefined && (format !== 'json' || stream.single))
    yield {
      path: 'record_names',
      message: `has no effect ${stream.single ? 'with "single"' : `on ${format}`}; it names the values of records that are lists in a JSON response`,
    };
  if (body !== undefined && method === 'GET')
    yield { path: 'method', message: 'must be POST, because there is a body' };
  const isOutside = ['link', 'header', 'last_key', 'last_record', 'none'].includes(next?.in ?? '');
  if (format !== 'json' && strategy === 'cursor' && !isOutside)
    yield { path: 'next', message: `cannot be in the body of a response in ${format}` };
}

function* cursorFieldProblems(stream: Stream, draft: boolean): Iterable<Problem> {
  const { cursor_field: fields = [], next } = stream;
  const path = 'cursor_field';
  if (new Set(fields).size < fields.length) yield { path, message: 'names a field twice' };
  if (next?.in === 'last_record' && fields.length > 1)
    yield { path, message: 'must be a single field, because next "last_record" sends its value' };
  if (draft || isFollowing(stream) || shapeOf(stream) === null) return;
  for (const field of fields) {
    if (Object.hasOwn(stream.columns, field)) continue;
    yield {
      path,
      message: `${JSON.stringify(field)} must be one of the columns, because "where", "transform", "parent" or a column with "from" turns records into rows first`,
    };
  }
}

function* cursorReferenceProblems(stream: Stream): Iterable<Problem> {
  for (const name of referred(textsOf(stream), 'cursor')) {
    if (CURSOR_VALUES.includes(name) || stream.custom !== undefined) continue;
    yield {
      path: 'body',
      message: `\${cursor:${name}} does not exist${suggestion(name, CURSOR_VALUES)}; allowed: ${CURSOR_VALUES.join(', ')}`,
    };
  }
  if ([...stream.path.matchAll(VALUE_REFERENCE)].some(([, , , , optional]) => optional !== undefined)) {
    yield {
      path: 'path',
      message:
        'cannot contain an optional reference, because no part of a path can be omitted; remove the "?"',
    };
  }
}

function* parentProblems(stream: Stream, draft: boolean): Iterable<Problem> {
  const { parent, errors, columns } = stream;
  if (parent === undefined) {
    for (const name of referred(textsOf(stream), 'parent'))
      yield { path: 'parent', message: `is required, because \${parent:${name}} refers to it` };
    if (errors.some(({ action }) => action === 'skip_parent'))
      yield { path: 'errors', message: 'skip_parent needs "parent"' };
  }
  if (draft || isFollowing(stream)) return;
  for (const name of Object.keys(parent?.include ?? {})) {
    if (!Object.hasOwn(columns, name))
      yield { path: 'parent.include', message: `${JSON.stringify(name)} must be one of the columns` };
  }
}

function* pagingProblems(stream: Stream): Iterable<Problem> {
  const { strategy, names } = stream;
  if (stream.short_page_ends && stream.page_size === undefined && strategy !== 'offset')
    yield { path: 'page_size', message: 'is required by short_page_ends' };
  if (strategy !== 'offset') {
    const message = 'has no effect without the strategy offset';
    if (stream.first_offset !== 0) yield { path: 'first_offset', message };
    if (!stream.overlap) yield { path: 'overlap', message };
  }
  if (stream.total_pages !== undefined && strategy !== 'page_number')
    yield { path: 'total_pages', message: 'has no effect without the strategy page_number' };
  if (stream.full_rescan !== undefined && strategy === 'offset' && names.updated_since !== undefined) {
    yield {
      path: 'full_rescan',
      message: 'has no effect with names.updated_since, because each pass begins at the start of the list',
    };
  }
}

/** Whether each pass reads the whole list. */
function readsEverything({ strategy, names, full_rescan: rescan, next, custom }: Stream): boolean {
  if (custom !== undefined) return custom.readsAll;
  if (names.updated_since !== undefined || next?.in === 'last_record') return false;
  if (strategy === 'offset') return rescansAlways(rescan);
  return strategy === 'page_number' || strategy === 'cursor';
}

/** Modes of writing and deleting that do not go together, or not with how the source is read. */
function misused(stream: Stream, draft: boolean): Problem[] {
  const { mode, deletes, deleted_field: field, strategy, columns } = stream;
  const problems: Problem[] = [];
  const needs = (path: string, message: string) => problems.push({ path, message });
  if (mode === 'replace' && !readsEverything(stream)) problems.push(readsTooLittle('mode', 'replace '));
  if (mode === 'replace' && Object.keys(columns).some((name) => name.toLowerCase() === 'rowid')) {
    needs('columns', '"rowid" cannot be the name of a column in mode replace');
  }
  if (deletes === 'keep') {
    if (field !== undefined)
      needs('deletes', 'must be soft or hard, because deleted_field marks deleted records');
    return problems;
  }
  if (mode === 'append') needs('deletes', 'has no effect in mode append, which keeps every row');
  else if (mode === 'replace' && field === undefined) {
    needs('deletes', 'has no effect in mode replace, which drops rows that are gone from the source anyway');
  } else if (mode === 'replace' && deletes === 'soft') {
    needs('deletes', 'must be hard in mode replace');
  } else if (mode === 'history' && deletes === 'hard') {
    needs('deletes', 'must be soft in mode history, which ends the validity of the last version');
  }
  if (field !== undefined && !draft) {
    const type = Object.hasOwn(columns, field) ? columns[field]?.type : undefined;
    if (type == null) {
      const advice = `: declare it there, such as {"${field}": "BOOLEAN"}, and set "misfits" to "evolve" to infer the others`;
      const hint = suggestion(field, Object.keys(columns)) || advice;
      needs('deleted_field', `${JSON.stringify(field)} is not one of the columns${hint}`);
    } else if (type === 'JSON' || type === 'BINARY') needs('deleted_field', `cannot be of type ${type}`);
  }
  if (field !== undefined || readsEverything(stream)) return problems;
  if (strategy !== 'replay') return [...problems, readsTooLittle('deletes')];
  const cursorField = singleField(stream);
  const type = Object.hasOwn(columns, cursorField) ? columns[cursorField]?.type : undefined;
  const isTime = type === 'UTC_DATETIME';
  if (!draft && (!isTime || stream.cursor_format !== 'timestamp')) {
    const several = cursorField === '' ? 'one ' : 'a ';
    needs('deletes', `needs ${several}cursor_field that is a timestamp, in a column of type UTC_DATETIME`);
  }
  if (stream.names.updated_until !== undefined || stream.settle !== undefined) {
    needs(
      'deletes',
      'does not work with settle or names.updated_until, because the pass does not read the newest records',
    );
  }
  return problems;
}

/** How a stream's records become rows, and which of them go. */
function tableOf(stream: Stream, destination: string | undefined): TableSpec {
  const { deletes, deleted_field: field, strategy } = stream;
  const column = singleField(stream);
  const spec = tableSpec({ ...stream, columns: typesOf(stream), destination }, stream.table ?? stream.name);
  const { raw } = stream;
  const table = raw === undefined ? spec : { ...spec, columns: { ...spec.columns, [raw]: 'JSON' as const } };
  if (deletes === 'keep') return table;
  if (readsEverything(stream))
    return { ...table, deletes, ...(field !== undefined && { deletedField: field }) };
  const unseen = strategy === 'replay' && field === undefined ? { column } : 'stay';
  return { ...table, deletes, unseen, ...(field !== undefined && { deletedField: field }) };
}

/** The cursor field of a stream that has one; empty where it has none, or several. */
const singleField = ({ cursor_field: fields = [] }: Stream) => (fields.length === 1 ? (fields[0] ?? '') : '');

/** Names of the values that strategies send. */
const CURSOR_VALUES = NAME_KEYS.filter((name) => name !== 'format' && name !== 'zone');

/** Features that a destination does not have. */
function unkept(streams: (Stream | undefined)[], destination = '', draft: boolean): Problem[] {
  if (!isFiles(destination)) return [];
  return streams.flatMap((stream, i) => {
    if (stream?.children !== undefined)
      return [{ path: `streams[${i}].children`, message: NO_CHILDREN_IN_FILES }];
    const [key, message] = (stream && filesProblem(tableOf(stream, destination))) ?? [];
    return key === undefined || message === undefined || (draft && key === 'columns')
      ? []
      : [{ path: `streams[${i}].${key}`, message }];
  });
}

/** Streams whose parent is not there, comes round to themselves, or lacks a field. */
function orphans(streams: (Stream | undefined)[], draft: boolean): Problem[] {
  const problems: Problem[] = [];
  const find = (name: string | undefined) => streams.find((stream) => stream?.name === name);
  streams.forEach((stream, i) => {
    if (stream?.parent === undefined) return;
    const say = (key: string, message: string) => problems.push({ path: `streams[${i}].${key}`, message });
    const parent = find(stream.parent.stream);
    if (parent === undefined) {
      const names = streams.flatMap((one) => one?.name ?? []);
      say(
        'parent.stream',
        `there is no stream ${JSON.stringify(stream.parent.stream)}${suggestion(stream.parent.stream, names)}`,
      );
      return;
    }
    let above: Stream | undefined = stream;
    for (let steps = 0; above !== undefined && steps <= streams.length; steps++)
      above = find(above.parent?.stream);
    if (above !== undefined) {
      say('parent.stream', 'leads back to this stream itself');
      return;
    }
    if (parent.mode === 'append') {
      say(
        'parent.stream',
        `${parent.name} uses mode append, which keeps several rows per record and cannot provide parents`,
      );
    }
    for (const { path, message } of parentGuardProblems(stream, parent, fieldsOf(stream))) say(path, message);
    for (const field of fieldsOf(stream)) {
      if (!draft && !isFollowing(parent) && !Object.hasOwn(parent.columns, field)) {
        const names = Object.keys(parent.columns);
        say(
          'parent',
          `stream ${parent.name} has no column ${JSON.stringify(field)}${suggestion(field, names)}`,
        );
      }
    }
  });
  return problems;
}

/** Parts of a stream that may refer to values of its strategy, or to its parent. */
const textsOf = ({ path, params, headers, body }: Stream) => [path, params, headers, body];

/** Columns of the parent that a stream refers to. */
function fieldsOf(stream: Stream): string[] {
  return [
    ...new Set([...referred(textsOf(stream), 'parent'), ...Object.values(stream.parent?.include ?? {})]),
  ];
}

/** Whether undeclared columns are stored. */
const isFollowing = (stream: Stream) => inferenceOf(stream) !== null;

/** How a record becomes a row; null where it is one as it stands. */
function shapeOf(stream: Stream): RecordShape | null {
  const { columns, parent, where, transform, raw } = stream;
  const made = madeOf(stream);
  const items = itemShapes(stream);
  const exclude = [...(stream.exclude ?? []), ...childExclusions(stream)];
  const from = Object.fromEntries(
    Object.entries(columns).flatMap(([name, { from }]) =>
      from === null || Object.hasOwn(made ?? {}, name) ? [] : [[name, from]],
    ),
  );
  const include = parent?.include ?? {};
  const isPlain =
    transform === undefined &&
    made === null &&
    items.length === 0 &&
    exclude.length === 0 &&
    raw === undefined;
  const isMoved = Object.keys(from).length > 0 || Object.keys(include).length > 0;
  if (where === undefined && !isMoved && isPlain) return null;
  return {
    from,
    parent: include,
    where: where ?? null,
    ...(isFollowing(stream) && { rest: true }),
    ...(transform !== undefined && { transform: { hook: transform } }),
    ...(made !== null && { made }),
    ...(exclude.length > 0 && { exclude }),
    ...(raw !== undefined && { raw }),
    ...(items.length > 0 && { items }),
  };
}

/** Problems with the format or the bounds of the cursor field. */
function misread(stream: Stream): Problem[] {
  const { strategy, names, start, lookback, settle, window } = stream;
  const problems: Problem[] = [];
  const needs = (path: string, message: string) => problems.push({ path, message });
  const isPaged = ['page_number', 'cursor', 'offset'].includes(strategy);
  if (strategy === 'step_size' || (isPaged && names.updated_since === undefined)) {
    const asked = {
      start,
      lookback,
      settle,
      window,
      cursor_zone: stream.cursor_zone,
      cursor_format: stream.cursor_format === 'timestamp' ? undefined : stream.cursor_format,
      'names.updated_until': names.updated_until,
      'names.format': names.format,
      'names.zone': names.zone,
    };
    for (const [key, value] of Object.entries(asked)) {
      const where = isPaged ? 'names.updated_since' : 'a strategy that reads a cursor field';
      if (value !== undefined) needs(key, `has no effect without ${where}`);
    }
    return problems;
  }
  const format = formatOf(stream);
  if (typeof format === 'string' && stream.cursor_zone !== undefined) {
    needs('cursor_zone', 'needs a cursor_format that is a pattern, such as "yyyy-MM-dd HH:mm:ss"');
  }
  const values = usable(stream, needs);
  if (values === null) return problems;
  const filter = usableFilter(stream, values, needs);
  if (start !== undefined && !values.isValue(start) && filter?.isValue(start) !== true) {
    const example = format === 'timestamp' ? ' such as "2026-01-01T00:00:00Z"' : '';
    const other = filter === null ? '' : `, nor ${filter.what}`;
    needs('start', `${JSON.stringify(start)} is not ${values.what}${example}${other}`);
  }
  if (lookback !== undefined && strategy === 'replay')
    needs('lookback', 'is called buffer_hours for the strategy replay');
  else if (lookback !== undefined && format === 'string') {
    needs('lookback', 'cannot be subtracted from a string; omit it');
  } else if (lookback !== undefined && 'units' in lookback !== (format === 'integer')) {
    needs(
      'lookback',
      format === 'integer'
        ? 'must be a whole number, because the cursor field is one'
        : 'must be a duration such as "1h"',
    );
  }
  if (values.clock === null) {
    if (strategy === 'replay')
      needs('cursor_format', `replay goes back by hours and needs a time; ${values.what} is not one`);
    for (const [key, value] of Object.entries({
      settle,
      window,
      'names.updated_until': names.updated_until,
    })) {
      if (value !== undefined) needs(key, `needs a cursor field that is a time; ${values.what} is not one`);
    }
  } else if (window !== undefined) {
    if (!isPaged) needs('window', 'works only with the strategies page_number, cursor and offset');
    if (names.updated_until === undefined)
      needs('window', 'needs names.updated_until, the parameter for the end of a window');
    if (start === undefined) needs('window', 'needs "start", where the first window begins');
    else if (values.isValue(start) && window * 1000 < values.clock.unit(start)) {
      needs('window', `is shorter than the precision of ${JSON.stringify(start)}`);
    } else if (filter !== null && window * 1000 < (filter.clock?.unit(null) ?? 0)) {
      needs('window', 'is shorter than the precision of names.format');
    }
  }
  return problems;
}

/** The values of the format, or null where it is said that there are none. */
function usable(stream: Stream, needs: (path: string, message: string) => void): Values | null {
  const { cursor_format: pattern, cursor_zone: zone } = stream;
  const read = (path: string, format: CursorFormat, hint: string): Values | null => {
    try {
      return valuesOf(format);
    } catch (thrown) {
      needs(path, `${messageOf(thrown)}${hint}`);
      return null;
    }
  };
  if (zone !== undefined && read('cursor_zone', { pattern: 'yyyy-MM-dd', zone }, '') === null) return null;
  const known = `${suggestion(pattern, FORMATS)}; allowed: ${FORMATS.join(', ')} and patterns such as "dd/MM/yyyy HH:mm:ss"`;
  return read('cursor_format', formatOf(stream), known);
}

/** How times are asked for, where that has a format of its own; null where it has none, or cannot be used. */
function usableFilter(
  { names: { format: pattern, zone } }: Stream,
  values: Values,
  needs: (path: string, message: string) => void,
): Values | null {
  const known = `allowed: ${FILTER_FORMATS.join(', ')} and patterns such as "yyyy-MM-dd"`;
  const format = filterOf(pattern, zone);
  if (format === undefined || typeof format === 'string') {
    if (zone !== undefined)
      needs('names.zone', 'needs a names.format that is a pattern, such as "yyyy-MM-dd"');
  }
  if (format === undefined) return null;
  if (values.clock === null) {
    needs('names.format', `is a format for times, but the cursor field is ${values.what}`);
    return null;
  }
  if (pattern === 'integer' || pattern === 'string') {
    needs('names.format', `${JSON.stringify(pattern)} is not a format for times; ${known}`);
    return null;
  }
  try {
    if (zone !== undefined) valuesOf({ pattern: 'yyyy-MM-dd', zone });
  } catch (thrown) {
    needs('names.zone', messageOf(thrown));
    return null;
  }
  try {
    return valuesOf(format);
  } catch (thrown) {
    needs('names.format', `${messageOf(thrown)}${suggestion(pattern ?? '', FILTER_FORMATS)}; ${known}`);
    return null;
  }
}

function filterOf(format: string | undefined, zone: string | undefined): CursorFormat | undefined {
  if (format === undefined) return undefined;
  return FILTER_FORMATS.find((name) => name === format) ?? { pattern: format, zone: zone ?? 'UTC' };
}

/** The start of the first pass, as records write it: `start` may be written as requests are. */
function startOf(stream: Stream): string | null {
  const { start, names } = stream;
  const values = valuesOf(formatOf(stream));
  const filter = filterOf(names.format, names.zone);
  if (start === undefined || filter === undefined || values.isValue(start)) return start ?? null;
  const [records, asks] = [values.clock, valuesOf(filter).clock];
  return records === null || asks === null ? start : records.lower(asks.read(start), null);
}

function formatOf({
  cursor_format: format,
  cursor_zone: zone,
}: Pick<Stream, 'cursor_format' | 'cursor_zone'>): CursorFormat {
  const known = FORMATS.find((name) => name === format);
  return known ?? { pattern: format, zone: zone ?? 'UTC' };
}

/** Names and tables that more than one stream has. */
function twice(streams: (Stream | undefined)[], destination: string | undefined): Problem[] {
  const problems: Problem[] = [];
  const seen = new Map<string, number>();
  streams.forEach((stream, i) => {
    if (stream === undefined) return;
    for (const [key, text] of [
      ['name', stream.name],
      ['table', `${schemaOf({ ...stream, destination })}.${stream.table ?? stream.name}`],
    ] as const) {
      const folded = `${key} ${text.toLowerCase()}`;
      const first = seen.get(folded);
      if (
        first !== undefined &&
        !(key === 'table' && seen.get(`name ${stream.name.toLowerCase()}`) === first)
      ) {
        problems.push({
          path: `streams[${i}].${key}`,
          message: `${JSON.stringify(text)} is already used by streams[${first}]`,
        });
      }
      if (first === undefined) seen.set(folded, i);
    }
  });
  return [...problems, ...childTwins(streams, destination, seen)];
}

/** Child tables that another stream or child has. @param seen tables of streams, by their folded names. */
function childTwins(
  streams: (Stream | undefined)[],
  destination: string | undefined,
  seen: ReadonlyMap<string, number>,
): Problem[] {
  const problems: Problem[] = [];
  const known = new Map([...seen].map(([folded, i]) => [folded, `streams[${i}]`]));
  streams.forEach((stream, i) => {
    if (stream === undefined) return;
    for (const { path, table } of childTables(stream)) {
      const text = `${schemaOf({ ...stream, destination })}.${table}`;
      const folded = `table ${text.toLowerCase()}`;
      const at = `streams[${i}].${path}`;
      const first = known.get(folded);
      if (first === undefined) known.set(folded, at);
      else
        problems.push({
          path: `${at}.table`,
          message: `${JSON.stringify(text)} is already used by ${first}; name another table`,
        });
    }
  });
  return problems;
}

function planOf(full: Full, stream: Stream, streams: readonly Stream[]): StreamPlan {
  const { source } = full;
  const limit = source.rate_limit;
  const request: RequestSpec = {
    method: stream.method,
    ...(stream.body !== undefined && { body: stream.body, bodyAs: stream.body_as }),
    format: stream.format,
    single: stream.single,
    shape: keptFor(stream, shapeOf(stream)),
    errors: [...stream.errors, ...source.errors],
    ...(limit !== undefined && {
      rateLimit: {
        requestsPerSecond: limit.requests_per_second ?? null,
        concurrency: limit.concurrency ?? null,
        remainingHeader: limit.remaining_header ?? null,
        resetHeader: limit.reset_header ?? null,
      },
    }),
    names: Object.fromEntries(
      Object.entries(stream.names).filter(([key, name]) => name !== undefined && CURSOR_VALUES.includes(key)),
    ) as Record<string, string>,
    ...(stream.first_offset !== 0 && { firstOffset: stream.first_offset }),
    params: { ...source.params, ...stream.params },
    headers: { ...source.headers, ...stream.headers },
    auth: authOf(stream.auth ?? source.auth, source.base_url),
    records: stream.records,
    ...(stream.record_names !== undefined && { recordNames: stream.record_names }),
    next:
      stream.next === undefined ||
      stream.next.in === 'last_key' ||
      stream.next.in === 'last_record' ||
      stream.next.in === 'none'
        ? { in: 'body', path: ['scroll_param'], isAddress: false, isAssumed: true }
        : stream.next,
    ...(stream.next_hosts.length > 0 && { nextHosts: stream.next_hosts }),
    total: stream.total ?? null,
    more: stream.more ?? null,
    totalPages: stream.total_pages ?? null,
    ends: stream.ends ?? null,
  };
  const beside = planBeside(
    {
      ...stream,
      columns: typesOf(stream),
      destination: full.destination,
      interval: full.interval,
      idle_interval: full.idle_interval,
    },
    stream.table ?? stream.name,
  );
  const parent = streams.find(({ name }) => name === stream.parent?.stream);
  const { cursor_field: fields = [] } = stream;
  const children = childrenOf(stream, full.destination);
  return {
    ...beside,
    table: tableOf(stream, full.destination),
    stream: stream.name,
    baseUrl: joined(source.base_url, stream.path),
    request,
    options: optionsOf(stream),
    cursorField: singleField(stream),
    ...(fields.length > 1 && { cursorFields: fields }),
    ...(parent !== undefined && {
      parent: {
        stream: parent.name,
        table: tableOf(parent, full.destination),
        fields: fieldsOf(stream),
      },
    }),
    ...(children !== undefined && { children }),
    notes: [],
  };
}

const typesOf = ({ columns }: Stream) =>
  Object.fromEntries(
    Object.entries(columns).flatMap(([name, { type }]) => (type === null ? [] : [[name, type]])),
  );

const streamsOf = (sound: (Stream | undefined)[]) => sound.filter((stream) => stream !== undefined);

function optionsOf(stream: Stream): StrategyOptions {
  const { strategy, lookback, settle, window, next, custom } = stream;
  if (custom !== undefined) return { strategy: 'custom', ...custom, options: stream.options ?? {} };
  const filter = filterOf(stream.names.format, stream.names.zone);
  const changes: Incremental = {
    start: startOf(stream),
    lookbackSeconds: lookback === undefined ? 0 : 'units' in lookback ? lookback.units : lookback.seconds,
    format: formatOf(stream),
    ...(filter !== undefined && { filter }),
    ...(settle !== undefined && { settleSeconds: settle }),
    ...(stream.names.updated_until !== undefined && { sendsUntil: true }),
    ...(window !== undefined && { windowSeconds: window }),
  };
  const incremental = stream.names.updated_since === undefined ? null : changes;
  const pageSize = stream.page_size ?? null;
  const shortPageEnds = stream.short_page_ends;
  if (strategy === 'page_number') {
    return { strategy, firstPage: stream.first_page, pageSize, shortPageEnds, incremental };
  }
  if (strategy === 'cursor') {
    return {
      strategy,
      pageSize,
      tokenIsLastKey: next?.in === 'last_key',
      ...(next?.in === 'last_record' && { follows: 'last_record' }),
      ...(next?.in === 'none' && { follows: 'nothing' }),
      shortPageEnds,
      incremental,
    };
  }
  const columns = typesOf(stream);
  const options = strategyOptions({ ...stream, columns, strategy, page_size: pageSize ?? 100 });
  switch (options.strategy) {
    case 'offset':
      return { ...options, ...(!stream.overlap && { overlap: false as const }), shortPageEnds, incremental };
    case 'keyset':
      return {
        ...options,
        incremental: changes,
        ...(stream.names.limit !== undefined && pageSize !== null && { pageSize }),
        ...(sendsFilterWithTokens(stream) && { filtersTokens: true }),
      };
    case 'timestamp':
    case 'replay':
      return { ...options, incremental: changes };
    default:
      return options;
  }
}

/** keyset: a filter that the configuration names itself, or puts into the request by reference, belongs to every page. */
const sendsFilterWithTokens = (stream: Stream): boolean =>
  stream.names.updated_since !== undefined || referred(textsOf(stream), 'cursor').has('updated_since');

/** The name nearest to one that is not there. */
export function unknownStream(name: string, plans: readonly StreamPlan[]): string {
  const names = plans.map((plan) => plan.stream);
  return `there is no stream ${JSON.stringify(name)}${suggestion(name, names)}; the streams are ${names.join(', ')}`;
}

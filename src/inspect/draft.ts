/** Puts what `discover` has found into a configuration: a document to paste, with comments that say why. */
import { Document, isCollection, isMap, isPair, isScalar, isSeq, type YAMLMap } from 'yaml';
import { isFull } from '../config/index.js';
import { identifier } from '../config/values.js';
import type { Json, StreamPlan } from '../protocol.js';
import type { DiscoveredColumn, Discovery } from './discover.js';

export interface Draft {
  /** A YAML document. */
  text: string;
  /** The same as plain JSON. */
  configuration: Json;
  /** Tasks left to the user. */
  notes: string[];
}

/** More columns than a configuration may name. */
const COLUMN_LIMIT = 1600;

export interface DraftOptions {
  /** The document to change; its comments and its order stay. Default: one made of the configuration. */
  document?: Document;
  /** Writes the columns. Default: yes. */
  columns?: boolean;
}

/**
 * The configuration with what was found, of each stream by its name; the streams that were not looked at stay as they
 * are.
 */
export function draft(
  configuration: Json,
  plans: readonly StreamPlan[],
  found: ReadonlyMap<string, Discovery>,
  { document = new Document(configuration), columns = true }: DraftOptions = {},
): Draft {
  const notes: string[] = [];
  for (const [i, plan] of plans.entries()) {
    const discovery = found.get(plan.stream);
    if (discovery === undefined) continue;
    const path = isFull(configuration) ? ['streams', i] : [];
    const stream = path.length === 0 ? document.contents : document.getIn(path);
    if (!isMap(stream)) continue;
    notes.push(...fill(document, stream, plan, discovery, { full: isFull(configuration), columns }));
    if (columns) noteSample(document, stream, discovery);
  }
  return { text: document.toString({ lineWidth: 110 }), configuration: document.toJS() as Json, notes };
}

const FOUND_BY = / ?Found by "highwater discover".*/;

/** Says before a stream, in one line, what its columns rest on. */
function noteSample(document: Document, stream: YAMLMap, { records, requests }: Discovery): void {
  const others = (comment: string | null | undefined) =>
    (comment ?? '').split('\n').filter((line) => line !== '' && !FOUND_BY.test(line));
  const line = ` Found by "highwater discover" in ${records} records of ${requests.length} request${requests.length === 1 ? '' : 's'}.`;
  stream.commentBefore = [...others(stream.commentBefore), line].join('\n');
  // A parser gives what stands before the first stream to the list.
  const list = document.getIn(['streams'], true);
  if (isSeq(list) && list.items[0] === stream)
    list.commentBefore = others(list.commentBefore).join('\n') || null;
}

/** @returns what is left to do. */
function fill(
  document: Document,
  stream: YAMLMap,
  plan: StreamPlan,
  { columns, records, primaryKeys, cursorFields }: Discovery,
  { full, columns: writesColumns }: { full: boolean; columns: boolean },
): string[] {
  const notes: string[] = [];
  const say = (text: string) => void notes.push(`${plan.stream}: ${text}`);
  if (records === 0) {
    say('the source returned no records to inspect');
    return notes;
  }
  const usable = storable(columns, say);

  const [field, ...others] = cursorFields;
  const needed = ['keyset', 'timestamp', 'replay'].includes(plan.options.strategy);
  const also = others.length === 0 ? '' : `; other times: ${others.map(({ name }) => name).join(', ')}`;
  const wanted = field !== undefined && (needed || field.says === 'changed');
  const hasNone = plan.cursorField === '' && plan.cursorFields === undefined;
  if (full && !stream.has('cursor_field')) {
    if (wanted && hasNone) {
      putCommented(document, stream, 'cursor_field', field.name, field.why + also);
      if (field.format !== undefined) stream.set('cursor_format', field.format);
    } else if (needed && hasNone) {
      say(
        `the strategy ${plan.options.strategy} needs a column of times, and there is none: try offset, page_number or cursor`,
      );
    }
  } else if (!full && needed && !columns.some(({ name }) => name === plan.cursorField)) {
    const instead = field === undefined ? '' : `; in the full form you can set cursor_field: ${field.name}`;
    say(`the flat form needs ${plan.cursorField}, which no record has${instead}`);
  }

  const key = primaryKeys.find(({ columns: names }) => names.every((name) => usable.has(name)));
  const keys = plan.table.primaryKey;
  const declared = plan.table.columns;
  const isThere = (name: string) => usable.has(name) || Object.hasOwn(declared, name);
  const isGiven = stream.has('primary_key') && keys.every(isThere);
  if (!isGiven && key !== undefined) {
    const [only] = key.columns;
    putCommented(document, stream, 'primary_key', key.columns.length === 1 ? only : key.columns, key.why);
  } else if (!isGiven) {
    say('no column or pair of columns is unique: set primary_key yourself');
  } else if (keys.length === 1 && usable.get(keys[0] ?? '')?.unique === false) {
    say(`the primary_key ${keys.join(', ')} is not unique, or is missing in some records of the sample`);
  }

  if (writesColumns) fillColumns(document, stream, plan, { columns, usable });
  return notes;
}

/** Adds the columns that were found to those that are declared. */
function fillColumns(
  document: Document,
  stream: YAMLMap,
  plan: StreamPlan,
  { columns, usable }: { columns: DiscoveredColumn[]; usable: ReadonlyMap<string, DiscoveredColumn> },
): void {
  const declared = plan.table.columns;
  const given = givenColumns(document, stream);
  const own = stream.get('columns');
  const map = isMap(own) ? own : (document.createNode({}) as YAMLMap);
  // A map of no columns may stand there as `{}`.
  if (map.items.length === 0) map.flow = false;
  const { raw, made = {} } = plan.request.shape ?? {};
  for (const [name, type] of Object.entries(declared)) {
    if (name === raw) continue;
    const column = columns.find((one) => one.name === name);
    const from = given[name];
    const isExpression = typeof from === 'object' && from !== null;
    const isParents = Object.hasOwn(plan.request.shape?.parent ?? {}, name);
    const why = isExpression
      ? ''
      : isParents
        ? 'from the parent'
        : column === undefined
          ? 'in no record of the sample'
          : column.type === type
            ? column.why
            : `the sample looks like ${column.type}`;
    if (map.has(name)) commentOn(map, name, why);
    else putCommented(document, map, name, isExpression ? from : type, why);
  }
  for (const { name, type, why } of usable.values()) {
    if (Object.hasOwn(declared, name) || name === raw) continue;
    // A column that is made without a type stays as it is given, with the type of what it makes.
    const own = Object.hasOwn(made, name) ? given[name] : undefined;
    putCommented(document, map, name, own === undefined ? type : { ...(own as object), type }, why);
  }
  if (map !== own) {
    stream.delete('columns');
    stream.add(document.createPair('columns', map));
  }
}

/** Comments on a value that has no comment of its own. */
function commentOn(map: YAMLMap, key: string, why: string): void {
  const node = map.get(key, true);
  if (why !== '' && isScalar(node) && (node.comment ?? '') === '') node.comment = ` ${why}`;
}

/** The columns as they are given: what stands elsewhere in a record than its name says must stay said. */
function givenColumns(document: Document, stream: YAMLMap): { [name: string]: unknown } {
  const own = stream.get('columns') ?? document.getIn(['defaults', 'columns']);
  return isMap(own) ? (own.toJS(document) as { [name: string]: unknown }) : {};
}

/** Columns that a configuration can name. */
function storable(columns: DiscoveredColumn[], say: (text: string) => void): Map<string, DiscoveredColumn> {
  const usable = new Map<string, DiscoveredColumn>();
  const folded = new Set<string>();
  const left: string[] = [];
  for (const column of columns) {
    const { name } = column;
    const isName = identifier.safeParse(name).success && name !== '__proto__';
    if (!isName || folded.has(name.toLowerCase()) || usable.size === COLUMN_LIMIT)
      left.push(JSON.stringify(name));
    else usable.set(name, column);
    folded.add(name.toLowerCase());
  }
  if (left.length > 0) {
    const some = left.slice(0, 10).join(', ') + (left.length > 10 ? ', …' : '');
    say(`omitted, because the name is not allowed or differs from another only in case: ${some}`);
  }
  return usable;
}

/** Sets a key, with a comment at the end of its line. */
function putCommented(document: Document, map: YAMLMap, key: string, value: unknown, why: string): void {
  const node = document.createNode(value);
  if (isCollection(node)) node.flow = true;
  if (why !== '') node.comment = ` ${why}`;
  const pair = map.items.find((one) => isPair(one) && isScalar(one.key) && one.key.value === key);
  if (pair !== undefined) pair.value = node;
  else map.add(document.createPair(key, node));
}

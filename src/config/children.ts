/** Child tables in a configuration: their schema, and how they become part of a plan. */
import { z } from 'zod';
import type { Problem } from '../errors.js';
import {
  type ChildSpec,
  type ColumnType,
  type ItemShape,
  type RecordShape,
  type TableSpec,
} from '../protocol.js';
import { pathText } from '../request/paths.js';
import { contradictions, inferenceOf, tableSpec } from './flat.js';
import type { Stream } from './full-schema.js';
import {
  column,
  columnProblems,
  guardedMembers,
  isMade,
  MASKED_KEY,
  madeOf,
  memberPattern,
  type Way,
} from './made-columns.js';
import type { Guarded } from './guarded-members.js';
import { recordPath } from './request-schema.js';
import { columnsOf, identifier, ownTable } from './values.js';
import { suggestion } from '../text.js';

/** A table filled from a list inside of each record. */
export const childSchema = z
  .strictObject({
    from: recordPath
      .optional()
      .describe(
        'Where the list is in the record, such as `lines` or `cart.items`. An object is a list of one. Default: the name of the child table.',
      ),
    table: ownTable
      .optional()
      .describe('The table. Default: the table of the records and the name, such as `orders_lines`.'),
    include: z
      .record(identifier, recordPath)
      .default({})
      .meta({ title: 'column: field' })
      .describe('Columns filled from the record that the list is in, such as `{order_id: id}`.'),
    primary_key: z
      .union([identifier.transform((name) => [name]), z.array(identifier).min(1).max(20)])
      .optional()
      .describe(
        'The columns that identify an item, usually one of `include` and one of its own. Default: `include` with `index` or `key_as`.',
      ),
    index: identifier
      .optional()
      .describe('The column with the position in the list, from 0, for items that have no key.'),
    key_as: identifier
      .optional()
      .describe('The list is an object whose member names are ids: the column with the name.'),
    columns: columnsOf(column)
      .default({})
      .describe(
        'Column names and types, or `{type, from}`, or columns that are made, as those of a stream. An item that is not an object is in the column `value`. Default: those of the items.',
      ),
    exclude: z
      .array(memberPattern)
      .min(1)
      .max(100)
      .meta({ title: 'list of paths' })
      .optional()
      .describe('Members of the items that are stored nowhere, such as `[card, "raw.*"]`.'),
    get children(): z.ZodOptional<z.ZodRecord<typeof identifier, typeof childSchema>> {
      return z.record(identifier, childSchema).optional();
    },
  })
  // By this name the JSON Schema refers to it from inside of it.
  .meta({ id: 'childTable' });

/** Child tables by name, as a stream has them. */
export const childrenSchema = z.record(identifier, childSchema).meta({ title: '{ name: child table }' });

export const CHILD_KEYS = Object.keys(childSchema.shape);

/** A child table, as a configuration describes it. */
export type Child = z.output<typeof childSchema>;

/** The stream or the child table that a list is inside of. */
interface Above {
  table: string;
  columns: Record<string, ColumnType>;
  /** Whether undeclared members become columns as well. */
  isInferred: boolean;
}

const aboveOf = (stream: Stream): Above => ({
  table: stream.table ?? stream.name,
  columns: Object.fromEntries(
    Object.entries(stream.columns).flatMap(([name, { type }]) => (type === null ? [] : [[name, type]])),
  ),
  isInferred: inferenceOf(stream) !== null,
});

/** Returns the path of a child table's list. */
export const fromOf = (name: string, { from }: Child) => from ?? [name];

/** The columns of a child table: the declared ones, and those that are made. */
function columnsOfChild(child: Child, above: Above): Record<string, ColumnType> {
  const declared = Object.entries(declaredTypes(child));
  const included = Object.entries(child.include).flatMap(([name, path]): [string, ColumnType][] => {
    const [field] = path;
    const type =
      path.length === 1 && typeof field === 'string' && Object.hasOwn(above.columns, field)
        ? above.columns[field]
        : undefined;
    return type === undefined ? [] : [[name, type]];
  });
  return Object.fromEntries([
    ...included,
    ...(child.index === undefined ? [] : [[child.index, 'LONG'] as [string, ColumnType]]),
    ...(child.key_as === undefined ? [] : [[child.key_as, 'STRING'] as [string, ColumnType]]),
    ...declared,
  ]);
}

/** Returns the columns of a child table's primary key. */
export const keyOf = ({ primary_key: key, include, index, key_as: keyAs }: Child): string[] =>
  key ?? [...Object.keys(include), index ?? keyAs ?? []].flat();

const aboveOfChild = (name: string, child: Child, above: Above, stream: Stream): Above => ({
  table: child.table ?? `${above.table}_${name}`,
  columns: columnsOfChild(child, above),
  isInferred: inferenceOf({ ...stream, columns: child.columns }) !== null,
});

/** Returns the child tables of a stream; undefined if it has none. */
export function childrenOf(stream: Stream, destination: string | undefined): ChildSpec[] | undefined {
  const specs = specsOf(stream.children, aboveOf(stream), stream, destination);
  return specs.length === 0 ? undefined : specs;
}

const specsOf = (
  children: Record<string, Child> | undefined,
  above: Above,
  stream: Stream,
  destination: string | undefined,
): ChildSpec[] =>
  Object.entries(children ?? {}).map(([name, child]): ChildSpec => {
    const own = aboveOfChild(name, child, above, stream);
    const inner = specsOf(child.children, own, stream, destination);
    const paths = Object.entries(child.columns).flatMap(([name, one]) =>
      one.from === null || isMade(one) ? [] : [[name, one.from]],
    );
    return {
      name,
      table: tableOfChild(child, own, stream, destination),
      from: fromOf(name, child),
      include: child.include,
      paths: Object.fromEntries(paths) as ChildSpec['paths'],
      ...(child.index !== undefined && { index: child.index }),
      ...(child.key_as !== undefined && { keyAs: child.key_as }),
      ...(madeOf(child) !== null && { makes: true as const }),
      ...(inner.length > 0 && { children: inner }),
    };
  });

function tableOfChild(
  child: Child,
  { table, columns }: Above,
  stream: Stream,
  destination: string | undefined,
): TableSpec {
  // Lines of a list go with it, however many: only the end of a pass asks whether rows may go.
  const spec = tableSpec(
    { ...stream, columns: declaredTypes(child), primary_key: keyOf(child), max_deletes: 'any', destination },
    table,
  );
  return {
    ...spec,
    columns,
    ...(stream.deletes !== 'keep' && { deletes: stream.deletes, unseen: 'stay' as const }),
  };
}

const declaredTypes = ({ columns }: Child): Record<string, ColumnType> =>
  Object.fromEntries(
    Object.entries(columns).flatMap(([name, { type }]) => (type === null ? [] : [[name, type]])),
  );

/** How columns of child tables are made. */
export const itemShapes = (stream: Stream): ItemShape[] =>
  shapesIn(stream.children ?? {}, aboveOf(stream).table);

const shapesIn = (children: Record<string, Child>, above: string): ItemShape[] =>
  Object.entries(children).flatMap(([name, child]): ItemShape[] => {
    const table = child.table ?? `${above}_${name}`;
    const made = madeOf(child);
    const items = shapesIn(child.children ?? {}, table);
    if (made === null && items.length === 0) return [];
    return [
      {
        table,
        from: fromOf(name, child),
        ...(child.key_as !== undefined && { isNamed: true as const }),
        made: made ?? {},
        ...(items.length > 0 && { items }),
      },
    ];
  });

/** Each child table with the names on the way to its items. */
function* waysTo(children: Record<string, Child>, above: Way): Iterable<{ child: Child; way: Way }> {
  for (const [name, child] of Object.entries(children)) {
    const way = wayTo(name, child, above);
    yield { child, way };
    yield* waysTo(child.children ?? {}, way);
  }
}

/** Returns the names on the way to the items of a child table; null is any name. */
export const wayTo = (name: string, child: Child, above: Way): Way => [
  ...above,
  ...fromOf(name, child).filter((part) => typeof part === 'string'),
  ...(child.key_as === undefined ? [] : [null]),
];

/** Returns the members that child tables leave out, as paths from the record. */
export const childExclusions = ({ children = {} }: Stream): (string | null)[][] =>
  [...waysTo(children, [])].flatMap(({ child: { exclude = [] }, way }) =>
    exclude.map((pattern) => [...way, ...pattern]),
  );

/** Members of items that are not stored as they are. */
export const guardedItems = ({ children = {} }: Stream): Guarded[] =>
  [...waysTo(children, [])].flatMap(({ child, way }) => guardedMembers(way, child));

/** Adds the members that child tables are filled from to the shape of a stream's rows. */
export function keptFor(stream: Stream, shape: RecordShape | null): RecordShape | null {
  if (shape === null || stream.children === undefined) return shape;
  const members = Object.entries(stream.children).flatMap(([name, child]) => [
    fromOf(name, child)[0],
    ...Object.values(child.include).map(([first]) => first),
  ]);
  const own = [...Object.keys(stream.columns), ...Object.keys(shape.parent)];
  const keeps = [...new Set(members.map(String))].filter((member) => !own.includes(member));
  return keeps.length === 0 ? shape : { ...shape, keeps };
}

/** Types of keys whose text would be another one in a wider type. */
const ODD_KEYS = /^(FLOAT|DOUBLE|NAIVE_DATE|NAIVE_DATETIME|UTC_DATETIME|BINARY|DECIMAL\(\d+,[1-9])/;

/** Problems of a stream's child tables. */
export function* childProblems(stream: Stream, draft: boolean): Iterable<Problem> {
  const { children, format } = stream;
  if (children === undefined) return;
  if (format === 'csv')
    yield { path: 'children', message: 'has no effect on CSV, whose records hold no lists' };
  const above = aboveOf(stream);
  for (const [name, child] of Object.entries(children)) {
    const [first] = fromOf(name, child);
    const column = Object.hasOwn(stream.columns, String(first)) ? stream.columns[String(first)] : undefined;
    if (column !== undefined && column.from !== null && pathText(column.from) !== first)
      yield {
        path: `children.${name}.from`,
        message: `begins with ${JSON.stringify(first)}, which is also a column with another "from"; rename the column`,
      };
  }
  if (!draft && above.isInferred) {
    for (const part of stream.primary_key) {
      const type = Object.hasOwn(above.columns, part) ? above.columns[part] : undefined;
      if (type !== undefined && ODD_KEYS.test(type))
        yield {
          path: `columns.${part}`,
          message: `is ${type}, which "misfits": "evolve" may turn into text: declare this part of the primary key as STRING, because child tables refer to it`,
        };
    }
  }
  yield* problemsIn(children, above, stream, draft, 'children');
  yield* listProblems(stream);
  const guarded = [...guardedMembers([], stream), ...guardedItems(stream)];
  yield* makingProblems(children, { way: [], at: 'children', guarded, stream, draft });
}

/** Columns of a stream's own that hold a list for whose items columns are made: they would hold those as well. */
function* listProblems(stream: Stream): Iterable<Problem> {
  for (const { from: list, table } of itemShapes(stream))
    for (const [name, one] of Object.entries(stream.columns)) {
      const from = one.from ?? [name];
      const isShorter = from.length < list.length ? from : list;
      if (!isMade(one) && isShorter.every((part, i) => part === list[i] && part === from[i]))
        yield {
          path: `columns.${name}`,
          message: `reads ${JSON.stringify(pathText(from))}, and columns of the child table ${table} are made of ${JSON.stringify(pathText(list))}: remove the column, or keep the record as it came with "raw"`,
        };
    }
}

interface Making {
  way: Way;
  at: string;
  guarded: readonly Guarded[];
  stream: Stream;
  draft: boolean;
}

/** Problems of columns of child tables that are made, and of what is left out of items. */
function* makingProblems(children: Record<string, Child>, making: Making): Iterable<Problem> {
  const { guarded, stream, draft } = making;
  for (const [name, child] of Object.entries(children)) {
    const at = `${making.at}.${name}`;
    const way = wayTo(name, child, making.way);
    const infers = draft || inferenceOf({ ...stream, columns: child.columns }) !== null;
    for (const problem of columnProblems(child.columns, { guarded, way, infers }))
      yield { ...problem, path: `${at}.${problem.path}` };
    yield* madeKeyProblems(child, at);
    yield* hiddenMembers(child, at);
    if (child.children !== undefined)
      yield* makingProblems(child.children, { ...making, way, at: `${at}.children` });
  }
}

function* madeKeyProblems(child: Child, at: string): Iterable<Problem> {
  const { columns, include, index, key_as: keyAs } = child;
  const filled = [...Object.keys(include), index, keyAs];
  for (const [name, one] of Object.entries(columns))
    if (isMade(one) && filled.includes(name))
      yield {
        path: `${at}.columns.${name}`,
        message: 'is filled by "include", "index" or "key_as", and cannot be made as well',
      };
  const key = keyOf(child);
  for (const name of key) {
    const one = Object.hasOwn(columns, name) ? columns[name] : undefined;
    if (one?.mask !== undefined) yield { path: `${at}.primary_key`, message: MASKED_KEY };
  }
  if (
    key.length > 0 &&
    key.every((name) => Object.hasOwn(columns, name) && columns[name]?.value !== undefined)
  )
    yield { path: `${at}.primary_key`, message: 'has only constants, so that all items would be one row' };
}

/** A made column takes the place of the member of its name, which nothing else can read then. */
function* hiddenMembers(child: Child, at: string): Iterable<Problem> {
  const { columns, children: inner = {} } = child;
  const isHidden = ([first]: (string | number)[]) => {
    const one = Object.hasOwn(columns, String(first)) ? columns[String(first)] : undefined;
    return one !== undefined && isMade(one);
  };
  for (const [name, one] of Object.entries(columns))
    if (!isMade(one) && one.from !== null && isHidden(one.from))
      yield {
        path: `${at}.columns.${name}.from`,
        message: `begins with ${JSON.stringify(one.from[0])}, the name of a column that is made; rename that column`,
      };
  for (const [name, one] of Object.entries(inner))
    if (isHidden(fromOf(name, one)))
      yield {
        path: `${at}.children.${name}.from`,
        message: `begins with ${JSON.stringify(fromOf(name, one)[0])}, the name of a column that is made; rename that column`,
      };
}

function* problemsIn(
  children: Record<string, Child>,
  above: Above,
  stream: Stream,
  draft: boolean,
  path: string,
): Iterable<Problem> {
  for (const [name, child] of Object.entries(children)) {
    const at = `${path}.${name}`;
    const own = aboveOfChild(name, child, above, stream);
    if (fromOf(name, child).length === 0)
      yield { path: `${at}.from`, message: 'must name a member of the record, such as "lines"' };
    yield* keyProblems(child, at, draft);
    yield* includeProblems(child, above, own, at, draft);
    const stands = draft ? new Set(['columns', 'primary_key']) : new Set<string>();
    for (const problem of contradictions(
      {
        ...stream,
        strategy: '',
        columns: own.isInferred ? {} : own.columns,
        primary_key: keyOf(child),
        flatten: 0,
        column_names: 'as_is',
      },
      stands,
    ))
      yield { ...problem, path: `${at}.${problem.path}` };
    if (child.children !== undefined) yield* problemsIn(child.children, own, stream, draft, `${at}.children`);
  }
}

function* keyProblems(child: Child, at: string, draft: boolean): Iterable<Problem> {
  const { primary_key: key, index, key_as: keyAs, include, columns } = child;
  const made = [
    ...Object.keys(include),
    ...(index === undefined ? [] : [index]),
    ...(keyAs === undefined ? [] : [keyAs]),
  ];
  const twice = made.find((name, i) => made.indexOf(name) < i);
  if (twice !== undefined) yield { path: at, message: `fills the column ${JSON.stringify(twice)} twice` };
  for (const name of made)
    if (Object.hasOwn(columns, name) && columns[name]?.from != null)
      yield {
        path: `${at}.columns.${name}`,
        message: 'is filled by "include", "index" or "key_as", and cannot have a "from"',
      };
  if (index !== undefined && !/^(SHORT|INT|LONG)$/.test(columns[index]?.type ?? 'LONG'))
    yield {
      path: `${at}.columns.${index}`,
      message: 'is a position in a list, and must be of type LONG, INT or SHORT',
    };
  if (keyAs !== undefined && columns[keyAs] !== undefined && columns[keyAs]?.type !== 'STRING')
    yield { path: `${at}.columns.${keyAs}`, message: "is a member's name, and must be of type STRING" };
  if (key !== undefined && index !== undefined && !key.includes(index))
    yield {
      path: `${at}.index`,
      message: 'is for items without a key; name its column in "primary_key", or omit one of the two',
    };
  if (draft || key !== undefined) return;
  if (index === undefined && keyAs === undefined) {
    yield {
      path: `${at}.primary_key`,
      message: 'is required: the columns that identify an item; or "index", if items have no key',
    };
  } else if (Object.keys(include).length === 0) {
    yield {
      path: `${at}.include`,
      message: `is required with "${index === undefined ? 'key_as' : 'index'}", which repeats in every record: include the key of the record, such as {"order_id": "id"}`,
    };
  }
}

function* includeProblems(
  child: Child,
  above: Above,
  own: Above,
  at: string,
  draft: boolean,
): Iterable<Problem> {
  if (draft || own.isInferred) return;
  for (const [column, path] of Object.entries(child.include)) {
    if (Object.hasOwn(own.columns, column)) continue;
    const field = pathText(path);
    const hint = suggestion(field, Object.keys(above.columns));
    yield {
      path: `${at}.include.${column}`,
      message: `${JSON.stringify(field)} is not one of the columns of ${above.table}${hint}; declare the type of ${JSON.stringify(column)} in "columns" if it is another member`,
    };
  }
}

/** The tables of a stream's children, with the paths of their keys in the configuration. */
export const childTables = (stream: Stream): { path: string; table: string }[] =>
  tablesIn(stream.children ?? {}, aboveOf(stream).table, 'children');

const tablesIn = (
  children: Record<string, Child>,
  above: string,
  path: string,
): { path: string; table: string }[] =>
  Object.entries(children).flatMap(([name, child]) => {
    const table = child.table ?? `${above}_${name}`;
    return [
      { path: `${path}.${name}`, table },
      ...tablesIn(child.children ?? {}, table, `${path}.${name}.children`),
    ];
  });

/** Child tables in a configuration: their schema, and how they become part of a plan. */
import { z } from 'zod';
import type { Problem } from '../errors.js';
import { type ChildSpec, type ColumnType, type RecordShape, type TableSpec } from '../protocol.js';
import { pathText } from '../request/paths.js';
import { contradictions, inferenceOf, tableSpec } from './flat.js';
import type { Stream } from './full-schema.js';
import { recordPath } from './request-schema.js';
import { columnsOf, columnType, identifier, ownTable } from './values.js';
import { suggestion } from '../text.js';

const column = z.union([
  columnType.transform((type) => ({ type, from: null })),
  z.strictObject({
    type: columnType,
    from: recordPath.describe('Where the value is in the item, such as `price.amount`.'),
  }),
]);

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
        'Column names and types, or `{type, from}`, as those of a stream. An item that is not an object is in the column `value`. Default: those of the items.',
      ),
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
  const declared = Object.entries(child.columns).map(([name, { type }]): [string, ColumnType] => [
    name,
    type,
  ]);
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
    const paths = Object.entries(child.columns).flatMap(([column, { from }]) =>
      from === null ? [] : [[column, from]],
    );
    return {
      name,
      table: tableOfChild(child, own, stream, destination),
      from: fromOf(name, child),
      include: child.include,
      paths: Object.fromEntries(paths) as ChildSpec['paths'],
      ...(child.index !== undefined && { index: child.index }),
      ...(child.key_as !== undefined && { keyAs: child.key_as }),
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

const declaredTypes = ({ columns }: Child) =>
  Object.fromEntries(Object.entries(columns).map(([name, { type }]) => [name, type]));

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

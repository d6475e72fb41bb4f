/** Child tables: tables that a stream fills from lists inside of its records. */
import type { TableSpec } from './tables.js';

/** The way to a value: names of members, and places in lists. */
export type ValuePath = (string | number)[];

/** A table whose rows are the items of a list in each record of the stream, or in each item of another such list. */
export interface ChildSpec {
  name: string;
  /** Without {@link PARENT}; see {@link childTable}. */
  table: TableSpec;
  /** Place of the list in the record above; an object is one item, or with `keyAs` one item for each member. */
  from: ValuePath;
  /** Columns filled from the record above, with the place of the value there. */
  include: { [column: string]: ValuePath };
  /** Columns whose value is elsewhere in the item than under their own name. */
  paths: { [column: string]: ValuePath };
  /** The column with the position in the list, from 0. */
  index?: string;
  /** The column with the member's name, if the list is an object whose member names are ids. */
  keyAs?: string;
  /** Columns are made while the answer is read; an item for which this failed has the reason in a member `REFUSED`. */
  makes?: true;
  /** Members of items without a column keep their names; absent: they are dropped. */
  rest?: true;
  children?: ChildSpec[];
}

/**
 * The column of a child table that names the record of the stream that a row comes from: its primary key, as the JSON array
 * of the texts of its parts. In staged files it is the number of that record.
 */
export const PARENT = '_highwater_parent';

/** The column with an item that is not an object. */
export const ITEM = 'value';

/** The table of a child as the destination has it. */
export const childTable = ({ table }: Pick<ChildSpec, 'table'>): TableSpec => ({
  ...table,
  columns: { [PARENT]: 'STRING', ...table.columns },
});

/** Lists children and their children, each after the one it is inside of. */
export const allChildren = (children: readonly ChildSpec[] = []): ChildSpec[] =>
  children.flatMap((child) => [child, ...allChildren(child.children)]);

/** The rows of child tables that the records of a preview would become. */
import { allChildren, type StreamPlan } from '../protocol.js';
import { memberTexts } from '../request/paths.js';
import { listsOf, RecordTree } from '../sources/child-rows.js';

/** Rows of a child table, as JSON texts. */
export interface PreviewedChild {
  table: string;
  /** Columns and members, in order. */
  names: string[];
  rows: Map<string, string>[];
}

/** Makes the rows of child tables out of records. */
export function previewedChildren(
  { children = [] }: Pick<StreamPlan, 'children'>,
  records: readonly string[],
): PreviewedChild[] {
  const rows = new Map(allChildren(children).map((child) => [child, [] as string[]]));
  for (const [i, record] of records.entries())
    new RecordTree(record).rows(children, i, (child, row) => void rows.get(child)?.push(row));
  return [...rows].map(([{ table }, texts]) => {
    const isInferred = table.inference !== undefined;
    const members = isInferred ? texts.flatMap((text) => Object.keys(JSON.parse(text) as object)) : [];
    const names = [...new Set([...Object.keys(table.columns), ...members])].filter(
      (name) => !name.startsWith('_highwater'),
    );
    const paths = new Map(names.map((name) => [name, [name]]));
    return { table: table.table, names, rows: texts.map((text) => memberTexts(text, paths)) };
  });
}

/** Names of members that are the lists of child tables, and no columns. */
export const listMembers = ({ children = [], table }: Pick<StreamPlan, 'children' | 'table'>): string[] =>
  listsOf(children, table.columns)
    .filter((path) => path.length === 1)
    .map(([name]) => String(name));

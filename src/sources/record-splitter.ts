/** Splits records into rows of the stream's own table and rows of its child tables. */
import { RecordError } from '../errors.js';
import {
  allChildren,
  childTable,
  REFUSED,
  type ChildSpec,
  type Note,
  type Reject,
  type StreamPlan,
} from '../protocol.js';
import { pathText } from '../request/paths.js';
import type { Mask } from '../secrets/masking.js';
import { listsOf, RecordTree } from './child-rows.js';
import { isTaken } from './declared-values.js';
import { exactColumns } from './exact-columns.js';
import { RecordScanner, ScanError } from './record-scanner.js';

/** Rows of a child table. */
export interface ChildRows {
  /** Newline-delimited JSON. */
  lines: Buffer[];
  records: number;
  /** Length of the longest row, in bytes. */
  longest: number;
  /** Items that cannot be stored. */
  rejects: Reject[];
}

/** Records, split. */
export interface SplitRecords {
  /** Records without the lists of child tables. */
  lines: Buffer;
  /** A line for each record: its number, and its primary key. */
  roots: Buffer;
  /** Number of those lines. */
  records: number;
  /** In the order of {@link allChildren}. */
  children: ChildRows[];
}

/** Members of a line of the roots: the record's number, the parts of its key, and its mark of deletion. */
export const ROOT_RECORD = 'record';
export const rootKey = (part: number): string => `k${part}`;
export const ROOT_DELETED = 'deleted';

/** Maximum bytes of a row, as of a record. */
const ROW_LIMIT = 20 * 1024 * 1024;
const KEPT_AS_NUMBERS = ['SHORT', 'INT', 'LONG', 'FLOAT', 'DOUBLE'];

/** So many records of an answer without a list, not even an empty one, are no chance. */
const ABSENT_RECORDS = 20;

const noteAbsent = ({ from, table: { table } }: ChildSpec): Note => ({
  code: `list_absent.${table}`,
  message:
    `no record of a response has anything at ${pathText(from)}, so that child table ${table} has no rows of them. If the API leaves ` +
    'empty lists out, that is fine; otherwise correct "from".',
});

/** Splits the records of one answer. */
export class RecordSplitter {
  private readonly scanners: ChildScanner[];
  private readonly byChild: ReadonlyMap<ChildSpec, ChildScanner>;
  private readonly lists: ReturnType<typeof listsOf>;
  /** Records so far, and child tables whose list some of them have. */
  private records = 0;
  private readonly met = new Set<ChildSpec>();

  constructor(
    private readonly plan: Pick<StreamPlan, 'stream' | 'table'> & { children: readonly ChildSpec[] },
    mask: Mask = (text) => text,
  ) {
    const { children, stream, table } = plan;
    this.scanners = allChildren(children).map((child) => new ChildScanner(child, stream, mask));
    this.byChild = new Map(this.scanners.map((scanner) => [scanner.child, scanner]));
    this.lists = listsOf(children, table.columns);
  }

  /** Notes on what was done to items so that they could be stored, and on members without a column. */
  get remarks(): Note[] {
    const absent =
      this.records < ABSENT_RECORDS ? [] : this.plan.children.filter((child) => !this.met.has(child));
    return [...this.scanners.flatMap((scanner) => scanner.remarks), ...absent.map(noteAbsent)];
  }

  /**
   * Splits records.
   * @param lines newline-delimited JSON.
   * @param rejects records that cannot be stored themselves; their items may be.
   * @param first the number of the first record in its batch.
   * @throws {RecordError} if an item cannot be stored, and is not to be quarantined.
   */
  split(lines: Buffer, rejects: readonly Reject[], first: number): SplitRecords {
    const { table, children } = this.plan;
    const own: string[] = [];
    const roots: string[] = [];
    const take = (tree: RecordTree, root: string) => {
      const number = first + roots.length;
      this.records++;
      for (const child of children) if (!this.met.has(child) && tree.has(child.from)) this.met.add(child);
      roots.push(`{"${ROOT_RECORD}":${number},${root}}\n`);
      tree.rows(children, number, (child, row, refusal) => this.byChild.get(child)?.add(row, refusal));
    };
    for (const record of linesOf(lines)) {
      const tree = new RecordTree(record);
      own.push(tree.without(this.lists));
      take(tree, rootOf(tree, table));
    }
    for (const { record } of rejects) {
      const tree = new RecordTree(record);
      if (isKeyed(tree, table)) take(tree, rootOf(tree, table));
    }
    return {
      lines: Buffer.from(own.join('\n')),
      roots: Buffer.from(roots.join('')),
      records: roots.length,
      children: this.scanners.map((scanner) => scanner.take()),
    };
  }

  /** Returns records without the lists of child tables. */
  strip(lines: Buffer): Buffer {
    return Buffer.from(
      [...linesOf(lines)].map((line) => new RecordTree(line).without(this.lists)).join('\n'),
    );
  }
}

function* linesOf(lines: Buffer): Iterable<string> {
  for (const line of lines.toString('utf8').split('\n')) if (line.trim() !== '') yield line.trim();
}

/** The members of a line of the roots, without the number. */
function rootOf(tree: RecordTree, { primaryKey, columns, deletedField }: StreamPlan['table']): string {
  const members = primaryKey.map((name, i) => `"${rootKey(i)}":${keyText(tree.member(name), columns[name])}`);
  if (deletedField !== undefined) members.push(`"${ROOT_DELETED}":${tree.member(deletedField) ?? 'null'}`);
  return members.join(',');
}

/** A part of a key. Numbers become text where the column holds text: a reader of JSON would round them. */
function keyText(text: string | null, type: string | undefined): string {
  if (text === null) return 'null';
  const isNumber = /^[-\d]/.test(text);
  return isNumber && !KEPT_AS_NUMBERS.includes(type ?? '') ? `"${text}"` : text;
}

/** Whether a record has a key that its columns take. */
const isKeyed = (tree: RecordTree, { primaryKey, columns }: StreamPlan['table']): boolean =>
  primaryKey.every((name) => {
    const text = tree.member(name);
    return text !== null && !/^[n[{]/.test(text) && isTaken(columns[name] ?? 'STRING', text);
  });

/** Checks the rows of a child table as records of the stream are checked. */
class ChildScanner {
  private readonly scanner: RecordScanner;
  private rows: string[] = [];
  /** Rows of earlier calls of {@link take}. */
  private taken = 0;
  private readonly refusals = new Map<number, string>();
  private isBegun = false;
  private found: ChildRows = nothingFound();

  constructor(
    readonly child: ChildSpec,
    private readonly stream: string,
    private readonly mask: Mask,
  ) {
    const table = childTable(child);
    const { primaryKey, columns, quarantine, inference } = table;
    this.scanner = new RecordScanner({
      records: [],
      primaryKey,
      cursorField: '',
      columns: Object.keys(columns),
      ...(inference === undefined && { exact: exactColumns(columns) }),
      remembers: { keys: 'none', values: 'none' },
      recordLimit: ROW_LIMIT,
      mask,
      refusals: this.refusals,
      ...(quarantine === true && {
        reject: (reject: Reject) =>
          void this.found.rejects.push({ ...reject, record: parentFirst(reject.record) }),
      }),
      sink: (lines, { records }, rejects) => {
        const kept = records - rejects.length;
        if (kept > 0) this.found.lines.push(lines);
        this.found.records += kept;
      },
    });
  }

  /**
   * @param row as JSON.
   * @param refusal why it cannot be stored; null: it can.
   */
  add(row: string, refusal: string | null): void {
    if (refusal !== null) this.refusals.set(this.taken + this.rows.length, refusal);
    this.rows.push(row);
  }

  /** Returns the rows that were added since the last call. */
  take(): ChildRows {
    const { rows } = this;
    this.rows = [];
    this.taken += rows.length;
    if (rows.length > 0) this.scan(`${this.isBegun ? ',' : '['}${rows.join(',')}`);
    const { found } = this;
    found.longest = this.scanner.longest;
    this.found = nothingFound();
    return found;
  }

  get remarks(): Note[] {
    const { scanner, child } = this;
    const { table, inference } = child.table;
    const notes = scanner.remarks.map(({ code, message }) => ({
      code,
      message: `table ${table}: ${message}`,
    }));
    // Lists that fill child tables of their own are stored there.
    const lists = (child.children ?? []).map(({ from: [first] }) => first);
    const stray = [...scanner.undeclared].filter((name) => !lists.includes(name));
    const undeclared = inference === undefined ? stray.map(this.mask) : [];
    if (undeclared.length === 0) return notes;
    const message = `table ${table}: members without a declared column are not stored: ${undeclared.join(', ')}`;
    return [...notes, { code: 'undeclared_members', message }];
  }

  private scan(text: string): void {
    this.isBegun = true;
    try {
      this.scanner.push(Buffer.from(text));
    } catch (thrown) {
      if (!(thrown instanceof ScanError)) throw thrown;
      throw new RecordError(
        `table ${this.child.table.table}, filled by stream ${this.stream}: ${thrown.message}`,
      );
    }
  }
}

/** The mark of a row whose columns could not be made: the row has one behind its parent, where it begins. */
const MARK = `{"${REFUSED}":true,`;
const parentFirst = (record: string) => (record.startsWith(MARK) ? `{${record.slice(MARK.length)}` : record);

const nothingFound = (): ChildRows => ({ lines: [], records: 0, longest: 0, rejects: [] });

import type { Json, Note, RecordShape } from '../protocol.js';
import { isTooMuch } from '../request/json-path.js';
import { type JsonDocument, type Location, memberTexts, otherMembers, passes } from '../request/paths.js';
import { type Bytes, WHOLE_LIMIT } from './bytes.js';
import { RecordScanner, ScanError } from './record-scanner.js';

/** The columns that tell records apart and put them in order. */
export interface Identity {
  primaryKey: readonly string[];
  cursorField: string;
  /** Set if there are several cursor fields. */
  cursorFields?: { names: readonly string[] };
}

/** Makes rows of records: picks and renames, adds what the parent gives, and tells which ones to keep. */
export class Shaper {
  private readonly paths: Map<string, Location>;
  private readonly given: string[];
  /** Members of a record that are not part of the rest. */
  private readonly taken: ReadonlySet<string>;
  /** Columns of a record that the filter leaves out: nothing else of it need fit. */
  private readonly ofIdentity: Map<string, Location>;
  /** Paths of the parts of the primary key. */
  private readonly keyPaths: Map<string, Location>;
  /** Notes on what was done to records so far. */
  remarks: Note[] = [];

  constructor(
    private readonly shape: RecordShape,
    columns: readonly string[],
    parent: { [field: string]: Json },
    private readonly kept: boolean[],
    private readonly mask: (text: string) => string,
    { primaryKey, cursorField, cursorFields }: Identity,
  ) {
    this.given = Object.entries(shape.parent).map(
      ([column, field]) => `${JSON.stringify(column)}:${JSON.stringify(parent[field] ?? null)}`,
    );
    this.paths = new Map(
      columns
        .filter((column) => !Object.hasOwn(shape.parent, column))
        .map((column) => [column, shape.from[column] ?? [column]]),
    );
    const only = (names: readonly string[]) =>
      new Map([...this.paths].filter(([column]) => names.includes(column)));
    this.ofIdentity = only([...primaryKey, cursorField, ...(cursorFields?.names ?? [])]);
    this.keyPaths = only(primaryKey);
    const whole = [...this.paths.values()].flatMap((path) => (path.length === 1 ? path.map(String) : []));
    this.taken = new Set([...this.paths.keys(), ...Object.keys(shape.parent), ...whole]);
  }

  async *shaped(
    body: Bytes,
    records: readonly string[],
    onEnvelope: (document: JsonDocument) => void,
  ): Bytes {
    let before = '[';
    let rows = '';
    const scanner = new RecordScanner({
      records,
      primaryKey: [],
      cursorField: '',
      columns: [],
      remembers: { keys: 'none', values: 'none' },
      recordLimit: WHOLE_LIMIT,
      mask: this.mask,
      // Rows are made of these records, and looked at again by their columns.
      halves: 'keep',
      keyOf: (record) => [...memberTexts(record, this.keyPaths).values()].join(', '),
      sink: (lines) => {
        const texts = lines
          .toString('utf8')
          .split('\n')
          .filter((line) => line.trim() !== '');
        const from = this.kept.length;
        this.judge(texts);
        for (const [i, text] of texts.entries()) {
          rows += before + this.row(text, this.kept[from + i] === true);
          before = ',';
        }
      },
    });
    for await (const chunk of body) {
      scanner.push(chunk);
      if (rows === '') continue;
      yield Buffer.from(rows);
      rows = '';
    }
    onEnvelope(scanner.end());
    this.remarks = scanner.remarks;
    yield Buffer.from(`${rows}${before === '[' ? '[' : ''}]`);
  }

  private judge(texts: readonly string[]): void {
    const { where } = this.shape;
    const from = this.kept.length;
    for (const _ of texts) this.kept.push(where === null);
    if (where === null) return;
    for (const [i, text] of texts.entries()) this.kept[from + i] = this.passes(text, where);
  }

  private passes(record: string, where: string): boolean {
    try {
      return passes(record, where);
    } catch (thrown) {
      if (!isTooMuch(thrown)) throw thrown;
      throw new ScanError(`"where" cannot be evaluated for a record: ${thrown.message}`, 'record');
    }
  }

  private row(text: string, isKept: boolean): string {
    const members = [...memberTexts(text, isKept ? this.paths : this.ofIdentity)].map(
      ([column, value]) => `${JSON.stringify(column)}:${value}`,
    );
    const rest = this.shape.rest === true && isKept ? otherMembers(text, this.taken) : [];
    return `{${[...members, ...this.given, ...rest].join(',')}}`;
  }
}

import type { KeyObject } from 'node:crypto';
import type { Json, Note, RecordShape } from '../protocol.js';
import type { JsonDocument } from '../request/paths.js';
import { type Bytes, WHOLE_LIMIT } from './bytes.js';
import { RecordScanner } from './record-scanner.js';
import { Columns, type Identity } from './shaping/columns.js';
import type { NamedMembers } from './source.js';
import { MadeColumns } from './shaping/made.js';
import { holdsSecrets } from './shaping/protection-of.js';
import type { Draft, ShapingStep } from './shaping/step.js';
import { Transform, type TransformOptions } from './shaping/transform.js';
import { Where } from './shaping/where.js';

export interface ShaperOptions {
  shape: RecordShape;
  /** Columns of the table, in order. */
  columns: readonly string[];
  /** The fields of the parent record. */
  parent: { [field: string]: Json };
  identity: Identity;
  /** Hides secrets in what an error quotes of the body. */
  mask: (text: string) => string;
  /** Runs the hook of the shape, if it has one. */
  transform?: TransformOptions;
  /** Keys for hashes, by the columns that need one. */
  hashKeys: ReadonlyMap<string, KeyObject>;
}

/** Bytes of records that are gathered for a hook: each batch costs a message to another thread and back. */
const GATHERED = 256 * 1024;

/**
 * Makes rows of records, step by step. Each step is a file in `shaping/`; `stepsOf` puts them in order. Records
 * are cut out of the answer before the first step, and rows are checked by the {@link RecordScanner} after the last.
 */
export class Shaper {
  /** Whether each row so far, in order, is kept. */
  readonly kept: boolean[] = [];
  /** Why rows so far cannot be stored, by their places. */
  readonly refusals = new Map<number, string>();
  /** Notes on what was done to records so far. */
  remarks: Note[] = [];

  /** The named members of records so far; undefined where the configuration names none. */
  get named(): NamedMembers | undefined {
    return this.made?.named;
  }

  private readonly columns: Columns;
  private readonly made: MadeColumns | null;
  private readonly steps: readonly ShapingStep[];

  constructor(private readonly options: ShaperOptions) {
    const { shape, columns, parent, identity, hashKeys } = options;
    this.columns = new Columns(shape, columns, parent, identity);
    const isMade = shape.made !== undefined || shape.exclude !== undefined || shape.items !== undefined;
    this.made = isMade ? new MadeColumns(shape, identity.primaryKey, hashKeys) : null;
    this.steps = this.stepsOf(shape);
  }

  /**
   * @param body with the records at a path.
   * @returns JSON text of the list of rows.
   */
  async *shaped(
    body: Bytes,
    records: readonly string[],
    onEnvelope: (document: JsonDocument) => void,
  ): Bytes {
    let before = '[';
    let drafts: Draft[] = [];
    let gathered = 0;
    const wanted = this.options.transform === undefined ? 1 : GATHERED;
    const scanner = new RecordScanner({
      records,
      primaryKey: [],
      cursorField: '',
      columns: [],
      remembers: { keys: 'none', values: 'none' },
      recordLimit: WHOLE_LIMIT,
      mask: this.options.mask,
      // Rows are made of these records, and looked at again by their columns.
      halves: 'keep',
      withholds: holdsSecrets(this.options.shape),
      keyOf: (record) => this.keyOf(record),
      sink: (lines) => {
        gathered += lines.length;
        for (const text of lines.toString('utf8').split('\n'))
          if (text.trim() !== '') drafts.push({ text, isKept: true });
      },
    });
    const taken = async (): Promise<string> => {
      const rows = await this.rowsOf(drafts);
      drafts = [];
      gathered = 0;
      if (rows.length === 0) return '';
      const text = `${before}${rows.join(',')}`;
      before = ',';
      return text;
    };
    for await (const chunk of body) {
      scanner.push(chunk);
      if (gathered >= wanted) yield Buffer.from(await taken());
    }
    // The end may show that a record is whole whose last bytes were too few to be worth a look.
    const document = scanner.end();
    const last = await taken();
    onEnvelope(document);
    this.remarks = scanner.remarks;
    yield Buffer.from(`${last}${before === '[' ? '[' : ''}]`);
  }

  /** The primary key of a record, for people, as it is stored. */
  private keyOf(record: string): string {
    const { made, columns } = this;
    const stored = made?.withoutSecrets(record) ?? record;
    return [...columns.keyTexts(stored), ...(made?.keyTexts(record) ?? [])].join(', ');
  }

  private async rowsOf(records: Draft[]): Promise<string[]> {
    let drafts = records;
    for (const step of this.steps) drafts = await step.apply(drafts);
    return drafts.map(({ text, isKept, refusal }) => {
      if (refusal !== undefined && isKept) this.refusals.set(this.kept.length, refusal);
      this.kept.push(isKept);
      return text;
    });
  }

  /** The steps that a stream needs, in order. A filter sees records as they came; columns see what other steps made. */
  private stepsOf({ where }: RecordShape): ShapingStep[] {
    const { made, columns } = this;
    const { transform } = this.options;
    const last = [...(made === null ? [] : [made]), columns];
    return [
      ...(where === null ? [] : [new Where(where)]),
      ...(transform === undefined ? [] : [new Transform(transform, last)]),
      ...last,
    ];
  }
}

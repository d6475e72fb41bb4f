import type { Json, RecordShape } from '../../protocol.js';
import { type Location, memberTexts, otherMembers } from '../../request/paths.js';
import { takenMembers } from './made.js';
import type { Draft, ShapingStep } from './step.js';

/** The columns that tell records apart and put them in order. */
export interface Identity {
  primaryKey: readonly string[];
  cursorField: string;
  /** Set if there are several cursor fields. */
  cursorFields?: { names: readonly string[] };
}

/** Makes rows of records: picks members for the columns, and adds what the parent gives. The last step. */
export class Columns implements ShapingStep {
  private readonly paths: Map<string, Location>;
  private readonly given: string[];
  /** Members of a record that are not part of the rest. */
  private readonly taken: ReadonlySet<string>;
  /** Members of a record that the filter leaves out: nothing else of it need fit. They may have no column of their own. */
  private readonly ofIdentity: Map<string, Location>;
  /** Paths of the parts of the primary key. */
  private readonly keyPaths: Map<string, Location>;

  constructor(
    private readonly shape: RecordShape,
    columns: readonly string[],
    parent: { [field: string]: Json },
    { primaryKey, cursorField, cursorFields }: Identity,
  ) {
    this.given = Object.entries(shape.parent).map(
      ([column, field]) => `${JSON.stringify(column)}:${JSON.stringify(parent[field] ?? null)}`,
    );
    const takenElsewhere = new Set([...Object.keys(shape.parent), ...takenMembers(shape)]);
    this.paths = new Map(
      columns
        .filter((column) => !takenElsewhere.has(column))
        .map((column) => [column, shape.from[column] ?? [column]]),
    );
    const only = (names: readonly string[]) =>
      new Map(
        names
          .filter((name) => name !== '' && !takenElsewhere.has(name))
          .map((name) => [name, shape.from[name] ?? [name]]),
      );
    this.ofIdentity = only([...primaryKey, cursorField, ...(cursorFields?.names ?? [])]);
    this.keyPaths = only(primaryKey);
    const whole = [...this.paths.values()].flatMap((path) => (path.length === 1 ? path.map(String) : []));
    this.taken = new Set([...this.paths.keys(), ...takenElsewhere, ...whole]);
  }

  apply(drafts: Draft[]): Draft[] {
    for (const draft of drafts) draft.text = this.row(draft);
    return drafts;
  }

  /** The parts of a record's primary key that are members of it, as JSON texts. */
  keyTexts(record: string): string[] {
    return [...memberTexts(record, this.keyPaths).values()];
  }

  private row({ text, isKept, made = [] }: Draft): string {
    const members = [...memberTexts(text, isKept ? this.paths : this.ofIdentity)].map(
      ([column, value]) => `${JSON.stringify(column)}:${value}`,
    );
    const rest = this.shape.rest === true && isKept ? otherMembers(text, this.taken) : [];
    const { raw } = this.shape;
    const whole = raw !== undefined && isKept ? [`${JSON.stringify(raw)}:${text}`] : [];
    return `{${[...members, ...made, ...this.given, ...whole, ...rest].join(',')}}`;
  }
}

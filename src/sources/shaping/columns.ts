import type { Json, RecordShape } from '../../protocol.js';
import { JsonTape } from '../../request/json-tape.js';
import { comparable } from '../../request/member-names.js';
import { type Location, memberTexts, placeAt } from '../../request/paths.js';
import { secretMembers, takenMembers } from './protection-of.js';
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
  /** Names of columns as JSON texts, in order. */
  private readonly names: string[] = [];
  /** Places of columns in that order, by the member that each takes as it is. */
  private readonly byMember = new Map<string, number[]>();
  /** Columns of values deeper in the record. */
  private readonly deeper: { place: number; path: Location }[] = [];
  private readonly given: string[];
  /** Members of a record that are not part of the rest. */
  private readonly taken: ReadonlySet<string>;
  /** Members that are stored nowhere as they are. */
  private readonly secrets: ReadonlySet<string>;
  /** Members of a record that the filter leaves out: nothing else of it need fit. They may have no column of their own. */
  private readonly ofIdentity: Map<string, Location>;
  /** Paths of the parts of the primary key. */
  private readonly keyPaths: Map<string, Location>;
  private readonly raw: string | null;

  constructor(
    private readonly shape: RecordShape,
    columns: readonly string[],
    parent: { [field: string]: Json },
    { primaryKey, cursorField, cursorFields }: Identity,
  ) {
    this.given = Object.entries(shape.parent).map(
      ([column, field]) => `${JSON.stringify(column)}:${JSON.stringify(parent[field] ?? null)}`,
    );
    this.raw = shape.raw === undefined ? null : JSON.stringify(shape.raw);
    this.secrets = secretMembers(shape);
    const takenElsewhere = new Set([...Object.keys(shape.parent), ...takenMembers(shape)]);
    const pathOf = (name: string): Location => shape.from[name] ?? [name];
    const isTaken = (column: string) => {
      const [member, ...inner] = pathOf(column);
      return takenElsewhere.has(column) || (inner.length === 0 && this.isSecret(String(member)));
    };
    for (const column of columns) if (!isTaken(column)) this.addColumn(column, pathOf(column));
    const only = (names: readonly string[]) =>
      new Map(names.filter((name) => name !== '' && !isTaken(name)).map((name) => [name, pathOf(name)]));
    this.ofIdentity = only([...primaryKey, cursorField, ...(cursorFields?.names ?? [])]);
    this.keyPaths = only(primaryKey);
    this.taken = new Set([...columns, ...takenElsewhere, ...this.byMember.keys()]);
  }

  apply(drafts: Draft[]): Draft[] {
    for (const draft of drafts) draft.text = draft.isKept ? this.row(draft) : this.identityRow(draft);
    return drafts;
  }

  /** The parts of a record's primary key that are members of it, as JSON texts. */
  keyTexts(record: string): string[] {
    return [...memberTexts(record, this.keyPaths).values()];
  }

  private isSecret(name: string): boolean {
    return this.secrets.size > 0 && this.secrets.has(comparable(name));
  }

  private addColumn(column: string, path: Location): void {
    const place = this.names.push(JSON.stringify(column)) - 1;
    const [member] = path;
    if (path.length > 1 || typeof member !== 'string') this.deeper.push({ place, path });
    else this.byMember.set(member, [...(this.byMember.get(member) ?? []), place]);
  }

  private row({ text, unmade = text, made = [], tape = new JsonTape(text) }: Draft): string {
    const values = new Array<number>(this.names.length).fill(-1);
    const rest: string[] = [];
    const hasRest = this.shape.rest === true;
    if (tape.size > 0)
      tape.eachMember(0, (name, nameAt, valueAt) => {
        const places = this.byMember.get(name);
        if (places !== undefined) for (const place of places) values[place] = valueAt;
        else if (hasRest && !this.taken.has(name) && !this.isSecret(name)) rest.push(tape.memberText(nameAt));
      });
    for (const { place, path } of this.deeper) values[place] = placeAt(tape, path) ?? -1;
    const members: string[] = [];
    for (const [place, at] of values.entries())
      if (at !== -1) members.push(`${this.names[place] ?? ''}:${tape.textOf(at)}`);
    if (made.length > 0) members.push(...made);
    if (this.given.length > 0) members.push(...this.given);
    if (this.raw !== null) members.push(`${this.raw}:${unmade}`);
    return `{${members.concat(rest).join(',')}}`;
  }

  /** What is left of a record that the filter leaves out. */
  private identityRow({ text, made = [] }: Draft): string {
    const members = [...memberTexts(text, this.ofIdentity)].map(
      ([column, value]) => `${JSON.stringify(column)}:${value}`,
    );
    return `{${[...members, ...made, ...this.given].join(',')}}`;
  }
}

/**
 * Keeps members that are left out, hashed or masked out of whatever else is stored of a record: other members that hold
 * them, and the record as a whole.
 */
import type { JsonTape } from '../../request/json-tape.js';
import { comparable } from '../../request/member-names.js';
import type { Replacement } from './digest.js';

/** Names on the way to a member, through lists, in whatever case; null is any name. */
export type MemberPattern = readonly (string | null)[];

/** What happens to a member: nothing of it stays, or its replacement. */
export type Treatment = 'drop' | Replacement;

interface Node {
  /** By comparable names. */
  named: Map<string, Node>;
  any: Node | null;
  treatment: Treatment | null;
  /** Treatment of a value that is no object, or of each such item of a list. */
  ofValues: Treatment | null;
}

const emptyNode = (): Node => ({ named: new Map(), any: null, treatment: null, ofValues: null });

export class Protection {
  private readonly root = emptyNode();

  /** Adds a member. Of several treatments the first counts, but one that leaves nothing counts always. */
  add(pattern: MemberPattern, treatment: Treatment): void {
    const node = this.nodeAt(pattern);
    if (node.treatment === null || treatment === 'drop') node.treatment = treatment;
  }

  /** Adds the items of a list that are no objects; so is treated what stands in place of the list. */
  addValues(pattern: MemberPattern, treatment: Treatment): void {
    const node = this.nodeAt(pattern);
    if (node.ofValues === null || treatment === 'drop') node.ofValues = treatment;
  }

  private nodeAt(pattern: MemberPattern): Node {
    let node = this.root;
    for (const name of pattern) {
      let next = name === null ? node.any : node.named.get(comparable(name));
      if (next == null) {
        next = emptyNode();
        if (name === null) node.any = next;
        else node.named.set(comparable(name), next);
      }
      node = next;
    }
    return node;
  }

  get isEmpty(): boolean {
    return this.root.any === null && this.root.named.size === 0;
  }

  /** The record as it may be stored; every other value stands as it stood. */
  applied(tape: JsonTape): string {
    return this.isEmpty || tape.size === 0 ? tape.text : write(tape, 0, [this.root]);
  }
}

function write(tape: JsonTape, at: number, nodes: readonly Node[]): string {
  if (nodes.length === 0) return tape.textOf(at);
  if (tape.isList(at))
    return `[${tape
      .items(at)
      .map((item) => write(tape, item, nodes))
      .join(',')}]`;
  if (!tape.isObject(at)) return value(tape, at, nodes);
  const members: string[] = [];
  tape.eachMember(at, (name, nameAt, valueAt) => {
    const inner = below(nodes, name);
    const text = inner.length === 0 ? tape.textOf(valueAt) : member(tape, valueAt, inner);
    if (text !== null) members.push(`${tape.textOf(nameAt)}:${text}`);
  });
  return `{${members.join(',')}}`;
}

/** The text of a value that is no object. */
function value(tape: JsonTape, at: number, nodes: readonly Node[]): string {
  const treatments = nodes.flatMap(({ ofValues }) => ofValues ?? []);
  const [first] = treatments;
  if (first === undefined) return tape.textOf(at);
  return first === 'drop' || treatments.includes('drop') ? 'null' : first(tape, at);
}

/** The text of a member's value; null where it is left out. */
function member(tape: JsonTape, at: number, nodes: readonly Node[]): string | null {
  const treatments = nodes.flatMap(({ treatment }) => treatment ?? []);
  if (treatments.includes('drop')) return null;
  const [first] = treatments;
  return first === undefined || first === 'drop' ? write(tape, at, nodes) : first(tape, at);
}

function below(nodes: readonly Node[], name: string): readonly Node[] {
  const found: Node[] = [];
  const compared = comparable(name);
  for (const { named, any } of nodes) {
    const own = named.get(compared);
    if (own !== undefined) found.push(own);
    if (any !== null) found.push(any);
  }
  return found;
}

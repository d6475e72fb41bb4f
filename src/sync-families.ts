/** Groups syncs with their streams, backfills and audits. */
import type { RangeKind } from './protocol.js';

/** A range that is read beside a sync. */
export interface RangeOf {
  kind: RangeKind;
  /** The id of the sync, or of its stream. */
  sync: string;
}

/** A workflow, and the one that it belongs to. */
export interface Related {
  id: string;
  /** The sync of several streams that this one is a stream of. */
  parent: string | null;
  range: RangeOf | null;
}

/** A sync with its streams, backfills and audits. */
export interface Family<Sync> {
  sync: Sync;
  /** Sorted by id. */
  children: Sync[];
}

/** Returns each sync with what belongs to it; a workflow whose sync is not among them is a family of its own. */
export function familiesOf<Sync extends Related>(syncs: readonly Sync[]): Family<Sync>[] {
  const byId = new Map(syncs.map((sync) => [sync.id, sync]));
  const families = new Map<string, Family<Sync>>();
  const headOf = (sync: Sync, depth = 0): Sync => {
    const owner = byId.get(sync.parent ?? sync.range?.sync ?? '');
    return owner === undefined || depth > DEEPEST ? sync : headOf(owner, depth + 1);
  };
  for (const sync of syncs) if (headOf(sync) === sync) families.set(sync.id, { sync, children: [] });
  for (const sync of syncs) {
    const head = headOf(sync);
    if (head !== sync) families.get(head.id)?.children.push(sync);
  }
  for (const { children } of families.values()) children.sort((a, b) => (a.id < b.id ? -1 : 1));
  return [...families.values()];
}

/** A range of a stream of a sync. */
const DEEPEST = 2;

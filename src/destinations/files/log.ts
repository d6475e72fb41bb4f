/** The log of a stream, as its manifests tell it. */
import type { StreamKey } from '../../protocol.js';
import { sameKey, type StreamLog, type StreamOfTable } from '../checkpoints.js';
import type { History, HistoryEntry, HistoryRequest } from '../destination.js';
import { Manifests, tableFolder, type Manifest, type ManifestCheckpoint } from './manifest.js';
import type { ObjectStore } from './object-store.js';

export const streamOf = ({ strategy, source, range }: StreamOfTable): StreamOfTable => ({
  strategy,
  source,
  range,
});

export const checkpointOf = (manifest: Manifest | null, key: StreamKey): ManifestCheckpoint | undefined =>
  manifest?.checkpoints.find((one) => sameKey(one, key));

/** Reads the history of a stream from a store. */
export async function historyIn(store: ObjectStore, { key, limit }: HistoryRequest): Promise<History> {
  const manifests = new Manifests(store, tableFolder(key));
  const manifest = await manifests.latest();
  const own = checkpointOf(manifest, key);
  if (manifest === null || own === undefined) return { stored: null, total: 0, entries: [] };
  const entries = await entriesOf(manifests, manifest, key);
  const { id, cursor, holder, updated_at: since } = own;
  return {
    stored: { checkpoint: { id, cursor }, holder, since },
    total: entries.length,
    entries: entries.slice(0, limit),
  };
}

/** Reads the commits and moves of a stream, newest first. */
async function entriesOf(manifests: Manifests, manifest: Manifest, key: StreamKey): Promise<HistoryEntry[]> {
  const isOwn = (one: StreamOfTable) => sameKey(one, key);
  const commits = (await manifests.commits(manifest)).filter(isOwn).map((commit): HistoryEntry => {
    const { batch, base, cursor, pages, records, rows } = commit;
    const [at, workflowId] = [commit.committed_at, commit.workflow_id];
    return {
      id: batch,
      base,
      at,
      workflowId,
      pages,
      records,
      rows,
      moved: null,
      ...(cursor !== undefined && { cursor }),
    };
  });
  const moves = (manifest.moves ?? []).filter(isOwn).map((move): HistoryEntry => {
    const { id, base, cursor, moved } = move;
    const [at, workflowId] = [move.moved_at, move.workflow_id];
    return { id, base, at, cursor, workflowId, pages: 0, records: 0, rows: 0, moved };
  });
  const order = new Map([...commits, ...moves].map(({ id, base }) => [base, id]));
  // Within one millisecond, an entry follows the one it is based on.
  return [...commits, ...moves].sort((a, b) =>
    a.at === b.at ? (order.get(a.id) === b.id ? 1 : -1) : a.at < b.at ? 1 : -1,
  );
}

export const logOf = (manifests: Manifests, manifest: Manifest | null, key: StreamKey): StreamLog => ({
  entries: async ({ batch, until, limit }) => {
    const all = manifest === null ? [] : await entriesOf(manifests, manifest, key);
    const bound = until === undefined ? Infinity : Date.parse(until);
    return all.filter(({ id, at }) => id.startsWith(batch ?? '') && Date.parse(at) <= bound).slice(0, limit);
  },
  hasMoved: (id) =>
    Promise.resolve((manifest?.moves ?? []).some((move) => move.id === id && move.strategy === key.strategy)),
});

/** Claiming a stream of files, also of a table whose files are lost in part. */
import { randomUUID } from 'node:crypto';
import { DestinationError } from '../../errors.js';
import type { TableSpec } from '../../protocol.js';
import { claimOf, movedClaim, refuseOtherTypes, sameKey, startsAnew, isRange } from '../checkpoints.js';
import { keyChanged, keyText, otherKey, STARTED_OVER_GONE } from '../fingerprint.js';
import type { OpenRequest, OpenResult } from '../destination.js';
import { columnsOf } from './columns.js';
import { checkpointOf, logOf, streamOf } from './log.js';
import {
  storedIn,
  type Manifest,
  type ManifestCheckpoint,
  type ManifestMove,
  type Manifests,
} from './manifest.js';

/** Lost data files: all of a table, whose streams then start over, or some of a table that is read again anyway. */
interface Lost {
  paths: ReadonlySet<string>;
  isAll: boolean;
}

/**
 * Finds data files that the manifest names and the store has lost.
 * @throws {DestinationError} if some are lost, and their rows would not be read again.
 */
export async function lostFiles(manifests: Manifests, request: OpenRequest, name: string): Promise<Lost> {
  const manifest = await manifests.latest();
  const paths = manifest === null ? [] : await manifests.missing(manifest);
  if (manifest === null || paths.length === 0) return { paths: new Set(), isAll: false };
  const named = (await manifests.commits(manifest)).reduce((sum, { files }) => sum + files.length, 0);
  const isAll = paths.length === named;
  if (!isAll && (isRange(request.key) || !startsAnew(request))) {
    const shown = paths.slice(0, LOST_SHOWN).map((path) => `${manifests.folder}${path}`);
    const more = paths.length > shown.length ? `, and ${paths.length - shown.length} more` : '';
    throw new DestinationError(
      `${name} has lost ${paths.length} of the ${named} data files of ${request.table.schema}.${request.table.table}, which the ` +
        `manifest lists: ${shown.join(', ')}${more}. Restore them and run "highwater resume"; or run "highwater resync" (start with ` +
        '--full), which continues without them and reads everything again.',
    );
  }
  return { paths: new Set(paths), isAll };
}
const LOST_SHOWN = 5;

/** Claims a stream; returns null if the table has a new holder, which is not in `asked`. */
export async function claim(
  manifests: Manifests,
  request: OpenRequest,
  { asked, database, lost }: { asked: ReadonlySet<string>; database: string; lost: Lost },
): Promise<OpenResult | null> {
  const { key, table, holder } = request;
  for (;;) {
    const found = await manifests.latest();
    const now = new Date().toISOString();
    const isLost = found !== null && lost.paths.size > 0;
    const manifest = isLost ? await withoutLost(manifests, found, lost, now) : found;
    refuseOthers(table, manifest);
    refuseOtherKey(request, manifest);
    const stored = storedIn(manifest, key);
    const claimed = claimOf(stored, request, asked);
    if (claimed === null) return null;
    const own = checkpointOf(manifest, key);
    const log = logOf(manifests, manifest, key);
    const isGone = lost.isAll && checkpointOf(found, key)?.cursor != null;
    const recorded = own?.fingerprint ?? null;
    const moved = await movedClaim(claimed, own, request, log, { recorded, isGone });
    const { checkpoint, neighbours, takenOver, isNew, said, record, notes } = moved;
    const result: OpenResult = { checkpoint, database, neighbours, ...(notes.length > 0 && { notes }) };
    const { schemas } = withSchema(manifest, table);
    const isSame = schemas.length === manifest?.schemas.length && record === null && !isLost;
    if (!isNew && takenOver.length === 0 && isSame) return result;
    const others = (manifest?.checkpoints ?? [])
      .filter((one) => one !== own)
      .map((one) =>
        takenOver.some((other) => sameKey(other, one))
          ? { ...one, id: randomUUID(), holder, updated_at: now }
          : one,
      )
      .map((one) => withoutOtherKey(one, table));
    const fingerprint = record ?? own?.fingerprint;
    const kept = fingerprint !== undefined && { fingerprint };
    const mine: ManifestCheckpoint = {
      ...streamOf(key),
      ...checkpoint,
      holder,
      updated_at: now,
      rows: own?.rows ?? 0,
      rejected: own?.rejected ?? 0,
      marks: said !== null && checkpoint.cursor === null ? [] : (own?.marks ?? []),
      ...kept,
    };
    const moves: ManifestMove[] = [...(manifest?.moves ?? [])];
    if (said !== null)
      moves.push({
        ...streamOf(key),
        id: checkpoint.id,
        base: own?.id ?? '',
        cursor: checkpoint.cursor,
        workflow_id: holder.workflowId,
        moved: said,
        moved_at: now,
      });
    const isMade = await manifests.append(found, {
      schema: key.schema,
      table: key.table,
      primary_key: table.primaryKey,
      schemas,
      checkpoints: [...others, isNew || own === undefined ? mine : { ...own, ...kept }],
      ...(moves.length > 0 && { moves }),
      sealed: manifest?.sealed ?? [],
      commits: manifest?.commits ?? [],
    });
    if (isMade) return result;
  }
}

/** Returns the manifest without lost files; if all are lost, its streams start over. */
async function withoutLost(
  manifests: Manifests,
  manifest: Manifest,
  { paths, isAll }: Lost,
  now: string,
): Promise<Manifest> {
  const whole = { ...manifest, ...(await manifests.without(manifest, paths)) };
  if (!isAll) return whole;
  const moves: ManifestMove[] = [...(manifest.moves ?? [])];
  const checkpoints = manifest.checkpoints.map((one): ManifestCheckpoint => {
    if (one.cursor === null || isRange(one)) return one;
    const { id: base, holder, fingerprint } = one;
    const id = randomUUID();
    moves.push({
      ...streamOf(one),
      id,
      base,
      cursor: null,
      workflow_id: holder.workflowId,
      moved: STARTED_OVER_GONE,
      moved_at: now,
    });
    const recorded = fingerprint !== undefined && {
      fingerprint: { is: fingerprint.is, gone: true as const },
    };
    return { ...one, id, cursor: null, updated_at: now, marks: [], ...recorded };
  });
  return { ...whole, checkpoints, moves };
}

/** @throws {DestinationError} if rows were written by another primary key, and are not read again now. */
function refuseOtherKey(request: OpenRequest, manifest: Manifest | null): void {
  const { key, table } = request;
  const recorded = (manifest?.checkpoints ?? []).flatMap(({ fingerprint }) => fingerprint ?? []);
  const was = otherKey(recorded, table);
  const hasRows =
    manifest?.commits.some(({ rows }) => rows > 0) === true || (manifest?.sealed.length ?? 0) > 0;
  if (was === null || !hasRows) return;
  if (isRange(key) || !startsAnew(request)) throw keyChanged(table, keyText(was, table.primaryKey));
}

/** Returns a checkpoint without a recorded configuration of another primary key: opening its stream records it again. */
function withoutOtherKey({ fingerprint, ...rest }: ManifestCheckpoint, table: TableSpec): ManifestCheckpoint {
  const isKept = fingerprint !== undefined && otherKey([fingerprint], table) === null;
  return isKept ? { ...rest, fingerprint } : rest;
}

/** Returns the manifest's sets of columns including the declared one, and the index of that one. */
export function withSchema(
  manifest: Manifest | null,
  { columns }: TableSpec,
): { schemas: Manifest['schemas']; schema: number } {
  const schemas = manifest?.schemas ?? [];
  const text = JSON.stringify(columns);
  const known = schemas.findIndex((one) => JSON.stringify(one) === text);
  return known !== -1
    ? { schemas, schema: known }
    : { schemas: [...schemas, columns], schema: schemas.length };
}

/** @throws {DestinationError} if the table has a column with another type. */
export function refuseOthers(table: TableSpec, manifest: Manifest | null): void {
  const existing = new Map(
    columnsOf({ schemas: manifest?.schemas ?? [] }).map(([name, type]) => [name.toLowerCase(), type]),
  );
  const differences = Object.entries(table.columns).flatMap(([name, type]) => {
    const is = existing.get(name.toLowerCase());
    return is === undefined || is === type ? [] : [`${name} is ${is} in the files, but declared as ${type}`];
  });
  refuseOtherTypes(table, differences);
}

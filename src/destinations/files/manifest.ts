/**
 * Manifests: a table of files consists of the files that its manifest names. Each commit makes the next version of the
 * manifest, which is put only if no other writer has put it: that is the compare-and-set.
 */
import { randomUUID } from 'node:crypto';
import { DestinationBusyError, DestinationError } from '../../errors.js';
import type { ColumnType, Cursor, Holder, StreamKey } from '../../protocol.js';
import { competingWith, type StoredCheckpoint, type StreamOfTable } from '../checkpoints.js';
import type { Recorded } from '../fingerprint.js';
import type { ObjectStore } from './object-store.js';

/** The form that is written. In form 1, which is read too, a range was a part of `source`. */
const FORM = 2;
/** Maximum commits in the manifest itself; older ones are in lists of this length, which it names. */
export const OPEN_COMMITS = 100;
/** Number of manifest versions kept for readers. */
export const KEPT_VERSIONS = 200;

/** A file of a table; its path is relative to the table's folder. */
export interface TableFile {
  path: string;
  rows: number;
  bytes: number;
  sha256: string;
  /** NDJSON: the length of the longest line, in bytes. */
  longest?: number;
}

/** A committed batch. */
export interface Commit extends StreamOfTable {
  version: number;
  batch: string;
  base: string;
  workflow_id: string;
  pages: number;
  records: number;
  rows: number;
  /** Rows that a range has left as they are; absent: none. */
  left?: number;
  /** The stream's cursor after it; absent in commits of older versions. */
  cursor?: Cursor;
  committed_at: string;
  /** Index of its files' columns in the manifest's `schemas`. */
  schema: number;
  files: TableFile[];
  rejects: TableFile[];
}

/** A move of a checkpoint. */
export interface ManifestMove extends StreamOfTable {
  id: string;
  base: string;
  cursor: Cursor | null;
  workflow_id: string;
  moved: string;
  moved_at: string;
}

/** The checkpoint of a stream: one per strategy, source and range. */
export interface ManifestCheckpoint extends StreamOfTable {
  id: string;
  cursor: Cursor | null;
  holder: Holder;
  updated_at: string;
  /** Rows that its last commit wrote, and records that it quarantined. */
  rows: number;
  rejected: number;
  /** Files of parents' marks; of several marks of a parent, the last counts. */
  marks: TableFile[];
  /** The configuration that gives the cursor its meaning; absent in manifests of older versions. */
  fingerprint?: Recorded;
}

export interface Manifest {
  highwater: number;
  version: number;
  schema: string;
  table: string;
  primary_key: string[];
  /** All sets of columns that files were written with, newest last. */
  schemas: { [column: string]: ColumnType }[];
  checkpoints: ManifestCheckpoint[];
  /** Absent if there were none. */
  moves?: ManifestMove[];
  /** Lists of older commits, in order. */
  sealed: string[];
  /** Later commits, in order. */
  commits: Commit[];
}

/** Returns a folder name for a name: letters are kept, and characters that are special to file systems or readers encoded. */
export function folderName(name: string): string {
  return [...name.toLowerCase()]
    .map((c, i) => (/[\p{L}\p{N}\p{M}-]/u.test(c) || (c === '_' && i > 0) ? c : encoded(c)))
    .join('');
}
const encoded = (c: string) =>
  [...Buffer.from(c)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');

/** The folder of a table's files. Names that differ only in case share one, as in DuckDB. */
export const tableFolder = ({ schema, table }: Pick<StreamKey, 'schema' | 'table'>): string =>
  `${folderName(schema)}/${folderName(table)}/`;

export const ownFolder = (folder: string) => `${folder}_highwater/`;
const manifestFolder = (folder: string) => `${ownFolder(folder)}manifest/`;
const manifestKey = (folder: string, version: number) =>
  `${manifestFolder(folder)}${String(version).padStart(20, '0')}.json`;

/** The manifest of a table in a store. */
export class Manifests {
  constructor(
    private readonly store: ObjectStore,
    readonly folder: string,
  ) {}

  /** Reads the latest version; null if there is none. */
  async latest(): Promise<Manifest | null> {
    for (;;) {
      const newest = (await this.versions()).at(-1);
      if (newest === undefined) return null;
      const key = manifestKey(this.folder, newest);
      const body = await this.store.get(key);
      // Removed as old since the list was read.
      if (body === null) continue;
      const manifest = parsed<Manifest>(body, `${this.store.name}/${key}`);
      return manifest.highwater === FORM ? manifest : fromForm1(manifest);
    }
  }

  /**
   * Makes the version that follows `before`.
   * @returns false if another writer has made it.
   */
  async append(before: Manifest | null, next: Omit<Manifest, 'highwater' | 'version'>): Promise<boolean> {
    const version = (before?.version ?? 0) + 1;
    const whole: Manifest = { ...(await this.sealed(next)), highwater: FORM, version };
    const key = manifestKey(this.folder, version);
    const body = JSON.stringify(whole);
    if (!(await this.store.putIfAbsent(key, body))) {
      // A request that was repeated because its answer was lost finds its own body.
      const there = await this.store.get(key);
      if (there === null)
        throw new DestinationBusyError(`${this.store.name}/${key} existed a moment ago and is gone now`);
      if (there.toString('utf8') !== body) return false;
    }
    const versions = await this.versions();
    const newest = versions.at(-1) ?? version;
    // A process that was suspended for long could put its version again after it was removed as old.
    if (newest >= version + KEPT_VERSIONS) {
      throw new DestinationBusyError(
        `${this.store.name}/${this.folder} got ${newest - version} newer versions while this one was being written`,
      );
    }
    const old = versions.filter((one) => one < version - KEPT_VERSIONS);
    await this.store.delete(old.map((one) => manifestKey(this.folder, one))).catch(() => undefined);
    return true;
  }

  /** Reads all commits, in order. */
  async commits({ sealed, commits }: Manifest): Promise<Commit[]> {
    const older: Commit[] = [];
    for (const path of sealed) older.push(...(await this.list(path)));
    return [...older, ...commits];
  }

  private async list(path: string): Promise<Commit[]> {
    const key = `${this.folder}${path}`;
    const body = await this.store.get(key);
    if (body === null)
      throw new DestinationError(`${this.store.name} has lost ${key}, which its manifest lists`);
    const list = parsed<{ highwater: number; commits: Commit[] }>(body, `${this.store.name}/${key}`);
    return list.highwater === FORM ? list.commits : list.commits.map(withRange);
  }

  /** Finds data files that the manifest names and the store has lost. */
  async missing(manifest: Manifest): Promise<string[]> {
    const named = (await this.commits(manifest)).flatMap(({ files }) => files.map(({ path }) => path));
    const folders = new Set(named.map((path) => path.slice(0, path.lastIndexOf('/') + 1)));
    const there = new Set<string>();
    for (const folder of folders)
      for (const key of await this.store.list(`${this.folder}${folder}`)) there.add(key);
    return named.filter((path) => !there.has(`${this.folder}${path}`));
  }

  /** Returns the commits of a manifest without lost files, so that readers do not request them. */
  async without(
    { sealed, commits }: Manifest,
    lost: ReadonlySet<string>,
  ): Promise<Pick<Manifest, 'sealed' | 'commits'>> {
    const kept = (commit: Commit): Commit => ({
      ...commit,
      files: commit.files.filter(({ path }) => !lost.has(path)),
    });
    const lists: string[] = [];
    for (const path of sealed) {
      const list = await this.list(path);
      if (!list.some(({ files }) => files.some((file) => lost.has(file.path)))) {
        lists.push(path);
        continue;
      }
      // Lists never change, so this becomes a new one.
      const other = path.replace(/(-[0-9a-f]{8})?\.json$/, `-${randomUUID().slice(0, 8)}.json`);
      await this.store.putIfAbsent(
        `${this.folder}${other}`,
        JSON.stringify({ highwater: FORM, commits: list.map(kept) }),
      );
      lists.push(other);
    }
    return { sealed: lists, commits: commits.map(kept) };
  }

  /** Moves a full list of commits into a file of its own, so that versions stay small. */
  private async sealed<T extends Pick<Manifest, 'sealed' | 'commits'>>(next: T): Promise<T> {
    const { commits } = next;
    const [first] = commits;
    const last = commits[OPEN_COMMITS - 1];
    // The newest commit stays: it is not committed yet, and another may take its place.
    if (first === undefined || last === undefined || commits.length === OPEN_COMMITS) return next;
    const path = `_highwater/commits/${first.version}-${last.version}.json`;
    const full = commits.slice(0, OPEN_COMMITS);
    // Any other writer puts the same content.
    await this.store.putIfAbsent(`${this.folder}${path}`, JSON.stringify({ highwater: FORM, commits: full }));
    return { ...next, sealed: [...next.sealed, path], commits: commits.slice(OPEN_COMMITS) };
  }

  private async versions(): Promise<number[]> {
    const keys = await this.store.list(manifestFolder(this.folder));
    return keys.flatMap((key) => /\/(\d{20})\.json$/.exec(key)?.[1] ?? []).map(Number);
  }
}

function parsed<T extends { highwater: number }>(body: Buffer, path: string): T {
  let value: T;
  try {
    value = JSON.parse(body.toString('utf8')) as T;
  } catch {
    throw new DestinationError(`${path} is damaged: it is not valid JSON`);
  }
  if (value.highwater === FORM || value.highwater === 1) return value;
  throw new DestinationError(
    `${path} was written by another version of Highwater (format ${String(value.highwater)}; this version reads format ${FORM})`,
  );
}

/** Splits the range from the source of an entry of form 1. */
export function withRange<T extends Omit<StreamOfTable, 'range'> & { range?: string }>(
  entry: T,
): T & StreamOfTable {
  if (entry.range !== undefined) return { ...entry, range: entry.range };
  const [, source = entry.source, range = ''] = /^(.*?)#((?:backfill|audit) .*)$/s.exec(entry.source) ?? [];
  return { ...entry, source, range };
}

function fromForm1(manifest: Manifest): Manifest {
  const { checkpoints, moves, commits } = manifest;
  return {
    ...manifest,
    checkpoints: checkpoints.map(withRange),
    commits: commits.map(withRange),
    ...(moves !== undefined && { moves: moves.map(withRange) }),
  };
}

/** Returns the checkpoints of a manifest that compete with a stream. */
export const storedIn = (manifest: Manifest | null, key: StreamKey): StoredCheckpoint[] =>
  competingWith(key, allIn(manifest, key));

/** Returns all checkpoints of a manifest, those of ranges included. */
export const allIn = (manifest: Manifest | null, key: StreamKey): StoredCheckpoint[] =>
  (manifest?.checkpoints ?? []).map(
    ({ strategy, source, range, id, cursor, holder, updated_at: updated }) => ({
      key: { schema: key.schema, table: key.table, strategy, source, range },
      id,
      cursor,
      holder,
      updated,
    }),
  );

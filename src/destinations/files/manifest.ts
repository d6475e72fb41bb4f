/**
 * What a table of files is: its manifest names every file that belongs to it, and nothing else does. Each commit makes
 * the next version, which is put only where nobody else has put it: that is the compare-and-set.
 */
import { randomUUID } from 'node:crypto';
import { DestinationBusyError, DestinationError } from '../../errors.js';
import type { ColumnType, Cursor, Holder, StreamKey } from '../../protocol.js';
import { thatMatter, type StoredCheckpoint, type StreamOfTable } from '../checkpoints.js';
import type { Recorded } from '../fingerprint.js';
import type { ObjectStore } from './object-store.js';

/** The form that is written. In form 1, which is read too, a range was a part of `source`. */
const FORM = 2;
/** So many commits stand in the manifest itself; older ones in lists of so many, which it names. */
export const OPEN_COMMITS = 100;
/** So many versions are kept; a reader of an older one had the time. */
export const KEPT_VERSIONS = 200;

/** A file of a table; its path begins at the table's folder. */
export interface TableFile {
  path: string;
  rows: number;
  bytes: number;
  sha256: string;
  /** NDJSON: the length of the longest line, in bytes. */
  longest?: number;
}

/** What one batch has added. */
export interface Commit extends StreamOfTable {
  version: number;
  batch: string;
  base: string;
  workflow_id: string;
  pages: number;
  records: number;
  rows: number;
  /** Where the stream stood then; absent from what older versions wrote. */
  cursor?: Cursor;
  committed_at: string;
  /** Which of the manifest's `schemas` its files have. */
  schema: number;
  files: TableFile[];
  rejects: TableFile[];
}

/** A checkpoint that was moved. */
export interface ManifestMove extends StreamOfTable {
  id: string;
  base: string;
  cursor: Cursor | null;
  workflow_id: string;
  moved: string;
  moved_at: string;
}

/** Where a stream stands: one for each strategy, source and range. */
export interface ManifestCheckpoint extends StreamOfTable {
  id: string;
  cursor: Cursor | null;
  holder: Holder;
  updated_at: string;
  /** What its last commit wrote and put aside. */
  rows: number;
  rejected: number;
  /** Marks of parents; of a parent that is there twice, the last. */
  marks: TableFile[];
  /** What gives the cursor its meaning; absent from what older versions wrote. */
  fingerprint?: Recorded;
}

export interface Manifest {
  highwater: number;
  version: number;
  schema: string;
  table: string;
  primary_key: string[];
  /** Every set of columns that files were written with, the latest last. */
  schemas: { [column: string]: ColumnType }[];
  checkpoints: ManifestCheckpoint[];
  /** Absent where there were none. */
  moves?: ManifestMove[];
  /** Lists of older commits, in order. */
  sealed: string[];
  /** The commits after those, in order. */
  commits: Commit[];
}

/** A name as a folder's: other letters are kept, what a file system or a reader may take for something else is not. */
export function folderName(name: string): string {
  const safe = [...name.toLowerCase()]
    .map((c, i) => (/[\p{L}\p{N}\p{M}-]/u.test(c) || (c === '_' && i > 0) ? c : encoded(c)))
    .join('');
  return safe;
}
const encoded = (c: string) =>
  [...Buffer.from(c)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');

/** Where a table's files lie. Names that differ in case only are one, as in DuckDB. */
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

  /** The latest version; null where there is none. */
  async latest(): Promise<Manifest | null> {
    for (;;) {
      const newest = (await this.versions()).at(-1);
      if (newest === undefined) return null;
      const key = manifestKey(this.folder, newest);
      const body = await this.store.get(key);
      // Gone between the two: very many commits came after it.
      if (body === null) continue;
      const manifest = parsed<Manifest>(body, `${this.store.name}/${key}`);
      return manifest.highwater === FORM ? manifest : fromForm1(manifest);
    }
  }

  /**
   * Makes the version that follows `before`.
   * @returns false where another has made it.
   */
  async append(before: Manifest | null, next: Omit<Manifest, 'highwater' | 'version'>): Promise<boolean> {
    const version = (before?.version ?? 0) + 1;
    const whole: Manifest = { ...(await this.sealed(next)), highwater: FORM, version };
    const key = manifestKey(this.folder, version);
    const body = JSON.stringify(whole);
    if (!(await this.store.putIfAbsent(key, body))) {
      // A request that was sent again because its answer was lost finds its own.
      const there = await this.store.get(key);
      if (there === null)
        throw new DestinationBusyError(`${this.store.name}/${key} was there, and is not any more`);
      if (there.toString('utf8') !== body) return false;
    }
    const versions = await this.versions();
    const newest = versions.at(-1) ?? version;
    // A process that was stopped for long finds the place of its version free once that was removed as old.
    if (newest >= version + KEPT_VERSIONS) {
      throw new DestinationBusyError(
        `${this.store.name}/${this.folder} went on by ${newest - version} versions while this one was written`,
      );
    }
    const old = versions.filter((one) => one < version - KEPT_VERSIONS);
    await this.store.delete(old.map((one) => manifestKey(this.folder, one))).catch(() => undefined);
    return true;
  }

  /** Every commit, in order. */
  async commits({ sealed, commits }: Manifest): Promise<Commit[]> {
    const older: Commit[] = [];
    for (const path of sealed) older.push(...(await this.list(path)));
    return [...older, ...commits];
  }

  private async list(path: string): Promise<Commit[]> {
    const key = `${this.folder}${path}`;
    const body = await this.store.get(key);
    if (body === null)
      throw new DestinationError(`${this.store.name} has lost ${key}, which its manifest names`);
    const list = parsed<{ highwater: number; commits: Commit[] }>(body, `${this.store.name}/${key}`);
    return list.highwater === FORM ? list.commits : list.commits.map(withRange);
  }

  /** The data files that the manifest names and that are not there. */
  async missing(manifest: Manifest): Promise<string[]> {
    const named = (await this.commits(manifest)).flatMap(({ files }) => files.map(({ path }) => path));
    const folders = new Set(named.map((path) => path.slice(0, path.lastIndexOf('/') + 1)));
    const there = new Set<string>();
    for (const folder of folders)
      for (const key of await this.store.list(`${this.folder}${folder}`)) there.add(key);
    return named.filter((path) => !there.has(`${this.folder}${path}`));
  }

  /** The lists of commits of a manifest without files that are lost, so that readers do not ask for them. */
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
      // Lists never change: this one is another.
      const other = path.replace(/(-[0-9a-f]{8})?\.json$/, `-${randomUUID().slice(0, 8)}.json`);
      await this.store.putIfAbsent(
        `${this.folder}${other}`,
        JSON.stringify({ highwater: FORM, commits: list.map(kept) }),
      );
      lists.push(other);
    }
    return { sealed: lists, commits: commits.map(kept) };
  }

  /** A list of commits that is full goes into a file of its own, so that versions stay small. */
  private async sealed<T extends Pick<Manifest, 'sealed' | 'commits'>>(next: T): Promise<T> {
    const { commits } = next;
    const [first] = commits;
    const last = commits[OPEN_COMMITS - 1];
    // Never the newest: it is not committed yet, and another may be in its place.
    if (first === undefined || last === undefined || commits.length === OPEN_COMMITS) return next;
    const path = `_highwater/commits/${first.version}-${last.version}.json`;
    const full = commits.slice(0, OPEN_COMMITS);
    // Whoever else puts it puts the same.
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
    throw new DestinationError(`${path} is damaged: it is no JSON`);
  }
  if (value.highwater === FORM || value.highwater === 1) return value;
  throw new DestinationError(
    `${path} was written by another version of Highwater (form ${String(value.highwater)}, this one knows ${FORM})`,
  );
}

/** The stream of an entry; those of form 1 have their range at the end of the source. */
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

/** The checkpoints of a table, as all destinations know them. */
export const storedIn = (manifest: Manifest | null, key: StreamKey): StoredCheckpoint[] =>
  thatMatter(key, allIn(manifest, key));

/** Those of ranges too. */
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

/**
 * Records as the source sent them, where a transform makes none, one or several rows of each: paging counts these records, and sees
 * their keys and cursor values, whatever becomes of them.
 */
import { createHash } from 'node:crypto';
import { type Location, memberTexts } from '../request/paths.js';
import type { CursorFields } from './cursor-values.js';
import { ScanError } from './record-scanner.js';

/** A record as the source sent it. */
export interface Origin {
  /** Its primary key; a digest of the record where it lacks a part of the key, which the transform then makes. */
  key: string;
  /** Its cursor value; null if it has none. */
  value: string | null;
  /** Its place among the records of the answer, from 0. */
  place: number;
  /** Number of rows that are made of it. */
  rows: number;
  text: string;
}

export interface OriginsOptions {
  primaryKey: readonly string[];
  cursorField: string;
  cursorFields?: CursorFields;
  /** The next request sends the key of the last record. */
  sendsKeys: boolean;
  /** The text of a record may not be told, nor anything that is made of it. */
  withholds: boolean;
}

/** The records of an answer, in their order, until the rows that are made of them have been scanned. */
export class Origins {
  /** Records so far. */
  count = 0;
  /** Records so far of which the transform made no row. */
  dropped = 0;
  private waiting: Origin[] = [];
  /** Number of rows taken of the first of these. */
  private taken = 0;
  private readonly names: ReadonlyMap<string, Location>;
  private readonly cursorNames: readonly string[];

  constructor(readonly options: OriginsOptions) {
    const { primaryKey, cursorField, cursorFields } = options;
    this.cursorNames = cursorFields?.names ?? (cursorField === '' ? [] : [cursorField]);
    this.names = new Map([...primaryKey, ...this.cursorNames].map((name) => [name, [name]]));
  }

  /**
   * Notes a record and how many rows are made of it.
   * @param record.identity JSON text of an object with its key and its cursor value.
   * @throws {ScanError}
   */
  add({ text, identity, rows }: { text: string; identity: string; rows: number }): void {
    const members = memberTexts(identity, this.names);
    this.waiting.push({
      key: this.key(this.options.withholds ? identity : text, members),
      value: this.value(members),
      place: this.count++,
      rows,
      text,
    });
  }

  /**
   * Takes the origins of the next rows.
   * @returns that of each row, and the records of which no more rows follow.
   */
  take(rows: number): { owners: Origin[]; done: Origin[] } {
    const owners: Origin[] = [];
    const done: Origin[] = [];
    for (const first of this.waiting) {
      const mine = Math.min(first.rows - this.taken, rows - owners.length);
      for (let i = 0; i < mine; i++) owners.push(first);
      this.taken += mine;
      if (this.taken < first.rows) break;
      done.push(first);
      this.taken = 0;
    }
    this.waiting = this.waiting.slice(done.length);
    return { owners, done };
  }

  /** @param text of which a digest is made, where a part of the key is missing. */
  private key(text: string, members: ReadonlyMap<string, string>): string {
    const { primaryKey, sendsKeys } = this.options;
    const parts = primaryKey.map((column) => exactText(members.get(column)));
    if (parts.every((part) => part !== null))
      return parts.length === 1 ? (parts[0] ?? '') : JSON.stringify(parts);
    if (sendsKeys) {
      const missing = primaryKey.filter((_, i) => parts[i] === null).join(', ');
      throw new ScanError(
        `record ${this.count} has no ${missing}: the next request sends the primary key of a record as the source sent it, before the transform`,
        'record',
      );
    }
    return createHash('sha256').update(text).digest('base64url').slice(0, DIGEST_LENGTH);
  }

  private value(members: ReadonlyMap<string, string>): string | null {
    const texts = this.cursorNames.map((name) => exactText(members.get(name)));
    return this.options.cursorFields?.pick(texts) ?? texts[0] ?? null;
  }
}

const DIGEST_LENGTH = 22;

/** The text of a string, or of any other value as it was sent; null for none. */
const exactText = (json: string | undefined): string | null =>
  json === undefined || json === 'null' ? null : json.startsWith('"') ? (JSON.parse(json) as string) : json;

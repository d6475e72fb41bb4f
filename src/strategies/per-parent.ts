import type { Cursor, Json, Note, PageRequest, PageSummary, PageTexts } from '../protocol.js';
import { beginPass, endPass, positionOf, withNote } from './cursors.js';
import type { Strategy } from './strategy.js';

/** A row of the parent's table, as requests and rows refer to it. */
export type Parent = {
  /** Its primary key, as text; parents are walked in this order. */
  key: string[];
  fields: { [name: string]: Json };
};

export type PerParentPosition = {
  /** The parent whose records are being read; null between two. */
  parent: Parent | null;
  inner: Cursor | null;
  /** The last parent that is done. */
  after: string[] | null;
  done: number;
  /** The mark of that parent, which is kept beside the table: a cursor does not grow with the number of parents. */
  finished: { parent: string[]; mark: Json } | null;
};

export type PerParentCursor = Cursor<null, PerParentPosition>;

/** A strategy that is run for each row of a parent's table in turn. */
export interface PerParentStrategy extends Strategy<PerParentCursor> {
  /**
   * Goes on to the next parent; null = there is none.
   * @param mark what the pass before has proven of it.
   */
  enter(cursor: PerParentCursor, parent: Parent | null, mark: Json | null, now: string): PerParentCursor;
  /** The first request for a parent that comes later. */
  firstRequest(cursor: PerParentCursor, parent: Parent, mark: Json | null, now: string): PageRequest | null;
}

export function createPerParent(inner: Strategy): PerParentStrategy {
  /** The cursor of a pass over one parent's records. */
  const begin = (pass: number, mark: Json | null, now: string) =>
    inner.begin(
      mark === null ? null : { pass: pass - 1, mark, position: null, ended: 'whole_answer', notes: [] },
      now,
    );

  function moved(cursor: PerParentCursor, parent: Parent, next: Cursor, isSkipped: boolean): PerParentCursor {
    const position = positionOf(cursor);
    const notes = next.notes.reduce(withNote, isSkipped ? withNote(cursor.notes, SKIPPED) : cursor.notes);
    if (next.ended === null && !isSkipped)
      return { ...cursor, position: { ...position, inner: next }, notes };
    return {
      ...cursor,
      position: {
        parent: null,
        inner: null,
        after: parent.key,
        done: position.done + 1,
        // A skipped parent has proven nothing.
        finished: isSkipped ? null : { parent: parent.key, mark: next.mark },
      },
      notes,
    };
  }

  function standing(cursor: PerParentCursor): { parent: Parent; at: Cursor } {
    const { parent, inner: at } = positionOf(cursor);
    if (parent === null || at === null)
      throw new Error('the cursor stands between two parents: enter the next');
    return { parent, at };
  }

  return {
    name: inner.name,
    remembers: inner.remembers,

    begin: (checkpoint) =>
      beginPass<null, PerParentPosition>(checkpoint, null, () => ({
        parent: null,
        inner: null,
        after: null,
        done: 0,
        finished: null,
      })),

    enter(cursor, parent, mark, now) {
      if (parent === null) return endPass(cursor, 'all_parents', null, cursor.notes);
      const position = { ...positionOf(cursor), parent, finished: null };
      const first = begin(cursor.pass, mark, now);
      const entered = { ...cursor, position: { ...position, inner: first } };
      return first.ended === null ? entered : moved(entered, parent, first, false);
    },

    firstRequest(cursor, parent, mark, now) {
      const request = inner.request(begin(cursor.pass, mark, now));
      return 'end' in request ? null : { ...request, parent: parent.fields };
    },

    request(cursor) {
      if (cursor.ended !== null) return { end: cursor.ended };
      const { parent, at } = standing(cursor);
      const request = inner.request(at);
      return 'end' in request ? request : { ...request, parent: parent.fields };
    },

    advance(cursor, page: PageSummary) {
      const { parent, at } = standing(cursor);
      const next = page.skipped === true ? at : inner.advance(at, page);
      return moved(cursor, parent, next, page.skipped === true);
    },

    ...(inner.condense !== undefined && {
      condense: (cursor: PerParentCursor, part: PageTexts) =>
        inner.condense?.(standing(cursor).at, part) ?? part,
    }),

    ahead(cursor, count) {
      const { parent, at } = standing(cursor);
      const requests = inner.ahead?.(at, count) ?? [];
      return requests.map((request) => ({ ...request, parent: parent.fields }));
    },

    // The parents before this one are done.
    restart(cursor, now) {
      const { at } = standing(cursor);
      return { ...cursor, position: { ...positionOf(cursor), inner: begin(cursor.pass, at.mark, now) } };
    },

    ...(inner.lowerPageSize !== undefined && {
      lowerPageSize: (cursor: PerParentCursor, maximum: number) => {
        const { at } = standing(cursor);
        const lowered = inner.lowerPageSize?.(at, maximum) ?? at;
        return { ...cursor, position: { ...positionOf(cursor), inner: lowered } };
      },
    }),

    state({ position, ended }) {
      // The number of parents is that of the pass, which is over.
      if (ended === 'all_parents') return { parents_done: 'all', parent: null };
      const { parent = null, inner: at = null, done = 0 } = position ?? {};
      return {
        parents_done: done,
        parent: parent?.key.join(', ') ?? null,
        ...(at !== null && inner.state(at)),
      };
    },
  };
}

const SKIPPED: Note = {
  code: 'parent_skipped',
  message: 'A rule in "errors" skipped some parents; the next pass requests their records again.',
};

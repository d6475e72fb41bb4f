/**
 * A strategy for an API that has no list of everything: a directory that is asked for letter by letter,
 * `GET /people?letter=a`, with a token where a letter has more than a page.
 */
import { defineStrategy, followToken } from 'highwater';
import { z } from 'zod';

export default defineStrategy({
  name: 'letters',
  options: z.strictObject({
    letters: z.string().min(1).default('abcdefghijklmnopqrstuvwxyz'),
    parameter: z.string().min(1).default('letter'),
  }),
  // A person who is in no letter any more has left the directory: deletes can follow.
  readsAll: true,

  create: ({ letters, parameter }) => ({
    // Neither the keys nor the cursor values of records decide what is read next.
    remembers: { keys: 'none', values: 'none' },

    // A pass that has not ended is resumed; else the next one begins with the first letter.
    begin(checkpoint) {
      if (checkpoint !== null && checkpoint.ended === null) return checkpoint;
      const pass = (checkpoint?.pass ?? 0) + 1;
      return { pass, mark: null, position: { place: 0, token: null, trail: null }, ended: null, notes: [] };
    },

    request({ position, ended }) {
      if (ended !== null) return { end: ended };
      const { place, token } = position;
      // `scroll_param` is the token of the next page, under the name that the configuration gives it.
      return { params: { [parameter]: letters[place], ...(token !== null && { scroll_param: token }) } };
    },

    // Returns the next cursor, and changes none.
    advance(cursor, page) {
      const { place, trail } = cursor.position;
      const token = page.nextToken;
      // followToken() throws where tokens come round again: the letter would be read for ever.
      if (token !== null) return { ...cursor, position: { place, token, trail: followToken(trail, token) } };
      const next = place + 1;
      if (next < letters.length) return { ...cursor, position: { place: next, token: null, trail: null } };
      return { ...cursor, position: null, ended: 'last_page' };
    },

    // What "highwater state get" shows.
    state: ({ position }) => ({ letter: position === null ? null : letters[position.place] }),
  }),
});

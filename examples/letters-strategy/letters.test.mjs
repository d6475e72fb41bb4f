/** The laws of strategies, over random directories: `npx vitest run`. */
import fc from 'fast-check';
import { strategyLaws } from 'highwater/testing';
import letters from './index.mjs';

const LETTERS = 'abc';

strategyLaws('letters', {
  // A directory: how many people each letter has, and how many fit on a page.
  sources: fc.record({
    people: fc.array(fc.nat(5), { minLength: LETTERS.length, maxLength: LETTERS.length }),
    pageSize: fc.integer({ min: 1, max: 3 }),
  }),
  strategy: () => letters.create({ letters: LETTERS, parameter: 'letter' }),
  answer: ({ people, pageSize }, { letter, scroll_param: token }) => {
    const from = Number(token ?? 0);
    const count = people[LETTERS.indexOf(letter)];
    const to = Math.min(from + pageSize, count);
    const records = Array.from({ length: to - from }, (_, i) => ({ key: `${letter}${from + i}` }));
    return { records, nextToken: to < count ? String(to) : null };
  },
  keys: ({ people }) => people.flatMap((count, i) => Array.from({ length: count }, (_, k) => LETTERS[i] + k)),
});

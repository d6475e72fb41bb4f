/** Whether there is time for what `npm test` has none for: `npm run test:long`. */
export const LONG = process.env['HIGHWATER_LONG_TESTS'] !== undefined;

/** Runs of a law that is checked over random input: all of them where there is time, else a sixth; each run has its own seed. */
export const runs = (count: number): number => (LONG ? count : Math.ceil(count / 6));

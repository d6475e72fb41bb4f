/** Whether there is time for what `npm test` has none for: `npm run test:long`. */
export const LONG = process.env['HIGHWATER_LONG_TESTS'] !== undefined;

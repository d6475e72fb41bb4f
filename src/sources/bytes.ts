/** A body, piece by piece. */
export type Bytes = AsyncIterable<Buffer>;

/** The largest unit that must be read whole: an answer for a JSONPath, a single record, a line. */
export const WHOLE_LIMIT = 16 * 1024 * 1024;

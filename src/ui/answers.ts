/** Checks workers' answers before a page shows them: a string in place of a number could inject markup into a plot. */
import type { Progress } from '../protocol.js';
import * as z from '../zod.js';
import type { Outcome } from './facts.js';

const text = z.string();
const number = z.number();
const time = z.string().check(z.regex(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/));
const maybe = <T extends z.Schema>(schema: T) => z.nullable(schema);

const counts = {
  pages: number,
  records: number,
  rows: number,
  batches: number,
  rejected: number,
  deleted: number,
};

/** Only what is shown; an answer of another version may have more. */
const progress = z.looseObject({
  ...counts,
  status: text,
  stream: text,
  strategy: text,
  destination: text,
  pass: number,
  staged: number,
  endRule: maybe(text),
  waiting: maybe(z.looseObject({ until: time, reason: text })),
  trouble: maybe(
    z.looseObject({
      type: text,
      message: text,
      since: time,
      failures: number,
      nextTry: maybe(time),
      deletes: z.exactOptional(z.looseObject({ table: text, deletes: number, rows: number })),
    }),
  ),
  recordsPerSecond: maybe(number),
  completeAsOf: maybe(time),
  recent: z.array(
    z.looseObject({
      ended: time,
      endRule: maybe(text),
      seconds: maybe(number),
      ...{ pages: number, records: number, rows: number, deleted: number },
    }),
  ),
  settings: z.record(text, number),
  streams: z.array(z.looseObject({ stream: text, status: text })),
  warnings: z.array(z.looseObject({ code: text, message: text })),
  totals: z.looseObject({ ...counts, passes: number }),
});

/** Returns the answer to the query `progress`; null if it is none that this version understands. */
export const progressIn = (answer: unknown): Progress | null =>
  z.safeParse(progress, answer).success ? (answer as Progress) : null;

const result = z.looseObject({
  status: text,
  streams: z.array(z.looseObject({ rows: number, records: number })),
});

/** Returns the result of a sync that has completed; null if it is none that this version understands. */
export function outcomeIn(value: unknown): Outcome | null {
  const { data } = z.safeParse(result, value);
  if (data === undefined) return null;
  const sum = (of: 'rows' | 'records') => data.streams.reduce((total, stream) => total + stream[of], 0);
  return { status: data.status, error: null, rows: sum('rows'), records: sum('records') };
}

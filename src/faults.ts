/**
 * Named places where a test can end the process the way a power cut does. `HIGHWATER_FAULT="commit.after:3"` ends it
 * by SIGKILL at the third passage of `commit.after`; without the variable nothing happens.
 */
export const FAULT_POINTS = [
  'open.after',
  'page.before',
  'page.after',
  'stage.before',
  'stage.after',
  'transaction.before',
  'transaction.half',
  'commit.before',
  'commit.after',
  'report.before',
] as const;

/** One of {@link FAULT_POINTS}. */
export type FaultPoint = (typeof FAULT_POINTS)[number];

const [armed, passages = '1'] = (process.env['HIGHWATER_FAULT'] ?? '').split(':');
let left = Number(passages);

/** Ends the process here, where that was asked for. */
export function faultPoint(name: FaultPoint): void {
  if (name === armed && --left === 0) process.kill(process.pid, 'SIGKILL');
}

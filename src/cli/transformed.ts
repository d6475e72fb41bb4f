/** Records before and after a transform, for people and as JSON. */
import { failureText } from '../hooks/messages.js';
import type { Transformed } from '../inspect/probe.js';
import { memberTexts } from '../request/paths.js';
import { cut, table, visible } from './output.js';

const CELL = 40;

/** Tables of the members of each record, before and after a hook. @param limit the width of a line. */
export function shownTransformed(hook: string, records: readonly Transformed[], limit: number): string {
  if (records.some(({ record }) => record === null)) return NOT_SHOWN;
  return records.map((one, i) => `${title(hook, one, i)}\n${body(one, limit)}`.trimEnd()).join('\n\n');
}

const NOT_SHOWN =
  'Records are not shown before and after the transform, because columns are hashed, masked or excluded.';

function title(hook: string, { outcome }: Transformed, place: number): string {
  const record = `record ${place + 1}`;
  if ('failure' in outcome) return `${record}: the hook ${hook} failed: ${visible(failureText(outcome))}`;
  if (outcome.length === 0) return `${record}: left out by the hook ${hook}`;
  return outcome.length === 1 ? record : `${record}: ${outcome.length} rows`;
}

function body({ record, outcome }: Transformed, limit: number): string {
  const before = membersOf(record ?? '{}');
  const rows = 'failure' in outcome ? [] : outcome.map(membersOf);
  const names = [...new Set([before, ...rows].flatMap((members) => [...members.keys()]))];
  const heads = ['before', ...rows.map((_, i) => (rows.length === 1 ? 'after' : `after ${i + 1}`))];
  const lines = names.map((name) => [
    cut(visible(name), CELL),
    ...[before, ...rows].map((members) => cut(shownText(members.get(name)), CELL)),
  ]);
  return table(['member', ...heads], lines, limit);
}

/** JSON texts of the members of a record. */
function membersOf(record: string): Map<string, string> {
  const names = Object.keys(JSON.parse(record) as object);
  return memberTexts(record, new Map(names.map((name) => [name, [name]])));
}

/** A value by its JSON text; a dash for none. */
const shownText = (json: string | undefined): string => {
  if (json === undefined) return '–';
  const value = json.startsWith('"') ? (JSON.parse(json) as string) : json;
  return visible(value);
};

/** Number of rows that were made of records. */
export const rowsOf = (records: readonly Transformed[]): number =>
  records.reduce((sum, { outcome }) => sum + ('failure' in outcome ? 0 : outcome.length), 0);

/** A record before and after a hook, as JSON. */
export function transformedJson({ record, outcome }: Transformed): string {
  const after =
    'failure' in outcome
      ? `"failure":${JSON.stringify(failureText(outcome))}`
      : `"after":[${outcome.join(',')}]`;
  return `{"before":${record ?? 'null'},${after}}`;
}

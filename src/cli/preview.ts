import { Command, Option } from 'commander';
import { loadPlans, planNamed } from '../config/index.js';
import { Probe } from '../inspect/probe.js';
import type { StreamPlan } from '../protocol.js';
import { memberTexts } from '../request/paths.js';
import { rowsOf, shownTransformed, transformedJson } from './transformed.js';
import {
  counted,
  cut,
  note,
  outputWidth,
  print,
  probedFrom,
  table,
  tableWidth,
  visible,
  width,
} from './output.js';
import { listMembers, previewedChildren } from './preview-children.js';

const CELL = 40;

export function previewCommand(): Command {
  return new Command('preview')
    .description('Show the first records of a stream, and each request. Writes nothing.')
    .argument('<configuration>', 'a file: JSON (comments allowed), YAML, or a program')
    .option('--stream <name>', 'the stream (default: the first)')
    .addOption(new Option('--limit <n>', 'records').default('20', '20'))
    .option('--json', 'print one JSON object')
    .addHelpText('after', '\nExample:\n  highwater preview github.yaml --stream issues --limit 5')
    .action(preview);
}

async function preview(
  file: string,
  options: { stream?: string; limit: string; json?: boolean },
): Promise<void> {
  const { plans } = await loadPlans(file);
  const plan = planNamed(plans, options.stream ?? null);
  const probe = await Probe.of(plan, plans.plans, { ...(await probedFrom(plan)), takesAll: true });
  const limit = Math.max(1, Math.trunc(Number(options.limit)) || 20);
  const records: string[] = [];
  const requests: string[] = [];
  let cursor = probe.first();
  try {
    while (records.length < limit && probe.transformed.length < limit) {
      const read = await probe.page(cursor);
      if ('end' in read) break;
      const { page } = read;
      requests.push(page.request);
      if (options.json !== true) note(`${page.request}: ${counted(page.records.length, 'record')}`);
      records.push(...page.texts);
      cursor = probe.after(read.cursor, page.summary);
    }
  } finally {
    probe.close();
  }
  const transformed = probe.transformed.slice(0, limit);
  const shown = records.slice(0, transformed.length === 0 ? limit : rowsOf(transformed));
  if (options.json === true) {
    const stream = JSON.stringify(plan.stream);
    const isShown = transformed.length > 0 && transformed.every(({ record }) => record !== null);
    const changes = !isShown ? '' : `,"transformed":[${transformed.map(transformedJson).join(',')}]`;
    const children = plan.children === undefined ? '' : `,"children":${childrenJson(plan, shown)}`;
    print(
      `{"stream":${stream},"requests":${JSON.stringify(requests)}${changes},"records":[${shown.join(',')}]${children}}`,
    );
    return;
  }
  const hook = plan.request.shape?.transform?.hook;
  if (hook !== undefined && transformed.length > 0)
    print(`${shownTransformed(hook, transformed, outputWidth())}\n\nRows:\n`);
  const { columns, inference } = plan.table;
  const others =
    inference === undefined ? [] : shown.flatMap((record) => Object.keys(JSON.parse(record) as object));
  const lists = listMembers(plan);
  const names = [...new Set([...Object.keys(columns), ...others])].filter((name) => !lists.includes(name));
  const paths = new Map(names.map((name) => [name, [name]]));
  const texts = shown.map((record) => Object.fromEntries(memberTexts(record, paths)));
  print(shownRecords(names, texts, outputWidth(), shownJson));
  for (const { table: name, names: ofChild, rows } of previewedChildren(plan, shown)) {
    print(`\n${name}: ${counted(rows.length, 'row')}`);
    const cells = rows.map((row) => Object.fromEntries(row));
    if (rows.length > 0) print(shownRecords(ofChild, cells.slice(0, limit), outputWidth(), shownJson));
  }
}

/** The rows of child tables by table, as JSON in which no number has lost a digit. */
function childrenJson(plan: StreamPlan, records: readonly string[]): string {
  const object = (row: ReadonlyMap<string, string>) =>
    `{${[...row].map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}`;
  const tables = previewedChildren(plan, records).map(
    ({ table: name, rows }) => `${JSON.stringify(name)}:[${rows.map(object).join(',')}]`,
  );
  return `{${tables.join(',')}}`;
}

/**
 * A row a record where the columns have room beside each other, else a line a column, record by record.
 * @param text makes a value readable.
 */
export function shownRecords<Value>(
  columns: string[],
  records: readonly { [name: string]: Value }[],
  limit: number,
  text: (value: Value | undefined) => string = shownValue,
): string {
  const hasRoom = tableWidth(columns.map((name) => Math.max(width(name), READABLE))) <= limit;
  if (hasRoom || limit === Infinity) {
    return table(
      columns,
      records.map((record) => columns.map((name) => cut(text(record[name]), CELL))),
      limit,
    );
  }
  const widest = Math.min(Math.max(...columns.map(width)), Math.floor(limit / 3));
  const blocks = records.map((record, i) => [
    `record ${i + 1}`,
    ...columns.map((name) =>
      cut(`  ${cut(visible(name), widest).padEnd(widest)}  ${text(record[name])}`, limit).trimEnd(),
    ),
  ]);
  return blocks.map((lines) => lines.join('\n')).join('\n\n');
}

const shownValue = (value: unknown): string =>
  visible(typeof value === 'string' ? value : JSON.stringify(value ?? null));

/** A value by its JSON text: a text without its quotes, anything else as it was sent. */
const shownJson = (json = 'null'): string =>
  json.startsWith('"') ? shownValue(JSON.parse(json)) : visible(json);

/** Below this a cell of a record says little. */
const READABLE = 10;

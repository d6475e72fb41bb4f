import { Command } from 'commander';
import { loadPlans, planNamed } from '../config/index.js';
import { Probe, type ProbedPage } from '../inspect/probe.js';
import { cut, note, outputWidth, print, probedFrom, table, tableWidth, visible, width } from './output.js';

const CELL = 40;

export function previewCommand(): Command {
  return new Command('preview')
    .description('Show the first records of a stream, and each request made. Writes nothing.')
    .argument('<configuration>', 'JSON (comments allowed) or YAML')
    .option('--stream <name>', 'which stream (default: the first)')
    .option('--limit <n>', 'records', '20')
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
  const probe = await Probe.of(plan, plans.plans, probedFrom(plan));
  const limit = Math.max(1, Math.trunc(Number(options.limit)) || 20);
  const records: ProbedPage['records'] = [];
  const requests: string[] = [];
  let cursor = probe.first();
  while (records.length < limit) {
    const read = await probe.page(cursor);
    if ('end' in read) break;
    const { page } = read;
    requests.push(page.request);
    if (options.json !== true) note(`${page.request}: ${page.records.length} records`);
    records.push(...page.records);
    cursor = probe.after(read.cursor, page.summary);
  }
  const shown = records.slice(0, limit);
  if (options.json === true) {
    print(JSON.stringify({ stream: plan.stream, requests, records: shown }));
    return;
  }
  const { columns, inference } = plan.table;
  const others = inference === undefined ? [] : shown.flatMap((record) => Object.keys(record));
  print(shownRecords([...new Set([...Object.keys(columns), ...others])], shown, outputWidth()));
}

/** A row a record where the columns have room beside each other, else a line a column, record by record. */
export function shownRecords(columns: string[], records: ProbedPage['records'], limit: number): string {
  const text = (value: unknown) => visible(typeof value === 'string' ? value : JSON.stringify(value ?? null));
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

/** Below this a cell of a record says little. */
const READABLE = 10;

import { Command } from 'commander';
import { loadPlans, planNamed } from '../config/index.js';
import { Probe, type ProbedPage } from '../inspect/probe.js';
import { note, print, table } from './output.js';

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
  const probe = new Probe(plan, process.env);
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
    cursor = probe.strategy.advance(read.cursor, page.summary);
  }
  const shown = records.slice(0, limit);
  if (options.json === true) {
    print(JSON.stringify({ stream: plan.stream, requests, records: shown }));
    return;
  }
  const columns = Object.keys(plan.table.columns);
  const cell = (value: unknown) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value ?? null);
    return text.length > CELL ? `${text.slice(0, CELL - 1)}…` : text;
  };
  print(
    table(
      columns,
      shown.map((record) => columns.map((name) => cell(record[name]))),
    ),
  );
}

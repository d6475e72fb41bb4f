/**
 * Cells of the crash matrix for child tables. The API changes the list of a record with every request, so that rows of two answers
 * never agree: after a kill, the tables hold what the last answer of each record said, and nothing of an earlier one.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readDestination } from '../../src/cli/query.js';
import type { HighwaterClient } from '../../src/client.js';
import type { FaultPoint } from '../../src/faults.js';
import type { Json } from '../../src/protocol.js';
import { startWorker, uniqueName, type WorkerProcess } from './harness.js';
import { imitate } from './imitations.js';

const [ORDERS, PAGE] = [240, 20];

interface Line {
  sku: string;
  qty: number;
  parts: string[];
}

interface Order {
  id: number;
  lines: Line[];
}

/** Orders whose lines differ in every answer. */
class ChangingOrders {
  /** The last answer about each order. */
  readonly last = new Map<number, Order>();
  /** Set after the first pass: some orders are gone then. */
  isSecond = false;
  private answers = 0;

  page(number: number): Order[] {
    const answer = ++this.answers;
    const orders: Order[] = [];
    for (let id = (number - 1) * PAGE; id < Math.min(number * PAGE, ORDERS); id++) {
      if (this.isSecond && id % 10 === 9) this.last.delete(id);
      else orders.push({ id, lines: linesOf(id, answer) });
    }
    for (const order of orders) this.last.set(order.id, order);
    return orders;
  }

  /** The rows of both child tables that the last answers amount to. */
  rows(): { lines: string[]; parts: string[] } {
    const all = [...this.last.values()].flatMap(({ id, lines }) => lines.map((line) => ({ id, ...line })));
    return {
      lines: all.map(({ id, sku, qty }) => `${id} ${sku} ${qty}`).sort(),
      parts: all.flatMap(({ id, sku, parts }) => parts.map((part, n) => `${id} ${sku} ${n} ${part}`)).sort(),
    };
  }
}

/** None to three lines: some stay from answer to answer with another quantity, others leave or come. */
const linesOf = (id: number, answer: number): Line[] =>
  Array.from({ length: (id + answer) % 4 }, (_, i) => ({
    sku: `s${(answer + i) % 5}`,
    qty: answer * 1000 + id,
    parts: Array.from({ length: (id + i + answer) % 3 }, (_part, n) => `p${answer}-${n}`),
  }));

const configurationFor = (url: string, destination: string): { [key: string]: Json } => ({
  source: { base_url: url },
  destination,
  streams: [
    {
      ...{ name: 'orders', strategy: 'page_number', page_size: PAGE, primary_key: 'id', batch_rows: 40 },
      ...{ columns: { id: 'LONG' }, deletes: 'hard', max_deletes: 'any' },
      children: {
        lines: {
          include: { order_id: 'id' },
          primary_key: ['order_id', 'sku'],
          columns: { sku: 'STRING', qty: 'LONG' },
          children: {
            parts: {
              include: { order_id: 'order_id', sku: 'sku' },
              index: 'n',
              columns: { value: 'STRING' },
            },
          },
        },
      },
    },
  ],
});

/** At which passage the worker dies, in the middle of the second pass. */
function passage(point: FaultPoint): number {
  if (point === 'open.after') return 1;
  return point.startsWith('page.') ? 5 : 3;
}

/**
 * Runs one pass, kills the worker in the second one, and compares the tables with the last answers.
 * @returns seconds from the readiness of the next worker to the end of the pass.
 * @throws if anything differs.
 */
export async function killAmongChildren(
  point: FaultPoint,
  { address, client }: { address: string; client: HighwaterClient },
): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'highwater-cell-'));
  const destination = join(folder, 'highwater.duckdb');
  const orders = new ChangingOrders();
  const api = await imitate((url) => ({ body: { data: orders.page(Number(url.searchParams.get('page'))) } }));
  const taskQueue = uniqueName('cell');
  const startSync = () =>
    client.start(configurationFor(api.url, destination), { taskQueue, workflowId: uniqueName('cell') });
  const options = { address, taskQueue, destination };
  let worker: WorkerProcess = await startWorker(options);
  try {
    await (await startSync()).result();
    await expectLastAnswers(destination, orders, 'after the first pass');
    await worker.end();
    orders.isSecond = true;
    worker = await startWorker({ ...options, env: { HIGHWATER_FAULT: `${point}:${passage(point)}` } });
    const exited = once(worker.child, 'exit', { signal: AbortSignal.timeout(30_000) });
    const handle = await startSync();
    await exited;
    if (worker.child.signalCode !== 'SIGKILL') throw new Error('the worker ended by itself');
    worker = await startWorker(options);
    const ready = Date.now();
    await handle.result();
    const seconds = (Date.now() - ready) / 1000;
    await expectLastAnswers(destination, orders, `after a kill at ${point}`);
    return seconds;
  } catch (thrown) {
    throw new Error(`${String(thrown)}\n${worker.said().slice(-3000)}`, { cause: thrown });
  } finally {
    await worker.end('SIGKILL');
    api.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function expectLastAnswers(destination: string, orders: ChangingOrders, when: string): Promise<void> {
  const texts = async (sql: string) =>
    (await readDestination(destination, sql)).rows.map((row) => row.map(String).join(' ')).sort();
  const wanted = orders.rows();
  const ids = [...orders.last.keys()].map(String).sort();
  compare(await texts('SELECT id FROM orders'), ids, `orders ${when}`);
  compare(
    await texts('SELECT order_id, sku, qty FROM orders_lines'),
    wanted.lines,
    `rows of orders_lines ${when}`,
  );
  compare(
    await texts('SELECT order_id, sku, n, value FROM orders_lines_parts'),
    wanted.parts,
    `rows of orders_lines_parts ${when}`,
  );
  const twice = await texts('SELECT id FROM _highwater_batches GROUP BY id HAVING count(*) > 1');
  if (twice.length > 0) throw new Error(`a batch was applied twice ${when}`);
}

function compare(found: readonly string[], wanted: readonly string[], what: string): void {
  const [has, wants] = [new Set(found), new Set(wanted)];
  const missing = wanted.filter((row) => !has.has(row));
  const extra = found.filter((row) => !wants.has(row));
  if (missing.length + extra.length === 0 && found.length === wanted.length) return;
  const some = [...missing, ...extra].slice(0, 4).join(', ');
  throw new Error(`${what}: ${missing.length} missing, ${extra.length} too many (${some})`);
}

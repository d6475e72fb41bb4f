/** Syncs in different states, for the tests and the pictures of the page. */
import type { SyncHandle } from '../../src/client.js';
import { messageOf } from '../../src/errors.js';
import type { Json, Progress } from '../../src/protocol.js';
import { planFromFlat } from '../../src/config/index.js';
import { configurationFor, until } from './harness.js';
import { imitate } from './imitations.js';
import { startSystem, testApi, type System } from './system.js';

/** Markup as a source may send it: as a key, a value, a name and an error. */
export const MARKUP = '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>';

/** A member that becomes a column. */
const NOTE = `note ${MARKUP}`;

export interface Scene {
  system: System;
  /** Adds records to the source of `users`. */
  change: (insert: number, update: number) => Promise<void>;
  stop: () => Promise<void>;
}

/**
 * Starts `users` (well), `orders` (its source answers 503), `invoices` (quarantines records with {@link MARKUP}),
 * `shop` (three streams) and `customers` (asks to approve deletes).
 */
export async function startScene(address: string): Promise<Scene> {
  const system = await startSystem(address);
  const users = await testApi({ rows: 2000 });
  const orders = await testApi({ rows: 500, fail: [{ kind: 'status', status: 503, times: 1e6, after: 4 }] });
  let lost = 0;
  const customers = await imitate((url) => {
    const page = Number(url.searchParams.get('page'));
    const ids = Array.from({ length: 100 - lost }, (_, i) => lost + i);
    return { body: { data: ids.slice((page - 1) * 10, page * 10).map((id) => ({ id, [NOTE]: `n${id}` })) } };
  });
  const invoices = await imitate((url) => {
    const page = Number(url.searchParams.get('page'));
    const records: { [key: string]: Json }[] = Array.from({ length: 40 }, (_, i) => ({
      id: i % 10 === 7 ? `${MARKUP}${i}` : `in_${i}`,
      amount: i % 10 === 7 ? `a lot ${MARKUP}` : i,
    }));
    return { body: { data: records.slice((page - 1) * 10, page * 10), total: 40 } };
  });
  const continuous = { interval: '15m', retry_for: '1s' };
  const started = await Promise.all([
    system.start(configurationFor('keyset', users.url, { ...continuous, batch_rows: 800 }), {
      workflowId: 'users',
    }),
    system.start(configurationFor('offset', orders.url, { ...continuous, table: 'orders' }), {
      workflowId: 'orders',
    }),
    system.start(invoicesConfiguration(invoices.url), { workflowId: 'invoices' }),
    system.start(customersConfiguration(customers.url), { workflowId: 'customers' }),
    system.start(shopConfiguration(users.url), { workflowId: 'shop' }),
  ]);
  const [wellOne, failing, quarantining, asking] = started;
  await reaches(wellOne, 'sleeping');
  await reaches(failing, 'failing');
  await reaches(quarantining, 'sleeping');
  await reaches(asking, 'sleeping');
  lost = 60;
  await asking.trigger();
  await reaches(asking, 'blocked');
  return {
    system,
    change: async (insert, update) => {
      await users.client.mutate({ insert, update });
    },
    stop: async () => {
      for (const sync of started) await sync.cancel().catch(() => undefined);
      await system.stop();
      await Promise.all([users.stop(), orders.stop()]);
      customers.stop();
      invoices.stop();
    },
  };
}

/** Waits until a sync has a status; the error says what it has instead. */
async function reaches(sync: SyncHandle, status: string): Promise<void> {
  let last: Progress | null = null;
  await until(
    async () => {
      last = await sync.progress();
      return last.status === status;
    },
    30,
    `${sync.workflowId} to be ${status}`,
  ).catch((thrown: unknown) => {
    throw new Error(`${messageOf(thrown)}; it is ${JSON.stringify(last)}`);
  });
}

const invoicesConfiguration = (url: string): { [key: string]: Json } => ({
  source: { base_url: url },
  interval: '15m',
  streams: [
    {
      ...{
        name: 'invoices',
        strategy: 'page_number',
        total: 'total',
        primary_key: 'id',
        misfits: 'quarantine',
      },
      ...{ columns: { id: 'STRING', amount: 'LONG' }, batch_rows: 10 },
    },
  ],
});

const customersConfiguration = (url: string): { [key: string]: Json } => ({
  source: { base_url: url },
  interval: '15m',
  streams: [
    {
      ...{ name: 'customers', strategy: 'page_number', primary_key: 'id', deletes: 'hard' },
      columns: { id: 'LONG' },
      misfits: 'evolve',
    },
  ],
});

const shopConfiguration = (url: string): { [key: string]: Json } => ({
  source: { base_url: url },
  defaults: {
    ...{ path: '/pagination/offset', strategy: 'offset', page_size: 50, primary_key: 'id' },
    ...{ cursor_field: 'updatedAt', columns: planFromFlat({}).table.columns },
  },
  streams: ['products', 'baskets', 'returns'].map((name) => ({ name, table: `shop_${name}` })),
});

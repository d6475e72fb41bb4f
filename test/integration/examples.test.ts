/** Each example runs as it is, but for its address, against an imitation of the vendor that it is for. */
import { createHmac } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { jsonSchema, openConfiguration } from '../../src/config/index.js';
import type { Json } from '../../src/protocol.js';
import { highwater, scratch } from '../helpers/harness.js';
import {
  imitate,
  IMITATIONS,
  okta,
  oktaUsers,
  type OktaUser,
  RECORDS,
  shopify,
  shopifyOrders,
  type ShopifyOrder,
  TOKEN,
} from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';

const PEPPER = 'imitation-pepper-93b2';
const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));
type Example = { source: { [key: string]: Json }; streams: { name: string; table?: string }[] };

/** Rows of the tables as a script makes them of the orders; BIGINT is text in answers of queries. */
function ordersByScript(orders: readonly ShopifyOrder[]) {
  const rows = {
    orders: [] as unknown[],
    lines: [] as unknown[],
    refunds: [] as unknown[],
    returned: [] as unknown[],
  };
  for (const order of [...orders].sort((a, b) => a.id - b.id)) {
    rows.orders.push([`${order.id}`, order.name, Number(order.total_price)]);
    for (const { id, sku, quantity, price } of order.line_items) {
      rows.lines.push([`${order.id}`, `${id}`, sku, `${quantity}`, Number(price)]);
    }
    for (const refund of order.refunds) {
      rows.refunds.push([`${order.id}`, `${refund.id}`, refund.note]);
      for (const { id, line_item_id, quantity, subtotal } of refund.refund_line_items) {
        const ids = [order.id, refund.id, id, line_item_id, quantity].map(String);
        rows.returned.push([...ids, subtotal]);
      }
    }
  }
  return rows;
}

/** Rows of the table as a script makes them of the users. */
const usersByScript = (users: readonly OktaUser[]) =>
  [...users]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(({ id, status, profile: { firstName, lastName, email, mobilePhone } }) => {
      const address = (email ?? '').toLowerCase();
      return [
        ...[id, status, 'okta', `${firstName} ${lastName}`, status === 'ACTIVE', address.split('@')[1]],
        createHmac('sha256', PEPPER).update(address).digest('hex'),
        mobilePhone == null ? null : `***${mobilePhone.slice(-4)}`,
      ];
    });

describe('an example', () => {
  let system: System;
  let folder: Awaited<ReturnType<typeof scratch>>;
  beforeAll(async () => {
    folder = await scratch();
    const variables = Object.values(IMITATIONS).map(({ variable }) => [variable, TOKEN]);
    system = await startSystem(inject('temporalAddress'), {
      ...(Object.fromEntries(variables) as NodeJS.ProcessEnv),
      PEPPER,
    });
  });
  afterAll(async () => {
    await system.stop();
    await folder.remove();
  });

  /** The example with another address and destination, as a file. */
  async function configured(
    file: string,
    url: string,
    schema?: string,
  ): Promise<{ configuration: { [key: string]: Json }; path: string }> {
    const example = (await openConfiguration(`${EXAMPLES}${file}`)).content as Example & {
      [key: string]: Json;
    };
    const configuration = {
      ...example,
      source: { ...example.source, base_url: url + (IMITATIONS[file]?.basePath ?? '') },
      destination: system.destination,
      ...(schema !== undefined && { streams: example.streams.map((stream) => ({ ...stream, schema })) }),
    };
    const path = folder.file(`${file}.json`);
    await writeFile(path, JSON.stringify(configuration));
    return { configuration, path };
  }

  test('is there for every imitation, and the other way round', async () => {
    const files = (await readdir(EXAMPLES)).filter((name) => name.endsWith('.yaml'));
    expect(files.sort()).toEqual(Object.keys(IMITATIONS).sort());
  });

  test.each(Object.entries(IMITATIONS))(
    '%s reads everything, and then what is new',
    async (file, { imitation, again, rows = RECORDS }) => {
      const { url, stop } = await imitate(imitation);
      try {
        const { configuration } = await configured(file, url, file.replace(/\W/g, '_'));
        expect(await system.sync(configuration)).toMatchObject({ rows, warnings: [] });
        expect(await system.sync(configuration)).toMatchObject({ rows: 0, records: again });
        const [stream] = (configuration as unknown as Example).streams;
        expect(
          await system.query(
            `SELECT count(DISTINCT id)::INTEGER FROM "${file.replace(/\W/g, '_')}"."${stream?.table ?? stream?.name ?? ''}"`,
          ),
        ).toEqual([[RECORDS]]);
      } finally {
        stop();
      }
    },
  );

  test('of nested orders fills the tables that a script would, before and after orders change', async () => {
    const orders = shopifyOrders();
    const { url, stop } = await imitate(shopify(orders));
    const tables = async () => ({
      orders: await system.query('SELECT id, name, total_price::DOUBLE FROM scripts.orders ORDER BY 1'),
      lines: await system.query(
        'SELECT order_id, id, sku, quantity, price::DOUBLE FROM scripts.orders_lines ORDER BY 1, 2',
      ),
      refunds: await system.query('SELECT order_id, id, note FROM scripts.orders_refunds ORDER BY 1, 2'),
      returned: await system.query(
        'SELECT order_id, refund_id, id, line_item_id, quantity, subtotal::DOUBLE FROM scripts.orders_refunds_lines ORDER BY 1, 2, 3',
      ),
    });
    try {
      const { configuration } = await configured('shopify-orders-lines.yaml', url, 'scripts');
      await system.sync(configuration);
      expect(await tables()).toEqual(ordersByScript(orders));

      const [first, second, third] = orders as [ShopifyOrder, ShopifyOrder, ShopifyOrder];
      const later = (order: ShopifyOrder) => (order.updated_at = '2026-06-01T00:00:00Z');
      // A line and the refund leave the first order, a line changes in the second, a refund comes to the third.
      first.line_items.pop();
      first.refunds = [];
      second.line_items[0] = { ...second.line_items[0], quantity: 77 } as ShopifyOrder['line_items'][number];
      const item = { id: 49_999, line_item_id: 20_020, quantity: 1, subtotal: 2.1, restock_type: 'cancel' };
      third.refunds.push({
        ...{ id: 39_999, note: null, created_at: '2026-06-01T00:00:00Z' },
        refund_line_items: [item],
      });
      for (const order of [first, second, third]) later(order);
      await system.sync(configuration);
      expect(await tables()).toEqual(ordersByScript(orders));
    } finally {
      stop();
    }
  });

  test('of users stores the hashes, masks and computed fields that a script would, and no address', async () => {
    const users = oktaUsers();
    const { url, stop } = await imitate(okta(users));
    const rows = () =>
      system.query(
        'SELECT id, status, source, full_name, is_active, domain, email, phone FROM scripts.users ORDER BY id',
      );
    try {
      const { configuration } = await configured('okta-users.yaml', url, 'scripts');
      await system.sync(configuration);
      expect(await rows()).toEqual(usersByScript(users));
      const [first, second] = users as [OktaUser, OktaUser];
      first.status = 'ACTIVE';
      second.profile = { ...second.profile, lastName: 'Married', email: 'new@Example9.com' };
      expect(await system.sync(configuration)).toMatchObject({ rows: 2 });
      expect(await rows()).toEqual(usersByScript(users));
      const [[stored] = []] = await system.query('SELECT to_json(list(u))::TEXT FROM scripts.users u');
      expect(String(stored)).toContain('Married');
      expect(String(stored)).not.toMatch(/@|\+1 555/);
    } finally {
      stop();
    }
  });

  test('is checked against the live source, which finds what does not fit', async () => {
    const { imitation, variable } = IMITATIONS['github-issues.yaml'] as (typeof IMITATIONS)[string];
    const { url, stop } = await imitate(imitation);
    try {
      const { path } = await configured('github-issues.yaml', url);
      const right = await highwater(['check', path], { env: { [variable]: TOKEN } });
      expect(right.stdout).toMatch(/✓ GET .*per_page=100: 100 records/);
      expect(right.stdout).toMatch(/✓ primary key id: present and unique in every record/);
      expect(right.stdout).toMatch(/✓ cursor field updated_at: ascending/);
      expect(right.stdout).toMatch(/✓ the filter includes the requested value/);
      expect(right.status, right.stderr).toBe(0);
      const wrong = await highwater(['check', path, '--json'], { env: { [variable]: 'another' } });
      expect(wrong.status).toBe(1);
      expect(JSON.parse(wrong.stdout)).toMatchObject({ status: 'problems' });
      expect(wrong.stdout).toContain('401');
      const preview = await highwater(['preview', path, '--limit', '3'], { env: { [variable]: TOKEN } });
      expect(preview.status, preview.stderr).toBe(0);
      expect(preview.stdout).toContain('Issue 2');
      expect(preview.stdout).not.toContain('Issue 3');
      for (const { stdout, stderr } of [right, wrong, preview]) expect(stdout + stderr).not.toContain(TOKEN);
    } finally {
      stop();
    }
  });

  test('with a recording has the expected rows, without the source and its credentials', async () => {
    const recordings = (await readdir(EXAMPLES)).filter((name) => name.endsWith('.recording'));
    expect(recordings).toEqual(['github-issues.recording']);
    const file = `${EXAMPLES}github-issues.yaml`;
    const tested = await highwater(['test', file], { env: { GITHUB_TOKEN: '' } });
    expect(tested.stderr).toBe('');
    expect(tested.stdout).toBe('✓ issues: 6 rows, as expected\n');
    expect(tested.status).toBe(0);
  });

  test('is completed by editors with the schema that is checked in', async () => {
    const schema = await readFile(new URL('../../highwater.schema.json', import.meta.url), 'utf8');
    expect(JSON.parse(schema)).toEqual(JSON.parse(JSON.stringify(jsonSchema())));
  });
});

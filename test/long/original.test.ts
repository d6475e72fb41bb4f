/**
 * The holes of the original script, one by one, as the design's table names them: what its own functions lose, and
 * that Highwater, whole and against the same source in the same state, loses nothing.
 */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, makeTelemetryFilterString, Runtime } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { SyncFailedError, type HighwaterClient } from '../../src/client.js';
import { target } from '../../src/connection.js';
import type { DemoRecord, DemoSettingsPatch } from '../../src/dev/demo-api.js';
import type { Json, StreamResult } from '../../src/protocol.js';
import { HighwaterWorker } from '../../src/worker.js';
import { useDemo } from '../helpers/demo.js';
import {
  configurationFor,
  connect,
  difference,
  EQUAL,
  PATHS,
  scratch,
  tableRows,
  uniqueName,
} from '../helpers/harness.js';
import { Original, originalMissing } from '../helpers/original.js';

type Configuration = { [key: string]: Json };

const missing = originalMissing();
const BUNDLE = fileURLToPath(new URL('../../dist/workflow-bundle.cjs', import.meta.url));

// Syncs fail on purpose here: the log would say nothing else.
Runtime.install({
  logger: new DefaultLogger('ERROR'),
  telemetryOptions: { logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'ERROR' }) } },
  shutdownSignals: [],
});

describe.skipIf(missing !== null)(
  `the original script${missing === null ? '' : ` (skipped: ${missing})`}`,
  () => {
    const demo = useDemo();
    let client: HighwaterClient;
    let worker: HighwaterWorker;
    let running: Promise<unknown>;
    let folder: Awaited<ReturnType<typeof scratch>>;

    beforeAll(async () => {
      const address = inject('temporalAddress');
      folder = await scratch();
      worker = await HighwaterWorker.create({
        target: target(address),
        taskQueue: uniqueName('original'),
        destination: folder.file('unused.duckdb'),
        graceSeconds: 1,
        ...(existsSync(BUNDLE) && { workflowBundle: BUNDLE }),
      });
      running = worker.run();
      client = await connect(address);
    });
    afterAll(async () => {
      worker.shutdown();
      await running;
      await client.close();
      await folder.remove();
    });

    let original: Original;
    let destination: string;
    beforeEach(() => {
      original = new Original();
      destination = folder.file(`${uniqueName('x')}.duckdb`);
    });

    /** The source as it stands, in its own order. */
    const source = (view: 'list' | 'step' = 'list') => demo().client.records(view);
    const fresh = (settings: DemoSettingsPatch) => demo().client.reset(settings);

    /** One sync by the whole system. */
    async function ours(configuration: Configuration): Promise<StreamResult> {
      const handle = await client.start(
        { ...configuration, destination },
        { taskQueue: worker.taskQueue, workflowId: uniqueName('sync') },
      );
      const { streams } = await handle.result();
      return streams[0] as StreamResult;
    }

    /** One sync by each, against the source as it stands. */
    async function both(configuration: Configuration): Promise<StreamResult> {
      expect(await original.sync(configuration)).toBeNull();
      return ours(configuration);
    }

    const lostByOriginal = async (view: 'list' | 'step' = 'list') => original.difference(await source(view));
    const lostByOurs = (view: 'list' | 'step' = 'list') => difference(demo().client, destination, { view });

    const ids = (records: DemoRecord[]) => records.map((record) => record.id);
    const idRange = (from: number, to: number) =>
      Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
    const newest = (records: DemoRecord[]) =>
      records
        .map((record) => record.updatedAt)
        .sort()
        .at(-1) as string;

    describe('with keyset', () => {
      it('loses the rows that share a timestamp across the edge of a page; ours reads them', async () => {
        await fresh({ rows: 200, ties: 30 });
        const configuration = configurationFor('keyset', demo().url);
        await both(configuration);
        const records = await source();
        const beyondEdges = [
          ...records.slice(50, 60),
          ...records.slice(110, 120),
          ...records.slice(170, 180),
        ];
        expect(await lostByOriginal()).toEqual({ ...EQUAL, missing: ids(beyondEdges) });
        expect(await lostByOurs()).toEqual(EQUAL);
        // They stay lost: its cursor is past them.
        await both(configuration);
        expect((await lostByOriginal()).missing).toHaveLength(30);
        expect(await lostByOurs()).toEqual(EQUAL);
      });

      it('takes the last row for the newest where answers are in no order; ours takes the maximum', async () => {
        await fresh({ rows: 120, unordered: true });
        const { cursor } = await both(configurationFor('keyset', demo().url));
        const greatest = newest(await source());
        expect(String(original.state['last_updated_at']) < greatest).toBe(true);
        expect(cursor['last_updated_at']).toBe(greatest);
        expect(await lostByOurs()).toEqual(EQUAL);
      });

      it('has moved past rows that it never read when it ends after its first page; ours goes on where it stood', async () => {
        await fresh({ rows: 200, unordered: true });
        const configuration = configurationFor('keyset', demo().url);
        const outage: DemoSettingsPatch = {
          fail: [
            // Ours waits here, and has written its first page by then.
            { kind: 'status', status: 503, retry_after: 1, path: '/pagination/keyset?scroll_param' },
            { kind: 'status', status: 403, path: '/pagination/keyset?scroll_param', times: 1000 },
          ],
        };
        await demo().client.set(outage);
        expect(await original.sync(configuration)).toContain('503');
        await demo().client.set(outage);
        const thrown: unknown = await ours(configuration).catch((error: unknown) => error);
        expect(thrown).toBeInstanceOf(SyncFailedError);
        expect(thrown).toMatchObject({ type: 'SourceRefusedError' });
        const read = new Set(original.rows.keys());
        expect(read.size).toBe(50);
        expect((await tableRows(destination)).size).toBe(50);
        const mark = String(original.state['last_updated_at']);

        await demo().client.set({ fail: [] });
        await both(configuration);
        const skipped = (await source()).filter((record) => record.updatedAt < mark && !read.has(record.id));
        expect(skipped.length).toBeGreaterThan(0);
        expect(await lostByOriginal()).toEqual({ ...EQUAL, missing: ids(skipped) });
        expect(await lostByOurs()).toEqual(EQUAL);
      });
    });

    describe('with offset', () => {
      it('never sees rows that were updated, and so moved, before its offset; ours does', async () => {
        await fresh({ rows: 200 });
        const configuration = configurationFor('offset', demo().url);
        await both(configuration);
        const { updated } = await demo().client.mutate({ update: ids((await source()).slice(20, 30)) });
        await both(configuration);
        const moved = updated.map((record) => record.id).sort();
        const lost = await lostByOriginal();
        expect({ ...lost, stale: lost.stale.sort() }).toEqual({ ...EQUAL, stale: moved });
        expect(await lostByOurs()).toEqual(EQUAL);
      });

      it('never sees as many new rows as were deleted before its offset; ours does', async () => {
        await fresh({ rows: 200 });
        const configuration = configurationFor('offset', demo().url);
        await both(configuration);
        const gone = ids((await source()).slice(0, 7));
        const { inserted } = await demo().client.mutate({ delete: gone, insert: 12 });
        await both(configuration);
        // The list has 205 rows, 200 of them before its offset. That rows are deleted is seen by neither.
        expect(await lostByOriginal()).toEqual({
          missing: inserted.slice(0, 7).map((record) => record.id),
          stale: [],
          extra: gone,
        });
        expect(await lostByOurs()).toEqual({ ...EQUAL, extra: gone });
      });

      it('skips rows that others make room for while it reads; ours does not', async () => {
        // Before the third page, rows that were read on the first two move to the end of the list.
        const settings: DemoSettingsPatch = {
          rows: 200,
          mutate_every: { requests: 2, times: 1, update: 30, seed: 7 },
        };
        const configuration = configurationFor('offset', demo().url);
        await fresh(settings);
        const before = new Map((await source()).map((record) => [record.id, record.updatedAt]));
        const readFirst = new Set([...before.keys()].slice(0, 100));
        expect(await original.sync(configuration)).toBeNull();
        const after = await source();
        const moved = after.filter((r) => readFirst.has(r.id) && before.get(r.id) !== r.updatedAt).length;
        expect(moved).toBeGreaterThan(0);
        expect(await lostByOriginal()).toEqual({ ...EQUAL, missing: ids(after.slice(100 - moved, 100)) });

        await fresh(settings);
        const { warnings } = await ours(configuration);
        expect(await lostByOurs()).toEqual(EQUAL);
        expect(warnings.map((warning) => warning.code)).toContain('drift');
      });
    });

    describe('with timestamp', () => {
      it('takes the last row for the newest where answers are in no order; ours takes the maximum', async () => {
        await fresh({ rows: 120, unordered: true });
        const { cursor } = await both(configurationFor('timestamp', demo().url));
        const greatest = newest(await source());
        expect(String(original.state['last_timestamp']) < greatest).toBe(true);
        expect(cursor['last_timestamp']).toBe(greatest);
        expect(await lostByOurs()).toEqual(EQUAL);
      });

      it('loses rows that join its mark later where the filter is exclusive; ours asks below it', async () => {
        await fresh({ rows: 100, exclusive: true });
        const configuration = configurationFor('timestamp', demo().url);
        await both(configuration);
        const { late } = await demo().client.mutate({ late: { count: 3, hours_ago: 0 } });
        await both(configuration);
        const joined = late.map((record) => record.id);
        expect(await lostByOriginal()).toEqual({ ...EQUAL, missing: joined });
        expect(await lostByOurs()).toEqual(EQUAL);
      });
    });

    describe('with step_size', () => {
      const configuration = () => configurationFor('step_size', demo().url, { step_size: 50, max_id: 1000 });

      it('ends for good at the first empty range; ours walks the gap', async () => {
        await fresh({ rows: 200, gaps: [[101, 250]] });
        for (let sync = 0; sync < 2; sync++) {
          await both(configuration());
          expect(await lostByOriginal('step')).toEqual({ ...EQUAL, missing: idRange(251, 350) });
          expect(original.state).toEqual({ current_id: 101 });
          expect(await lostByOurs('step')).toEqual(EQUAL);
        }
      });

      it('ends at the first short range; ours goes on', async () => {
        await fresh({ rows: 140, gaps: [[31, 40]] });
        const { endRule } = await both(configuration());
        expect(await lostByOriginal('step')).toEqual({ ...EQUAL, missing: idRange(51, 150) });
        expect(endRule).toBe('max_id');
        expect(await lostByOurs('step')).toEqual(EQUAL);
      });

      it('never sees ids that appear inside a range it has read; ours looks back', async () => {
        await fresh({ rows: 120 });
        await both(configuration());
        await demo().client.mutate({ insert: 60 });
        for (let sync = 0; sync < 2; sync++) {
          await both(configuration());
          expect(await lostByOriginal('step')).toEqual({ ...EQUAL, missing: idRange(121, 150) });
          expect(await lostByOurs('step')).toEqual(EQUAL);
        }
      });
    });

    describe('with replay', () => {
      it('asks a path that the reference API does not have; ours asks the one that it has', async () => {
        await fresh({ rows: 120 });
        const configuration = {
          ...configurationFor('replay', demo().url),
          base_url: `${demo().url}/incremental/replay`,
        };
        expect(await original.sync(configuration)).toContain('404');
        expect(original.rows.size).toBe(0);
        const { warnings } = await ours(configuration);
        expect(warnings.map((warning) => warning.code)).toContain('path_replaced');
        expect(await lostByOurs()).toEqual(EQUAL);
      });

      it('takes the last row for the newest where answers are in no order; ours takes the maximum', async () => {
        await fresh({ rows: 120, unordered: true });
        const { cursor } = await both(configurationFor('replay', demo().url));
        const greatest = newest(await source());
        expect(String(original.state['last_timestamp']) < greatest).toBe(true);
        expect(cursor['last_timestamp']).toBe(greatest);
        expect(await lostByOurs()).toEqual(EQUAL);
      });

      it('writes timestamps in a form of its own, which a source may refuse; ours writes them as the source does', async () => {
        const record = (n: number): DemoRecord => {
          const at = new Date(Date.UTC(2026, 0, 1) + n * 1234).toISOString();
          const text = `of ${n}`;
          return {
            ...{ id: String(n), name: text, email: text, address: text, company: text, job: text },
            ...{ createdAt: at, updatedAt: at },
          };
        };
        const records = Array.from({ length: 20 }, (_, i) => record(i));
        const asked: string[] = [];
        // Milliseconds, no more and no less, as JavaScript's toISOString and many an API has them.
        const server = createServer((request, response) => {
          const since = new URL(request.url ?? '', 'http://h').searchParams.get('since') ?? '';
          asked.push(since);
          if (since !== '0001-01-01T00:00:00Z' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(since)) {
            response.writeHead(400).end(JSON.stringify({ error: `not a timestamp: ${since}` }));
          } else response.end(JSON.stringify({ data: records.filter((r) => r.updatedAt >= since) }));
        });
        await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
        try {
          const { port } = server.address() as AddressInfo;
          const configuration = configurationFor('replay', `http://127.0.0.1:${port}`);
          await both(configuration);
          expect(original.difference(records)).toEqual(EQUAL);
          records.push(record(20), record(21));
          asked.length = 0;
          expect(await original.sync(configuration)).toContain('400');
          expect(asked).toEqual(['2025-12-31T22:00:23.446000Z']);
          expect(original.difference(records)).toEqual({ ...EQUAL, missing: ['20', '21'] });
          asked.length = 0;
          await ours(configuration);
          expect(asked).toEqual(['2025-12-31T22:00:23.446Z']);
          expect([...(await tableRows(destination)).keys()].sort()).toEqual(ids(records).sort());
        } finally {
          server.close();
          server.closeAllConnections();
        }
      });
    });

    describe('as documented, with only the strategy changed,', () => {
      const documented = (strategy: string): Configuration => ({
        strategy,
        base_url: demo().url + PATHS.keyset,
        page_size: 100,
        initial_id: 1,
        step_size: 1000,
        max_id: 100000,
        buffer_hours: 2,
      });

      it.each(['offset', 'timestamp', 'step_size', 'replay'])(
        'fails with %s; ours says what it reads instead',
        async (strategy) => {
          await fresh({ rows: 120 });
          expect(await original.sync(documented(strategy))).toContain('400');
          expect(original.rows.size).toBe(0);
          const { warnings } = await ours(documented(strategy));
          expect(warnings.map((warning) => warning.code)).toContain('path_replaced');
          expect(await lostByOurs(strategy === 'step_size' ? 'step' : 'list')).toEqual(EQUAL);
        },
      );

      it('works with keyset, and so does ours', async () => {
        await fresh({ rows: 120 });
        await both(documented('keyset'));
        expect([await lostByOriginal(), await lostByOurs()]).toEqual([EQUAL, EQUAL]);
      });
    });
  },
);

import { defaultPayloadConverter } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EQUAL } from '../helpers/harness.js';
import { timeSkipping, timeSkippingBinary } from '../helpers/time-skipping.js';
import { Laboratory, summaryOf, useLaboratory } from '../workflow/laboratory.js';

const binary = await timeSkippingBinary();
const unavailable = 'reason' in binary ? ` (skipped: ${binary.reason})` : '';

describe.skipIf('reason' in binary)(`on a server that skips time${unavailable}`, () => {
  let environment: TestWorkflowEnvironment;
  let lab: Laboratory;
  beforeAll(async () => {
    if ('reason' in binary) return;
    environment = await timeSkipping(binary.path);
    lab = await Laboratory.open(environment.address);
  });
  afterAll(async () => {
    await lab?.close();
    await environment?.teardown();
  });

  // Before the other: a source's deadline is by the clock of this machine, which the server's leaves behind.
  test('a source that asks to wait for hours is waited for, without an attempt used up', async () => {
    const bench = await lab.bench({ fail: [{ kind: 'status', status: 429, retry_after: 7200, after: 2 }] });
    const run = await bench.start();
    await run.status('waiting');
    await environment.sleep('1h');
    expect((await run.progress()).status).toBe('waiting');
    await environment.sleep('70m');
    expect(await run.result()).toMatchObject({ rows: 200 });
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('a day of passes every 15 minutes takes seconds, and each sees what has arrived before it', async () => {
    const bench = await lab.bench({ rows: 100 });
    const run = await bench.start({ interval: '15m' });
    await run.status('sleeping');
    // So that the hours below do not end just where a pass begins.
    await environment.sleep('5m');
    const began = Date.now();
    for (let hour = 1; hour <= 24; hour++) {
      await bench.source.mutate({ insert: 3, update: 1 });
      await environment.sleep('1h');
      const wanted = 1 + hour * 4;
      await run.reaches(
        ({ totals, status }) => totals.passes >= wanted && status === 'sleeping',
        `the passes of hour ${hour}`,
      );
      if (hour % 6 === 0) expect(await bench.difference()).toEqual(EQUAL);
    }
    expect(Date.now() - began).toBeLessThan(100_000);
    const { totals, waiting } = await run.progress();
    expect(totals.passes).toBeLessThanOrEqual(98);
    const now = await environment.currentTimeMs();
    expect(Date.parse(waiting?.until ?? '') - now).toBeGreaterThan(0);
    expect(Date.parse(waiting?.until ?? '') - now).toBeLessThanOrEqual(15 * 60_000);
    await run.sync.cancel();
    await run.ends();
  });
});

describe('the Web UI', () => {
  const server = useLaboratory();

  test('is told what a sync is, how it stands, and what each step does', async () => {
    const bench = await server().bench({
      rows: 120,
      fail: [{ kind: 'status', status: 429, retry_after: 600, after: 1 }],
    });
    const run = await bench.start({ interval: '1h' });
    await run.status('waiting');
    const { raw } = await run.handle.describe();
    const metadata = raw.executionConfig?.userMetadata;
    expect(metadata?.summary && defaultPayloadConverter.fromPayload(metadata.summary)).toBe(
      `user · keyset · ${bench.source.url}/pagination/keyset`,
    );
    expect(metadata?.details && defaultPayloadConverter.fromPayload(metadata.details)).toContain(
      '`main.user`',
    );

    const details = async () =>
      (await run.handle.query<{ currentDetails: string }>('__temporal_workflow_metadata')).currentDetails;
    expect(await details()).toMatch(/^\*\*waiting\*\* · pass 1 · `last_updated_at` = /);
    expect(await details()).toMatch(/Waiting until \S+: 429 /);
    expect(await details()).toContain('- this pass: 50 records, 50 rows written, 1 page, 1 batch');
    await run.sync.resume();
    await run.status('sleeping');
    expect(await details()).toMatch(
      /^Last pass ended by `no_next_token` at \S+Z: 123 records, 120 rows written\.$/m,
    );
    expect(await details()).toMatch(/^\d+ records\/s · up to date as of \S+Z \(lag \d+s\)$/m);

    const summaries = (await run.events()).flatMap((event) => summaryOf(event) ?? []);
    expect(summaries).toContain('open the stream');
    expect(summaries).toContain('read up to 50 records');
    expect(summaries).toContainEqual(expect.stringMatching(/^batch 1 · 50 records · 1 page · to 2026-\S+Z$/));
    expect(summaries).toContainEqual(
      expect.stringMatching(/^batch 3 · \d+ records · 1 page · to 2026-\S+Z · no_next_token$/),
    );
    expect(summaries).toContainEqual(expect.stringMatching(/^waiting: 429 /));
    expect(summaries).toContain('sleeping: next pass');
  });

  test('learns the names of signals and queries, with what they do', async () => {
    const bench = await server().bench({ rows: 5 });
    const run = await bench.start();
    await run.result();
    interface Metadata {
      definition: Record<string, { name: string; description?: string }[]>;
    }
    const { definition } = await run.handle.query<Metadata>('__temporal_workflow_metadata');
    const described = (what: string) =>
      (definition[what] ?? []).filter(({ description }) => description).map(({ name }) => name);
    expect(described('signalDefinitions').sort()).toEqual([
      ...['configuration', 'decide', 'pause', 'resume', 'settings', 'stop', 'trigger'],
    ]);
    expect(described('updateDefinitions')).toEqual(['approve', 'reject', 'set', 'move', 'configure']);
    expect(described('queryDefinitions')).toEqual(expect.arrayContaining(['state', 'progress']));
  });
});

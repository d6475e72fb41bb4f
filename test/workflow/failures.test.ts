import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { afterEach, beforeEach, describe, expect, inject, test, vi } from 'vitest';
import type { WriteBatchInput } from '../../src/protocol.js';
import { streamKey } from '../../src/plan/stream-key.js';
import { DuckDbDestination } from '../../src/destinations/duckdb/duckdb.js';
import { Staging } from '../../src/staging/staging.js';
import { EQUAL, uniqueName, until } from '../helpers/harness.js';
import { envWithoutTemporal } from '../helpers/temporal.js';
import { completed, gate, scheduled, useLaboratory, type Bench, type Run } from './laboratory.js';

const lab = useLaboratory();

/** The table holds what the log of commits says, and the checkpoint is the last commit. */
async function isConsistent(bench: Bench): Promise<void> {
  const [rows, logged, checkpoint, last] = await bench.read(
    `SELECT (SELECT count(*) FROM "user"), (SELECT sum("rows") FROM _highwater_batches),
            (SELECT id FROM _highwater_checkpoints), (SELECT id FROM _highwater_batches ORDER BY committed_at DESC LIMIT 1)`,
  );
  expect(Number(rows)).toBe(Number(logged));
  expect(checkpoint).toBe(last);
}

describe('cancel', () => {
  test('stops a pass within seconds, and what the table holds is what the checkpoint says', async () => {
    const bench = await lab().bench({ rows: 600, latency_ms: 20 });
    const run = await bench.start();
    await run.reaches(({ batches }) => batches >= 3, 'three batches');
    await run.sync.cancel();
    expect(await run.ends()).toBeLessThan(2000);
    expect(await run.sync.status()).toBe('CANCELLED');
    await isConsistent(bench);
    await bench.source.set({ latency_ms: 0 });
    await (await bench.start()).result();
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('does not wait for a source that hangs, and ends the request', async () => {
    let hanging = 0;
    const bench = await lab().bench({ fail: [{ kind: 'hang', after: 1 }] });
    const run = await bench.start(
      {},
      { fetchPages: (input, real) => (hanging++, real(input).finally(() => hanging--)) },
    );
    await until(async () => ((await bench.source.stats()).faults['hang'] ?? 0) === 1, 10, 'the hang');
    await run.sync.cancel();
    expect(await run.ends()).toBeLessThan(2000);
    await until(() => hanging === 0, 5, 'the end of the request');
  });

  test('while a write is under way lets the next sync tell whether it was committed', async () => {
    const bench = await lab().bench({ rows: 300 });
    const [writing, done] = [gate(), gate()];
    let writes = 0;
    const run = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          if (++writes < 3) return real(input);
          await writing.pass().catch(() => undefined);
          return real(input).finally(done.open);
        },
      },
    );
    await writing.reached;
    await run.sync.cancel();
    await run.ends();
    const next = await bench.start();
    await next.result();
    writing.open();
    await isConsistent(bench);
    expect(await bench.difference()).toEqual(EQUAL);
  });
});

describe('a write', () => {
  test('that was committed and not acknowledged is not done again', async () => {
    const bench = await lab().bench({ rows: 120 });
    const run = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          const written = await real(input);
          if (Context.current().info.attempt === 1) throw new Error('the acknowledgement was lost');
          expect(written.already).toBe(true);
          return written;
        },
      },
    );
    expect(await run.result()).toMatchObject({ rows: 120, endRule: 'no_next_token' });
    await isConsistent(bench);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('that is on its way behind another waits for it, though it came first and the other failed once', async () => {
    const bench = await lab().bench({ rows: 240 });
    const second = gate();
    let [writes, behind] = [0, 0];
    const run = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          const { attempt } = Context.current().info;
          if (input.behind === true) {
            behind++;
            second.open();
          } else if (attempt === 1 && ++writes === 1) {
            await second.pass();
            throw new Error('not yet');
          }
          return real(input);
        },
      },
    );
    expect(await run.result()).toMatchObject({ rows: 240, batches: 5, endRule: 'no_next_token' });
    const events = await run.events();
    expect(scheduled(events, 'openStream')).toHaveLength(1);
    expect(scheduled(events, 'writeBatch')).toHaveLength(5);
    expect(behind).toBeGreaterThan(0);
    await isConsistent(bench);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('that is on its way behind one that fails for good writes nothing', async () => {
    const bench = await lab().bench({ rows: 240 });
    const second = gate();
    let behind: Promise<unknown> | undefined;
    const run = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          if (input.behind === true) {
            second.open();
            const written = real(input);
            behind ??= written.catch((error: unknown) => error);
            return written;
          }
          await second.pass();
          throw ApplicationFailure.nonRetryable('no', 'DestinationError');
        },
      },
    );
    await expect(run.result()).rejects.toThrow();
    expect(await behind).toBeInstanceOf(Error);
    expect(await bench.read('SELECT count(*) FROM "user"')).toEqual(['0']);
  });

  test('that runs on beside its own retry writes nothing', async () => {
    const bench = await lab().bench({ rows: 300 });
    let outcome: Promise<unknown> | undefined;
    const retried = gate();
    const run = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          if (Context.current().info.attempt > 1) return real(input).finally(retried.open);
          if (outcome !== undefined) return real(input);
          // Without a heartbeat the server takes it for lost.
          outcome = retried.opened.then(() => real(input)).catch((error: unknown) => error);
          await outcome;
          throw new Error('nobody listens any more');
        },
      },
    );
    expect(await run.result()).toMatchObject({ rows: 300 });
    const refused = { type: 'CheckpointConflictError' };
    expect([expect.objectContaining({ already: true }), expect.objectContaining(refused)]).toContainEqual(
      await outcome,
    );
    await isConsistent(bench);
    expect(await bench.difference()).toEqual(EQUAL);
  });
});

describe('a staged batch', () => {
  // One that is in the destination's memory already does not miss its files.
  beforeEach(() => void vi.spyOn(DuckDbDestination.prototype, 'prepare').mockReturnValue());
  afterEach(() => void vi.restoreAllMocks());

  const damages: Record<string, (path: string) => Promise<void>> = {
    'is missing': (path) => rm(path),
    'is cut short': (path) => truncate(path, 100),
    'was altered by a byte': async (path) => {
      const bytes = await readFile(path);
      bytes[40] = (bytes[40] ?? 0) ^ 1;
      await writeFile(path, bytes);
    },
  };

  const files = ({ destination, plan, batch }: WriteBatchInput) => {
    const staging = new Staging(destination, streamKey(plan));
    return Promise.all(batch.files.map((file) => staging.verify(file)));
  };

  test.each(Object.entries(damages))('that %s is fetched again', async (_, damage) => {
    const bench = await lab().bench({ rows: 300 });
    let writes = 0;
    const run = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          if (++writes === 3) for (const path of await files(input)) await damage(path);
          return real(input);
        },
      },
    );
    expect(await run.result()).toMatchObject({ rows: 300, endRule: 'no_next_token' });
    const events = await run.events();
    const failed = events.flatMap((event) => event.activityTaskFailedEventAttributes?.failure ?? []);
    expect(failed.map((failure) => failure.applicationFailureInfo?.type)).toEqual(['BatchLostError']);
    expect(scheduled(events, 'openStream')).toHaveLength(2);
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('that is lost time and again is not fetched without a pause', async () => {
    const bench = await lab().bench({ rows: 300 });
    let broken = true;
    const run = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          if (broken) for (const path of await files(input)) await rm(path);
          return real(input);
        },
      },
    );
    await until(async () => (await bench.requests()) > 0, 10, 'the first request');
    await delay(3000);
    expect(scheduled(await run.events(), 'fetchPages').length).toBeLessThanOrEqual(15);
    expect(scheduled(await run.events(), 'openStream').length).toBeLessThanOrEqual(5);
    expect((await run.status('waiting')).waiting?.reason).toMatch(/staged file .* is gone/);
    broken = false;
    expect(await run.result()).toMatchObject({ rows: 300 });
    expect(await bench.difference()).toEqual(EQUAL);
  });
});

describe('an input that cannot be used', () => {
  const attempts = async (run: Run) =>
    (await run.events()).flatMap((event) => event.activityTaskStartedEventAttributes?.attempt ?? []);

  test('fails the run at once, with every problem, and nothing was read or written', async () => {
    const bench = await lab().bench();
    const configuration = bench.configuration({ strategy: 'keysett', page_size: 0, intervall: '5m' });
    const run = await bench.startWith([configuration]);
    const failure = await run.failure();
    expect(failure).toMatchObject({ type: 'ConfigurationError', nonRetryable: true });
    expect(failure.message).toContain('3 problems');
    expect(failure.message).toMatch(/strategy: "keysett" is not one of .*did you mean "keyset"/);
    expect(failure.message).toMatch(/page_size: 0 is too small/);
    expect(failure.message).toMatch(/intervall: is not a known key \(did you mean "interval"\?\)/);
    expect(await attempts(run)).toEqual([1]);
    expect(await bench.requests()).toBe(0);
    expect(existsSync(bench.destination)).toBe(false);
  });

  test.each([
    ['a text', ['users.json'], 'a string'],
    ['a number', [5], 'a number'],
    ['a list', [[{}]], 'a list'],
    ['null', [null], 'nothing'],
    ['none at all', [], 'nothing'],
  ])('fails the run when it is %s', async (_, args, kind) => {
    const bench = await lab().bench();
    const { type, message } = await (await bench.startWith(args)).failure();
    expect(type).toBe('ConfigurationError');
    expect(message).toContain(`must be an object of keys and values, not ${kind}`);
  });

  test.each([
    ['null', null],
    ['a text', 'full'],
    ['an unknown option', { ful: true }],
    ['an option of another kind', { full: 'yes' }],
  ])('fails the run when its second argument is %s', async (_, options) => {
    const bench = await lab().bench({ rows: 5 });
    const { type, message } = await (await bench.startWith([bench.configuration(), options])).failure();
    expect(type).toBe('ConfigurationError');
    expect(message).toContain('full');
    expect(await bench.requests()).toBe(0);
  });

  test('fails the run that the Temporal CLI started just the same', async () => {
    const bench = await lab().bench();
    const workflowId = uniqueName('cli');
    const what = ['--type', 'sync', '--task-queue', lab().taskQueue, '--workflow-id', workflowId];
    const input = ['--input', JSON.stringify({ strategy: 'keyset', bogus: 1 })];
    const failed = await promisify(execFile)(
      inject('temporalCli'),
      ['workflow', 'execute', ...what, ...input, '--address', inject('temporalAddress')],
      { env: envWithoutTemporal() },
    ).catch((error: { stdout: string; stderr: string }) => error.stdout + error.stderr);
    expect(failed).toMatch(/bogus: is not a known key/);
    expect(await bench.requests()).toBe(0);
  });
});

describe('a source that stays unavailable', () => {
  const down = [{ kind: 'status', status: 500, after: 1, times: 100_000 } as const];

  test('ends a sync of one pass after retry_for, with its own words', async () => {
    const bench = await lab().bench({ fail: down });
    const run = await bench.start({ retry_for: '1s' });
    const before = Date.now();
    const { type, message } = await run.failure();
    expect(type).toBe('SourceUnavailableError');
    expect(message).toContain('the source answered 500');
    expect(message).toContain(`request: GET ${bench.source.url}`);
    expect(Date.now() - before).toBeLessThan(6000);
    // What was read before stays, and the next sync continues from there.
    await isConsistent(bench);
    await bench.source.set({ fail: [] });
    await (await bench.start()).result();
    expect(await bench.difference()).toEqual(EQUAL);
  });

  test('ends it only after what was read before is written, as one that refuses does', async () => {
    const refusal = { kind: 'status', status: 404, after: 4, times: 1000 } as const;
    const bench = await lab().bench({ rows: 600, fail: [refusal] }, 'offset');
    const run = await bench.start(
      {},
      {
        writeBatch: async (input, real) => {
          // Long enough for the refusal to come first.
          await delay(300);
          return real(input);
        },
      },
    );
    expect(await run.failure()).toMatchObject({ type: 'SourceRefusedError' });
    const [rows] = await bench.read('SELECT count(*) FROM "user"');
    expect(Number(rows)).toBe((await bench.source.stats()).records - 3);
    await isConsistent(bench);
  });

  test('does not end an interval sync, which waits with the reason and goes on when the source is back', async () => {
    const bench = await lab().bench({ fail: down });
    const run = await bench.start({ interval: '1h', retry_for: '1s' });
    const { waiting } = await run.status('failing');
    expect(waiting?.reason).toContain('the source answered 500');
    expect(Date.parse(waiting?.until ?? '') - Date.now()).toBeLessThanOrEqual(60_000);
    await bench.source.set({ fail: [] });
    await run.sync.resume();
    await run.status('sleeping');
    expect(await bench.difference()).toEqual(EQUAL);
    const failed = (await run.events()).filter((event) => event.activityTaskFailedEventAttributes);
    expect(failed.length).toBe(1);
    expect(completed(await run.events(), 'openStream').length).toBe(2);
  });

  test.each(['DestinationBusyError', 'StorageFullError'])(
    'nor does a %s, which may pass as well',
    async (type) => {
      const bench = await lab().bench({ rows: 20 });
      let left = 4;
      const run = await bench.start(
        { interval: '1h', retry_for: '1s' },
        {
          writeBatch: async (input, real) => {
            if (left-- > 0) throw ApplicationFailure.retryable('not just now', type);
            return real(input);
          },
        },
      );
      expect((await run.status('failing')).waiting?.reason).toBe('not just now');
      await run.sync.resume();
      await run.status('sleeping');
      expect(await bench.difference()).toEqual(EQUAL);
    },
  );
});

test('a pass of which every record is quarantined ends, as any other', async () => {
  const bench = await lab().bench({ rows: 120 }, 'offset');
  const run = await bench.start({
    columns: { id: 'STRING', name: 'STRING', createdAt: 'NAIVE_DATE' },
    misfits: 'quarantine',
    page_size: 50,
  });
  expect(await run.result()).toMatchObject({
    endRule: 'total_reached',
    records: 0,
    rejected: 122,
    rows: 0,
  });
});

/** What machines see of a worker: traces, metrics and logs of real syncs, and the files in docs/ that read them. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { HighwaterClient } from '../../src/client.js';
import { freePorts } from '../../src/dev/ports.js';
import { labelNames, METRICS, type MetricSpec } from '../../src/metrics.js';
import type { Json } from '../../src/protocol.js';
import {
  configurationFor,
  connect,
  highwater,
  scratch,
  startWorker,
  uniqueName,
  until,
  type WorkerProcess,
} from '../helpers/harness.js';
import { receiver, type Receiver } from '../helpers/receivers.js';
import { testApi, type TestApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

const SECRET = 'hunter2-9f31';

let collector: Receiver;
let hook: Receiver;
let api: TestApi;
let failingApi: TestApi;
let folder: Awaited<ReturnType<typeof scratch>>;
let worker: WorkerProcess;
let client: HighwaterClient;
let metricsUrl: string;
const once = uniqueName('once');
const failing = uniqueName('failing');

beforeAll(async () => {
  const refusals = [
    { kind: 'status', status: 429, retry_after: 1, after: 1 },
    { kind: 'status', status: 500, after: 2 },
  ] as const;
  const down = { kind: 'status', status: 500, times: 100_000 } as const;
  const [port] = await freePorts([0]);
  [collector, hook, api, failingApi, folder] = await Promise.all([
    receiver(),
    receiver(),
    testApi({ rows: 120, fail: [...refusals] }),
    testApi({ rows: 20, fail: [down] }),
    scratch(),
  ]);
  const otel = {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    OTEL_BSP_SCHEDULE_DELAY: '100',
  };
  metricsUrl = `http://127.0.0.1:${port}/metrics`;
  worker = await startWorker({
    address: inject('temporalAddress'),
    taskQueue: uniqueName('monitoring'),
    flags: ['--metrics-port', String(port)],
    cwd: folder.path,
    env: { ...otel, API_SECRET: SECRET, HOOK: `${hook.url}/${SECRET}`, HIGHWATER_LOG: 'info' },
  });
  client = await connect(inject('temporalAddress'));
  const configure = (url: string, more: { [key: string]: Json }) =>
    configurationFor('keyset', url.replace('//', '//reader:${env:API_SECRET}@'), {
      ...{ table: 'watched', batch_rows: 50, destination: folder.file('watched.duckdb') },
      ...more,
    });
  await writeFile(folder.file('once.json'), JSON.stringify(configure(`${api.url}`, {})));
  const forEver = {
    ...{ table: 'failing', interval: '1h', retry_for: '0.1s' },
    notify: { url: '${env:HOOK}', lag: '2h' },
  };
  await client.start(configure(failingApi.url, forEver), {
    workflowId: failing,
    taskQueue: worker.taskQueue,
  });
  const started = await highwater(
    ['start', folder.file('once.json'), '--id', once, '--task-queue', worker.taskQueue],
    { env: { ...otel, TEMPORAL_ADDRESS: inject('temporalAddress') }, cwd: folder.path },
  );
  expect(started).toMatchObject({ status: 0, stderr: '' });
  await client.sync(once).result();
  await until(() => hook.received.length > 0, 30, 'the notice of the sync that fails');
});
afterAll(async () => {
  await client?.temporal.workflow.getHandle(failing).terminate();
  await client?.close();
  await worker?.end();
  await Promise.all([collector, hook, api, failingApi].map((one) => one?.stop()));
  await folder?.remove();
});

describe('traces', () => {
  interface Span {
    traceId: string;
    spanId: string;
    parentSpanId?: string;
    name: string;
    attributes: { key: string; value: { [kind: string]: Json } }[];
    service: string;
  }
  interface Resource {
    resource: { attributes: Span['attributes'] };
    scopeSpans: { spans: Span[] }[];
  }

  const valueOf = (attributes: Span['attributes'], key: string) =>
    Object.values(attributes.find((one) => one.key === key)?.value ?? {})[0];
  const spans = (): Span[] =>
    collector.received
      .filter(({ path }) => path === '/v1/traces')
      .flatMap(({ body }) => (body as unknown as { resourceSpans: Resource[] }).resourceSpans)
      .flatMap(({ resource, scopeSpans }) =>
        scopeSpans
          .flatMap((scope) => scope.spans)
          .map((span) => ({ ...span, service: String(valueOf(resource.attributes, 'service.name')) })),
      );
  /** The names from the root down to a span. */
  const path = (all: Span[], span: Span): string[] => {
    const parent = all.find(({ spanId }) => spanId === span.parentSpanId);
    return [...(parent === undefined ? [] : path(all, parent)), span.name];
  };

  test('lead from the client to each request, without a secret', async () => {
    const isRun = (span: Span) => span.name === 'RunWorkflow:sync';
    await until(() => spans().some(isRun), 20, 'the span of the workflow');
    const all = spans().filter(({ traceId }) => traceId === spans().find(isRun)?.traceId);
    const paths = new Set(all.map((span) => path(all, span).join(' > ')));
    const run = 'StartWorkflow:sync > RunWorkflow:sync';
    const activity = (name: string) => `${run} > StartActivity:${name} > RunActivity:${name}`;
    expect([...paths]).toEqual(
      expect.arrayContaining([
        'StartWorkflow:sync',
        run,
        activity('openStream'),
        activity('fetchPages'),
        activity('writeBatch'),
        `${activity('fetchPages')} > GET /pagination/keyset`,
      ]),
    );
    expect(new Set(all.map(({ service }) => service))).toEqual(new Set(['highwater']));
    const requests = all.filter(({ name }) => name.startsWith('GET '));
    const statuses = requests.map(({ attributes }) => valueOf(attributes, 'http.response.status_code'));
    expect(new Set(statuses)).toEqual(new Set([200, 429, 500]));
    expect(requests.length).toBe((await api.client.stats()).requests);
    for (const { attributes } of requests) {
      expect(valueOf(attributes, 'url.path')).toBe('/pagination/keyset');
      expect(valueOf(attributes, 'server.address')).toBe('127.0.0.1');
    }
    const read = requests.map(({ attributes }) => Number(valueOf(attributes, 'http.response.body.size')));
    expect(Math.max(...read)).toBeGreaterThan(5000);
    expect(collector.received.map(({ bytes }) => bytes.toString()).join('')).not.toContain(SECRET);
  });
});

test('what is off is not loaded', async () => {
  const worker = fileURLToPath(new URL('../../dist/worker.js', import.meta.url));
  const traces = fileURLToPath(new URL('../../dist/observe/tracing.js', import.meta.url));
  const program = `
    import { createRequire } from 'node:module';
    await import(${JSON.stringify(worker)});
    const { tracing } = await import(${JSON.stringify(traces)});
    const isOn = (await tracing()) !== null;
    const loaded = Object.keys(createRequire(import.meta.url).cache).filter((path) => path.includes('opentelemetry'));
    console.log(JSON.stringify({ isOn, loaded: loaded.length }));`;
  const loaded = async (env: NodeJS.ProcessEnv) => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
      env: envWithoutTemporal(env),
    });
    return JSON.parse(stdout) as { isOn: boolean; loaded: number };
  };
  const [off, on] = await Promise.all([
    loaded({}),
    loaded({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces` }),
  ]);
  expect(off).toEqual({ isOn: false, loaded: 0 });
  expect(on.isOn).toBe(true);
  expect(on.loaded).toBeGreaterThan(0);
});

test('traces go as protobuf unless told otherwise, and a collector that is not there holds nothing up', async () => {
  const ask = (env: NodeJS.ProcessEnv) =>
    highwater(['pause', failing, '--no-wait'], {
      env: { TEMPORAL_ADDRESS: inject('temporalAddress'), ...env },
    });
  const silent = { OTEL_SDK_DISABLED: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  const before = collector.received.length;
  const began = Date.now();
  const asked = await Promise.all([
    ask({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }),
    ask({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }),
    ask({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }),
    ask(silent),
  ]);
  expect(asked.map(({ status }) => status)).toEqual([0, 0, 1, 0]);
  expect(asked[2].stderr).toMatch(/^highwater: OTEL_EXPORTER_OTLP_PROTOCOL is grpc: use http/);
  expect(Date.now() - began).toBeLessThan(30_000);
  const sent = collector.received.slice(before).filter(({ contentType }) => contentType.includes('protobuf'));
  expect(sent.map(({ bytes }) => bytes.includes('SignalWorkflow:pause'))).toEqual([true]);
});

describe('metrics', () => {
  const exposed = async () => {
    const text = await (await fetch(metricsUrl)).text();
    expect(text).not.toContain(SECRET);
    return text.split('\n').flatMap((line) => {
      const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (name === undefined) return [];
      const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]);
      return [{ name, labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(value) }];
    });
  };
  const plain = (name: string) => name.replace(/_(bucket|sum|count)$/, '');

  test('are there, each with the labels that it is said to have', async () => {
    const series = await exposed();
    for (const [name, spec] of Object.entries(METRICS) as [string, MetricSpec][]) {
      const found = series.filter((one) => one.name === name || plain(one.name) === name);
      expect(found.length, name).toBeGreaterThan(0);
      for (const { labels } of found) {
        const own = Object.keys(labels).filter(
          (label) => !['namespace', 'taskQueue', 'workflowType', 'le'].includes(label),
        );
        expect(own.sort(), name).toEqual(labelNames(spec).sort());
      }
    }
  });

  test('count what has happened', async () => {
    const series = await exposed();
    const sum = (name: string, wanted: Record<string, string> = {}) =>
      series
        .filter((one) => one.name === name)
        .filter(({ labels }) => Object.entries({ sync: once, ...wanted }).every(([k, v]) => labels[k] === v))
        .reduce((total, { value }) => total + value, 0);
    const { requests } = await api.client.stats();
    const [result] = (await client.sync(once).result()).streams;
    expect(result?.rows).toBe(120);
    expect(sum('highwater_rows_total', { stream: 'watched', strategy: 'keyset' })).toBe(120);
    expect(sum('highwater_records_total')).toBe(result?.records);
    expect(sum('highwater_pages_total')).toBe(result?.pages);
    expect(sum('highwater_batches_total')).toBe(result?.batches);
    expect(sum('highwater_commit_seconds_count')).toBe(result?.batches);
    expect(sum('highwater_source_request_seconds_count')).toBe(requests);
    expect(sum('highwater_source_request_seconds_count', { status: '429' })).toBe(1);
    expect(sum('highwater_source_wait_seconds_count', { for: 'source' })).toBe(1);
    expect(sum('highwater_source_wait_seconds_sum')).toBeGreaterThan(0.5);
    expect(sum('highwater_source_bytes_total')).toBeGreaterThan(sum('highwater_bytes_total') / 2);
    expect(sum('highwater_rejected_total')).toBe(0);
    const failed = { sync: failing, activity: 'fetchPages', error: 'SourceUnavailableError' };
    expect(sum('highwater_retries_total', failed)).toBeGreaterThan(1);
    expect(sum('highwater_notices_total', { sync: failing, event: 'failing', outcome: 'sent' })).toBe(1);

    const now = Date.now() / 1000;
    expect(now - sum('highwater_complete_as_of_timestamp_seconds')).toBeLessThan(300);
    const [success, failure] = ['success', 'failure'].map(
      (what) => `highwater_last_${what}_timestamp_seconds`,
    );
    expect(sum(success ?? '')).toBeGreaterThan(sum(failure ?? ''));
    expect(sum(success ?? '', { sync: failing })).toBeLessThan(sum(failure ?? '', { sync: failing }));
    const statuses = series
      .filter(({ name, labels }) => name === 'highwater_status_timestamp_seconds' && labels['sync'] === once)
      .sort((a, b) => b.value - a.value);
    expect(statuses[0]?.labels['status']).toBe('drained');
  });

  const docs = (name: string) =>
    readFileSync(fileURLToPath(new URL(`../../docs/${name}`, import.meta.url)), 'utf8');

  test.each(['grafana-dashboard.json', 'alerts.yaml', 'monitoring.md'])(
    'that docs/%s asks for are all there',
    async (file) => {
      const text = docs(file);
      const asked = new Set([...text.matchAll(/\b(?:highwater|temporal)_[a-z_]+\b/g)].map(([name]) => name));
      const names = new Set((await exposed()).flatMap(({ name }) => [name, plain(name)]));
      expect(asked.size).toBeGreaterThan(5);
      expect([...asked].filter((name) => !names.has(name))).toEqual([]);
    },
  );
});

describe('logs', () => {
  const lines = () =>
    worker
      .said()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { [name: string]: Json });
  const of = (sync: string, msg: string) =>
    lines().filter((one) => one['sync'] === sync && one['msg'] === msg);

  test('say of each line which sync, stream and batch it is about, and hold no secret', () => {
    expect(of(once, 'stream opened')).toMatchObject([{ level: 30, stream: 'watched', strategy: 'keyset' }]);
    const batches = of(once, 'batch committed');
    expect(batches.length).toBeGreaterThan(1);
    for (const line of batches) {
      expect(line).toMatchObject({ stream: 'watched', activity: 'writeBatch' });
      expect(line['batch']).toMatch(/^[\w-]{12}$/);
      expect(typeof line['seconds']).toBe('number');
    }
    expect(batches.reduce((sum, { rows }) => sum + Number(rows), 0)).toBe(120);
    expect(of(once, 'waiting')).toMatchObject([
      { stream: 'watched', reason: expect.stringMatching(/^429/) as string },
    ]);
    expect(of(once, 'pass ended')).toMatchObject([
      { stream: 'watched', endRule: 'no_next_token', rows: 120 },
    ]);
    const [retry] = of(failing, 'Activity failed');
    expect(retry).toMatchObject({ level: 40, stream: 'failing', activity: 'fetchPages', attempt: 1 });
    expect(retry?.['err']).toMatch(/the source answered 500/);
    const [failure] = of(failing, 'failing');
    expect(failure).toMatchObject({ level: 40, stream: 'failing', type: 'SourceUnavailableError' });
    expect(worker.said()).not.toContain(SECRET);
  });
});

/**
 * What Docker, systemd and Kubernetes are told of the worker, and that the worker does it. There is no Docker engine in
 * the tests: the last stage of the Dockerfile is run as it is, on a copy of the build; `npm run container` runs every step.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse, parseAllDocuments } from 'yaml';
import { describe, expect, inject, test } from 'vitest';
import { freePorts } from '../../src/dev/ports.js';
import { all, environmentOf, execForm, last, stages } from '../helpers/dockerfile.js';
import {
  configurationFor,
  connect,
  difference,
  EQUAL,
  scratch,
  uniqueName,
  until,
} from '../helpers/harness.js';
import { testApi } from '../helpers/system.js';
import { envWithoutTemporal } from '../helpers/temporal.js';

const repository = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const text = (path: string) => readFileSync(repository(path), 'utf8');
const [build = [], image = []] = stages();
const environment = environmentOf(image);

describe('the Dockerfile', () => {
  test('builds from the lock file, in a stage that stays behind, and names no registry', () => {
    expect(stages().map((stage) => last(stage, 'FROM'))).toEqual([
      'node:24-bookworm-slim AS build',
      'node:24-bookworm-slim',
    ]);
    expect(all(build, 'COPY')[0]).toBe('package.json package-lock.json ./');
    expect(all(build, 'RUN')[0]).toMatch(/^npm install --no-save /);
    expect(text('Dockerfile')).not.toMatch(/https?:\/\/(?!127\.0\.0\.1)|registry/);
    // What it copies is there, and not kept from it.
    const ignored = text('.dockerignore').split('\n');
    for (const path of all(build, 'COPY').flatMap((rest) => rest.split(' ').slice(0, -1))) {
      expect(existsSync(repository(path.replace('./', ''))), path).toBe(true);
      expect(ignored, path).toContain(`!${path.replace('./', '')}`);
    }
  });

  test('runs as nobody in particular, and its signals reach Node', () => {
    expect(last(image, 'USER')).toBe('node');
    expect(last(image, 'STOPSIGNAL')).toBe('SIGTERM');
    expect(execForm(last(image, 'ENTRYPOINT'))).toEqual(['node', '/app/dist/cli.js']);
    expect(execForm(last(image, 'CMD'))).toEqual(['worker']);
  });
});

test('what starts a worker has it trust no configuration, and keeps hooks apart from data', () => {
  expect(environment).toMatchObject({ HIGHWATER_TRUST: 'none', HIGHWATER_ALLOW_ENV: 'HW_*' });
  expect(text('deploy/compose.yaml')).toMatch(/^ {6}HIGHWATER_TRUST: none$/m);
  expect(text('deploy/highwater.service')).toMatch(/^Environment=HIGHWATER_TRUST=none$/m);
  expect(text('deploy/kubernetes.yaml')).toMatch(/name: HIGHWATER_TRUST\n +value: none\n/);
  for (const file of ['Dockerfile', 'deploy/highwater.service', 'deploy/kubernetes.yaml']) {
    const [, hooks = ''] = /HIGHWATER_HOOKS(?:=|\n +value: )(\S+)/.exec(text(file)) ?? [];
    expect(hooks, file).toBe('/etc/highwater/hooks');
    const [, secrets = ''] = /HIGHWATER_SECRETS(?:=|\n +value: )(\S+)/.exec(text(file)) ?? [];
    // The worker's own keys lie elsewhere.
    expect(secrets, file).toBe('/etc/highwater/secrets');
  }
});

describe('what starts a worker gives it longer to stop than it takes', () => {
  const seconds = Number(environment['HIGHWATER_GRACE']);

  test('Kubernetes', () => {
    type Container = { [name: string]: never } & {
      env: { name: string; value: string }[];
      volumeMounts: { mountPath: string; name: string }[];
    };
    const documents = parseAllDocuments(text('deploy/kubernetes.yaml')).map((one) => {
      expect(one.errors).toEqual([]);
      return one.toJS() as { kind: string; metadata: { name: string }; spec: never };
    });
    const deployment = documents.find(({ kind }) => kind === 'Deployment');
    const spec = deployment?.spec as unknown as {
      replicas: number;
      strategy: { type: string };
      selector: { matchLabels: object };
      template: {
        metadata: { labels: object };
        spec: { [name: string]: unknown } & { containers: Container[] };
      };
    };
    const { spec: pod, metadata } = spec.template;
    expect(spec).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } });
    expect(metadata.labels).toEqual(spec.selector.matchLabels);
    const [container] = pod.containers;
    const grace = container?.env.find(({ name }) => name === 'HIGHWATER_GRACE')?.value;
    expect(pod['terminationGracePeriodSeconds']).toBeGreaterThan(Number(grace) + 10);
    expect(pod).toMatchObject({ securityContext: { runAsNonRoot: true, fsGroup: 1000 } });
    expect(container).toMatchObject({
      livenessProbe: { httpGet: { path: '/healthz', port: 'health' } },
      readinessProbe: { httpGet: { path: '/readyz', port: 'health' } },
      securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
    });
    const claim = documents.find(({ kind }) => kind === 'PersistentVolumeClaim')?.metadata.name;
    const volumes = pod['volumes'] as { name: string; persistentVolumeClaim?: { claimName: string } }[];
    expect(volumes.find(({ name }) => name === 'data')?.persistentVolumeClaim?.claimName).toBe(claim);
    for (const { name } of container?.volumeMounts ?? [])
      expect(volumes.map((one) => one.name)).toContain(name);
  });

  test('Compose', () => {
    const { services } = parse(text('deploy/compose.yaml')) as {
      services: { worker: { stop_grace_period: string } };
    };
    expect(parseInt(services.worker.stop_grace_period)).toBeGreaterThan(seconds + 10);
  });

  test('systemd', () => {
    const unit = text('deploy/highwater.service');
    const value = (name: string) => Number(new RegExp(`${name}=(\\d+)`).exec(unit)?.[1]);
    expect(value('TimeoutStopSec')).toBeGreaterThan(value('HIGHWATER_GRACE') + 10);
    const { status, error, stderr } = spawnSync('systemd-analyze', [
      'verify',
      repository('deploy/highwater.service'),
    ]);
    // What is not there cannot look; what looks must find nothing, but that Node is elsewhere here.
    if (error === undefined && !/not executable/.test(String(stderr)))
      expect({ status, said: String(stderr) }).toEqual({ status: 0, said: '' });
  });
});

test('a container is healthy, then ready; SIGTERM in the middle of a batch ends it in time, and nothing is lost', async () => {
  const [folder, api] = await Promise.all([scratch(), testApi({ rows: 500, latency_ms: 200 })]);
  const here = (path: string) => path.replace(/^\/(app|data)/, `${folder.path}/$1`);
  await Promise.all([
    cp(repository('dist'), folder.file('app/dist'), { recursive: true }),
    cp(repository('package.json'), folder.file('app/package.json')),
    mkdir(folder.file('data')),
  ]);
  await symlink(repository('node_modules'), folder.file('app/node_modules'));
  const [port = 0] = await freePorts([0]);
  const taskQueue = uniqueName('container');
  const env = envWithoutTemporal({
    ...Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, here(value)])),
    ...{ HIGHWATER_HEALTH_PORT: String(port), HIGHWATER_TASK_QUEUE: taskQueue },
    HIGHWATER_ALLOW_HOSTS: new URL(api.url).host,
    TEMPORAL_ADDRESS: inject('temporalAddress'),
  });
  const [program = '', ...entry] = execForm(last(image, 'ENTRYPOINT')).map(here);
  const start = () => {
    const args = [...entry, ...execForm(last(image, 'CMD')), '--json'];
    const child = spawn(program, args, {
      env,
      cwd: here(last(image, 'WORKDIR')),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const events: { event: string }[] = [];
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      const lines = (said += part).split('\n');
      said = lines.pop() ?? '';
      events.push(...lines.map((line) => JSON.parse(line) as { event: string }));
    });
    return { child, events };
  };
  const [probe = '', ...check] = execForm(last(image, 'HEALTHCHECK'));
  const healthy = () =>
    promisify(execFile)(probe, check, { env }).then(
      () => true,
      () => false,
    );
  const readiness = () =>
    fetch(`http://127.0.0.1:${port}/readyz`).then(
      async (answer) => `${answer.status} ${(await answer.text()).trim()}`,
      () => 'away',
    );

  expect(await healthy()).toBe(false);
  const first = start();
  await until(healthy, 60, 'the container being healthy');
  await until(async () => (await readiness()) === '200 ready', 30, 'the container being ready');
  expect(first.events).toMatchObject([{ event: 'ready', taskQueue }]);

  const client = await connect(inject('temporalAddress'));
  // The container holds more than configurations may have.
  const greedy = await client.start(
    configurationFor('keyset', `${api.url}/\${env:TEMPORAL_ADDRESS}`, { table: 'greedy' }),
    { workflowId: uniqueName('container'), taskQueue },
  );
  await expect(greedy.result()).rejects.toMatchObject({ type: 'NotAllowedError' });
  const configuration = configurationFor('keyset', api.url, { batch_rows: 100, page_size: 25 });
  const sync = await client.start(configuration, { workflowId: uniqueName('container'), taskQueue });
  await until(async () => (await sync.progress().catch(() => null))?.batches === 1, 60, 'a batch');
  const began = Date.now();
  first.child.kill('SIGTERM');
  expect(await once(first.child, 'exit')).toEqual([0, null]);
  expect(Date.now() - began).toBeLessThan(Number(environment['HIGHWATER_GRACE']) * 1000);
  expect(first.events.map(({ event }) => event)).toEqual(['ready', 'stopping', 'stopped']);
  expect(await readiness()).toBe('away');

  const second = start();
  const { streams } = await sync.result();
  expect(streams[0]?.rows).toBe(500);
  second.child.kill('SIGTERM');
  await once(second.child, 'exit');
  expect(await difference(api.client, folder.file('data/highwater.duckdb'))).toEqual(EQUAL);
  await client.close();
  await api.stop();
  await folder.remove();
}, 180_000);

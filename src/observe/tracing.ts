import { loadPackages } from '../optional-package.js';
import type { WorkflowClientInterceptor } from '@temporalio/client';
import type { ActivityInterceptorsFactory, InjectedSinks } from '@temporalio/worker';
import type { Sinks } from '@temporalio/workflow';
import type { RequestObserver, RequestStarted } from '../sources/source.js';

/** The interceptors, sinks and plugins that trace the work of syncs. */
export interface Tracing {
  clientInterceptors: WorkflowClientInterceptor[];
  activity: ActivityInterceptorsFactory;
  /** Receives the spans of workflows. */
  sinks: InjectedSinks<Sinks>;
  request: (request: RequestStarted) => RequestObserver;
  /** Sends pending spans, within a few seconds. */
  flush: () => Promise<void>;
}

let started: Promise<Tracing | null> | undefined;

/**
 * Starts tracing if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set. Otherwise returns null
 * without loading OpenTelemetry.
 */
export function tracing(environment: NodeJS.ProcessEnv = process.env): Promise<Tracing | null> {
  started ??= start(environment);
  return started;
}

const PACKAGES = [
  '@opentelemetry/api',
  '@opentelemetry/exporter-trace-otlp-http',
  '@opentelemetry/exporter-trace-otlp-proto',
  '@opentelemetry/resources',
  '@opentelemetry/sdk-trace-node',
  '@temporalio/interceptors-opentelemetry',
];

async function start(environment: NodeJS.ProcessEnv): Promise<Tracing | null> {
  const variable = (...names: string[]) => names.map((name) => environment[name]).find(Boolean);
  const endpoint = variable('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT');
  const isOff =
    environment['OTEL_SDK_DISABLED']?.toLowerCase() === 'true' ||
    !['otlp', undefined].includes(variable('OTEL_TRACES_EXPORTER'));
  if (endpoint === undefined || isOff) return null;
  const protocol =
    variable('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL') ?? 'http/protobuf';
  if (protocol !== 'http/protobuf' && protocol !== 'http/json') {
    throw new Error(
      `OTEL_EXPORTER_OTLP_PROTOCOL is ${protocol}: use http/protobuf or http/json, which collectors ` +
        'accept on port 4318',
    );
  }
  const { openTelemetry } = await loadPackages(
    PACKAGES,
    () => import('./open-telemetry.js'),
    (text) => new Error(`OpenTelemetry, which OTEL_EXPORTER_OTLP_ENDPOINT asks for, ${text}`),
  );
  return openTelemetry(protocol);
}

import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider, type ReadableSpan } from '@opentelemetry/sdk-trace-node';
import type { WorkflowClientInterceptor } from '@temporalio/client';
// Not the package as a whole, which would also load the code for workflows.
import { OpenTelemetryWorkflowClientInterceptor } from '@temporalio/interceptors-opentelemetry/lib/client/index.js';
import {
  makeWorkflowExporter,
  OpenTelemetryActivityInboundInterceptor,
  OpenTelemetryActivityOutboundInterceptor,
} from '@temporalio/interceptors-opentelemetry/lib/worker/index.js';
import type { ActivityInterceptorsFactory, InjectedSinks } from '@temporalio/worker';
import type { Sinks } from '@temporalio/workflow';
import type { RequestObserver, RequestStarted } from '../sources/source.js';
import type { Tracing } from './tracing.js';

/** Maximum time at exit to wait for an unresponsive collector. */
const FLUSH_MILLISECONDS = 3000;

/** Interceptor for the client's calls, except queries, which are polled. */
const clientInterceptor = (): WorkflowClientInterceptor => {
  const theirs = new OpenTelemetryWorkflowClientInterceptor();
  return {
    start: (input, next) => theirs.start(input, next),
    startWithDetails: (input, next) => theirs.startWithDetails(input, next),
    signal: (input, next) => theirs.signal(input, next),
    startUpdate: (input, next) => theirs.startUpdate(input, next),
    cancel: (input, next) => theirs.cancel(input, next),
    terminate: (input, next) => theirs.terminate(input, next),
  };
};

/** Exports spans to OTEL_EXPORTER_OTLP_ENDPOINT; OpenTelemetry's other variables apply too. */
export function openTelemetry(protocol: 'http/protobuf' | 'http/json'): Tracing {
  const resource = defaultResource()
    .merge(resourceFromAttributes({ 'service.name': 'highwater' }))
    .merge(detectResources({ detectors: [envDetector] }));
  const Exporter = protocol === 'http/json' ? JsonExporter : ProtobufExporter;
  const isTimed = ['OTEL_EXPORTER_OTLP_TIMEOUT', 'OTEL_EXPORTER_OTLP_TRACES_TIMEOUT'].some(
    (name) => process.env[name],
  );
  // The exporter's retries would keep a command from ending.
  const exporter = new Exporter(isTimed ? {} : { timeoutMillis: FLUSH_MILLISECONDS });
  const processor = new BatchSpanProcessor(exporter);
  const provider = new NodeTracerProvider({ resource, spanProcessors: [processor] });
  // A provider that the embedding program has registered stays.
  provider.register();
  const tracer = trace.getTracer('highwater');
  const activity: ActivityInterceptorsFactory = (context) => ({
    inbound: new OpenTelemetryActivityInboundInterceptor(context),
    outbound: new OpenTelemetryActivityOutboundInterceptor(context),
  });
  return {
    clientInterceptors: [clientInterceptor()],
    activity,
    sinks: spansOfWorkflows((span) => processor.onEnd({ ...span, resource })),
    request: ({ method, address }: RequestStarted): RequestObserver => {
      const { hostname, pathname, port } = new URL(address);
      const span = tracer.startSpan(`${method} ${pathname}`, {
        kind: SpanKind.CLIENT,
        attributes: {
          'http.request.method': method,
          'server.address': hostname,
          ...(port !== '' && { 'server.port': Number(port) }),
          'url.path': pathname,
        },
      });
      return {
        answered: (status) => void span.setAttribute('http.response.status_code', status),
        ended: (bytes, error) => {
          span.setAttribute('http.response.body.size', bytes);
          if (error !== undefined) span.setAttribute('error.type', error);
          span.setStatus({ code: error === undefined ? SpanStatusCode.UNSET : SpanStatusCode.ERROR });
          span.end();
        },
      };
    },
    flush: async () => {
      const timeout = new Promise<void>((resolve) => void setTimeout(resolve, FLUSH_MILLISECONDS).unref());
      await Promise.race([processor.forceFlush().catch(() => undefined), timeout]);
    },
  };
}

/** A span in the form of OpenTelemetry 1, which Temporal's workflow interceptors produce. */
interface FirstVersionSpan extends Omit<ReadableSpan, 'parentSpanContext' | 'instrumentationScope'> {
  parentSpanId?: string;
  instrumentationLibrary: ReadableSpan['instrumentationScope'];
}

/** Receives the spans of workflows, and converts them for the current version of OpenTelemetry. */
function spansOfWorkflows(take: (span: ReadableSpan) => void): InjectedSinks<Sinks> {
  const onEnd = (given: FirstVersionSpan) => {
    const { parentSpanId, instrumentationLibrary, ...span } = given;
    const { traceId, traceFlags } = span.spanContext();
    take({
      ...span,
      instrumentationScope: instrumentationLibrary,
      ...(parentSpanId !== undefined && {
        parentSpanContext: { traceId, traceFlags, spanId: parentSpanId },
      }),
    });
  };
  type Exporter = Parameters<typeof makeWorkflowExporter>;
  const exporter = makeWorkflowExporter({ onEnd } as unknown as Exporter[0], {} as Exporter[1]);
  return { exporter };
}

/** Interceptors of the second workflow bundle, for workers that send traces. */
import {
  OpenTelemetryInboundInterceptor,
  OpenTelemetryInternalsInterceptor,
  OpenTelemetryOutboundInterceptor,
} from '@temporalio/interceptors-opentelemetry/lib/workflow/index.js';
import type {
  ContinueAsNewInput,
  Next,
  QueryInput,
  UpdateInput,
  WorkflowInboundCallsInterceptor,
  WorkflowInterceptors,
  WorkflowOutboundCallsInterceptor,
} from '@temporalio/workflow';

const TRACE_HEADER = '_tracer-data';

/** Queries and validations make no traces: there are too many of them. */
class Inbound extends OpenTelemetryInboundInterceptor {
  override handleQuery(
    input: QueryInput,
    next: Next<WorkflowInboundCallsInterceptor, 'handleQuery'>,
  ): Promise<unknown> {
    return next(input);
  }

  override validateUpdate(
    input: UpdateInput,
    next: Next<WorkflowInboundCallsInterceptor, 'validateUpdate'>,
  ): void {
    next(input);
  }
}

/** Each run has a trace of its own; the trace of a sync that never ends would not end either. */
const newTrace: WorkflowOutboundCallsInterceptor = {
  continueAsNew: (
    input: ContinueAsNewInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'continueAsNew'>,
  ) => {
    const { [TRACE_HEADER]: _, ...headers } = input.headers;
    return next({ ...input, headers });
  },
};

export const interceptors = (): WorkflowInterceptors => ({
  inbound: [new Inbound()],
  outbound: [new OpenTelemetryOutboundInterceptor(), newTrace],
  internals: [new OpenTelemetryInternalsInterceptor()],
});

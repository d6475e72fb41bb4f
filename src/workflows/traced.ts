/** The interceptors of the workflows' second bundle, which workers use that send traces. */
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

/** Asking how far a sync is, over and over, makes no traces. */
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

/** A run that follows another begins a trace of its own: a sync that goes on for ever would have one without end. */
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

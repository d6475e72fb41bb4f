import type { Context } from '@temporalio/activity';
import type { StreamPlan } from '../protocol.js';
import { ABORTED, type RequestObserver, type RequestStarted } from '../sources/source.js';
import { labelsOf } from './activities.js';
import type { Meter } from './meter.js';
import type { Tracing } from './tracing.js';

/** Counts the requests of a stream, and makes a span of each if tracing is on. */
export const requestsWatched =
  (meter: Meter, tracing: Tracing | null) => (context: Context, plan: StreamPlan, destination: string) => {
    const labels = labelsOf(context, plan, destination);
    return (request: RequestStarted): RequestObserver => {
      const span = tracing?.request(request);
      const began = performance.now();
      let isAnswered = false;
      const answer = (status: string) => {
        isAnswered = true;
        const seconds = (performance.now() - began) / 1000;
        meter.record('highwater_source_request_seconds', seconds, { ...labels, status });
      };
      return {
        answered: (status) => {
          answer(String(status));
          span?.answered(status);
        },
        ended: (bytes, error) => {
          if (!isAnswered && error !== ABORTED) answer('none');
          meter.add('highwater_source_bytes_total', bytes, labels);
          span?.ended(bytes, error);
        },
      };
    };
  };

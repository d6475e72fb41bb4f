import { ApplicationFailure } from '@temporalio/common';
import type { Context } from '@temporalio/activity';
import type { ActivityInterceptors, ActivityInterceptorsFactory } from '@temporalio/worker';
import type { Activities } from '../activities/index.js';
import { inputProblems } from '../inputs.js';
import { syncLabel, withoutCredentials } from '../metrics.js';
import {
  strategyName,
  type FetchedPages,
  type OpenedStream,
  type RangeFound,
  type Redirect,
  type StreamPlan,
  type WrittenBatch,
} from '../protocol.js';
import type { Labels, Meter } from './meter.js';

type Input<Name extends keyof Activities> = Parameters<Activities[Name]>[0];

interface Subject {
  stream: string;
  /** Fields of every log line. */
  attributes: Record<string, unknown>;
  labels: Labels;
}

/** Counts the work of activities and logs it for people; every line names its sync and stream. */
export const countingInterceptor =
  (meter: Meter): ActivityInterceptorsFactory =>
  (context): ActivityInterceptors => {
    let subject: Subject | null = null;
    return {
      inbound: {
        execute: async (input, next) => {
          const { activityType } = context.info;
          const isRefused = inputProblems(activityType as keyof Activities, input.args[0]) !== null;
          subject = subjectOf(context, isRefused ? {} : input.args[0]);
          const began = performance.now();
          try {
            const result = await next(input);
            const seconds = (performance.now() - began) / 1000;
            countResult(meter, context, subject, input.args[0], result, seconds);
            return result;
          } catch (thrown) {
            if (thrown instanceof ApplicationFailure) {
              const error = thrown.type ?? 'Error';
              meter.add('highwater_retries_total', 1, { ...subject.labels, activity: activityType, error });
              if (activityType === 'sendNotice' && !isRefused) {
                const { notice } = input.args[0] as Input<'sendNotice'>;
                const failed = { event: notice.event, outcome: 'failed' };
                meter.add('highwater_notices_total', 1, { ...subject.labels, ...failed });
              }
            }
            throw thrown;
          }
        },
      },
      outbound: {
        getLogAttributes: (input, next) => next({ ...input, ...subject?.attributes }),
      },
    };
  };

/** Returns the metric labels of a stream. */
export function labelsOf(context: Context, plan: StreamPlan, destination: string): Labels {
  const workflowId = context.info.workflowExecution?.workflowId ?? '';
  const { stream, options } = plan;
  return {
    sync: syncLabel(workflowId, stream),
    stream,
    strategy: strategyName(options),
    destination: withoutCredentials(destination),
  };
}

function subjectOf(context: Context, given: unknown): Subject {
  const input = given as Partial<
    Input<'openStream'> & Input<'fetchPages'> & Input<'writeBatch'> & Input<'sendNotice'>
  >;
  const stream = input.plan?.stream ?? input.notice?.stream ?? input.stream ?? '';
  const checkpoint = input.base?.id ?? input.batch?.base;
  const batch = input.batch?.next;
  const workflowId = context.info.workflowExecution?.workflowId ?? '';
  return {
    stream,
    attributes: {
      ...(stream !== '' && { stream }),
      ...(checkpoint !== undefined && { checkpoint }),
      ...(batch !== undefined && { batch }),
    },
    labels:
      input.plan === undefined
        ? { sync: syncLabel(workflowId, stream), stream, strategy: '', destination: '' }
        : labelsOf(context, input.plan, input.destination ?? ''),
  };
}

function countResult(
  meter: Meter,
  { info, log }: Context,
  { labels }: Subject,
  input: unknown,
  result: unknown,
  seconds: number,
): void {
  switch (info.activityType as keyof Activities) {
    case 'openStream': {
      const opened = result as OpenedStream | Redirect;
      if ('redirect' in opened) return;
      const { plan, destination, checkpoint } = opened;
      const table = `${plan.table.schema}.${plan.table.table}`;
      const strategy = strategyName(plan.options);
      log.info('stream opened', {
        stream: plan.stream,
        strategy,
        table,
        destination: withoutCredentials(destination),
        checkpoint: checkpoint.id,
        pass: checkpoint.cursor?.pass ?? 0,
      });
      return;
    }
    case 'fetchPages': {
      const { batches, wait } = result as FetchedPages;
      if (batches.length > 0) meter.record('highwater_batch_seconds', seconds, labels);
      for (const { next, records, pages, bytes } of batches)
        log.debug('batch read', { batch: next, records, pages, bytes, seconds: toMilliseconds(seconds) });
      if (wait === null) return;
      const waits = Math.max(0, (Date.parse(wait.until) - Date.now()) / 1000);
      meter.record('highwater_source_wait_seconds', waits, { ...labels, for: wait.for });
      log.info('must wait', { until: wait.until, reason: wait.reason });
      return;
    }
    case 'writeBatch': {
      const { batch } = input as Input<'writeBatch'>;
      const { already, waited = 0, ...written } = result as WrittenBatch;
      const taken = Math.max(seconds - waited, 0);
      meter.record('highwater_commit_seconds', taken, labels);
      // The attempt that committed the batch has counted it.
      if (already) return;
      const { rows, rejected = 0, deleted = 0 } = written;
      meter.add('highwater_rows_total', rows, labels);
      meter.add('highwater_records_total', batch.records, labels);
      meter.add('highwater_pages_total', batch.pages, labels);
      meter.add('highwater_batches_total', 1, labels);
      meter.add('highwater_bytes_total', batch.bytes, labels);
      meter.add('highwater_rejected_total', rejected, labels);
      meter.add('highwater_deleted_total', deleted, labels);
      const { records, pages, bytes, cursor } = batch;
      log.info('batch committed', {
        rows,
        records,
        pages,
        bytes,
        seconds: toMilliseconds(taken),
        ...(rejected > 0 && { rejected }),
        ...(deleted > 0 && { deleted }),
        ...(cursor.ended !== null && { endRule: cursor.ended }),
      });
      return;
    }
    case 'concludeRange': {
      const { missing, stale, extra, changed } = result as RangeFound;
      log.info('range compared', {
        missing: missing.count,
        stale: stale.count,
        extra: extra?.count ?? null,
        changed,
      });
      return;
    }
    case 'forgetRange':
      return;
    case 'sendNotice': {
      const { notice } = input as Input<'sendNotice'>;
      meter.add('highwater_notices_total', 1, { ...labels, event: notice.event, outcome: 'sent' });
      log.info('notice sent', { event: notice.event });
      return;
    }
  }
}

const toMilliseconds = (seconds: number) => Math.round(seconds * 1000) / 1000;

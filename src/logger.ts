import { Runtime, type Logger as TemporalLogger, type LogMetadata } from '@temporalio/worker';
import pino, { type Logger } from 'pino';

export type { Logger };

/** Structured logs on standard error; standard output belongs to what a command answers. */
export function createLogger(level = process.env['HIGHWATER_LOG'] ?? 'warn'): Logger {
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
}

/**
 * Sends the Temporal SDK's logs the same way. Call once, before the first worker; signals are the caller's.
 */
export function installRuntime(logger: Logger): void {
  const log =
    (level: 'trace' | 'debug' | 'info' | 'warn' | 'error') => (message: string, meta?: LogMetadata) => {
      // The worker of a destination's queue has activities only, which is as it should be.
      if (!message.startsWith('No workflows registered')) logger[level](plain(meta), message);
    };
  const temporalLogger: TemporalLogger = {
    log: (level, message, meta) => log(level.toLowerCase() as 'info')(message, meta),
    trace: log('trace'),
    debug: log('debug'),
    info: log('info'),
    warn: log('warn'),
    error: log('error'),
  };
  Runtime.install({
    logger: temporalLogger,
    // What the SDK's native side has to say comes the same way, not as text of its own.
    telemetryOptions: { logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} } },
    shutdownSignals: [],
  });
}

/** Arguments and payloads stay out of the log. */
function plain(meta: LogMetadata | undefined): Record<string, unknown> {
  const { error, workflowId, runId, activityType, taskQueue, attempt } = (meta ?? {}) as Record<
    string,
    unknown
  >;
  const known = { workflowId, runId, activityType, taskQueue, attempt };
  return error === undefined
    ? known
    : { ...known, err: error instanceof Error ? error.message : String(error) };
}

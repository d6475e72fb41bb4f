import {
  Runtime,
  type Logger as TemporalLogger,
  type LogMetadata,
  type MetricsExporterConfig,
} from '@temporalio/worker';
import pino, { type Logger } from 'pino';
import { usesColour } from './colours.js';
import { HighwaterError, messageOf } from './errors.js';
import { logLine } from './log-lines.js';
import { histogramBuckets } from './observe/meter.js';

export type { Logger };

/**
 * Makes a logger that writes to standard error: lines for people on a terminal, else JSON. HIGHWATER_LOG_FORMAT, `text`
 * or `json`, decides otherwise.
 * @param level `debug`, `info`, `warn` or `error`. Default: HIGHWATER_LOG, else `warn`.
 */
export function createLogger(level = process.env['HIGHWATER_LOG'] ?? 'warn'): Logger {
  const isTerminal = process.stderr.isTTY === true;
  const stderr = pino.destination({ fd: 2, sync: true });
  const hasColours = usesColour(process.env, isTerminal);
  const lines = { write: (json: string) => void stderr.write(`${logLine(json.trimEnd(), hasColours)}\n`) };
  const isText = logFormat(process.env, isTerminal) === 'text';
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, isText ? lines : stderr);
}

/** HIGHWATER_LOG_FORMAT has an unknown value. */
class LogFormatError extends HighwaterError {
  override readonly name = 'LogFormatError';
}

/** The format of the log. @throws {LogFormatError} */
export function logFormat(env: NodeJS.ProcessEnv, isTerminal: boolean): 'text' | 'json' {
  const asked = env['HIGHWATER_LOG_FORMAT'] ?? '';
  if (asked === 'text' || asked === 'json') return asked;
  if (asked !== '')
    throw new LogFormatError(`HIGHWATER_LOG_FORMAT must be text or json, not ${JSON.stringify(asked)}`);
  return isTerminal ? 'text' : 'json';
}

/**
 * Sends the logs of workers and of the Temporal SDK to a logger. Call it once, before the first worker. Without it the SDK logs in
 * a format of its own, and stops workers at SIGINT and SIGTERM itself.
 * @param metrics host and port at which Prometheus finds the metrics; absent: nothing is counted.
 * @throws {Error} if the port of the metrics cannot be used.
 */
export function installRuntime(logger: Logger, metrics?: string): void {
  const log =
    (level: 'trace' | 'debug' | 'info' | 'warn' | 'error') => (message: string, meta?: LogMetadata) => {
      // There are workers of activities only, and none of Nexus, which is as it should be.
      if (!/^No (workflows|Nexus services) registered/.test(message)) logger[level](plain(meta), message);
    };
  const temporalLogger: TemporalLogger = {
    log: (level, message, meta) => log(level.toLowerCase() as 'info')(message, meta),
    trace: log('trace'),
    debug: log('debug'),
    info: log('info'),
    warn: log('warn'),
    error: log('error'),
  };
  try {
    Runtime.install({
      logger: temporalLogger,
      telemetryOptions: {
        // The SDK's native side logs in the same way, not in a format of its own.
        logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} },
        ...(metrics !== undefined && { metrics: metricsAt(metrics) }),
      },
      shutdownSignals: [],
    });
  } catch (thrown) {
    if (metrics === undefined || !messageOf(thrown).includes('prometheus')) throw thrown;
    const why = messageOf(thrown).split(': ').at(-1) ?? '';
    throw new Error(`cannot serve metrics at ${metrics}: ${why}. Choose another port.`, {
      cause: thrown,
    });
  }
}

/** One port for what we count and for what the SDK does. */
const metricsAt = (bindAddress: string): MetricsExporterConfig => ({
  attachServiceName: false,
  prometheus: {
    bindAddress,
    ...{ countersTotalSuffix: true, unitSuffix: true, useSecondsForDurations: true },
    histogramBucketOverrides: histogramBuckets(),
  },
});

/** `9464` or `HOST:9464` → host and port. @throws {Error} */
export function metricsAddress(text: string): string {
  const [, host = '127.0.0.1', port] = /^(?:(.+):)?(\d{1,5})$/.exec(text.trim()) ?? [];
  if (port === undefined || Number(port) > 65_535)
    throw new Error(
      `${JSON.stringify(text)} is not an address for metrics; write a port, or host:port such as 0.0.0.0:9464`,
    );
  return `${host === 'localhost' ? '127.0.0.1' : host}:${port}`;
}

/** Fields of every line, by the names that people look for. */
const RENAMED: Record<string, string> = {
  ...{ workflowId: 'sync', workflowRunId: 'runId', activityType: 'activity', error: 'err' },
};
/** Fields that the SDK adds to each line, which are left out. */
const LEFT_OUT = [
  'taskToken',
  'namespace',
  'workflowType',
  'activityId',
  'sdkComponent',
  'isLocal',
  'trace_flags',
];

/** Arguments and payloads stay out of the log: only plain values are let through. */
function plain(meta: LogMetadata | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(meta ?? {}).flatMap(([name, value]: [string, unknown]) => {
      if (LEFT_OUT.includes(name)) return [];
      const text = value instanceof Error ? value.message : value;
      return ['string', 'number', 'boolean'].includes(typeof text) ? [[RENAMED[name] ?? name, text]] : [];
    }),
  );
}

import type { Json } from '../protocol.js';

/** Returns the configuration for a single pass. */
export function asOnePass(configuration: Json): Json {
  if (typeof configuration !== 'object' || configuration === null || Array.isArray(configuration))
    return configuration;
  const { interval: _interval, idle_interval: _idle, ...rest } = configuration;
  return rest;
}

/** Returns the configuration with another `max_deletes`. */
export function withMaxDeletes(configuration: Json, limit: string): Json {
  if (typeof configuration !== 'object' || configuration === null || Array.isArray(configuration))
    return configuration;
  const { streams } = configuration;
  if (!Array.isArray(streams)) return { ...configuration, max_deletes: limit };
  const limited = (stream: Json): Json =>
    typeof stream === 'object' && stream !== null && !Array.isArray(stream)
      ? { ...stream, max_deletes: limit }
      : stream;
  return { ...configuration, streams: streams.map(limited) };
}

import type { Json } from '../protocol.js';

type Stream = { [key: string]: Json };

/**
 * Returns what one stream of several works by: all that is not a stream, the stream itself, the streams above it, and
 * those that name the same table, which are refused together. A child's input counts in its parent's history, which the
 * whole configuration once for each stream would fill.
 * @param configuration not checked yet; returned as it is where it has no such stream.
 */
export function partOf(configuration: Json, name: string): Json {
  if (!isObject(configuration) || !Array.isArray(configuration['streams'])) return configuration;
  const streams = configuration['streams'].filter(isObject);
  const own = streams.find((stream) => stream['name'] === name);
  if (own === undefined || streams.length !== configuration['streams'].length) return configuration;
  const wanted = new Set<Stream>(streams.filter((stream) => tableOf(stream) === tableOf(own)));
  for (let at: Stream | undefined = own; at !== undefined;) {
    const { parent } = at as { parent?: Json };
    const above: Json | undefined = isObject(parent) ? parent['stream'] : undefined;
    at = streams.find((stream) => stream['name'] === above && !wanted.has(stream));
    if (at !== undefined) wanted.add(at);
  }
  return { ...configuration, streams: streams.filter((stream) => wanted.has(stream)) };
}

const tableOf = ({ table, name }: Stream) => String(table ?? name).toLowerCase();

const isObject = (value: Json | undefined): value is { [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

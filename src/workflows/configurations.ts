/** Reads what workflows need of a configuration that has not been checked yet; an activity checks the rest. */
import { partOf } from '../config/part.js';
import type { Json } from '../protocol.js';

/** Returns the names of the streams; none where the configuration has no list of streams with distinct names. */
export function streamNames(configuration: Json): string[] {
  const names = streamsIn(configuration).map((stream) => asObject(stream)['name']);
  const texts = names.filter((name): name is string => typeof name === 'string');
  return texts.length === names.length && new Set(texts).size === names.length ? texts : [];
}

/** Returns the name of the only stream. */
export function streamName(configuration: Json): string {
  const [name] = streamNames(configuration);
  if (name !== undefined) return name;
  const { table } = asObject(configuration);
  return typeof table === 'string' ? table : 'user';
}

/** Returns the part that concerns one of several streams; the whole for a sync of one. */
export const partFor = (configuration: Json, stream: string | undefined): Json =>
  stream === undefined ? configuration : partOf(configuration, stream);

/** Returns the parent of each stream that has one. */
export function parentsIn(configuration: Json): Map<string, string> {
  const parents = new Map<string, string>();
  for (const stream of streamsIn(configuration)) {
    const { name, parent = null } = asObject(stream);
    const above = asObject(parent)['stream'];
    if (isObject(stream) && typeof above === 'string') parents.set(String(name), above);
  }
  return parents;
}

/** Whether the sync makes one pass after another. */
export const isContinuous = (configuration: Json): boolean =>
  asObject(configuration)['interval'] !== undefined;

/** Returns how many streams may run at once. */
export function streamsAtOnce(configuration: Json, streams: number): number {
  // Streams that never end must all have begun.
  if (isContinuous(configuration)) return streams;
  const limit = Number(asObject(asObject(configuration)['sync'] ?? null)['max_streams']);
  return Number.isInteger(limit) && limit >= 1 ? limit : DEFAULT_STREAMS_AT_ONCE;
}

const DEFAULT_STREAMS_AT_ONCE = 4;

/** Returns why a sync of one stream cannot use the configuration, or null. */
export function streamChangeProblem(configuration: Json, stream: string | null): string | null {
  if (!isObject(configuration)) return NO_OBJECT;
  const names = streamNames(configuration);
  if (stream !== null && names.length === 0) return `it has a single stream, but ${stream} is one of several`;
  if (stream !== null && !names.includes(stream)) return `it has no stream ${stream}`;
  if (stream === null && names.length > 1)
    return 'it has several streams, but the running sync has one: stop the running sync, and start the other';
  return null;
}

/** Returns why a sync of several streams cannot change to the next configuration, or null. */
export function streamsChangeProblem(current: Json, next: Json): string | null {
  if (!isObject(next)) return NO_OBJECT;
  const [before, after] = [streamNames(current), streamNames(next)];
  const added = after.filter((name) => !before.includes(name));
  const removed = before.filter((name) => !after.includes(name));
  if (added.length + removed.length > 0) {
    const changes = [
      ...(added.length > 0 ? [`${added.join(', ')} would be added`] : []),
      ...(removed.length > 0 ? [`${removed.join(', ')} would be removed`] : []),
    ];
    return `its streams differ (${changes.join('; ')}): stop the sync, and start it with the new configuration`;
  }
  return isContinuous(current) === isContinuous(next)
    ? null
    : '"interval" cannot be added to or removed from a running sync of several streams: stop the sync, and start it ' +
        'with the new configuration';
}

const NO_OBJECT = 'it must be an object of keys and values';

function streamsIn(configuration: Json): Json[] {
  const { streams } = asObject(configuration);
  return Array.isArray(streams) ? streams : [];
}

const isObject = (value: Json): value is { [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Returns the members of an object; none of any other value. */
export const asObject = (value: Json): { [key: string]: Json } => (isObject(value) ? value : {});

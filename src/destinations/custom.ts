/** Destinations of extensions: packages that a worker's owner has installed beside Highwater. */
import { ExtensionMissingError, messageOf } from '../errors.js';
import type { StreamPlan } from '../protocol.js';
import type { OptionsResult, OptionsSchema } from '../strategies/index.js';
import type { Destination, ParentRow } from './destination.js';

/** What a destination can do beside upserts into declared columns; configurations that need another are refused. */
export const DESTINATION_FEATURES = [
  'append',
  'children',
  'deletes',
  'history',
  'inference',
  'parents',
  'quarantine',
  'replace',
  'stamps',
] as const;

/**
 * Something that a destination can do beside upserts into declared columns: modes other than `upsert`, `children` tables, `deletes` (also by
 * `deleted_field`), `inference` of columns, tables that are `parents` of other streams, `quarantine` of records that do
 * not fit, and `stamps`, the columns with time and batch of the last write.
 */
export type DestinationFeature = (typeof DESTINATION_FEATURES)[number];

/** A destination as an extension makes it: the interface {@link Destination}; what it does not support may be absent. */
export type CustomDestination = Omit<Destination, 'parents' | 'prepare'> &
  Partial<Pick<Destination, 'parents' | 'prepare'>>;

/** What a destination is told about where it runs. */
export interface DestinationContext {
  /** The destination's name, without secrets: for error messages. */
  readonly name: string;
  /** The prefix of paths on this machine that the destination may use for files of its own. */
  readonly beside: string;
  /** Replaces the values of references in a text. The messages of thrown errors are masked anyway. */
  readonly mask: (text: string) => string;
}

/** Describes a destination that an extension adds; see {@link defineDestination}. */
export interface DestinationDefinition<Options = unknown> {
  /** As a configuration says it, `destination: NAME:ADDRESS`: lower-case letters, digits and `-`, at least two. */
  readonly name: string;
  /**
   * Checks the parts of an address: `NAME:ADDRESS?KEY=VALUE` is `{ address: 'ADDRESS', KEY: 'VALUE' }`, with references
   * resolved.
   */
  readonly options: OptionsSchema<Options>;
  /** What it can do beside upserts into declared columns. Default: nothing. */
  readonly features?: readonly DestinationFeature[];
  /**
   * Returns the address in the one form that all addresses of the same place share, such as an absolute path. Default: as it
   * is written.
   */
  locate?(options: Options): string;
  /** Opens the destination. The worker calls it once for each place, and closes the destination when it stops. */
  open(options: Options, context: DestinationContext): CustomDestination | Promise<CustomDestination>;
}

/** The destinations of extensions, by their names. */
export type CustomDestinations = ReadonlyMap<string, DestinationDefinition>;

/** No destination of an extension. */
export const NO_DESTINATIONS: CustomDestinations = new Map();

/**
 * Returns the definition as it is, with its types: the default export of an extension.
 *
 * ```ts
 * export default defineDestination({
 *   name: 'ledger',
 *   options: z.strictObject({ address: z.string().min(1) }),
 *   open: ({ address }) => new Ledger(address),
 * });
 * ```
 */
export const defineDestination = <Options>(
  definition: DestinationDefinition<Options>,
): DestinationDefinition<Options> => definition;

const NAME = /^[a-z][a-z0-9-]{1,49}$/;
const BUILT_IN = ['duckdb', 'files', 'http', 'https', 'postgres', 'postgresql', 's3'];

/** Whether an export of an extension is meant as a destination. */
export const isDestination = (given: unknown): boolean =>
  typeof given === 'object' && given !== null && 'open' in given;

/** Says what is wrong with a definition; null if it can be used. */
export function destinationProblem(given: unknown): string | null {
  const { name, options, open, features = [] } = given as { [Key in keyof DestinationDefinition]?: unknown };
  if (typeof name !== 'string' || !NAME.test(name))
    return 'needs a "name" of lower-case letters, digits and "-", such as "ledger"';
  if (BUILT_IN.includes(name)) return `is called ${name}, as a built-in destination is`;
  if (typeof open !== 'function') return `${name} needs a function "open"`;
  const known: readonly unknown[] = DESTINATION_FEATURES;
  if (!Array.isArray(features) || !features.every((one) => known.includes(one)))
    return `${name} needs "features" of ${DESTINATION_FEATURES.join(', ')}`;
  const isSchema =
    (typeof options === 'object' || typeof options === 'function') &&
    options !== null &&
    '~standard' in options;
  return isSchema
    ? null
    : `${name} needs "options", a Standard Schema such as z.strictObject({ address: … })`;
}

/** Checks the parts of an address. */
export function checkedAddress(
  { name, options: schema }: DestinationDefinition,
  { address, params }: { address: string; params: readonly (readonly [string, string])[] },
): OptionsResult<unknown> {
  const result = schema['~standard'].validate({ ...Object.fromEntries(params), address });
  if (result instanceof Promise) throw new Error(`the schema of the destination ${name} is asynchronous`);
  return result;
}

/** What is wrong with the parts of an address, in words; null if they can be used. */
export function addressProblem(result: OptionsResult<unknown>): string | null {
  if (result.issues === undefined) return null;
  return result.issues
    .map(({ message, path = [] }) => {
      const at = path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
      return at === '' ? message : `${at}: ${message}`;
    })
    .join('; ');
}

/** A key of a stream that a destination cannot do, and why. */
export interface Unfit {
  key: string;
  message: string;
}

/** Returns the parts of a stream that a destination does not support. */
export function unfitFor(
  { name, features = [] }: Pick<DestinationDefinition, 'name' | 'features'>,
  { table, parent, children }: Pick<StreamPlan, 'table' | 'parent' | 'children'>,
): Unfit[] {
  const found: Unfit[] = [];
  const need = (feature: DestinationFeature, key: string, message: string) => {
    if (!features.includes(feature)) found.push({ key, message: `${message} (the destination is ${name})` });
  };
  const { mode, inference, columns } = table;
  if (mode !== undefined) need(mode, 'mode', `${mode} is not supported by this destination: omit it`);
  if (table.deletes !== undefined || table.deletedField !== undefined)
    need(
      'deletes',
      table.deletedField === undefined ? 'deletes' : 'deleted_field',
      'this destination deletes no rows: omit it',
    );
  if (inference !== undefined) {
    const isDeclared = Object.keys(columns).length > 0;
    const advice = isDeclared ? 'omit "misfits"' : 'declare them; "highwater discover" proposes them';
    need('inference', isDeclared ? 'misfits' : 'columns', `this destination cannot infer columns: ${advice}`);
  }
  if (table.quarantine === true)
    need(
      'quarantine',
      'misfits',
      'this destination keeps no quarantined records: write "freeze", or omit it',
    );
  if (table.stamps === true)
    need(
      'stamps',
      'stamps',
      'this destination does not store time and batch of a write: write "stamps: false"',
    );
  if (children !== undefined && children.length > 0)
    need('children', 'children', 'this destination has no child tables: omit them');
  if (parent !== undefined)
    need(
      'parents',
      'parent',
      'this destination cannot give its rows as parents: read the stream into another',
    );
  return found;
}

/** Says which extension is missing, and what to do. */
export function destinationMissing(name: string, known: CustomDestinations): string {
  const others = known.size === 0 ? 'none is loaded' : `only ${[...known.keys()].join(', ')} is loaded`;
  return (
    `begins with "${name.slice(0, 30)}:", which is not a kind of destination; write the path of a DuckDB file, "postgresql://…", ` +
    '"files:FOLDER" or "s3://BUCKET/PREFIX". If the name of a file contains a colon, write "./NAME". ' +
    `If an extension adds it (${others}), name the extension: HIGHWATER_EXTENSIONS, or --extension of a worker`
  );
}

/**
 * Returns the definition of a destination.
 * @throws {ExtensionMissingError}
 */
export function definitionFor(scheme: string, known: CustomDestinations): DestinationDefinition {
  const definition = known.get(scheme);
  if (definition !== undefined) return definition;
  throw new ExtensionMissingError(`the destination ${destinationMissing(scheme, known)}`);
}

/**
 * Returns the whole interface for a destination of an extension. Messages of its errors are masked.
 * @param mask replaces secrets in a text.
 */
export function wholeDestination(made: CustomDestination, mask: (text: string) => string): Destination {
  const masked = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (thrown) {
      if (!(thrown instanceof Error)) throw new Error(mask(messageOf(thrown)), { cause: thrown });
      thrown.message = mask(thrown.message);
      throw thrown;
    }
  };
  const { retry, ranges } = made;
  return {
    openStream: (request) => masked(() => made.openStream(request)),
    write: (request) => masked(() => made.write(request)),
    parents: (request) => masked(() => made.parents?.(request) ?? Promise.resolve<ParentRow[] | null>(null)),
    prepare: (request) => made.prepare?.(request),
    history: (request) => masked(() => made.history(request)),
    ...(retry !== undefined && { retry: (request) => masked(() => retry.call(made, request)) }),
    ...(ranges !== undefined && { ranges }),
    close: () => masked(() => made.close()),
  };
}

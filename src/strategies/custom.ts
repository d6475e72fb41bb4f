/** Strategies of extensions: packages that a worker's owner has installed beside Highwater. */
import type { Cursor, Json, StrategyOptions } from '../protocol.js';
import { CUSTOM_NAME, STRATEGIES } from '../protocol.js';
import type { Strategy } from './strategy.js';

/** A problem of options, as https://standardschema.dev describes it. */
export interface OptionsIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** The part of a Standard Schema that Highwater uses: schemas of zod, valibot and arktype have it. It must not be asynchronous. */
export interface OptionsSchema<Options> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => OptionsResult<Options> | Promise<OptionsResult<Options>>;
    readonly types?: { readonly input: unknown; readonly output: Options } | undefined;
  };
}

/** The options, or what is wrong with them. */
export type OptionsResult<Options> =
  { readonly value: Options; readonly issues?: undefined } | { readonly issues: readonly OptionsIssue[] };

/** A strategy as an extension makes it: the interface {@link Strategy} without the name, which the definition has. */
export type CustomStrategy<C extends Cursor = Cursor> = Omit<Strategy<C>, 'name'>;

/** Describes a strategy that an extension adds; see {@link defineStrategy}. */
export interface StrategyDefinition<Options = unknown> {
  /** As a configuration says it, `strategy: NAME`: lower-case letters, digits and `_`. */
  readonly name: string;
  /** Checks the key `options` of a stream. */
  readonly options: OptionsSchema<Options>;
  /**
   * Whether each pass reads the whole list, so that a row whose record it has not met is gone from the source. Needed by
   * `deletes` and `mode: replace`. Default: false.
   */
  readonly readsAll?: boolean;
  /** Makes the strategy for checked options. Pure: the worker calls it as often as it likes. */
  create(options: Options): CustomStrategy;
}

/** The strategies of extensions, by their names. */
export type CustomStrategies = ReadonlyMap<string, StrategyDefinition>;

/** No extension. */
export const NO_STRATEGIES: CustomStrategies = new Map();

/**
 * Returns the definition as it is, with its types: the default export of an extension.
 *
 * ```ts
 * export default defineStrategy({
 *   name: 'letters',
 *   options: z.strictObject({ first: z.string().default('a') }),
 *   create: ({ first }) => ({ … }),
 * });
 * ```
 */
export const defineStrategy = <Options>(
  definition: StrategyDefinition<Options>,
): StrategyDefinition<Options> => definition;

/** Says what is wrong with a definition; null if it can be used. */
export function definitionProblem(given: unknown): string | null {
  if (typeof given !== 'object' || given === null) return 'is not an object that defineStrategy() made';
  const { name, options, create } = given as { [Key in keyof StrategyDefinition]?: unknown };
  if (typeof name !== 'string' || !CUSTOM_NAME.test(name))
    return 'needs a "name" of lower-case letters, digits and "_", such as "letters"';
  if ((STRATEGIES as readonly string[]).includes(name)) return `is called ${name}, as a built-in strategy is`;
  if (typeof create !== 'function') return `${name} needs a function "create"`;
  const isSchema =
    (typeof options === 'object' || typeof options === 'function') &&
    options !== null &&
    '~standard' in options;
  return isSchema ? null : `${name} needs "options", a Standard Schema such as z.strictObject({})`;
}

/** What is wrong with options, and where. */
export interface OptionsProblem {
  /** Names and places on the way to it. */
  path: PropertyKey[];
  message: string;
}

/** Checks the options of a stream. @returns the problems; none if they can be used. */
export function optionsProblems(definition: StrategyDefinition, options: Json): OptionsProblem[] {
  const result = validated(definition, options);
  return (result.issues ?? []).map(({ message, path = [] }) => ({
    message,
    path: path.map((part) => (typeof part === 'object' ? part.key : part)),
  }));
}

function validated({ name, options: schema }: StrategyDefinition, options: Json): OptionsResult<unknown> {
  const result = schema['~standard'].validate(options);
  if (result instanceof Promise) throw new Error(`the schema of the strategy ${name} is asynchronous`);
  return result;
}

/** The worker, or the command, has no extension with the strategy of a stream, or one that refuses its options. */
export class StrategyMissingError extends Error {
  override readonly name = 'StrategyMissingError';
}

/**
 * Makes the strategy of a stream.
 * @throws {StrategyMissingError}
 */
export function createCustom(
  { name, options }: Extract<StrategyOptions, { strategy: 'custom' }>,
  known: CustomStrategies,
): Strategy {
  const definition = known.get(name);
  if (definition === undefined) throw new StrategyMissingError(missing(name, known));
  const checked = validated(definition, options);
  if (checked.issues !== undefined) {
    const [first] = optionsProblems(definition, options);
    throw new StrategyMissingError(
      `the extension with the strategy ${name} no longer accepts its options: ${first?.path.map(String).join('.') ?? ''}: ${first?.message ?? ''}`,
    );
  }
  return named(name, definition.create(checked.value));
}

function missing(name: string, known: CustomStrategies): string {
  const others = known.size === 0 ? 'no extension' : `only ${[...known.keys()].join(', ')}`;
  return (
    `the strategy ${name} comes from an extension, and this worker has ${others}. Its owner can add it with --extension PACKAGE, or with ` +
    'HIGHWATER_EXTENSIONS; every worker of the task queue needs it. Then "highwater resume"'
  );
}

/** The strategy under its name; methods keep their object. */
function named(name: string, made: CustomStrategy): Strategy {
  return {
    name,
    remembers: made.remembers,
    begin: (checkpoint, now) => made.begin(checkpoint, now),
    request: (cursor) => made.request(cursor),
    advance: (cursor, page) => made.advance(cursor, page),
    state: (cursor) => made.state(cursor),
    ...(made.condense !== undefined && {
      condense: (cursor, part) => made.condense?.(cursor, part) ?? part,
    }),
    ...(made.ahead !== undefined && { ahead: (cursor, count) => made.ahead?.(cursor, count) ?? [] }),
    ...(made.restart !== undefined && {
      restart: (cursor, now) => made.restart?.(cursor, now) ?? made.begin(null, now),
    }),
    ...(made.lowerPageSize !== undefined && {
      lowerPageSize: (cursor, maximum) => made.lowerPageSize?.(cursor, maximum) ?? cursor,
    }),
  };
}

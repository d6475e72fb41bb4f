import type { z } from 'zod';
import type { flatSchema } from './flat.js';
import type { fullSchema, streamSchema } from './full-schema.js';

/** Resolves a type into its members, so that editors show those and not the way to them. */
type Shown<T> = { [Key in keyof T]: T[Key] };

type Full = z.input<typeof fullSchema>;
type Stream = z.input<typeof streamSchema>;

/**
 * A configuration in the flat form: one stream, read with one of the five strategies of the reference connector. Each key
 * is in docs/configuration.md.
 */
export type FlatConfiguration = Shown<
  z.input<typeof flatSchema> & { streams?: undefined; source?: undefined; sync?: undefined }
>;

/**
 * The strategies of extensions. An extension adds its own, so that configurations in a program can name it:
 * `declare module 'highwater' { interface ExtensionStrategies { letters: true } }`.
 */
// oxlint-disable-next-line typescript/no-empty-object-type -- extensions merge their members into it
export interface ExtensionStrategies {}

/** The keys of a stream, none of them required. */
type StreamKeys = Shown<
  Partial<Omit<Stream, 'strategy'>> & {
    /** The strategy for reading the source. */
    // oxlint-disable-next-line typescript/no-redundant-type-constituents -- nothing until an extension merges members
    strategy?: Stream['strategy'] | keyof ExtensionStrategies | undefined;
  }
>;

/** A stream of the full form. Keys that `defaults` gives may be left out. */
export type StreamConfiguration = Shown<Pick<Stream, 'name'> & Omit<StreamKeys, 'name'>>;

/** A configuration in the full form: any number of streams of one source. Each key is in docs/configuration.md. */
export type FullConfiguration = Shown<
  Omit<Full, 'streams' | 'defaults'> & {
    /** Defaults for all streams. */
    defaults?: StreamKeys | undefined;
    /** The streams; each is written to its own table. */
    streams: StreamConfiguration[];
    /** Path of the JSON Schema, for editors. */
    $schema?: string | undefined;
    strategy?: undefined;
    base_url?: undefined;
  }
>;

/** A configuration as it is written, in either form; what a file of JSON or YAML holds. */
export type Configuration = FlatConfiguration | FullConfiguration;

/**
 * Returns the configuration as it is. Written around one, it gives each key its type: editors complete them, and a misspelt
 * one does not compile. A file with it as its default export is a configuration for `highwater run` and every other
 * command.
 *
 * ```ts
 * export default defineSync({
 *   source: { base_url: 'https://api.example.com' },
 *   streams: [{ name: 'orders', path: '/orders', strategy: 'page_number', primary_key: 'id' }],
 * });
 * ```
 */
export const defineSync = (configuration: Configuration): Configuration => configuration;

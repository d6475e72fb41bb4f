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

/** A stream of the full form. Keys that `defaults` gives may be left out. */
export type StreamConfiguration = Shown<Pick<Stream, 'name'> & Partial<Omit<Stream, 'name'>>>;

/** A configuration in the full form: any number of streams of one source. Each key is in docs/configuration.md. */
export type FullConfiguration = Shown<
  Omit<Full, 'streams' | 'defaults'> & {
    /** Defaults for all streams. */
    defaults?: Shown<Partial<Stream>> | undefined;
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

/**
 * Writes the generated parts of the documentation: the tables of keys in `docs/configuration.md`, between markers,
 * `highwater.schema.json`, the table of metrics in `docs/monitoring.md`, and the commands in `docs/cli.md`. The prose
 * around them is written by hand.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { z } from 'zod';
import { themes } from '../src/config/flat.js';
import { documented, jsonSchema } from '../src/config/full-schema.js';
import { labelNames, METRICS, type MetricSpec } from '../src/metrics.js';
import { STRATEGIES } from '../src/protocol.js';
import { CLI_PAGE, cliPageFrom } from './docs-cli.js';
import { markdownTable } from './markdown.js';

export const DOCUMENT = fileURLToPath(new URL('../docs/configuration.md', import.meta.url));
export const MONITORING = fileURLToPath(new URL('../docs/monitoring.md', import.meta.url));
export const SCHEMA = fileURLToPath(new URL('../highwater.schema.json', import.meta.url));

type Shape = Record<string, z.ZodType>;

interface Row {
  key: string;
  /** Theme of the key; keys without one come last. */
  theme: string;
  /** Strategies that use the key; empty: all. */
  strategies: string[];
  allowed: string;
  /** Null if the key is required. */
  default: string | null;
  meaning: string;
}

/** Tables by the names in markers: `<!-- keys: NAME -->` … `<!-- /keys -->`. */
const TABLES: Record<string, () => string> = {
  flat: () => byTheme(rows(documented.flat)),
  'flat, by strategy': () => byStrategy(rows(documented.flat)),
  full: () => table(rows(documented.full).filter(({ key }) => !isInner(key))),
  ...Object.fromEntries(
    Object.entries(documented.full).flatMap(([key, schema]): [string, () => string][] => {
      const inner = unwrapped(schema);
      return inner instanceof z.ZodObject ? [[key, () => table(rows(inner.shape))]] : [];
    }),
  ),
  stream: () => byTheme(ownOfStreams()),
  'stream, by strategy': () => byStrategy(ownOfStreams()),
};

const isInner = (key: string) => key.includes('.');

/** Returns the stream keys that the flat form lacks, or defines differently. */
function ownOfStreams(): Row[] {
  const flat = new Set(rows(documented.flat).map(content));
  const source = unwrapped(documented.full.source);
  const ofSource = source instanceof z.ZodObject ? rows(source.shape) : [];
  // Keys inside a key that the source has too are shown there.
  const shown = new Set(ofSource.filter(({ key }) => isInner(key)).map(content));
  return rows(documented.stream).filter((row) => {
    const text = content(row);
    return !flat.has(text) && !shown.has(text);
  });
}

/** Returns the visible content of a row. */
const content = ({ theme: _, ...row }: Row) => JSON.stringify(row);

/** Returns a row for every key, followed by rows for the keys inside it. */
function rows(shape: Shape, prefix = ''): Row[] {
  return Object.entries(shape).flatMap(([name, schema]) => {
    const key = prefix + name;
    const json = jsonOf(schema);
    const description = json.description ?? '';
    const named = /^([a-z_]+(?:, [a-z_]+)*): /.exec(description);
    const strategies = named?.[1]?.split(', ') ?? [];
    const isOfStrategies = named !== null && strategies.every((word) => isStrategy(word));
    const meaning = isOfStrategies ? sentence(description.slice(named[0].length)) : description;
    const row: Row = {
      key,
      theme: themes.get(schema)?.theme ?? MORE,
      strategies: isOfStrategies ? strategies : [],
      allowed: allowed(json),
      default: defaultOf(schema),
      meaning,
    };
    return [row, ...inside(schema, key, row)];
  });
}

const MORE = 'More';

const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

const isStrategy = (word: string) => (STRATEGIES as readonly string[]).includes(word);

function inside(schema: z.ZodType, key: string, row: Row): Row[] {
  const { theme, strategies } = row;
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodObject) {
    return rows(inner.shape, `${key}.`).map((one) => ({ ...one, theme, strategies }));
  }
  if (inner instanceof z.ZodArray) return inside(inner.element as z.ZodType, `${key}[]`, row);
  if (!(inner instanceof z.ZodDiscriminatedUnion)) return [];
  const { discriminator } = inner.def;
  return inner.options.map((option) => {
    const { properties = {}, required = [], description = '' } = jsonOf(option as z.ZodType);
    const members = Object.entries(properties).filter(([name]) => name !== discriminator);
    return {
      key: `${key}.${discriminator}: ${String(properties[discriminator]?.const)}`,
      theme,
      strategies,
      allowed: members
        .map(([name, member]) => `\`${name}\`${required.includes(name) ? '' : '?'}: ${allowed(member)}`)
        .join('<br>'),
      default: '',
      meaning: description,
    };
  });
}

/** Returns the schema inside optional and default wrappers. */
function unwrapped(schema: z.ZodType): unknown {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable
  ) {
    return unwrapped(schema.unwrap() as z.ZodType);
  }
  if (schema instanceof z.ZodPipe) return unwrapped(schema.in as z.ZodType);
  return schema;
}

function defaultOf(schema: z.ZodType): string | null {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return written(schema.def.defaultValue);
  return schema instanceof z.ZodOptional ? '' : null;
}

/** Formats a default as a user would write it; a long one is described. */
function written(value: unknown): string {
  const empty = typeof value === 'object' && value !== null && Object.keys(value).length === 0;
  if (value === '' || empty) return '';
  if (typeof value === 'number' && value >= MEBIBYTE && value % MEBIBYTE === 0)
    return `${value} (${value / MEBIBYTE} MiB)`;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 30 ? '' : code(text);
}

const MEBIBYTE = 1024 * 1024;

interface JsonNode {
  title?: string;
  description?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonNode[];
  oneOf?: JsonNode[];
  items?: JsonNode;
  properties?: Record<string, JsonNode>;
  required?: string[];
  additionalProperties?: JsonNode | boolean;
  minimum?: number;
  maximum?: number;
}

const jsonOf = (schema: z.ZodType) =>
  z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonNode;

/** Describes the allowed values. */
function allowed(node: JsonNode): string {
  if (node.title !== undefined) return node.title.startsWith('{') ? code(node.title) : node.title;
  if (node.const !== undefined) return code(String(node.const));
  if (node.enum !== undefined) return node.enum.map((word) => code(String(word))).join(', ');
  const options = node.anyOf ?? node.oneOf;
  if (options !== undefined) {
    const kinds = node.oneOf?.map(discriminator) ?? [];
    const [first] = kinds;
    if (first !== undefined && first !== null) {
      return `\`${first.key}\`: ${kinds.map((kind) => code(kind?.word ?? '')).join(', ')}`;
    }
    return options.map(allowed).join(' or ');
  }
  switch (node.type) {
    case 'integer':
      return `whole number${range(node)}`;
    case 'number':
      return `number${range(node)}`;
    case 'boolean':
      return '`true`, `false`';
    case 'string':
      return 'text';
    case 'array':
      return `list of ${allowed(node.items ?? {})}`;
    case 'object':
      return node.properties === undefined ? 'names and values' : members(node);
    default:
      return Array.isArray(node.type) ? node.type.map((type) => allowed({ type })).join(' or ') : 'anything';
  }
}

/** Returns the key that tells the variants of a kind of object apart. */
function discriminator({ properties = {} }: JsonNode): { key: string; word: string } | null {
  const [found] = Object.entries(properties).filter(([, { const: word }]) => word !== undefined);
  return found === undefined ? null : { key: found[0], word: String(found[1].const) };
}

function members({ properties = {}, required = [] }: JsonNode): string {
  const names = Object.keys(properties);
  // The keys of a large object have rows of their own.
  if (names.length > 3 || required.length === 0) return 'object';
  return `{ ${names.map((name) => `\`${name}\`${required.includes(name) ? '' : '?'}`).join(', ')} }`;
}

function range({ minimum, maximum }: JsonNode): string {
  const isBound = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER;
  if (minimum !== undefined && isBound) return `, ${minimum} to ${maximum}`;
  if (minimum !== undefined && minimum > Number.MIN_SAFE_INTEGER) return `, at least ${minimum}`;
  return isBound ? `, at most ${maximum}` : '';
}

const code = (text: string) => `\`${text}\``;

function table(all: Row[]): string {
  return markdownTable(
    ['key', 'allowed', 'default', ''],
    all.map((row) => [code(row.key), row.allowed, row.default ?? 'must be given', row.meaning]),
  );
}

/** Returns a table for each theme, under its name. */
function byTheme(all: Row[]): string {
  const general = all.filter(({ strategies }) => strategies.length === 0);
  const names = [...new Set(general.map(({ theme }) => theme))];
  return names
    .sort((a, b) => Number(a === MORE) - Number(b === MORE))
    .map((name) => `**${name}**\n\n${table(general.filter(({ theme }) => theme === name))}`)
    .join('\n\n');
}

function byStrategy(all: Row[]): string {
  const order = (row: Row) => STRATEGIES.findIndex((name) => name === row.strategies[0]);
  return markdownTable(
    ['strategy', 'key', 'allowed', 'default', ''],
    all
      .filter(({ strategies }) => strategies.length > 0)
      .sort((a, b) => order(a) - order(b))
      .map((row) => [
        row.strategies.join(', '),
        code(row.key),
        row.allowed,
        row.default ?? 'must be given',
        row.meaning,
      ]),
  );
}

/**
 * Returns the document with regenerated tables.
 * @throws {Error} if a marker names an unknown table.
 */
export async function documentFrom(text: string): Promise<string> {
  const filled = text.replace(
    /(<!-- keys: (.*?) -->)[\s\S]*?(<!-- \/keys -->)/g,
    (_, begin: string, name: string, end: string) => {
      const make = TABLES[name];
      if (make === undefined) {
        throw new Error(
          `docs/configuration.md asks for the keys of "${name}"; there are ${Object.keys(TABLES).join('; ')}`,
        );
      }
      return `${begin}\n\n${make()}\n\n${end}`;
    },
  );
  return format(filled, { ...(await resolveConfig(DOCUMENT)), parser: 'markdown' });
}

/** Returns the monitoring page with a regenerated table. */
export async function monitoringFrom(text: string): Promise<string> {
  const rows = Object.entries(METRICS).map(([name, spec]: [string, MetricSpec]) => [
    code(name),
    spec.kind,
    labelNames({ ...spec, labels: [] }).length > 2
      ? ['…', ...(spec.labels ?? [])].join(', ')
      : labelNames(spec).join(', '),
    spec.help,
  ]);
  const made = markdownTable(['metric', 'kind', 'labels', ''], rows);
  const filled = text.replace(
    /(<!-- metrics -->)[\s\S]*?(<!-- \/metrics -->)/,
    (_, begin: string, end: string) => `${begin}\n\n${made}\n\n${end}`,
  );
  return format(filled, { ...(await resolveConfig(MONITORING)), parser: 'markdown' });
}

/** Returns the JSON Schema file. */
export const schemaText = (): string => `${JSON.stringify(jsonSchema(), null, 2)}\n`;

/** Returns the keys, at any depth, without a description in the schema. */
export function undescribed(): string[] {
  return Object.entries(documented).flatMap(([form, shape]) =>
    rows(shape)
      .filter(({ meaning }) => meaning === '')
      .map(({ key }) => `${form}: ${key}`),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(DOCUMENT, await documentFrom(readFileSync(DOCUMENT, 'utf8')));
  writeFileSync(MONITORING, await monitoringFrom(readFileSync(MONITORING, 'utf8')));
  writeFileSync(CLI_PAGE, await cliPageFrom(readFileSync(CLI_PAGE, 'utf8')));
  writeFileSync(SCHEMA, schemaText());
}

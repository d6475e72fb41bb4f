import type { TableSpec } from '../protocol.js';

/** Addresses of file destinations: a folder, or a bucket of an S3-compatible store, and words after a question mark. */

/** Formats of written files; a table may hold files of both. */
export const FILE_FORMATS = ['parquet', 'ndjson'] as const;
export type FileFormat = (typeof FILE_FORMATS)[number];

/** A file destination as its address says it. Holds no secret: credentials are the environment's. */
export interface FilesAddress {
  at: { kind: 'local'; path: string } | ({ kind: 's3' } & BucketAddress);
  format: FileFormat;
  /** The column whose dates are the partitions; null = the date of the commit. */
  partitionBy: string | null;
}

export interface BucketAddress {
  bucket: string;
  /** Without slashes at its ends; may be empty. */
  prefix: string;
  /** Null = what the environment says, else AWS. */
  endpoint: string | null;
  region: string | null;
  /** Whether the bucket stands in the path; null = where there is an endpoint. */
  pathStyle: boolean | null;
}

/** Why files have no child tables, and what holds the items instead: a view has the latest version of each record. */
export const NO_CHILDREN_IN_FILES =
  'files do not support child tables, whose rows are replaced: use a database, or declare the list as a column of type JSON and unnest it in queries';

/** Why a table of files cannot be as it is configured: the key, and what it asks for; nothing where it can. */
export function filesProblem(table: TableSpec): [key: string, why: string] | null {
  if (table.deletes !== undefined) {
    return ['deletes', 'files do not support deletes: files are only ever added; use a database'];
  }
  if (table.mode !== undefined) {
    return [
      'mode',
      'files store every version anyway: query the views "TABLE" (latest versions) and "TABLE_appended" (all versions)',
    ];
  }
  if (table.inference !== undefined) {
    return ['columns', 'files need declared columns, which cannot evolve; "highwater discover" finds them'];
  }
  return null;
}

const LOCAL_WORDS = ['format', 'partition_by'];
const S3_WORDS = [...LOCAL_WORDS, 'endpoint', 'region', 'path_style'];

/** Whether a destination is a folder of files, or a bucket of them. */
export const isFiles = (destination: string): boolean => /^(files|s3):/i.test(destination);

/**
 * Takes an address apart.
 * @param isOpen a value that cannot be judged yet, as a reference stands in it.
 * @returns what is wrong with it, as text, where something is.
 */
export function filesAddress(
  text: string,
  isOpen: (value: string) => boolean = () => false,
): FilesAddress | string {
  const [, scheme = '', place = '', query = ''] = /^(files|s3):([^?]*)(?:\?(.*))?$/is.exec(text) ?? [];
  const isLocal = scheme.toLowerCase() === 'files';
  const words = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    const known = isLocal ? LOCAL_WORDS : S3_WORDS;
    // Never its value: it may be a secret.
    if (!known.includes(name))
      return `has the unknown parameter ${JSON.stringify(name)}; allowed: ${known.join(', ')}`;
    if (words.has(name)) return `has the parameter ${JSON.stringify(name)} twice`;
    words.set(name, value);
  }
  const among = (name: string, choices: readonly string[]) => {
    const value = words.get(name);
    return value === undefined || choices.includes(value) || isOpen(value)
      ? null
      : `has ${name}=${value}; allowed: ${choices.join(', ')}`;
  };
  const wrong = among('format', FILE_FORMATS) ?? among('path_style', ['true', 'false']);
  if (wrong !== null) return wrong;
  const partitionBy = words.get('partition_by') ?? null;
  if (partitionBy === '') return 'has partition_by without a column';
  const rest = { format: (words.get('format') ?? 'parquet') as FileFormat, partitionBy };
  if (isLocal) {
    const path = place.replace(/^\/\/(?=\/)/, '');
    if (path === '' || path.startsWith('//'))
      return 'names no folder; write, for example, "files:./lake" or "files:///data/lake"';
    return { at: { kind: 'local', path }, ...rest };
  }
  const [, bucket = '', prefix = ''] = /^\/\/([^/@:]+)(?:\/(.*))?$/s.exec(place) ?? [];
  if (bucket === '') return 'names no bucket; write, for example, "s3://bucket/prefix"';
  const endpoint = words.get('endpoint') ?? null;
  if (endpoint !== null && !isOpen(endpoint)) {
    const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
    if (url === null || !/^https?:$/.test(url.protocol))
      return 'has an endpoint that is not a URL; write, for example, "https://s3.example.com"';
    if (url.username !== '' || url.password !== '' || url.search !== '')
      return 'has an endpoint with credentials; set them in the environment (AWS_ACCESS_KEY_ID, …) or in a profile instead';
  }
  const style = words.get('path_style');
  return {
    at: {
      kind: 's3',
      bucket,
      prefix: prefix.replace(/^\/+|\/+$/g, ''),
      endpoint,
      region: words.get('region') ?? null,
      pathStyle: style === undefined ? null : style === 'true',
    },
    ...rest,
  };
}

/** The address that all who mean this destination in this way have in common. */
export function addressText({ at, format, partitionBy }: FilesAddress): string {
  const words = new URLSearchParams();
  if (format !== 'parquet') words.set('format', format);
  if (partitionBy !== null) words.set('partition_by', partitionBy);
  if (at.kind === 's3') {
    if (at.endpoint !== null) words.set('endpoint', at.endpoint);
    if (at.region !== null) words.set('region', at.region);
    if (at.pathStyle !== null) words.set('path_style', String(at.pathStyle));
  }
  const place = at.kind === 'local' ? `files:${at.path}` : `s3://${at.bucket}${at.prefix && `/${at.prefix}`}`;
  return words.size === 0 ? place : `${place}?${words.toString()}`;
}

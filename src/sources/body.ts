/**
 * From the body of an answer to records: what each format and shape needs is a step that turns bytes into the JSON
 * text of a list of records, which the scanner reads in the end.
 */
import type { KeyObject } from 'node:crypto';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { CsvError, parse as csvParser } from 'csv-parse';
import type { Json, Note, RequestSpec } from '../protocol.js';
import { JsonDocument, leadsInto, missingPart, selectTexts } from '../request/paths.js';
import type { Mask } from '../secrets/masking.js';
import { isTooMuch } from '../request/json-path.js';
import { type Bytes, WHOLE_LIMIT } from './bytes.js';
import { namedRecords } from './named-records.js';
import { DUPLICATE_MEMBER, ScanError, WITHHELD } from './record-scanner.js';
import { Shaper } from './shaper.js';
import type { Identity } from './shaping/columns.js';
import { holdsSecrets } from './shaping/protection-of.js';
import type { NamedMembers } from './source.js';
import type { TransformOptions } from './shaping/transform.js';

const GZIP = [0x1f, 0x8b];

/** The keys of a request that say how a body is read. */
export type BodySpec = Pick<RequestSpec, 'format' | 'single' | 'shape' | 'records'> &
  Partial<Pick<RequestSpec, 'next' | 'total' | 'more' | 'totalPages' | 'ends' | 'errors' | 'recordNames'>>;

/** Whether something besides the records is inside of their list, so that the body must be read whole. */
function isReadInside(
  records: string[],
  { next, total, more, totalPages, ends, errors = [] }: BodySpec,
): boolean {
  const token = next?.in === 'body' ? next.path : null;
  const paths = [token, total, more, totalPages, ends?.path, ...errors.map(({ path }) => path)];
  return paths.some((path) => typeof path === 'string' && leadsInto(path, records));
}

/** A body as the scanner can read it. */
export interface ReadableBody {
  bytes: Bytes;
  /** The path to the records in those bytes. */
  records: string[];
  /** Whether the answer besides its records is known here, and not to the scanner. */
  isOwnEnvelope: boolean;
  envelope: () => JsonDocument;
  /** Whether each of the records so far, in order, is kept; null if all are. */
  kept: boolean[] | null;
  /** Why records so far cannot be stored, by their places; absent: none is refused. */
  refusals?: ReadonlyMap<number, string>;
  /** Notes on what was done to records so far. */
  remarks: () => Note[];
  /** The members that "exclude" and made columns name, in records so far; absent: there are none. */
  named?: () => NamedMembers | undefined;
}

/**
 * @param columns of the table, in order.
 * @param parent the fields of the parent record.
 * @param mask hides secrets in what an error quotes of the body.
 * @param hashKeys keys for hashes, by their columns.
 */
export function readableBody(
  body: Bytes,
  spec: BodySpec,
  columns: readonly string[],
  texts: readonly string[],
  parent: { [field: string]: Json },
  mask: Mask = (plain) => plain,
  identity: Identity = { primaryKey: [], cursorField: '' },
  hashKeys: ReadonlyMap<string, KeyObject> = new Map(),
  transform?: TransformOptions,
): ReadableBody {
  // Before columns are made, the text of a record holds what must not be shown.
  const shown = spec.shape != null && holdsSecrets(spec.shape) ? () => WITHHELD : mask;
  const unzipped = gunzipped(body);
  let bytes = unzipped;
  let records: string[] = [];
  let envelope = NOTHING_BESIDE;
  let isOwnEnvelope = true;
  let header: readonly string[] = [];
  if (spec.format === 'ndjson' || spec.format === 'csv') {
    bytes =
      spec.format === 'csv'
        ? csvAsJson(unzipped, texts, shown, (names) => (header = names))
        : linesAsJson(unzipped);
  } else if (
    typeof spec.records === 'string' ||
    spec.single === true ||
    spec.recordNames !== undefined ||
    isReadInside(spec.records, spec)
  ) {
    bytes = asList(unzipped, spec, (document) => (envelope = document), { mask, shown });
  } else {
    records = spec.records;
    isOwnEnvelope = false;
  }
  const { shape } = spec;
  const headerRemarks = () => remarksOnHeader(header, mask);
  if (shape === undefined || shape === null) {
    return {
      bytes,
      records,
      isOwnEnvelope,
      envelope: () => envelope,
      kept: null,
      remarks: headerRemarks,
    };
  }
  const shaper = new Shaper({
    shape,
    columns,
    parent,
    identity,
    mask,
    hashKeys,
    ...(transform !== undefined && { transform }),
  });
  const onEnvelope = (document: JsonDocument) => {
    if (!isOwnEnvelope) envelope = document;
  };
  return {
    bytes: shaper.shaped(bytes, records, onEnvelope),
    records: [],
    isOwnEnvelope: true,
    envelope: () => envelope,
    kept: shaper.kept,
    refusals: shaper.refusals,
    remarks: () => [...headerRemarks(), ...shaper.remarks],
    named: () => shaper.named,
  };
}

/** Formats of nothing but records. */
const NOTHING_BESIDE = new JsonDocument(null, 'null');

/** A body that is a gzip file, whatever its headers say. */
async function* gunzipped(body: Bytes): Bytes {
  const source = body[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  // A first piece may be of one byte.
  while (head.length < GZIP.length) {
    const next = await source.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const rest = (async function* () {
    yield head;
    for (let next = await source.next(); next.done !== true; next = await source.next()) yield next.value;
  })();
  if (GZIP.every((byte, i) => head[i] === byte)) {
    const file = pipeline(Readable.from(rest, { objectMode: false }), createGunzip(), ignore);
    try {
      for await (const chunk of file) yield chunk as Buffer;
    } catch (thrown) {
      if (!String((thrown as NodeJS.ErrnoException).code).startsWith('Z_')) throw thrown;
      throw new ScanError('the body is a damaged or truncated gzip file', 'shape');
    }
  } else yield* rest;
}

/** A failure reaches the reader of the end of the pipeline. */
const ignore = () => undefined;

const [OPEN, COMMA, CLOSE] = [Buffer.from('['), Buffer.from(','), Buffer.from(']')];

/** Newline-delimited JSON; lines of nothing but space are passed over. */
async function* linesAsJson(body: Bytes): Bytes {
  let rest: Buffer[] = [];
  let length = 0;
  let before = OPEN;
  const line = (text: Buffer): Buffer[] => {
    if (isBlank(text)) return [];
    const separator = before;
    before = COMMA;
    return [separator, text];
  };
  for await (const chunk of body) {
    const pieces: Buffer[] = [];
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, from)) {
      const text = chunk.subarray(from, end);
      pieces.push(...line(rest.length === 0 ? text : Buffer.concat([...rest, text])));
      rest = [];
      length = 0;
      from = end + 1;
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
    length += chunk.length - from;
    if (length > WHOLE_LIMIT) throw new ScanError(`a line is longer than ${WHOLE_LIMIT} bytes`, 'record');
    if (pieces.length > 0) yield Buffer.concat(pieces);
  }
  yield Buffer.concat([...line(Buffer.concat(rest)), ...(before === OPEN ? [OPEN] : []), CLOSE]);
}

const isBlank = (text: Buffer) => text.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);

/**
 * CSV with a header line (RFC 4180). Every field is text; one that is empty is null, but in columns of text.
 * @param texts columns of text.
 * @param onHeader is told the names in the header line; of a name that comes twice the last column counts.
 */
async function* csvAsJson(
  body: Bytes,
  texts: readonly string[],
  mask: (text: string) => string,
  onHeader: (names: readonly string[]) => void,
): Bytes {
  const named = (names: string[]) => {
    onHeader(names);
    return names;
  };
  const parser = pipeline(
    Readable.from(body, { objectMode: false }),
    csvParser({ columns: named, bom: true, skip_empty_lines: true, max_record_size: WHOLE_LIMIT }),
    ignore,
  );
  const isText = new Set(texts);
  let before = '[';
  let waiting = '';
  try {
    for await (const record of parser as AsyncIterable<Record<string, string>>) {
      for (const name of Object.keys(record)) {
        if (record[name] === '' && !isText.has(name)) (record as Record<string, string | null>)[name] = null;
      }
      waiting += before + JSON.stringify(record);
      before = ',';
      if (waiting.length > 256 * 1024) {
        yield Buffer.from(waiting);
        waiting = '';
      }
    }
  } catch (thrown) {
    if (!(thrown instanceof CsvError)) throw thrown;
    throw new ScanError(`the body is not valid CSV: ${mask(thrown.message).slice(0, 300)}`, 'shape');
  }
  yield Buffer.from(`${waiting}${before === '[' ? '[' : ''}]`);
}

function remarksOnHeader(names: readonly string[], mask: (text: string) => string): Note[] {
  const [known, doubled] = [new Set<string>(), new Set<string>()];
  for (const name of names) {
    if (known.has(name)) doubled.add(name);
    known.add(name);
  }
  if (doubled.size === 0) return [];
  const shown = [...doubled].slice(0, 5).map((name) => JSON.stringify(mask(name).slice(0, 100)));
  const message = `the header line names columns twice; the last one counts: ${shown.join(', ')}`;
  return [{ code: DUPLICATE_MEMBER, message }];
}

/**
 * Reads a body whole and gives what a path selects in it, as a list.
 * @param mask hides secrets in what an error names; `shown`, in what it quotes.
 * @throws {ScanError} where the path leads nowhere: that is no empty list.
 */
async function* asList(
  body: Bytes,
  { records: path, recordNames }: BodySpec,
  onEnvelope: (document: JsonDocument) => void,
  { mask, shown }: { mask: Mask; shown: Mask },
): Bytes {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > WHOLE_LIMIT) {
      throw new ScanError(
        `the body is longer than ${WHOLE_LIMIT} bytes, and this "records" needs the whole body; a path of ` +
          'members such as "data.items" works for a body of any size',
        'shape',
      );
    }
  }
  const text = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/^\uFEFF/, '');
  if (text.trim() === '') {
    onEnvelope(new JsonDocument(undefined, ''));
    yield Buffer.from('[]');
    return;
  }
  let selected: ReturnType<typeof selectTexts>;
  try {
    selected = selectTexts(text, path, WHOLE_LIMIT);
  } catch (thrown) {
    if (isTooMuch(thrown))
      throw new ScanError(`"records" cannot be evaluated for this response: ${thrown.message}`, 'shape');
    if (!(thrown instanceof SyntaxError)) throw thrown;
    const piece = shown(text.slice(0, 10_000)).slice(0, 120);
    throw new ScanError(`the body is not valid JSON: ${JSON.stringify(piece)}`, 'shape', { text });
  }
  const { texts, document, isFound } = selected;
  const missing = isFound ? null : missingPart(document.value, path, mask);
  if (missing !== null) {
    throw new ScanError(`"records" matches nothing: ${missing}`, 'shape', { value: document.value });
  }
  onEnvelope(document);
  const records = recordNames === undefined ? texts : namedRecords(text, texts, recordNames);
  yield Buffer.from(`[${records.join(',')}]`);
}

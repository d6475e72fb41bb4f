/** Reads a sample of a stream and infers what a configuration needs to say of it: what `discover` and `init` print. */
import { parseTree } from 'jsonc-parser';
import type { ColumnType, RecordShape, StreamPlan } from '../protocol.js';
import { counted } from '../text.js';
import { ownSurroundings } from '../surroundings.js';
import { sourceOf } from '../sources/stream-source.js';
import { createStrategy, isTimestamp } from '../strategies/index.js';
import { childText, findChildren, type FoundChild } from './discover-children.js';
import { CHECK_REQUESTS, SAMPLE_REQUESTS } from './request-budget.js';
import { advanceOnce, lowered, parentFields, type ProbeOptions } from './probe.js';

/** Findings about a stream. They hold no value of a record. */
export interface Discovery {
  /** Method and address of each request, secrets masked. */
  requests: string[];
  /** Number of different records in the sample. */
  records: number;
  columns: DiscoveredColumn[];
  /** Best first; of several parts where no column alone will do. */
  primaryKeys: { columns: string[]; why: string; isNamedLikeKey: boolean }[];
  /** Best first. */
  cursorFields: FoundCursorField[];
  /** Child tables that lists in the records could fill; absent if there are none. */
  children?: FoundChild[];
}

export interface FoundCursorField {
  name: string;
  why: string;
  says: 'changed' | 'created' | 'some time';
  /** The `cursor_format` of numbers. */
  format?: EpochFormat;
}

type EpochFormat = 'epoch_s' | 'epoch_ms';

export interface DiscoveredColumn {
  name: string;
  type: ColumnType;
  /** The reasons for the type, or remarks. */
  why: string;
  unique: boolean;
  /** Number of records without a value. */
  missing: number;
  /** The format of numbers that look like Unix times. */
  epoch?: EpochFormat;
}

/**
 * Reads pages until `sample` records are there, and infers columns, keys and cursor fields.
 * @param plans of all streams, among them that of a parent.
 * @throws {HighwaterError} as a sync would.
 */
export async function discover(
  plan: StreamPlan,
  sample: number,
  plans: readonly StreamPlan[],
  options: ProbeOptions,
): Promise<Discovery> {
  const { lines, requests } = await readSample(plan, sample, plans, options);
  const columns = new Map<string, Facts>();
  const records = lines.map((line) => {
    const row = new Map<string, string>();
    for (const { children = [] } of parseTree(line)?.children ?? []) {
      const [name, value] = children;
      if (name === undefined || value === undefined) continue;
      const raw = line.slice(value.offset, value.offset + value.length);
      const key = String(name.value);
      const facts = columns.get(key) ?? new Facts(key);
      columns.set(key, facts);
      facts.see(value.type, raw, value.value);
      if (value.type !== 'null') row.set(key, raw);
    }
    return row;
  });
  const found = [...columns.values()].map((facts) => facts.column(records.length));
  const keys = primaryKeys(found, records, plan.stream);
  const given = plan.table.primaryKey.filter((name) => columns.has(name));
  const key = given.length > 0 ? given : (keys[0]?.columns ?? []);
  const children = plan.children === undefined ? findChildren(lines, key, plan.stream) : [];
  return {
    requests,
    records: records.length,
    columns: found.map((column) => withChild(column, children)),
    primaryKeys: keys,
    cursorFields: cursorFields(found, records.length),
    ...(children.length > 0 && { children }),
  };
}

/** Says of a column of lists how they could be a table. */
function withChild(column: DiscoveredColumn, children: readonly FoundChild[]): DiscoveredColumn {
  const child = children.find(({ name }) => name === column.name);
  if (child === undefined) return column;
  return { ...column, why: `${column.why}; as a table of their own: ${childText(child)}` };
}

/** Records as they are, but for what is not to be stored as it is. */
function sampleShape(shape: RecordShape | null | undefined): RecordShape | null {
  const { made, exclude } = shape ?? {};
  if (made === undefined && exclude === undefined) return null;
  return {
    from: {},
    parent: {},
    where: null,
    rest: true,
    ...(made !== undefined && { made }),
    ...(exclude !== undefined && { exclude }),
  };
}

async function readSample(
  plan: StreamPlan,
  sample: number,
  plans: readonly StreamPlan[],
  options: ProbeOptions,
): Promise<{ lines: string[]; requests: string[] }> {
  const strategy = createStrategy(plan.options, 'usual', options.extensions?.strategies);
  const usesKey = plan.options.strategy === 'cursor' && plan.options.tokenIsLastKey;
  // A key that lies deeper in the records is not known before they are made into rows.
  const from = plan.table.primaryKey.map((name) => plan.request.shape?.from[name] ?? [name]);
  const canGoOn = !usesKey || from.every((path) => path.length === 1);
  // Nothing is known of the records yet: none is refused for what it lacks, and numbers keep their digits.
  const table = { ...plan.table, columns: {}, primaryKey: usesKey && canGoOn ? from.flat().map(String) : [] };
  const asTheyAre = { ...plan, table, request: { ...plan.request, shape: sampleShape(plan.request.shape) } };
  const surroundings = ownSurroundings(options.environment, options.extensions);
  const source = await sourceOf(asTheyAre, surroundings, options.destination);
  const parent = await parentFields(plan, plans, options);
  const { budget } = options;
  // A page may begin with the last records of the one before: the same record twice says nothing of its key.
  const lines = new Set<string>();
  const requests: string[] = [];
  let isLowered = false;
  let cursor = strategy.begin(null, new Date().toISOString());
  try {
    // Pages are not always as large as one would like, and ranges of ids may be empty.
    const most = canGoOn ? SAMPLE_REQUESTS : 1;
    while (lines.size < sample && requests.length < most && budget?.has(CHECK_REQUESTS) !== false) {
      const next = strategy.request(cursor);
      if ('end' in next) break;
      budget?.spend(CHECK_REQUESTS);
      const request = parent === null ? next : { ...next, parent };
      requests.push(source.shownRequest(request));
      const enough = new AbortController();
      const keys: string[] = [];
      const values: (string | null)[] = [];
      let records = 0;
      try {
        const { undeclared: _, ...said } = await source.read(
          request,
          async ({ lines: bytes, records: part }) => {
            keys.push(...part.keys);
            values.push(...part.values);
            records += part.records;
            for (const text of bytes.toString('utf8').split('\n')) {
              // Separators between records are spaces now.
              if (text.trim() !== '') lines.add(text.trim());
            }
            if (lines.size >= sample) enough.abort();
          },
          enough.signal,
        );
        cursor = advanceOnce(strategy, cursor, { keys, values, records, ...said });
      } catch (thrown) {
        // One answer may hold the whole table: the rest of it is not waited for.
        if (enough.signal.aborted) break;
        const lower = isLowered ? null : lowered(strategy, cursor, thrown);
        if (lower === null) throw thrown;
        cursor = lower;
        isLowered = true;
      }
    }
  } finally {
    surroundings.network.close();
  }
  return { lines: [...lines].slice(0, sample), requests };
}

const DATE = /^\d{4}-\d\d-\d\d$/;
/** Numbers that the destination reads without losing a digit. */
const DATETIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:[0-5]\d(?:\.\d{1,6})?(Z|[+-]\d\d(?::?\d\d)?)?$/;
const LONGS = [-(2n ** 63n), 2n ** 63n - 1n] as const;
/** Digits that a DECIMAL can have. */
const DECIMAL_DIGITS = 38;

type Kind = 'boolean' | 'whole' | 'fraction' | 'date' | 'naive' | 'zoned' | 'text' | 'list' | 'object';

/** Common traits of the values of one column. */
class Facts {
  private readonly kinds = new Map<Kind, number>();
  private readonly values = new Set<string>();
  private present = 0;
  /** Digits before and after the point, of numbers written without an exponent. */
  private before = 0;
  private after = 0;
  private hasExponent = false;
  private beyondLong = false;
  /** A number that a DOUBLE would round. */
  private beyondDouble = false;
  private looksLikeEpoch = true;
  private readonly epochFormats = new Set<EpochFormat>();

  constructor(readonly name: string) {}

  see(type: string, raw: string, value: unknown): void {
    if (type === 'null') return;
    this.present++;
    this.values.add(raw);
    const kind = this.kindOf(type, raw, value);
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
  }

  column(records: number): DiscoveredColumn {
    const { type, why } = this.infer();
    const missing = records - this.present;
    const epoch = type === 'LONG' ? this.epochFormat : null;
    const words = [
      ...(why === '' ? [] : [why]),
      ...(missing > 0 && this.present > 0 ? [`missing in ${missing} of ${records}`] : []),
    ];
    return {
      name: this.name,
      type,
      why: words.join('; '),
      unique: missing === 0 && records > 0 && this.values.size === records,
      missing,
      ...(epoch !== null && { epoch }),
    };
  }

  private get epochFormat(): EpochFormat | null {
    const [format, other] = this.epochFormats;
    return this.looksLikeEpoch && format !== undefined && other === undefined ? format : null;
  }

  private kindOf(type: string, raw: string, value: unknown): Kind {
    switch (type) {
      case 'boolean':
        return 'boolean';
      case 'number':
        return this.number(raw);
      case 'array':
        return 'list';
      case 'object':
        return 'object';
      default:
        return textKind(String(value));
    }
  }

  private number(raw: string): Kind {
    const [, whole = '', fraction = '', exponent = ''] = /^-?(\d+)(?:\.(\d+))?(?:[eE](.+))?$/.exec(raw) ?? [];
    if (exponent !== '') this.hasExponent = true;
    this.before = Math.max(this.before, whole.length);
    this.after = Math.max(this.after, fraction.length);
    if (significant(raw) !== significant(String(Number(raw)))) this.beyondDouble = true;
    if (fraction !== '' || exponent !== '') {
      this.looksLikeEpoch = false;
      return 'fraction';
    }
    const integer = BigInt(raw);
    if (integer < LONGS[0] || integer > LONGS[1]) this.beyondLong = true;
    // A number of this century, in seconds or in milliseconds.
    if (!/^(9\d{8}|[1-4]\d{9})(\d{3})?$/.test(raw)) this.looksLikeEpoch = false;
    this.epochFormats.add(raw.length > 10 ? 'epoch_ms' : 'epoch_s');
    return 'whole';
  }

  private infer(): { type: ColumnType; why: string } {
    const kinds = [...this.kinds.keys()];
    const only = (...these: Kind[]) => kinds.every((kind) => these.includes(kind));
    if (kinds.length === 0) return { type: 'STRING', why: 'no values in the sample: the type is a guess' };
    if (kinds.includes('list') || kinds.includes('object')) {
      const rest = kinds.filter((kind) => kind !== 'list' && kind !== 'object');
      return {
        type: 'JSON',
        why: rest.length > 0 ? 'nested and plain values' : kinds.map(plural).join(' and '),
      };
    }
    if (only('boolean')) return { type: 'BOOLEAN', why: '' };
    if (only('whole', 'fraction')) return this.inferNumber(kinds);
    if (only('date')) return { type: 'NAIVE_DATE', why: '' };
    if (only('naive')) return { type: 'NAIVE_DATETIME', why: 'has no time zone' };
    if (only('zoned')) return { type: 'UTC_DATETIME', why: '' };
    const why = kinds.length === 1 ? '' : `${kinds.map(plural).join(' and ')}, so stored as text`;
    return { type: 'STRING', why };
  }

  private inferNumber(kinds: Kind[]): { type: ColumnType; why: string } {
    const isWhole = !kinds.includes('fraction');
    if (isWhole && !this.beyondLong) {
      return { type: 'LONG', why: this.looksLikeEpoch ? 'looks like a Unix time' : '' };
    }
    if (!isWhole && !this.beyondDouble) return { type: 'DOUBLE', why: '' };
    if (!this.hasExponent && this.before + this.after <= DECIMAL_DIGITS) {
      const why = isWhole ? 'whole numbers beyond 64 bits' : 'more digits than a DOUBLE can hold';
      return { type: `DECIMAL(${DECIMAL_DIGITS},${this.after})`, why };
    }
    return { type: 'STRING', why: 'numbers with more digits than any number type can hold' };
  }
}

const PLURALS: Record<Kind, string> = {
  boolean: 'true and false',
  whole: 'whole numbers',
  fraction: 'numbers',
  date: 'dates',
  naive: 'times without a zone',
  zoned: 'times with a zone',
  text: 'text',
  list: 'lists',
  object: 'objects',
};
const plural = (kind: Kind) => PLURALS[kind];

function textKind(text: string): Kind {
  if (!isTimestamp(text)) return 'text';
  if (DATE.test(text)) return 'date';
  const match = DATETIME.exec(text);
  if (match === null) return 'text';
  return match[1] === undefined ? 'naive' : 'zoned';
}

/** Digits and exponent of a number, however it is written. */
function significant(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const short = digits.replace(/0+$/, '');
  if (short === '') return '0';
  return `${sign}${short}e${Number(exponent) - fraction.length + digits.length - short.length}`;
}

type Row = ReadonlyMap<string, string>;

/** Columns that may hold a key. */
const isKeyType = (type: ColumnType) =>
  type === 'STRING' || type === 'LONG' || type === `DECIMAL(${DECIMAL_DIGITS},0)`;

/** Returns the rank of a name among those of keys: 0 is the likeliest, 4 suggests no key. */
function keyRank(name: string, stream: string): number {
  const word = name.toLowerCase().replace(/[^a-z0-9]/g, '');
  const own = stream.toLowerCase().replace(/[^a-z0-9]/g, '');
  if (word === 'id') return 0;
  if (['uuid', 'guid', 'gid', 'uid', 'key', 'pk'].includes(word)) return 1;
  if ([own, own.replace(/s$/, '')].some((one) => word === `${one}id` || word === `${one}key`)) return 2;
  // customer_id and customerId, but not "paid".
  const isKey =
    /[_-](?:id|uuid|guid|key)$/i.test(name) || /[a-z0-9](?:Id|ID|Uuid|UUID|Guid|GUID|Key)$/.test(name);
  return isKey ? 3 : 4;
}

function primaryKeys(columns: DiscoveredColumn[], rows: Row[], stream: string): Discovery['primaryKeys'] {
  const possible = columns.filter(({ type, missing }) => isKeyType(type) && missing === 0);
  const ranked = possible
    .map(({ name, unique }, place) => ({ name, unique, place, rank: keyRank(name, stream) }))
    .sort((a, b) => a.rank - b.rank || a.place - b.place);
  const single = ranked.filter(({ unique }) => unique);
  if (rows.length > 0 && single.length > 0) {
    return single.map(({ name, rank }) => ({
      columns: [name],
      why:
        `present and unique in ${counted(rows.length, 'record')}` +
        (rank === 4 ? ', although the name does not suggest a key' : ''),
      isNamedLikeKey: rank < 4,
    }));
  }
  const parts = ranked.filter(({ rank }) => rank < 4).slice(0, 8);
  return parts.flatMap((one, i) =>
    parts.slice(i + 1).flatMap((other) => {
      const pairs = new Set(rows.map((row) => JSON.stringify([row.get(one.name), row.get(other.name)])));
      return rows.length > 1 && pairs.size === rows.length
        ? {
            columns: [one.name, other.name],
            why: `the pair is unique in ${counted(rows.length, 'record')}; neither column is alone`,
            isNamedLikeKey: true,
          }
        : [];
    }),
  );
}

const SAYS = [
  [
    'changed',
    /updat|modif|chang|edit|revis|last_?(?:seen|sync|touch)/i,
    'by its name, the time of the last change',
  ],
  ['some time', /./, 'a time, although the name does not suggest that every change updates it'],
  ['created', /creat|insert|added|born|start/i, 'the time of creation: later changes would be missed'],
] as const;

function cursorFields(columns: DiscoveredColumn[], records: number): Discovery['cursorFields'] {
  const times = columns.filter(
    ({ name, type, epoch }) =>
      /^(UTC_DATETIME|NAIVE_DATETIME|NAIVE_DATE)$/.test(type) ||
      // Many numbers look like Unix times; the name has to say so, too.
      (epoch !== undefined && SAYS[0][1].test(name)),
  );
  return times
    .map((column, place) => {
      const order = [0, 2, 1].find((i) => SAYS[i]?.[1].test(column.name)) ?? 1;
      const [says, , why] = SAYS[order] ?? SAYS[1];
      const gap = column.missing > 0 ? `; ${column.missing} of ${counted(records, 'record')} lack it` : '';
      const { name, missing, epoch: format } = column;
      return { name, says, why: why + gap, order, place, missing, format };
    })
    .sort((a, b) => a.order - b.order || Number(a.missing > 0) - Number(b.missing > 0) || a.place - b.place)
    .map(({ name, says, why, format }) => ({ name, says, why, ...(format !== undefined && { format }) }));
}

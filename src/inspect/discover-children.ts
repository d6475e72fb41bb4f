/** Lists of objects in a sample of records, and the child tables that they could fill. */
/** A child table that a configuration could have. */
export interface FoundChild {
  /** The member with the lists, and the name of the child table. */
  name: string;
  /** Columns from the record, with its members. */
  include: { [column: string]: string };
  /** Null if items have no key. */
  primaryKey: string[] | null;
  /** The column for positions, where items have no key. */
  index: string | null;
  /** Items in the sample. */
  items: number;
}

type Item = { [name: string]: unknown };

/** Names of members that tell items of a list apart, the likeliest first; after ids. */
const KEY_NAMES = ['key', 'sku', 'code', 'slug', 'number', 'name', 'email'];

/**
 * Finds members that are lists of objects.
 * @param records of the sample, as JSON.
 * @param primaryKey of the records.
 * @param stream names the columns with the record's key, such as `order_id`.
 */
export function findChildren(
  records: readonly string[],
  primaryKey: readonly string[],
  stream: string,
): FoundChild[] {
  const lists = new Map<string, Item[][]>();
  const others = new Set<string>();
  for (const record of records) {
    for (const [name, value] of Object.entries(JSON.parse(record) as Item)) {
      if (value === null) continue;
      if (!Array.isArray(value) || !value.every(isItem)) others.add(name);
      else lists.set(name, [...(lists.get(name) ?? []), value]);
    }
  }
  return [...lists].flatMap(([name, found]) => {
    const items = found.flat();
    if (items.length === 0 || others.has(name) || primaryKey.length === 0) return [];
    const include = Object.fromEntries(
      primaryKey.map((part) => [part.toLowerCase() === 'id' ? `${singular(stream)}_${part}` : part, part]),
    );
    const key = keyOf(found, items, Object.keys(include));
    return [
      {
        ...{ name, include, items: items.length },
        primaryKey: key === null ? null : [...Object.keys(include), key],
        index: key === null ? 'position' : null,
      },
    ];
  });
}

/** `orders` → order, `categories` → category; other names stay. */
const singular = (name: string): string =>
  name
    .replace(/ies$/i, 'y')
    .replace(/(s|x|ch|sh)es$/i, '$1')
    .replace(/([^su])s$/i, '$1');

const isItem = (value: unknown): value is Item =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The member that tells the items of each list apart; null if there is none. @param taken names of other columns. */
function keyOf(lists: readonly Item[][], items: readonly Item[], taken: readonly string[]): string | null {
  const [first = {}] = items;
  const isKey = (name: string) =>
    !taken.includes(name) &&
    items.every((item) => typeof item[name] === 'string' || typeof item[name] === 'number') &&
    lists.every((list) => new Set(list.map((item) => String(item[name]))).size === list.length);
  const names = Object.keys(first).filter((name) => rankOf(name) !== null);
  return names.sort((a, b) => (rankOf(a) ?? 0) - (rankOf(b) ?? 0)).find(isKey) ?? null;
}

function rankOf(name: string): number | null {
  if (/^(?:id|uuid|guid)$/i.test(name)) return 0;
  const place = KEY_NAMES.indexOf(name.toLowerCase());
  if (place !== -1) return 2 + place;
  return /[_-](?:id|uuid|guid)$/i.test(name) || /[a-z0-9](?:Id|ID)$/.test(name) ? 1 : null;
}

/** The child table as a configuration has it, in one line. */
export function childText({ name, include, primaryKey, index }: FoundChild): string {
  const members = Object.entries(include).map(([column, from]) => `${column}: ${from}`);
  const key = primaryKey === null ? `index: ${index ?? ''}` : `primary_key: [${primaryKey.join(', ')}]`;
  return `children: { ${name}: { include: { ${members.join(', ')} }, ${key} } }`;
}

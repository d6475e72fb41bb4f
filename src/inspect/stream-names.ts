/** Names a stream after the path of its list. Pure. */

/** Parts of a path that name no collection. */
const GENERIC = /^(records|items|list|search|_search|query|all|api|rest|index|find|v?\d+(\.\d+)*)$/i;

/** `/v1/orders.json?x=1` → orders; `/collections/posts/records` → posts. */
export function nameOfPath(path: string): string {
  const words = path
    .replace(/[?#].*$/s, '')
    .split('/')
    .map((part) =>
      part
        .replace(/\.\w+$/, '')
        .replace(/[^\w-]+/g, '_')
        .replace(/^_+|_+$/g, ''),
    )
    .filter((part) => part !== '');
  return words.findLast((word) => !GENERIC.test(word)) ?? words.at(-1) ?? 'records';
}

/** Finds the parameter that an API knows among many possible names, with few requests. */
import type { Answer } from './answers.js';

export type Params = Readonly<Record<string, string>>;

/** Sends requests to the API that is looked at. */
export interface Api {
  /** @throws {OutOfRequestsError} */
  ask(params: Params): Promise<Answer>;
  /** Asks for an address that an answer named. @throws {OutOfRequestsError} */
  follow(address: string): Promise<Answer>;
}

/** Effect of a parameter: none, the expected one, or another. */
export type Effect = 'same' | 'wanted' | 'empty' | 'refused' | 'other';

/** A search for one parameter. */
export interface Search {
  names: readonly string[];
  value: string;
  /** Sent besides. */
  base?: Params;
  effect: (answer: Answer) => Effect;
}

/** Words by which an API names parameters that it does not take. */
const REJECTS =
  /un(expected|known|recogni[sz]ed|supported)|invalid|not (allowed|permitted|supported|recogni[sz]ed)|extra/i;

/** Refusals after which names are no longer left out; some APIs name one at a time. */
const REFUSALS = 5;
/** Names tried one by one where an API does not take many at once. */
const SINGLES = 3;

/**
 * Sends all names in one request and narrows them down to the one that works. Where the API refuses names that it does
 * not know, those that its message mentions are left out.
 * @returns null where none of the names has the expected effect.
 */
export async function findParameter(api: Api, search: Search): Promise<string | null> {
  let { names } = search;
  const mentioned: string[] = [];
  for (let tries = 0; names.length > 0 && tries < REFUSALS; tries++) {
    const answer = await tryNames(api, search, names);
    const effect = search.effect(answer);
    if (effect === 'wanted') return narrowed(api, search, names);
    if (effect === 'same') break;
    const named = names.filter((name) => mentions(answer.words, name));
    if (effect !== 'refused' || named.length === 0) return single(api, search, names.slice(0, SINGLES));
    if (!REJECTS.test(answer.words)) mentioned.push(...named);
    names = names.filter((name) => !named.includes(name));
  }
  // A message may also list the names that are allowed.
  return single(api, search, mentioned.slice(0, SINGLES));
}

const tryNames = (api: Api, { value, base = {} }: Search, names: readonly string[]): Promise<Answer> =>
  api.ask({ ...base, ...Object.fromEntries(names.map((name) => [name, value])) });

async function single(api: Api, search: Search, names: readonly string[]): Promise<string | null> {
  if (search.names.length === 1) return null;
  for (const name of names) {
    if (search.effect(await tryNames(api, search, [name])) === 'wanted') return name;
  }
  return null;
}

/** Halves the names until one is left, the commonest one first. */
async function narrowed(api: Api, search: Search, all: readonly string[]): Promise<string | null> {
  let names = all;
  let isProven = names.length === 1;
  for (let isFirst = true; names.length > 1; isFirst = false) {
    const size = isFirst ? 1 : Math.ceil(names.length / 2);
    const part = names.slice(0, size);
    isProven = search.effect(await tryNames(api, search, part)) === 'wanted';
    names = isProven ? part : names.slice(size);
  }
  const [name = ''] = names;
  return isProven || search.effect(await tryNames(api, search, [name])) === 'wanted' ? name : null;
}

/** Returns whether a message names a parameter, as a word of its own. */
function mentions(words: string, name: string): boolean {
  const plain = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(?<![\\w$-]|\\w\\[)${plain}(?![\\w-]|\\[)`).test(words);
}

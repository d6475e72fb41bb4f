/** Addresses of destinations of extensions: `NAME:ADDRESS?KEY=VALUE&…`, such as `ledger:./rows?sync=true`. */
import { isCredential } from '../secrets/credential-names.js';
import { holdsReference, REFERENCE } from '../secrets/reference-syntax.js';

/** An address in its parts, references unresolved. */
export interface CustomAddress {
  /** The name of the destination's definition. */
  scheme: string;
  /** The text between the name and the question mark. */
  address: string;
  /** The words after it. */
  params: [key: string, value: string][];
}

const PLACEHOLDER = 'reference';

/** Reads an address. A question mark or an ampersand inside a reference is a part of that. */
export function customAddress(text: string): CustomAddress {
  const [, scheme = '', address = '', query = ''] =
    /^\s*([a-z][a-z0-9+.-]+):((?:\$\{[^}]*\}|[^?])*)\??(.*)$/is.exec(text) ?? [];
  const words = query.match(/(?:\$\{[^}]*\}|[^&])+/g) ?? [];
  const params = words.map((word): [string, string] => {
    const [, key = word, value = ''] = /^([^=]*)=(.*)$/s.exec(word) ?? [];
    return [decoded(key), decoded(value)];
  });
  return { scheme: scheme.toLowerCase(), address: address.trimEnd(), params };
}

/** References stand as they are written. */
function decoded(text: string): string {
  if (holdsReference(text)) return text;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

/** Whether a word of an address is a credential, by its name. */
export const isSecretKey = (key: string): boolean => /pass/i.test(key) || isCredential(key);

/** Matches the password of an address that names a user. */
export const USER_PASSWORD = /^(\/\/[^/?#@:]*):([^/?#]*)@/;

/** Whether an address holds a password, or another credential, that is no reference. */
export function holdsSecret({ address, params }: CustomAddress): boolean {
  const [, , password = ''] = USER_PASSWORD.exec(address.replace(REFERENCE, PLACEHOLDER)) ?? [];
  const values = params.flatMap(([key, value]) => (isSecretKey(key) ? [value] : []));
  return [password.replace(PLACEHOLDER, ''), ...values.map((value) => value.replace(REFERENCE, ''))].some(
    (rest) => rest !== '',
  );
}

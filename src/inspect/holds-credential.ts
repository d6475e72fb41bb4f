/** Decides whether a value of an imported description is a secret; in doubt it is, since a reference does no harm. Pure. */
import { isCredential } from '../secrets/credential-names.js';
import { useOf } from './api/names.js';

/** Headers that hold credentials, whatever their names say. */
const SECRET_HEADERS = /^(authorization|proxy-authorization|cookie)$/i;

/** Last words of names of secrets; and whole names that are too short to be told apart otherwise. */
const SECRET_WORD =
  /^(\w*token|\w*secret|\w*apikey|\w*key|auth|oauth|session|pat|sid|sk|jwt|sig|signature|code|hash|hmac|creds?|credentials?|password|passwd|pass|pwd|pin|otp|cookie|csrf|xsrf|bearer|access)$/;
/** A word before the last one that tells that the value is none. */
const HARMLESS_WORD =
  /^(sort|order|group|partition|primary|foreign|project|issue|object|page|next|prev|previous|start|continuation|sync|delta|skip|scroll|cursor|pagination|country|currency|zip|postal|post|lang|language|locale|status|error|response|area|state|region|city|product|item|time|date|qr|bar|commit|content)$/;
/** Names of secrets whose last word does not say so. */
const SECRET_NAMES = /accesskeyid|keyid$|sessionid|jwt|^api$/;

/** Keys of well-known services, and forms of their own. */
const SECRET_VALUE = new RegExp(
  [
    String.raw`^(bearer|basic|token|apikey|digest|negotiate|ntlm)\s+\S`,
    String.raw`^eyJ[\w-]{8,}\.[\w-]{8,}`,
    String.raw`^-----BEGIN`,
    String.raw`^(sk|pk|rk|whsec|sk-[a-z]+|pk-[a-z]+)[-_]\w{8,}`,
    String.raw`^(sk|pk|rk)_(live|test)_`,
    String.raw`^(gh[pousr]|github_pat|npm|hf|glpat|gldt|glrt|figd|shp(at|ss|ca|pa)|dop_v1|lin_api|gsk|r8|phc|phx|ntn|secret|sntrys|xkeysib|sgp|rnd|pypi|PMAK|CFPAT|NRAK|tskey)[-_][\w.-]{8,}`,
    String.raw`^(xox[a-z]-|xapp-|ya29\.|SG\.|EAAA|dapi[\da-f]{8}|pat\w{14}\.|key-[\da-f]{8})[\w.-]{8,}`,
    String.raw`^(AKIA|ASIA|AROA|AIDA)[A-Z0-9]{8,}`,
    String.raw`^[a-z]+_(api|key|pat|sk|live|token)_\w{6,}`,
    String.raw`^AIza[\w-]{20,}`,
    String.raw`^(EAA|ATATT|ATCTT)[\w-]{20,}`,
    String.raw`^\d{6,}:[\w-]{20,}$`,
  ].join('|'),
);

/** Whether a header, parameter or member of this name and value holds a credential. */
export const holdsCredential = (name: string, value: string): boolean =>
  SECRET_HEADERS.test(name) ||
  isCredential(name) ||
  isSecretName(name) ||
  SECRET_VALUE.test(
    value.replace(/^(bearer|basic|token|apikey|digest|negotiate|ntlm)\b/i, (it) => it.toLowerCase()),
  ) ||
  (useOf(name) === null && isRandom(value));

/** X-Vault-Token, sessionId, code; but not sort_key, page_token and country_code. */
function isSecretName(name: string): boolean {
  const words = name
    .replace(/([a-z\d])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word !== '' && word !== 'x');
  const [last = '', before = ''] = words.toReversed();
  if (SECRET_NAMES.test(words.join(''))) return true;
  return SECRET_WORD.test(last) && !HARMLESS_WORD.test(before) && useOf(name) === null;
}

/**
 * Whether a value looks as if it were made at random: long, and letters and digits change places all the time. UUIDs, times, and
 * ids of up to 19 characters are none.
 */
export function isRandom(value: string): boolean {
  if (!/^[\w+/=.~:-]{20,}$/.test(value) || !/\d/.test(value) || !/[a-z]/i.test(value)) return false;
  if (/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(value) || /^\d{4}-\d\d-\d\d/.test(value)) return false;
  if (/^[\da-f]+$/i.test(value)) return value.length >= 32;
  const run = Math.max(...value.split(/[^A-Za-z\d]+/).map((one) => one.length));
  if (run < 12) return false;
  // camelCase is no change.
  const kinds = [...value.replace(/[A-Z](?=[a-z])/g, 'a')].map((one) =>
    /\d/.test(one) ? 0 : /[a-z]/.test(one) ? 1 : /[A-Z]/.test(one) ? 2 : 3,
  );
  const changes = kinds.filter((kind, i) => i > 0 && kind !== kinds[i - 1]).length;
  return changes / value.length >= 0.22;
}

/** Replaces secrets in the parts of a path: `/bot123456:SECRET/getUpdates`. */
export const pathWithReferences = (path: string, keep: (value: string) => string): string =>
  path
    .split('/')
    .map((part) => {
      const [, before = '', secret = ''] = /^((?:bot)?\d+:)([\w-]{6,})$/.exec(part) ?? [];
      if (secret !== '') return before + keep(secret);
      return isRandom(part) || (part !== '' && SECRET_VALUE.test(part)) ? keep(part) : part;
    })
    .join('/');

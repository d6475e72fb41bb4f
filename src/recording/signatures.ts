/** Signatures and tokens in the addresses of a text, such as those of presigned downloads. */
import { isCredential } from '../secrets/credential-names.js';
import { MASK } from '../secrets/masking.js';

/** A parameter of an address in a text, a header or a JSON string, where "&" and "/" may be escaped. */
const PARAMETER = /([?&#]|\\u0026|&amp;)([\w.%[\]-]{1,100})=((?:\\\/|[^&#"'<>\s\\])+)/g;
/** Parameters that cloud stores sign with. */
const OF_STORE = /^x-(amz|goog|oss|cos)-/i;

/**
 * Returns a text with `***` in place of the values of parameters whose names are those of signatures and tokens.
 * @param isKept of names that page, whatever they look like: requests are told apart by them.
 */
export function withoutSignatures(text: string, isKept: (name: string) => boolean): string {
  return text.replace(PARAMETER, (whole, before: string, written: string) => {
    const name = unescaped(written);
    const isSigned = (isCredential(name) || OF_STORE.test(name)) && !isKept(name);
    return isSigned ? `${before}${written}=${MASK}` : whole;
  });
}

function unescaped(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

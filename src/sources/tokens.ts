/**
 * Continuation tokens: how that of an answer becomes the text that cursors hold, and how that text is sent. A token
 * that is an object or a list is held as its JSON text, so that no number in it loses a digit.
 */
import { parseTree } from 'jsonc-parser';
import type { PageSummary, RequestSpec } from '../protocol.js';
import { type Envelope, kindOf } from './envelope.js';
import { pathText } from '../request/paths.js';
import type { Mask } from '../secrets/masking.js';
import { ScanError } from './record-scanner.js';
import { RawJson } from '../request/templates.js';

type Next = RequestSpec['next'];
type InBody = Extract<Next, { in: 'body' }>;

/** How a token can be sent. */
export interface TokenUse {
  next: Next;
  /** The API's name of the parameter that it is sent as. */
  parameter: string;
  /** It is only ever sent as a value of its own in the body. */
  isWhole: boolean;
  /** Whether a parameter of this name holds a credential, which no token may replace. */
  isCredential: (name: string) => boolean;
  mask: Mask;
}

/** Whether tokens are sent as what they are: texts that look like JSON must then be told from JSON. */
const keepsKind = ({ next, isWhole }: TokenUse) =>
  next.in !== 'link' && !next.isAddress && (isWhole || (next.in === 'body' && next.as === 'params'));

/** The next page that an answer names, as text, or how it names none. */
export type NextToken = Pick<PageSummary, 'nextToken' | 'noToken'>;

const ABSENT: NextToken = { nextToken: null, noToken: 'absent' };
const NULL: NextToken = { nextToken: null, noToken: 'null' };

/**
 * Reads the token, or the address, of the next page.
 * @param isEnd the answer says otherwise that nothing follows: a token that cannot be used then does no harm.
 * @throws {ScanError} where it is neither text nor a number and cannot be sent as what it is.
 */
export function readToken(envelope: Envelope, use: TokenUse, isEnd: boolean): NextToken {
  const { next } = use;
  if (next.in === 'link') {
    const address = linkNext(envelope.header('link'));
    return address === null ? ABSENT : { nextToken: address };
  }
  if (next.in === 'header') {
    const text = envelope.header(next.name);
    if (text === null) return ABSENT;
    return text === '' ? NULL : { nextToken: keptText(text, use) };
  }
  const value = envelope.value('next', next.path);
  return tokenOf(value, envelope, next, use, isEnd);
}

function tokenOf(value: unknown, envelope: Envelope, next: InBody, use: TokenUse, isEnd: boolean): NextToken {
  // An answer may have null in place of the object that a path leads through.
  if (value === undefined) return leadsThroughNull(envelope, next) ? NULL : ABSENT;
  if (value === null || value === '' || value === false) return NULL;
  const text = () => envelope.document.textAt(next.path) ?? JSON.stringify(value);
  const isObject = typeof value === 'object';
  if (isObject && Object.keys(value).length === 0) return NULL;
  const isLax = isEnd || next.isAssumed === true;
  if (next.as === 'params') return objectToken(value, text, use, isLax);
  if (typeof value === 'string') return { nextToken: keptText(value, use) };
  if (typeof value === 'number') return { nextToken: text() };
  if (isObject && !next.isAddress && use.isWhole) return { nextToken: compact(text()) };
  if (isLax) return NULL;
  throw new ScanError(unusable(value, next, use), 'shape');
}

/** A token whose members are sent as parameters; those that would replace a credential are left out. */
function objectToken(value: unknown, text: () => string, use: TokenUse, isLax: boolean): NextToken {
  const { isCredential, mask } = use;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    if (isLax) return NULL;
    const what = Array.isArray(value) ? kindOf(value, mask) : `a ${typeof value}`;
    throw new ScanError(`the next token is ${what}, but "as: params" needs an object`, 'shape');
  }
  const members = membersOf(text()).filter(({ name }) => !isCredential(name));
  const nested = members.find(({ text: member }) => /^[[{]/.test(member));
  if (nested !== undefined) {
    if (isLax) return NULL;
    const name = JSON.stringify(mask(nested.name).slice(0, 80));
    throw new ScanError(
      `the next token has a member ${name} that is a list or an object, which cannot be sent as a parameter`,
      'shape',
    );
  }
  const kept = members.map(({ name, text: member }) => `${JSON.stringify(name)}:${member}`);
  return kept.length === 0 ? NULL : { nextToken: `{${kept.join(',')}}` };
}

/** Members of an object in JSON, with the texts of their values; of those of one name the last. */
function membersOf(json: string): { name: string; text: string }[] {
  const members = new Map<string, string>();
  for (const { children = [] } of parseTree(json)?.children ?? []) {
    const [name, value] = children;
    if (name === undefined || value === undefined) continue;
    members.set(String(name.value), json.slice(value.offset, value.offset + value.length));
  }
  return [...members].map(([name, text]) => ({ name, text }));
}

function leadsThroughNull({ document }: Envelope, { path }: InBody): boolean {
  if (typeof path === 'string') return false;
  let inner = document.value;
  for (const member of path) {
    if (inner === null) return true;
    if (typeof inner !== 'object' || !Object.hasOwn(inner, member)) return false;
    inner = (inner as Record<string, unknown>)[member];
  }
  return false;
}

/** Says of a token that it cannot be used, and what to do about it. */
function unusable(value: unknown, next: InBody, { parameter, mask }: TokenUse): string {
  const path = pathText(next.path);
  if (typeof value !== 'object' || value === null) {
    return `the next token (${path}) is ${String(value)}, which is not a token; use a path to true or false as "more"`;
  }
  const what = `the next token (${path}) is ${kindOf(value, mask)}`;
  if (next.isAddress) return `${what}, not an address: "next.url" must point to a text`;
  const whole =
    'to send it as it is, use "${cursor:scroll_param}" as a value in the "body" of a POST, and nowhere else';
  const members = Array.isArray(value)
    ? ''
    : `; to send its members as parameters, set next: {token: ${path}, as: params}`;
  return `${what}, which cannot be sent as the parameter ${JSON.stringify(parameter)}: ${whole}${members}`;
}

/** Text that is sent as text; told from JSON where that is sent as such. */
const keptText = (text: string, use: TokenUse): string =>
  keepsKind(use) && isMarked(text) ? JSON.stringify(text) : text;

const isMarked = (text: string) => /^["{[]/.test(text) && isJson(text);

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** JSON without the space between its parts. */
const compact = (json: string) => json.replace(/("(?:[^"\\]|\\.)*")|\s+/g, (_, text?: string) => text ?? '');

/** The value that a kept token is sent as, in a body. */
export function sentToken(kept: string, use: TokenUse): string | RawJson {
  if (!keepsKind(use) || !isMarked(kept)) return kept;
  return kept.startsWith('"') ? (JSON.parse(kept) as string) : new RawJson(kept);
}

/** The parameters that a kept token is sent as; null where it is sent as itself. */
export function tokenParameters(kept: string, use: TokenUse): { name: string; value: string }[] | null {
  const { next } = use;
  if (next.in !== 'body' || next.as !== 'params' || !kept.startsWith('{') || !isJson(kept)) return null;
  return membersOf(kept)
    .filter(({ name, text }) => text !== 'null' && !use.isCredential(name))
    .map(({ name, text }) => ({ name, value: text.startsWith('"') ? String(JSON.parse(text)) : text }));
}

/** The address of `rel="next"` in a Link header (RFC 8288), or null. */
export function linkNext(header: string | null): string | null {
  for (const [, address = '', parameters = ''] of (header ?? '').matchAll(/<([^>]*)>([^<]*)/g)) {
    if (/;\s*rel\s*=\s*("(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=[\s;,]|$))/i.test(parameters)) return address;
  }
  return null;
}

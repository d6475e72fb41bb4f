/** Reads curl commands, as documentation and browsers give them. Pure. */
import { nameOfPath } from '../stream-names.js';
import { distinctNames, type Imported, ImportError } from './imported.js';
import { requestParts, type RequestParts, type SentRequest } from './requests.js';
import { shellWords } from './shell-words.js';

/** Options with a value that say something of the request. */
const VALUED: Record<string, string> = {
  '-X': 'request',
  '--request': 'request',
  '-H': 'header',
  '--header': 'header',
  '-d': 'data',
  '--data': 'data',
  '--data-raw': 'data',
  '--data-ascii': 'data',
  '--data-binary': 'data',
  '--data-urlencode': 'data',
  '--json': 'json',
  '-u': 'user',
  '--user': 'user',
  '-b': 'cookie',
  '--cookie': 'cookie',
  '--url': 'url',
  '--oauth2-bearer': 'bearer',
};
/** Options that Highwater needs no word for. */
const HARMLESS =
  /^(-[sSLivfg#]|--(silent|show-error|location|include|verbose|fail|compressed|globoff|http1\.1|http2|progress-bar|no-progress-meter))$/;
const HARMLESS_VALUED =
  /^(-o|--output|-A|--user-agent|-e|--referer|-m|--max-time|--connect-timeout|-w|--write-out|--retry)$/;

/** @throws {ImportError} where there is no curl command. */
export function fromCurl(text: string): Imported {
  const commands = split(shellWords(text.replace(/^\s*\$\s+/gm, '').replace(/\^\r?\n/g, '')));
  if (commands.length === 0) throw new ImportError('there is no curl command with a URL');
  const leftOut: string[] = [];
  const parts = commands.map((words) => requestParts(requestOf(words, leftOut)));
  return importedFrom('curl command', parts, leftOut);
}

function split(words: string[]): string[][] {
  const commands: string[][] = [];
  for (const [i, word] of words.entries()) {
    if (/(^|\/)curl(\.exe)?$/.test(word) && (i === 0 || /^(\n|;|&&|\||then)$/.test(words[i - 1] ?? '')))
      commands.push([]);
    else if (word !== '\n') commands.at(-1)?.push(word);
  }
  return commands;
}

/** @throws {ImportError} */
function requestOf(words: string[], leftOut: string[]): SentRequest {
  const headers: SentRequest['headers'] = {};
  const data: string[] = [];
  let [method, address, user, isGet]: [string | null, string | null, SentRequest['user'], boolean] = [
    null,
    null,
    null,
    false,
  ];
  const queue = words.flatMap((word) => {
    // -sk is -s -k.
    if (/^-[sSLkivfgG#]{2,}$/.test(word)) return [...word.slice(1)].map((letter) => `-${letter}`);
    // -XPOST and --request=POST are written in one.
    const [, option = '', value = ''] =
      /^(-[XHdub])(.+)$/s.exec(word) ?? /^(--[\w-]+)=(.*)$/s.exec(word) ?? [];
    return option !== '' && VALUED[option] !== undefined ? [option, value] : [word];
  });
  for (let at = 0; at < queue.length; at++) {
    const word = queue[at] ?? '';
    const kind = VALUED[word];
    const value = kind === undefined ? '' : (queue[++at] ?? '');
    const [, name = '', rest = ''] = /^([^:]+):\s*(.*)$/s.exec(value) ?? [];
    if (kind === 'request') method = value.toUpperCase();
    else if (kind === 'header' && name !== '') headers[name.trim()] = rest.trim();
    else if (kind === 'data') data.push(value);
    else if (kind === 'json') [headers['Content-Type']] = ['application/json', data.push(value)];
    else if (kind === 'user') {
      const [given = '', ...password] = value.split(':');
      user = { name: given, password: password.join(':') };
    } else if (kind === 'bearer') headers['Authorization'] = `Bearer ${value}`;
    else if (kind === 'cookie') headers['Cookie'] = value;
    else if (kind === 'url') address = value;
    else if (word === '-G' || word === '--get') isGet = true;
    else if (HARMLESS_VALUED.test(word)) at++;
    else if (word === '-k' || word === '--insecure')
      leftOut.push(`${word}: Highwater always checks certificates`);
    else if (HARMLESS.test(word)) continue;
    else if (word.startsWith('-')) leftOut.push(`the option ${word} of curl`);
    else if (/^\||^[>;&]/.test(word)) break;
    else address ??= word;
  }
  if (address === null) throw new ImportError('the curl command has no URL');
  const full = /^https?:\/\//i.test(address) ? address : `https://${address}`;
  if (!URL.canParse(full)) throw new ImportError('the URL of the curl command cannot be read');
  const url = new URL(full);
  if (url.username !== '') {
    user = { name: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
    [url.username, url.password] = ['', ''];
  }
  if (isGet)
    for (const [name, value] of new URLSearchParams(data.join('&'))) url.searchParams.append(name, value);
  const body = isGet || data.length === 0 ? null : data.join('&');
  return { method: method ?? (body === null ? 'GET' : 'POST'), url, headers, body, user };
}

/** Streams of one API: those of the first request's host; others are left out. */
export function importedFrom(kind: string, parts: readonly RequestParts[], leftOut: string[]): Imported {
  const [first] = parts;
  if (first === undefined) throw new ImportError('there is no request');
  const same = parts.filter(({ origin }) => origin === first.origin);
  for (const { origin } of parts) {
    const line = `requests to ${origin}: a configuration has one API; make another one for it`;
    if (origin !== first.origin && !leftOut.includes(line)) leftOut.push(line);
  }
  const streams = same.map(({ keys }) => ({
    name: nameOfPath(String(keys['path'])),
    keys: { ...keys, strategy: 'cursor', next: 'none', records: '$' },
    needsLook: true,
  }));
  return {
    kind,
    baseUrl: first.origin,
    needsBaseUrl: false,
    auth: same.find(({ auth }) => auth !== null)?.auth ?? null,
    headers: Object.assign({}, ...same.map(({ headers }) => headers)) as { [name: string]: string },
    streams: distinctNames(streams),
    secrets: Object.assign({}, ...same.map(({ secrets }) => secrets)) as { [name: string]: string },
    assumed: [],
    leftOut: [...leftOut, ...same.flatMap((part) => part.leftOut)],
  };
}

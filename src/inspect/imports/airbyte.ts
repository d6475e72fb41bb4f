/** Reads an Airbyte declarative manifest. Pure. */
import { isDeepStrictEqual } from 'node:util';
import type { Json } from '../../protocol.js';
import { pathText } from '../../request/paths.js';
import { isObject, type JsonObject } from '../api/answers.js';
import { setNames, type StreamKeys } from '../api/stream-keys.js';
import { type AuthDetails, type AuthKind, draftedAuth, variableOf } from '../credentials.js';
import { distinctNames, type Imported, type ImportedStream, ImportError } from './imported.js';
import { LONGEST_CHAIN, referenced } from './references.js';

/** @throws {ImportError} where it declares no stream. */
export function fromAirbyte(document: JsonObject): Imported {
  const manifest = new Manifest(document);
  const given = manifest.list(document['streams']).map((one) => manifest.object(one));
  if (given.length === 0) throw new ImportError('it declares no streams');
  const leftOut: string[] = [];
  const taken = given.flatMap((one) => {
    const stream = manifest.stream(one, leftOut);
    return stream === null ? [] : [{ stream, ...manifest.place(manifest.requester(one), leftOut) }];
  });
  const [first] = taken;
  if (first === undefined)
    throw new ImportError(
      `none of its streams can be taken over:\n${leftOut.map((line) => `  ${line}`).join('\n')}`,
    );
  const { baseUrl } = first;
  const ofApi = taken.filter((one) => one.baseUrl === baseUrl);
  const auth = ofApi.find((one) => one.auth !== null)?.auth ?? null;
  const same = ofApi.filter((one) => one.auth === null || isDeepStrictEqual(one.auth, auth));
  const another = 'a configuration has one; make another configuration for it';
  for (const one of taken) {
    const { name } = one.stream;
    if (!ofApi.includes(one)) leftOut.push(`${name}: the address ${one.baseUrl}: ${another}`);
    else if (!same.includes(one)) leftOut.push(`${name}: its own authentication: ${another}`);
    else if (one.auth === null && auth !== null)
      leftOut.push(`${name}: it has no authentication: that of the other streams is sent`);
  }
  const headers = Object.fromEntries(
    Object.entries(first.headers).filter(([name, text]) => same.every((one) => one.headers[name] === text)),
  );
  const streams = same.map(({ stream, headers: all }): ImportedStream => {
    const own = Object.entries(all).filter(([name]) => headers[name] === undefined);
    return own.length === 0
      ? stream
      : { ...stream, keys: { ...stream.keys, headers: Object.fromEntries(own) } };
  });
  return {
    kind: 'Airbyte manifest',
    baseUrl,
    needsBaseUrl: false,
    auth,
    headers,
    streams: distinctNames(streams),
    secrets: {},
    assumed: [...new Set(manifest.assumed)],
    leftOut: [...new Set(leftOut)],
  };
}

const origin = (url: unknown): string => (URL.canParse(String(url)) ? new URL(String(url)).origin : '');

class Manifest {
  readonly assumed: string[] = [];

  constructor(private readonly root: JsonObject) {}

  list(value: unknown): unknown[] {
    return Array.isArray(value) ? value : [];
  }

  /** An object with its `$ref` resolved, and with its `$parameters` where it lacks a value. */
  object(value: unknown, hops = 0): JsonObject {
    if (typeof value === 'string' && value.startsWith('#/') && hops < LONGEST_CHAIN)
      return this.object(referenced(this.root, value), hops + 1);
    if (!isObject(value)) return {};
    const { $ref: reference, ...own } = value;
    const base =
      typeof reference === 'string' && hops < LONGEST_CHAIN
        ? this.object(referenced(this.root, reference), hops + 1)
        : {};
    const parameters = isObject(own['$parameters']) ? own['$parameters'] : {};
    return { ...base, ...parameters, ...own };
  }

  requester(stream: JsonObject): JsonObject {
    return this.object(this.object(stream['retriever'])['requester']);
  }

  /** The parts of a requester that belong to the source of a configuration. */
  place(
    requester: JsonObject,
    leftOut: string[],
  ): { baseUrl: string; auth: { [key: string]: Json } | null; headers: { [name: string]: string } } {
    return {
      baseUrl: this.text(requester['url_base'] ?? origin(requester['url'])).replace(/\/$/, ''),
      auth: this.auth(this.object(requester['authenticator']), leftOut),
      headers: this.texts(requester['request_headers'], leftOut, 'request_headers'),
    };
  }

  /** `{{ config['api_key'] }}` → `${env:API_KEY}`; other expressions stay, and are reported. */
  text(value: unknown): string {
    return String(value ?? '').replace(
      /\{\{\s*config(?:\.(\w+)|\[\s*['"](\w+)['"]\s*\])\s*\}\}/g,
      (_, dotted?: string, quoted?: string) => `\${env:${variableOf(dotted ?? quoted ?? '')}}`,
    );
  }

  texts(value: unknown, leftOut: string[], where: string): { [name: string]: string } {
    const entries = Object.entries(this.object(value)).map(([name, one]) => [name, this.text(one)] as const);
    return Object.fromEntries(
      entries.filter(([name, text]) => {
        const isPlain = !text.includes('{{');
        if (!isPlain) leftOut.push(`${where}: ${name} is an expression: ${text}`);
        return isPlain;
      }),
    );
  }

  auth(given: JsonObject, leftOut: string[]): { [key: string]: Json } | null {
    const type = String(given['type'] ?? 'NoAuth');
    /** @param names the manifest's names of values, by ours. */
    const drafted = (kind: AuthKind, names: { [key: string]: string }, details: AuthDetails = {}) => {
      const own = Object.entries(names).flatMap(([key, name]) => {
        const text = this.text(given[name]);
        return text.includes('${env:') && !text.includes('{{') ? [[key, text]] : [];
      });
      return { ...draftedAuth(kind, details, '').auth, ...Object.fromEntries(own) } as {
        [key: string]: Json;
      };
    };
    switch (type) {
      case 'NoAuth':
        return null;
      case 'BearerAuthenticator':
        return drafted('bearer', { token: 'api_token' });
      case 'BasicHttpAuthenticator':
        return drafted('basic', { username: 'username', password: 'password' });
      case 'ApiKeyAuthenticator': {
        const option = this.object(given['inject_into']);
        const name = String(option['field_name'] ?? given['header'] ?? 'X-Api-Key');
        const place = /param/.test(String(option['inject_into'])) ? 'query' : 'header';
        return drafted('api_key', { value: 'api_token' }, { name, in: place });
      }
      case 'OAuthAuthenticator': {
        const url = this.text(given['token_refresh_endpoint']);
        const auth = drafted('oauth2', { client_id: 'client_id', client_secret: 'client_secret' }, { url });
        return given['refresh_token'] === undefined
          ? auth
          : {
              ...auth,
              refresh_token: '${env:API_REFRESH_TOKEN}',
              ...drafted('none', { refresh_token: 'refresh_token' }),
            };
      }
      default:
        leftOut.push(`the authenticator ${type}: see docs/authentication.md`);
        return null;
    }
  }

  stream(given: JsonObject, leftOut: string[]): ImportedStream | null {
    const name = String(given['name'] ?? 'stream');
    const say = (what: string) => void leftOut.push(`${name}: ${what}`);
    const retriever = this.object(given['retriever']);
    if (given['type'] !== undefined && given['type'] !== 'DeclarativeStream') {
      say(`the kind of stream ${String(given['type'])}`);
      return null;
    }
    const requester = this.object(retriever['requester']);
    const path = this.text(requester['path'] ?? given['path'] ?? pathOf(requester['url']));
    if (this.list([retriever['partition_router']].flat()).some(isObject)) {
      say(
        'the partition router: write it as a child stream (docs/child-streams.md), or as one stream a value',
      );
      return null;
    }
    if (path.includes('{{')) {
      say(`the path is an expression: ${path}`);
      return null;
    }
    const keys: StreamKeys = {
      path: path.startsWith('/') || path === '' ? path : `/${path}`,
      records: this.records(retriever, say),
    };
    this.addRequest(keys, requester, leftOut, name);
    this.addPaging(keys, this.object(retriever['paginator']), say);
    this.addKeyAndCursor(keys, given, say);
    for (const part of ['transformations', 'schema_normalization']) {
      if (this.list(given[part]).length > 0) say(`${part}: records are stored as they come`);
    }
    if (requester['error_handler'] !== undefined)
      say('the error handler: see docs/rate-limits-and-errors.md');
    return { name, keys, needsLook: false };
  }

  private records(retriever: JsonObject, say: (what: string) => void): string {
    const selector = this.object(retriever['record_selector']);
    if (selector['record_filter'] !== undefined) say('the record filter: write it as "where"');
    const path = this.list(this.object(selector['extractor'])['field_path']).map(String);
    if (path.length === 0) return '$';
    // A star selects all members.
    const isPlain = !path.includes('*');
    return isPlain
      ? pathText(path)
      : `$${path.map((part) => (part === '*' ? '[*]' : `['${part}']`)).join('')}`;
  }

  private addRequest(keys: StreamKeys, requester: JsonObject, leftOut: string[], name: string): void {
    const params = this.texts(requester['request_parameters'], leftOut, `${name}: request_parameters`);
    if (Object.keys(params).length > 0) keys['params'] = params;
    if (String(requester['http_method'] ?? 'GET').toUpperCase() !== 'POST') return;
    keys['method'] = 'POST';
    const body = requester['request_body_json'] ?? requester['request_body_data'];
    if (isObject(body)) keys['body'] = this.texts(body, leftOut, `${name}: body`);
    if (requester['request_body_json'] === undefined && isObject(body)) keys['body_as'] = 'form';
  }

  private addPaging(keys: StreamKeys, paginator: JsonObject, say: (what: string) => void): void {
    const strategy = this.object(paginator['pagination_strategy']);
    const token = this.object(paginator['page_token_option']);
    const size = this.object(paginator['page_size_option']);
    const names: { [use: string]: string } = {};
    const field = String(token['field_name'] ?? '');
    const isElsewhere = token['inject_into'] !== undefined && token['inject_into'] !== 'request_parameter';
    if (isElsewhere)
      say(`the place of the page token (${String(token['inject_into'])}): it is sent as a parameter`);
    switch (String(strategy['type'] ?? 'NoPagination')) {
      case 'PageIncrement':
        keys['strategy'] = 'page_number';
        if (field !== '') names['page'] = field;
        if (Number(strategy['start_from_page'] ?? 0) === 0) keys['first_page'] = 0;
        break;
      case 'OffsetIncrement':
        keys['strategy'] = 'offset';
        if (field !== '') names['offset'] = field;
        break;
      case 'CursorPagination':
        keys['strategy'] = 'cursor';
        this.addCursor(keys, strategy, { names, field, isPath: token['type'] === 'RequestPath' }, say);
        break;
      default:
        keys['strategy'] = 'cursor';
        keys['next'] = 'none';
    }
    const pageSize = Number(strategy['page_size']);
    if (Number.isInteger(pageSize) && pageSize > 0) keys['page_size'] = pageSize;
    if (typeof size['field_name'] === 'string' && keys['next'] !== 'none')
      names['limit'] = size['field_name'];
    setNames(keys, names);
  }

  private addCursor(
    keys: StreamKeys,
    strategy: JsonObject,
    { names, field, isPath }: { names: { [use: string]: string }; field: string; isPath: boolean },
    say: (what: string) => void,
  ): void {
    const value = String(strategy['cursor_value'] ?? '');
    const path =
      /^\{\{\s*response((?:\.\w+|\[\s*['"][^'"]+['"]\s*\]|\.get\(\s*['"][^'"]+['"][^)]*\))+)\s*\}\}$/.exec(
        value,
      )?.[1];
    const last = /^\{\{\s*last_records?(?:\[-1\])?(?:\.(\w+)|\[\s*['"](\w+)['"]\s*\])\s*\}\}$/.exec(value);
    if (/headers/.test(value) && /link/i.test(value)) keys['next'] = 'link';
    else if (path !== undefined) {
      const parts = [...path.matchAll(/\.get\(\s*['"]([^'"]+)|\.(\w+)|\[\s*['"]([^'"]+)/g)].map(
        (m) => m[1] ?? m[2] ?? m[3] ?? '',
      );
      keys['next'] = { [isPath ? 'url' : 'token']: pathText(parts) };
    } else if (last !== null) {
      keys['next'] = 'last_key';
    } else {
      say(`the cursor value is an expression: ${value}; set "next"`);
      keys['next'] = 'none';
      return;
    }
    if (!isPath && field !== '' && keys['next'] !== 'link') names['scroll_param'] = field;
    const { stop_condition: stop } = strategy;
    if (typeof stop === 'string')
      this.assumed.push(`a page without a next one is the last, as the stop condition says: ${stop}`);
  }

  private addKeyAndCursor(keys: StreamKeys, given: JsonObject, say: (what: string) => void): void {
    const key = [given['primary_key']].flat(2).filter((one) => typeof one === 'string' && one !== '');
    if (key.length > 0) keys['primary_key'] = key.length === 1 ? String(key[0]) : key.map(String);
    else say('it has no primary key; "highwater discover" finds one');
    const cursor = this.object(given['incremental_sync']);
    if (cursor['type'] === undefined) return;
    const field = cursor['cursor_field'];
    if (cursor['type'] !== 'DatetimeBasedCursor' || typeof field !== 'string' || field.includes('{{')) {
      say(`the incremental sync ${String(cursor['type'])}`);
      return;
    }
    keys['cursor_field'] = field;
    const [start, end] = [this.object(cursor['start_time_option']), this.object(cursor['end_time_option'])];
    const names: { [use: string]: string } = {};
    if (typeof start['field_name'] === 'string') names['updated_since'] = start['field_name'];
    if (typeof end['field_name'] === 'string') names['updated_until'] = end['field_name'];
    const format = FORMATS[String(cursor['datetime_format'])];
    if (format === undefined)
      say(`the format of times, ${String(cursor['datetime_format'])}: set names.format if the API needs it`);
    else if (format !== 'timestamp' && names['updated_since'] !== undefined) names['format'] = format;
    if (names['updated_since'] === undefined && names['updated_until'] === undefined) {
      say('the time filter, which is in no parameter: each pass reads the whole list');
    }
    setNames(keys, names);
    const from = cursor['start_datetime'];
    const begin = isObject(from) ? from['datetime'] : from;
    if (typeof begin === 'string' && /^\d{4}-\d\d-\d\d/.test(begin)) keys['start'] = begin;
    else if (begin !== undefined) say(`the start ${String(begin)}: set "start"`);
    for (const part of ['step', 'lookback_window']) {
      if (cursor[part] !== undefined)
        say(`${part} (${String(cursor[part])}): see window and lookback in docs/incremental.md`);
    }
  }
}

const FORMATS: Record<string, string> = {
  '%s': 'epoch_s',
  '%ms': 'epoch_ms',
  '%Y-%m-%dT%H:%M:%SZ': 'timestamp',
  '%Y-%m-%dT%H:%M:%S.%fZ': 'timestamp',
  '%Y-%m-%dT%H:%M:%S%z': 'timestamp',
  '%Y-%m-%dT%H:%M:%S.%f%z': 'timestamp',
  '%Y-%m-%d': 'yyyy-MM-dd',
};

const pathOf = (url: unknown): string => (URL.canParse(String(url)) ? new URL(String(url)).pathname : '');

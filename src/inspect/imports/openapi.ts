/** Reads OpenAPI 3 and Swagger 2 descriptions. Pure. */
import { type Answer, isObject, type JsonObject } from '../api/answers.js';
import { useOf } from '../api/names.js';
import type { StreamKeys } from '../api/stream-keys.js';
import type { Json } from '../../protocol.js';
import { draftedAuth } from '../credentials.js';
import { nameOfPath } from '../stream-names.js';
import {
  distinctNames,
  type Imported,
  type ImportedStream,
  ImportError,
  keysFrom,
  type KnownParameter,
} from './imported.js';
import { LONGEST_CHAIN, referenced } from './references.js';

const DEPTH = 6;
/** Maximum number of streams of a configuration. */
const STREAMS = 200;

/** @throws {ImportError} where it describes no list that is read by GET. */
export function fromOpenApi(document: JsonObject): Imported {
  const description = new Description(document);
  const leftOut: string[] = [];
  const streams: ImportedStream[] = [];
  const single: string[] = [];
  for (const [path, item] of Object.entries(description.object(document['paths']))) {
    const read = description.stream(path, description.object(item), leftOut);
    if (read === 'no list') single.push(path);
    else if (typeof read === 'object') streams.push(read);
  }
  if (single.length > 0) {
    const more = single.length > 5 ? ', …' : '';
    leftOut.push(`${single.length} GET without a list of records: ${single.slice(0, 5).join(', ')}${more}`);
  }
  if (streams.length === 0) throw new ImportError('it describes no GET that returns a list of records');
  if (streams.length > STREAMS) leftOut.push(`${streams.length - STREAMS} more lists`);
  const server = description.baseUrl(leftOut);
  const auth = description.auth(leftOut);
  return {
    kind: typeof document['swagger'] === 'string' ? 'Swagger 2 description' : 'OpenAPI description',
    baseUrl: server.url ?? `https://api.example.com${server.path}`,
    needsBaseUrl: server.url === null,
    auth,
    headers: {},
    streams: distinctNames(streams.slice(0, STREAMS)),
    secrets: {},
    assumed: ['the description is right about paging: "highwater check" compares it with the API'],
    leftOut,
  };
}

class Description {
  constructor(private readonly root: JsonObject) {}

  /** An object, behind a reference if there is one; empty where there is none. */
  object(value: unknown): JsonObject {
    for (let hops = 0; hops < LONGEST_CHAIN && isObject(value) && typeof value['$ref'] === 'string'; hops++)
      value = referenced(this.root, value['$ref']);
    return isObject(value) ? value : {};
  }

  list(value: unknown): unknown[] {
    return Array.isArray(value) ? value : [];
  }

  /** Returns the address of the server, or its path if no host is named. */
  baseUrl(leftOut: string[]): { url: string; path?: never } | { url: null; path: string } {
    const [server] = this.list(this.root['servers']).map((one) => this.object(one));
    const { host, basePath } = this.root;
    if (typeof host === 'string') {
      const schemes = this.list(this.root['schemes']);
      const scheme = schemes.includes('https') || schemes.length === 0 ? 'https' : 'http';
      const path = typeof basePath === 'string' ? basePath.replace(/\/$/, '') : '';
      return { url: `${scheme}://${host}${path}` };
    }
    const variables = this.object(server?.['variables']);
    const url = String(server?.['url'] ?? '').replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = this.object(variables[name])['default'];
      leftOut.push(`the choice of the server's ${name}: ${String(value)} is used`);
      return String(value);
    });
    const plain = url.replace(/\/$/, '');
    return /^https?:\/\//.test(url) ? { url: plain } : { url: null, path: plain };
  }

  /** The authentication that most of the API uses. */
  auth(leftOut: string[]): { [key: string]: Json } | null {
    const schemes = this.object(
      this.object(this.root['components'])['securitySchemes'] ?? this.root['securityDefinitions'],
    );
    const [wanted] = this.list(this.root['security']).map((one) => Object.keys(this.object(one))[0]);
    const names = Object.keys(schemes);
    const name = wanted ?? names[0];
    if (name === undefined) return null;
    for (const other of names)
      if (other !== name) leftOut.push(`the authentication ${other}: ${name} is used`);
    const scheme = this.object(schemes[name]);
    const kind = String(scheme['type']).toLowerCase();
    if (kind === 'basic' || (kind === 'http' && /basic/i.test(String(scheme['scheme'])))) {
      return draftedAuth('basic', {}, '').auth;
    }
    if (kind === 'apikey') {
      const place = (['query', 'cookie'] as const).find((one) => one === scheme['in']) ?? 'header';
      return draftedAuth('api_key', { name: String(scheme['name']), in: place }, '').auth;
    }
    const flows = this.object(scheme['flows']);
    const flow =
      kind === 'oauth2' && scheme['flow'] === 'application'
        ? scheme
        : this.object(flows['clientCredentials']);
    if (typeof flow['tokenUrl'] === 'string' && /^https?:/.test(flow['tokenUrl'])) {
      return draftedAuth('oauth2', { url: flow['tokenUrl'] }, '').auth;
    }
    if (kind !== 'http')
      leftOut.push(`the sign-in of ${name} (${kind}): a token in API_TOKEN is used instead`);
    return draftedAuth('bearer', {}, '').auth;
  }

  /** Returns the stream of a path, or why there is none; one that is left out has a line in `leftOut`. */
  stream(
    path: string,
    item: JsonObject,
    leftOut: string[],
  ): ImportedStream | 'no GET' | 'no list' | 'left out' {
    const get = this.object(item['get']);
    if (Object.keys(get).length === 0) return 'no GET';
    const answer = this.answer(get);
    if (answer === null) return 'no list';
    const all = [...this.list(item['parameters']), ...this.list(get['parameters'])].map((one) =>
      this.object(one),
    );
    const query = all.filter((one) => one['in'] === 'query').map((one) => this.parameter(one));
    const name = nameOfPath(path.replace(/\{[^}]*\}/g, ''));
    const found = keysFrom(answer, query, name);
    if (found === null) return 'no list';
    const inPath = [...path.matchAll(/\{([^}]*)\}/g)].map(([, one]) => one);
    if (inPath.length > 0) {
      leftOut.push(
        `${path}: it needs ${inPath.join(' and ')}; write it as a child stream (docs/child-streams.md)`,
      );
      return 'left out';
    }
    const keys: StreamKeys = { path, ...found.keys };
    const params = this.required(all, path, leftOut);
    if (Object.keys(params).length > 0) keys['params'] = params;
    if (keys['primary_key'] === undefined)
      leftOut.push(`${path}: no field of its records looks like a key; "highwater discover" finds it`);
    return { name, keys, needsLook: !found.isPaged };
  }

  private parameter(given: JsonObject): KnownParameter {
    const schema = this.object(given['schema'] ?? given);
    const { maximum, default: value } = schema;
    const name = String(given['name']);
    return {
      name,
      value: value === undefined ? null : String(value),
      maximum: typeof maximum === 'number' ? maximum : undefined,
    };
  }

  /** Required parameters with a value to send; the others are left out. */
  private required(all: JsonObject[], path: string, leftOut: string[]): { [name: string]: string } {
    const params: { [name: string]: string } = {};
    for (const one of all) {
      const name = String(one['name']);
      if (one['required'] !== true || one['in'] === 'path' || useOf(name) !== null) continue;
      const schema = this.object(one['schema'] ?? one);
      const value = schema['default'] ?? one['example'] ?? schema['example'] ?? this.list(schema['enum'])[0];
      if (one['in'] !== 'query' || value === undefined) {
        leftOut.push(
          `${path}: it requires the ${String(one['in'])} parameter ${name}, whose value is not described`,
        );
      } else params[name] = String(value);
    }
    return params;
  }

  /** An answer as the description shows it: by its example, or made from its schema. */
  private answer(get: JsonObject): Answer | null {
    const responses = this.object(get['responses']);
    const code = Object.keys(responses).find((one) => /^(2\d\d|2XX|default)$/i.test(one));
    const response = this.object(responses[code ?? '']);
    const content = this.object(response['content']);
    const type = Object.keys(content).find((one) => /json/i.test(one));
    const media = this.object(content[type ?? '']);
    const schema = media['schema'] ?? response['schema'];
    const document = schema === undefined ? media['example'] : this.example(schema, '', 0);
    if (document === undefined) return null;
    const headers = Object.entries(this.object(response['headers'])).map(([name]): [string, string] => [
      name.toLowerCase(),
      name.toLowerCase() === 'link' ? '</?page=2>; rel="next"' : '1',
    ]);
    return { status: 200, headers: new Map(headers), document, words: '', request: '' };
  }

  /** A value that fits a schema. */
  private example(given: unknown, name: string, depth: number): unknown {
    const schema = this.object(given);
    if (depth > DEPTH) return null;
    const parts = [
      ...this.list(schema['allOf']),
      ...this.list(schema['oneOf']).slice(0, 1),
      ...this.list(schema['anyOf']).slice(0, 1),
    ];
    const merged = parts.map((part) => this.example(part, name, depth + 1));
    const type = [schema['type']].flat().find((one) => one !== 'null');
    if (type === 'array' || schema['items'] !== undefined)
      return [this.example(schema['items'], name, depth + 1)];
    if (schema['properties'] !== undefined || type === 'object' || merged.some(isObject)) {
      const own = Object.entries(this.object(schema['properties'])).map(([member, inner]) => [
        member,
        this.example(inner, member, depth + 1),
      ]);
      return Object.assign({}, ...merged.filter(isObject), Object.fromEntries(own)) as JsonObject;
    }
    if (merged.length > 0) return merged[0];
    if (type === 'boolean') return true;
    if (type === 'integer' || type === 'number') return 1;
    const { format } = schema;
    if (format === 'date-time') return '2026-01-01T00:00:00Z';
    const isAddress = format === 'uri' || format === 'url' || /url|uri|link|href/i.test(name);
    return isAddress ? 'https://api.example.com/' : 'text';
  }
}

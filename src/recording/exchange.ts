/** A request and its answer, and the file that keeps them. */
import { findNodeAtLocation, parseTree } from 'jsonc-parser';
import { z } from 'zod';
import { messageOf } from '../errors.js';
import { RecordingError } from './errors.js';
import { indented } from './indented.js';

/** A body: JSON, token by token as it was sent; any other text; or bytes that are no text. */
export type Content = { json: string } | { text: string } | { base64: string };

/** A request and its answer, without secrets. */
export interface Exchange {
  stream: string;
  request: { method: string; url: string; content: Content | null };
  response: { status: number; headers: { [name: string]: string }; content: Content | null };
}

/** A text as one string, or as its lines where it has several. */
const text = z.union([z.string(), z.array(z.string())]);
const body = { json: z.unknown().optional(), text: text.optional(), base64: z.string().optional() };
const schema = z.strictObject({
  stream: z.string(),
  request: z.strictObject({ method: z.string(), url: z.string(), ...body }),
  response: z.strictObject({
    status: z.int().min(100).max(599),
    headers: z.record(z.string(), z.string()),
    ...body,
  }),
});

/** Returns bytes as content that people can read. */
export function contentOf(bytes: Buffer): Content | null {
  if (bytes.length === 0) return null;
  let written: string;
  try {
    written = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { base64: bytes.toString('base64') };
  }
  return isJson(written) ? { json: written } : { text: written };
}

export function isJson(written: string): boolean {
  try {
    JSON.parse(written);
    return true;
  } catch {
    return false;
  }
}

/** Returns the bytes of content. */
export function bytesOf(content: Content | null): Buffer {
  if (content === null) return Buffer.alloc(0);
  if ('base64' in content) return Buffer.from(content.base64, 'base64');
  return Buffer.from('json' in content ? content.json : content.text);
}

/** Returns the text of an exchange's file: JSON, with a body of JSON as a part of it. */
export function exchangeText({ stream, request, response }: Exchange): string {
  const { method, url } = request;
  const { status, headers } = response;
  const members = (known: object, content: Content | null) => {
    const all = Object.entries(known).map(([name, value]) => [name, JSON.stringify(value)]);
    if (content !== null) {
      if ('json' in content) all.push(['json', content.json]);
      else if ('base64' in content) all.push(['base64', JSON.stringify(content.base64)]);
      else all.push(['text', JSON.stringify(linesOf(content.text))]);
    }
    return `{${all.map(([name = '', value = '']) => `${JSON.stringify(name)}:${value}`).join(',')}}`;
  };
  const [sent, answered] = [
    members({ method, url }, request.content),
    members({ status, headers }, response.content),
  ];
  return `${indented(`{"stream":${JSON.stringify(stream)},"request":${sent},"response":${answered}}`)}\n`;
}

/** @throws {RecordingError} that names the file. */
export function readExchange(file: string, written: string): Exchange {
  const refuse = (why: string): never => {
    throw new RecordingError(`${file} is not a recorded request with its answer: ${why}`);
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(written);
  } catch (thrown) {
    return refuse(messageOf(thrown));
  }
  const { data, error } = schema.safeParse(parsed);
  if (data === undefined)
    return refuse(error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '));
  const tree = parseTree(written);
  /** JSON is taken as it is written: parsed, its long numbers would lose digits. */
  const content = (part: 'request' | 'response'): Content | null => {
    const node = tree === undefined ? undefined : findNodeAtLocation(tree, [part, 'json']);
    if (node !== undefined) return { json: written.slice(node.offset, node.offset + node.length) };
    const { text: plain, base64 } = data[part];
    if (plain !== undefined) return { text: typeof plain === 'string' ? plain : plain.join('\n') };
    return base64 === undefined ? null : { base64 };
  };
  const { stream, request, response } = data;
  return {
    stream,
    request: { method: request.method, url: request.url, content: content('request') },
    response: { status: response.status, headers: response.headers, content: content('response') },
  };
}

const linesOf = (written: string): string | string[] =>
  written.includes('\n') ? written.split('\n') : written;

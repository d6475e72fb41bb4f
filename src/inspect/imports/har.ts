/** Reads a HAR file, as browsers save their network traffic. Pure. */
import { z } from 'zod';
import { type Answer, listsIn } from '../api/answers.js';
import { counted } from '../../text.js';
import { nameOfPath } from '../stream-names.js';
import { importedFrom } from './curl.js';
import { type Imported, ImportError, keysFrom, type KnownParameter } from './imported.js';
import { requestParts, type RequestParts } from './requests.js';

const pair = z.object({ name: z.string(), value: z.string() });
const schema = z.object({
  log: z.object({
    entries: z.array(
      z.object({
        request: z.object({
          method: z.string(),
          url: z.string(),
          headers: z.array(pair).default([]),
          postData: z.object({ text: z.string().optional() }).optional(),
        }),
        response: z.object({
          status: z.number(),
          headers: z.array(pair).default([]),
          content: z
            .object({
              mimeType: z.string().optional(),
              text: z.string().optional(),
              encoding: z.string().optional(),
            })
            .optional(),
        }),
      }),
    ),
  }),
});
type Entry = z.output<typeof schema>['log']['entries'][number];

/** Maximum number of streams from one file. */
const STREAMS = 30;

/** @throws {ImportError} where no answer in it holds a list. */
export function fromHar(document: unknown): Imported {
  const read = schema.safeParse(document);
  if (!read.success) throw new ImportError('it is not a HAR file: log.entries is missing or damaged');
  const { entries } = read.data.log;
  const groups = new Map<
    string,
    { entry: Entry; answer: Answer; parts: RequestParts; all: KnownParameter[] }
  >();
  for (const entry of entries) {
    const answer = answerOf(entry);
    if (answer === null || !URL.canParse(entry.request.url)) continue;
    const url = new URL(entry.request.url);
    const [list] = listsIn(answer.document, nameOfPath(url.pathname));
    if (list === undefined || list.records.length === 0) continue;
    const headers = Object.fromEntries(entry.request.headers.map(({ name, value }) => [name, value]));
    const sent = {
      method: entry.request.method.toUpperCase(),
      url,
      headers,
      body: entry.request.postData?.text ?? null,
      user: null,
    };
    const parts = requestParts(sent);
    const key = `${sent.method} ${url.origin}${url.pathname}`;
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { entry, answer, parts, all: [...parts.parameters] });
    else known.all.push(...parts.parameters);
  }
  const all = [...groups.values()];
  const found = all.slice(0, STREAMS);
  if (found.length === 0) throw new ImportError('none of its answers is JSON with a list of records');
  const leftOut: string[] = [];
  const skipped = entries.length - groups.size;
  if (skipped > 0)
    leftOut.push(
      `${skipped} of ${entries.length} requests: pages, scripts and answers without a list, or further pages`,
    );
  if (all.length > STREAMS) {
    const others = all.slice(STREAMS).map(({ parts }) => String(parts.keys['path']));
    const more = others.length > 5 ? ', …' : '';
    leftOut.push(`${counted(others.length, 'more list')}: ${others.slice(0, 5).join(', ')}${more}`);
  }
  const imported = importedFrom(
    'HAR file',
    found.map(({ parts }) => parts),
    leftOut,
  );
  const same = found.filter(({ parts }) => parts.origin === imported.baseUrl);
  const streams = imported.streams.map((stream, i) => {
    const { answer, all } = same[i] ?? {};
    const keys = answer === undefined ? null : keysFrom(answer, all ?? [], stream.name);
    return keys === null ? stream : { ...stream, keys: { ...stream.keys, next: null, ...keys.keys } };
  });
  return { ...imported, streams: streams.map((stream) => ({ ...stream, keys: withoutNulls(stream.keys) })) };
}

const withoutNulls = <T extends object>(keys: T): T =>
  Object.fromEntries(Object.entries(keys).filter(([, value]) => value !== null)) as T;

function answerOf({ response, request }: Entry): Answer | null {
  const { status, headers, content } = response;
  if (status < 200 || status > 299 || content?.text === undefined) return null;
  const text =
    content.encoding === 'base64' ? Buffer.from(content.text, 'base64').toString('utf8') : content.text;
  try {
    const document: unknown = JSON.parse(text);
    return {
      status,
      headers: new Map(headers.map(({ name, value }) => [name.toLowerCase(), value])),
      document,
      words: '',
      request: `${request.method} ${request.url}`,
    };
  } catch {
    return null;
  }
}

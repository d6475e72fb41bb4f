import type { RequestInit, Response } from 'node-fetch';
import { MASK } from '../secrets/masking.js';
import { Network } from '../trust/network.js';
import type { TrustPolicy } from '../trust/policy.js';
import { NotRecordedError } from './errors.js';
import { bytesOf, type Content } from './exchange.js';
import type { Recorded } from './folder.js';
import { answerOf } from './recording-network.js';
import { mayBeSame, nearestKey, requestKey } from './request-key.js';
import type { Scrubber } from './scrubber.js';

/** The answers to one request, in the order in which they were recorded. */
interface Answers {
  all: Recorded[];
  given: number;
}

/**
 * Answers requests from a recording and sends nothing. A request is found by its method, path, query and body, whatever
 * the order of requests. The same request gets its answers in their order; the last one is repeated.
 */
export class RecordedNetwork extends Network {
  /** The request that was not found. */
  missing: NotRecordedError | null = null;
  private current: { stream: string; scrubber: Scrubber } | null = null;
  private readonly answers = new Map<string, Answers>();
  private readonly used = new Set<string>();

  constructor(trust: TrustPolicy, exchanges: readonly Recorded[]) {
    super(trust);
    for (const exchange of exchanges) {
      const key = requestKey(exchange.request);
      const answers = this.answers.get(key) ?? { all: [], given: 0 };
      answers.all.push(exchange);
      this.answers.set(key, answers);
    }
  }

  /** Answers the requests of a stream from here on. */
  begin(stream: string, scrubber: Scrubber): void {
    this.current = { stream, scrubber };
  }

  /** Recorded requests that were not sent. */
  get unused(): Recorded[] {
    return [...this.answers.values()].flatMap(({ all }) => all).filter(({ file }) => !this.used.has(file));
  }

  override fetch(url: URL, init: RequestInit): Promise<Response> {
    const { current } = this;
    if (current === null) return Promise.reject(new NotRecordedError('no stream is being read'));
    const body = typeof init.body === 'string' ? init.body : null;
    const key = requestKey(current.scrubber.request(init.method ?? 'GET', url, body));
    const answers = this.find(key);
    if (answers === null) {
      this.missing = this.notRecorded(key, current.stream);
      return Promise.reject(this.missing);
    }
    const exchange = answers.all[Math.min(answers.given++, answers.all.length - 1)] as Recorded;
    this.used.add(exchange.file);
    const { status, headers, content } = exchange.response;
    const here = (text: string) => withHost(text, url.origin);
    const shown = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, here(value)]));
    return Promise.resolve(answerOf(bytesOf(changed(content, here)), { status, headers: shown }));
  }

  private find(key: string): Answers | null {
    const exact = this.answers.get(key);
    if (exact !== undefined) return exact;
    for (const [other, answers] of this.answers) if (mayBeSame(other, key)) return answers;
    return null;
  }

  private notRecorded(key: string, stream: string): NotRecordedError {
    const nearest = nearestKey(key, this.answers.keys());
    const file = nearest === null ? undefined : this.answers.get(nearest)?.all[0]?.file;
    const most =
      nearest === null
        ? 'nothing is recorded'
        : `the nearest recorded request is\n  ${nearest.replaceAll('\n', '\n    ')}\n  in ${file ?? ''}`;
    return new NotRecordedError(
      `stream ${stream} sends a request that is not in the recording:\n  ${key.replaceAll('\n', '\n    ')}\n${most}`,
    );
  }
}

/** An address with a masked host leads to the source's own host here. */
const withHost = (text: string, origin: string): string =>
  text.includes(MASK)
    ? text.replace(/https?:(\\?\/){2}[^"\s/\\?#]*\*\*\*[^"\s/\\?#]*/g, (_, slash: string) =>
        slash === '/' ? origin : origin.replaceAll('/', '\\/'),
      )
    : text;

function changed(content: Content | null, change: (text: string) => string): Content | null {
  if (content === null) return null;
  if ('base64' in content) {
    const bytes = Buffer.from(content.base64, 'base64').toString('latin1');
    return { base64: Buffer.from(change(bytes), 'latin1').toString('base64') };
  }
  return 'json' in content ? { json: change(content.json) } : { text: change(content.text) };
}

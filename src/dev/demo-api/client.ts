import type { MutationReport } from './records.js';
import type { DemoStats } from './server.js';
import type { DemoSettings, DemoSettingsPatch, MutationInput } from './settings.js';

/** A record as the demo API serves it. */
export interface DemoRecord {
  id: string;
  name: string;
  email: string;
  address: string;
  company: string;
  job: string;
  createdAt: string;
  updatedAt: string;
}

/** The demo API's control endpoints under `/_demo`; none of these calls counts as a request to the API. */
export class DemoClient {
  /** @param url where the demo API listens, `http://127.0.0.1:<port>`. */
  constructor(readonly url: string) {}

  /** The switches as they stand; `fail` is what is left of the script. */
  async settings(): Promise<DemoSettings> {
    return (await this.#json('GET', 'settings')) as DemoSettings;
  }

  /** Changes some switches. A change of `rows`, `seed`, `spacing_seconds`, `ties` or `gaps` makes the data anew. */
  async set(change: DemoSettingsPatch): Promise<DemoSettings> {
    return (await this.#json('POST', 'settings', change)) as DemoSettings;
  }

  /** Changes the data: deletes, then updates, then inserts, then late arrivals. */
  async mutate(mutation: MutationInput): Promise<MutationReport> {
    return (await this.#json('POST', 'mutate', mutation)) as MutationReport;
  }

  /** Back to the switches of the start, with these changes: new data, no stats, a full bucket. */
  async reset(change: DemoSettingsPatch = {}): Promise<DemoSettings> {
    return (await this.#json('POST', 'reset', change)) as DemoSettings;
  }

  /** The requests that the API has answered. */
  async stats(): Promise<DemoStats> {
    return (await this.#json('GET', 'stats')) as DemoStats;
  }

  /** All records that there are now, by `updatedAt`. Under `numeric_ids`, use {@link DemoClient.recordLines}. */
  async records(view: 'list' | 'step' = 'list'): Promise<DemoRecord[]> {
    const records: DemoRecord[] = [];
    for await (const line of this.recordLines(view)) records.push(JSON.parse(line) as DemoRecord);
    return records;
  }

  /** The JSON text of every record that there is now, one by one, exactly as an endpoint would serve it. */
  async *recordLines(view: 'list' | 'step' = 'list'): AsyncGenerator<string> {
    const response = await this.#fetch('GET', `records?view=${view}`);
    const utf8 = new TextDecoder();
    let rest = '';
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      const lines = (rest + utf8.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  }

  async #json(method: string, path: string, input?: unknown): Promise<unknown> {
    return (await this.#fetch(method, path, input)).json();
  }

  async #fetch(method: string, path: string, input?: unknown): Promise<Response> {
    const response = await fetch(`${this.url}/_demo/${path}`, {
      method,
      ...(input === undefined ? {} : { body: JSON.stringify(input) }),
    });
    if (!response.ok) throw new Error(`demo API: ${response.status} ${await response.text()}`);
    return response;
  }
}

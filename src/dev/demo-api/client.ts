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

/** Client of the control endpoints under `/_demo`; its calls do not count as requests to the API. */
export class DemoClient {
  /** @param url address of the demo API, `http://127.0.0.1:<port>`. */
  constructor(readonly url: string) {}

  /** Returns the current switches; `fail` is the remaining script. */
  async settings(): Promise<DemoSettings> {
    return (await this.#json('GET', 'settings')) as DemoSettings;
  }

  /** Changes some switches. Changing `rows`, `seed`, `spacing_seconds`, `ties` or `gaps` generates the data again. */
  async set(change: DemoSettingsPatch): Promise<DemoSettings> {
    return (await this.#json('POST', 'settings', change)) as DemoSettings;
  }

  /** Changes the data: deletes, then updates, then inserts, then late arrivals. */
  async mutate(mutation: MutationInput): Promise<MutationReport> {
    return (await this.#json('POST', 'mutate', mutation)) as MutationReport;
  }

  /** Returns to the initial switches with these changes: new data, no statistics, a full bucket. */
  async reset(change: DemoSettingsPatch = {}): Promise<DemoSettings> {
    return (await this.#json('POST', 'reset', change)) as DemoSettings;
  }

  /** Returns the statistics. */
  async stats(): Promise<DemoStats> {
    return (await this.#json('GET', 'stats')) as DemoStats;
  }

  /** Returns all current records by `updatedAt`. Under `numeric_ids`, use {@link DemoClient.recordLines}. */
  async records(view: 'list' | 'step' = 'list'): Promise<DemoRecord[]> {
    const records: DemoRecord[] = [];
    for await (const line of this.recordLines(view)) records.push(JSON.parse(line) as DemoRecord);
    return records;
  }

  /** Yields the JSON text of every current record, exactly as an endpoint would serve it. */
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

import { Body } from './body.js';
import type { Page } from './endpoints.js';

import type { Fault } from './settings.js';

interface Scripted {
  fault: Fault;
  /** Tokens already returned by a `token_cycle`. */
  tokens: string[];
  turn: number;
}

/** A fault to apply, with its state between requests. */
export interface Fired {
  readonly fault: Fault;
  /** Returns the altered page, for faults that return one. */
  alter(page: Page, previous: Page | undefined): Page;
}

/** The remaining faults: each request triggers at most one. */
export class FaultScript {
  #scripted: Scripted[];

  constructor(faults: readonly Fault[]) {
    this.#scripted = faults.map((fault) => ({ fault: { ...fault }, tokens: [], turn: 0 }));
  }

  /** The remaining script, with the current `after` and `times`. */
  get left(): Fault[] {
    return this.#scripted.map(({ fault }) => ({ ...fault }));
  }

  /** Returns the fault for a request, if there is one. The first match in the list wins; the others wait. */
  take(pathAndQuery: string): Fired | null {
    let fired: Scripted | null = null;
    for (const scripted of this.#scripted) {
      const { fault } = scripted;
      if (fault.path !== undefined && !pathAndQuery.startsWith(fault.path)) continue;
      if (fault.after > 0) fault.after--;
      else fired ??= scripted;
    }
    if (fired === null) return null;
    const { fault } = fired;
    if (--fault.times === 0) this.#scripted = this.#scripted.filter((scripted) => scripted !== fired);
    const taken = fired;
    return { fault, alter: (page, previous) => alterPage(taken, page, previous) };
  }
}

const TOKENS = ['scroll_param', 'next_page_url'];

function alterPage(scripted: Scripted, page: Page, previous: Page | undefined): Page {
  const { fault } = scripted;
  switch (fault.kind) {
    case 'repeat_page':
      return previous ?? page;
    case 'empty': {
      const fields = page.fields.map(([name, value]): [string, string] => [
        name,
        TOKENS.includes(name) && !fault.keep_token ? 'null' : value,
      ]);
      return { body: Body.EMPTY, fields };
    }
    case 'token_cycle': {
      const fields = page.fields.map(([name, value]): [string, string] => {
        if (!TOKENS.includes(name)) return [name, value];
        // A list that ends before the cycle is complete makes a shorter cycle.
        if (scripted.tokens.length < fault.pages && value !== 'null') scripted.tokens.push(value);
        return [name, scripted.tokens[scripted.turn++ % Math.max(1, scripted.tokens.length)] ?? 'null'];
      });
      return { body: page.body, fields };
    }
    default:
      return page;
  }
}

/** Returns a page's JSON with one record's id removed or null. */
export function withoutId(json: string, index: number, id: 'absent' | 'null'): string {
  let seen = 0;
  return json.replace(/\{"id": (?:"[^"]*"|\d+), /g, (start) => {
    if (seen++ !== index) return start;
    return id === 'null' ? '{"id": null, ' : '{';
  });
}

import type { Secret } from './provider.js';

/** A secret as it was read; the same object for all who use it. */
export interface Held {
  secret: Secret;
  /** By a clock that only runs forward. */
  until: number;
}

/** The outcome of reading a reference: its value and the previous one, or the reason why there is none. */
export type Found = { value: string; held: Held; former: string | null } | { problem: string };

/** Secrets of providers as they were read at one time, by the references that lead to them. */
export class ReadSecrets {
  static readonly none = new ReadSecrets(new Map());

  constructor(private readonly found: ReadonlyMap<string, Found>) {}

  /** Whether nothing came from a provider. */
  get isEmpty(): boolean {
    return ![...this.found.values()].some((one) => 'held' in one);
  }

  /** @param reference the text between its braces. */
  get(reference: string): Found {
    return this.found.get(reference) ?? { problem: 'has not been read' };
  }

  has(held: Held): boolean {
    return [...this.found.values()].some((one) => 'held' in one && one.held === held);
  }

  /** Whether every reference has the same value in both. */
  equals(other: ReadSecrets): boolean {
    return [...this.found].every(([reference, one]) => {
      const its = other.get(reference);
      return 'value' in one && 'value' in its
        ? one.value === its.value
        : 'problem' in one && 'problem' in its;
    });
  }

  with(other: ReadSecrets): ReadSecrets {
    return new ReadSecrets(new Map([...this.found, ...other.found]));
  }
}

/** The destinations of this repository under test: they can be asked in SQL. */
import type { Destination } from '../../src/destinations/destination.js';
import type { TestedDestination as Tested } from '../../src/testing/destination/tested.js';

export * from '../../src/testing/destination/tested.js';

/** A destination, with all that the suites need to look at it from outside. */
export interface TestedDestination extends Tested {
  destination: Destination;
  prepares: boolean;
  /** Rows of a query, each value as it comes. */
  query: (sql: string) => Promise<unknown[][]>;
  /** The prefix of the names of Highwater's own tables. */
  ownSchema: string;
  reopen: () => Promise<TestedDestination>;
}

/** The contract of destinations, as a suite for Vitest. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { deleteClaims } from './claims/deletes.js';
import { misfitClaims } from './claims/misfits.js';
import { parentClaims } from './claims/parents.js';
import { streamClaims } from './claims/streams.js';
import { tableClaims } from './claims/tables.js';
import { upsertClaims } from './claims/upserts.js';
import { valueClaims } from './claims/values.js';
import { writeClaims } from './claims/writes.js';
import {
  COLUMNS,
  cursorAt,
  makeFolder,
  Stream,
  Suite,
  type ContractOptions,
  type TestedDestination,
} from './tested.js';

/**
 * Describes the promises of a destination as tests: rows and checkpoint are written together or not at all, a retry is
 * acknowledged, values are stored exactly or refused, and a stream has one writer. See `docs/guarantees.md`.
 * @param name the name of the destination, for the tests.
 * @param start opens the destination in a new, empty database.
 * @param options what it can do beside upserts.
 */
export function destinationContract(
  name: string,
  start: () => Promise<TestedDestination>,
  options: ContractOptions = {},
): void {
  describe(`${name}, as a destination,`, () => {
    const suite = new Suite(options);

    beforeAll(async () => {
      suite.folder = await makeFolder();
      suite.tested = await start();
    });
    beforeEach(() => {
      suite.stream = suite.streamOf(suite.tableOf(COLUMNS));
    });
    afterAll(async () => {
      await suite.tested.close();
      await suite.folder.remove();
    });

    writeClaims(suite);
    upsertClaims(suite);
    valueClaims(suite);
    tableClaims(suite);
    streamClaims(suite);
    deleteClaims(suite);
    misfitClaims(suite);
    parentClaims(suite);

    it('keeps rows, checkpoints and its identity over a restart', async () => {
      const { checkpoint, database } = await suite.stream.open();
      const next = randomUUID();
      await suite.stream.write(checkpoint.id, next, [{ id: '1', name: 'one' }]);
      suite.tested = await suite.tested.reopen();
      const stream = suite.streamOf(suite.stream.table);
      const again = await stream.open();
      expect(again).toMatchObject({ database, checkpoint: { id: next, cursor: cursorAt(next) } });
      expect(await stream.rows()).toEqual([{ id: '1', name: 'one', age: null }]);
      expect(await stream.write(checkpoint.id, next, [])).toEqual({ rows: 1, already: true });
    });

    it('is told from another database', async () => {
      const other = await start();
      try {
        const opened = await new Stream(other, suite.folder.file, suite.stream.table).open();
        expect(opened.database).not.toBe((await suite.stream.open()).database);
      } finally {
        await other.close();
      }
    });
  });
}

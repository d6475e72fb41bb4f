/** Claims about records that do not fit. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { CheckpointConflictError } from '../../../errors.js';
import type { TableSpec } from '../../../protocol.js';
import { type Stream, thrownBy, type Suite } from '../tested.js';

export function misfitClaims(suite: Suite): void {
  describe.runIf(suite.quarantine)('a table that puts misfits aside', () => {
    const COLUMNS_OF_ALL: TableSpec['columns'] = {
      id: 'STRING',
      whole: 'LONG',
      price: 'DECIMAL(10,2)',
      at: 'UTC_DATETIME',
      is: 'BOOLEAN',
      raw: 'BINARY',
      more: 'JSON',
    };
    const aside = async (of: Stream) =>
      ((await suite.tested.rejects?.(of.table)) ?? [])
        .map(({ reason, record }): [string, string] => [reason, record])
        .sort(([one], [other]) => (one < other ? -1 : 1));
    const good = (id: string) =>
      `{"id": "${id}", "whole": 9007199254740993, "price": 1.5, "at": "2026-01-02T03:04:05.000006Z", "is": true, "raw": "AAEC", "more": {"a": [1]}}`;

    it('stores what fits, exactly, and keeps the rest with the reason', async () => {
      const of = suite.streamOf({ ...suite.tableOf(COLUMNS_OF_ALL), quarantine: true });
      const { checkpoint } = await of.open();
      const next = randomUUID();
      const outcome = await of.write(checkpoint.id, next, [
        good('1'),
        '{"id": "2", "whole": 1.5}',
        good('3'),
        '{"id": "4", "at": "yesterday", "more": {"it\'s": "x"}}',
        '{"id": "5", "is": "maybe"}',
        '{"id": "3", "whole": 3}',
      ]);
      expect(outcome).toEqual({ rows: 2, already: false, rejected: 3 });
      expect(await of.rows()).toEqual([
        {
          id: '1',
          whole: '9007199254740993',
          price: '1.50',
          at: '2026-01-02T03:04:05.000006Z',
          is: 'true',
          raw: 'AAEC',
          more: '{"a":[1]}',
        },
        { id: '3', whole: '3', price: null, at: null, is: null, raw: null, more: null },
      ]);
      const rejects = await aside(of);
      expect(rejects.map(([reason]) => reason)).toEqual([
        'column "at" cannot hold "yesterday" as UTC_DATETIME',
        'column "is" cannot hold "maybe" as BOOLEAN',
        expect.stringMatching(/^column "whole" cannot hold "?1\.5"? as LONG$/),
      ]);
      expect(JSON.parse(rejects[0]?.[1] ?? '')).toMatchObject({ id: '4', at: 'yesterday' });
      // Once more, as after a crash before the answer.
      expect(await of.write(checkpoint.id, next, [])).toEqual({ rows: 2, already: true, rejected: 3 });
      expect(await aside(of)).toHaveLength(3);
      // A batch where all fits has none.
      expect(await of.write(next, randomUUID(), [good('6')])).toEqual({ rows: 1, already: false });
    });

    it('keeps what the reader has put aside, with its batch or not at all', async () => {
      const of = suite.streamOf({ ...suite.stream.table, quarantine: true });
      const { checkpoint } = await of.open();
      const path = suite.folder.file(`rejects-${randomUUID()}.ndjson`);
      const reject = {
        reason: 'it has no primary key: "id" is absent',
        record: '{"name": "it\'s \\"x\\""}',
      };
      await writeFile(path, `${JSON.stringify(reject)}\n`);
      const rejects = async () => [path];
      const stale = of.write('stale', randomUUID(), [], { rejects });
      expect(await thrownBy(stale)).toBeInstanceOf(CheckpointConflictError);
      expect(await aside(of)).toEqual([]);
      const outcome = await of.write(checkpoint.id, randomUUID(), [{ id: '1' }], { rejects });
      expect(outcome).toEqual({ rows: 1, already: false, rejected: 1 });
      expect(await aside(of)).toEqual([[reject.reason, reject.record]]);
    });
  });
}

/** Child rows are staged with the batch of their records, however pages are undone and batches cut. */
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BatchStager } from '../../src/activities/batch-stager.js';
import type { ChildSpec, Cursor, StagedBatch, StagedFile, StreamKey, TableSpec } from '../../src/protocol.js';
import { RecordSplitter } from '../../src/sources/record-splitter.js';
import { Staging } from '../../src/staging/staging.js';
import { scratch } from '../helpers/harness.js';

const table: TableSpec = {
  schema: 'main',
  table: 'orders',
  primaryKey: ['id'],
  columns: { id: 'LONG' },
  quarantine: true,
};
const children: ChildSpec[] = [
  {
    name: 'lines',
    table: {
      ...table,
      table: 'orders_lines',
      primaryKey: ['id', 'sku'],
      columns: { id: 'LONG', sku: 'LONG' },
    },
    ...{ from: ['lines'], include: { id: ['id'] }, paths: {} },
  },
];
const key: StreamKey = { schema: 'main', table: 'orders', strategy: 'offset', source: 's', range: '' };
const cursor: Cursor = { pass: 1, mark: null, position: null, ended: null, notes: [] };

describe('child rows of pages', () => {
  let folder: Awaited<ReturnType<typeof scratch>>;
  beforeAll(async () => {
    folder = await scratch();
  });
  afterAll(() => folder.remove());

  it('are in the batch of their record, once, with its number', async () => {
    const record = fc.record({
      id: fc.integer({ min: 1, max: 5 }),
      // Text does not fit, and goes aside.
      lines: fc.array(fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constant('x')), { maxLength: 3 }),
    });
    const page = fc.record({
      parts: fc.array(fc.array(record, { maxLength: 4 }), { maxLength: 3 }),
      isUndone: fc.boolean(),
    });
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(page, { maxLength: 4 }),
        fc.integer({ min: 1, max: 6 }),
        async (pages, rows) => {
          const staging = new Staging(folder.file(`x${runs++}`), key);
          const splitter = () => new RecordSplitter({ stream: 'orders', table, children });
          const stager = new BatchStager(staging, 'base', { rows, bytes: 1e6 }, null, {
            split: splitter,
            tables: 1,
          });
          for (const { parts, isUndone } of pages) {
            stager.beginPage();
            for (const part of parts) {
              const texts = part.map(({ id, lines }) =>
                JSON.stringify({ id, lines: lines.map((sku) => ({ sku })) }),
              );
              const lines = Buffer.from(texts.join('\n'));
              const records = { records: part.length, keys: [], values: [] };
              await stager.append({ lines, kept: part.length, records, longest: 10, rejects: [] }, cursor);
            }
            // Batches that were cut inside of a page stay when it is undone: such a page is read again.
            if (isUndone) await stager.undoPage();
            else stager.endPage();
          }
          const batches = await stager.end(cursor);
          const found: { id: number; lines: string[] }[] = [];
          for (const batch of batches) found.push(...(await recordsOf(batch, staging)));
          expect(found.length).toBe(batches.reduce((sum, { records }) => sum + records, 0));
          const isWhole = pages.every(({ isUndone }) => !isUndone);
          const given = pages
            .flatMap(({ parts }) => parts.flat())
            .map(({ id, lines }) => ({ id, lines: lines.map(String).sort() }));
          if (isWhole) expect(found).toEqual(given);
          else for (const one of found) expect(given).toContainEqual(one);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('a list that no record of a response has', () => {
  const remarksOf = (records: object[]) => {
    const splitter = new RecordSplitter({ stream: 'orders', table, children });
    splitter.split(Buffer.from(records.map((record) => JSON.stringify(record)).join('\n')), [], 0);
    return splitter.remarks.map(({ code }) => code);
  };
  const many = Array.from({ length: 20 }, (_, id) => ({ id }));

  it('is noted, but not an empty one, nor where there are few records', () => {
    expect(remarksOf(many)).toEqual(['list_absent.orders_lines']);
    expect(remarksOf([...many, { id: 99, lines: [] }])).toEqual([]);
    expect(remarksOf(many.slice(0, 5))).toEqual([]);
  });
});

/** The records of a batch, put together again from its files. */
async function recordsOf({ files, children: staged }: StagedBatch, staging: Staging) {
  const read = async <T>(of: readonly StagedFile[] = []): Promise<T[]> => {
    const lines: T[] = [];
    for (const file of of) {
      const text = await readFile(await staging.verify(file), 'utf8');
      for (const line of text.split('\n')) if (line !== '') lines.push(JSON.parse(line) as T);
    }
    return lines;
  };
  interface Row {
    _highwater_parent: string;
    id: number;
    sku: number | string;
  }
  const [child] = staged?.tables ?? [];
  const rows = await read<Row>(child?.files);
  expect(rows).toHaveLength(child?.records ?? 0);
  const rejects = (await read<{ record: string }>(child?.rejects)).map(
    ({ record }) => JSON.parse(record) as Row,
  );
  const roots = await read<{ record: number; k0: number }>(staged?.roots);
  const own = await read<{ id: number; lines: null }>(files);
  expect(roots.map(({ record }) => record)).toEqual(own.map((_, i) => i));
  return own.map(({ id, lines }, i) => {
    expect(lines).toBeNull();
    expect(roots[i]?.k0).toBe(id);
    const ofRecord = (row: Row) => row._highwater_parent === String(i);
    expect(rows.filter(ofRecord).every((row) => row.id === id)).toBe(true);
    return {
      id,
      lines: [...rows.filter(ofRecord), ...rejects.filter(ofRecord)].map(({ sku }) => String(sku)).sort(),
    };
  });
}

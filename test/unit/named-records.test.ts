/** Answers that give the names of members once, and records as lists of values. */
import { describe, expect, it } from 'vitest';
import { plansFrom } from '../../src/config/index.js';
import type { RequestSpec } from '../../src/protocol.js';
import { readableBody } from '../../src/sources/body.js';
import { ScanError } from '../../src/sources/record-scanner.js';

async function recordsOf(body: string, spec: Pick<RequestSpec, 'records' | 'recordNames'>): Promise<string> {
  const bytes = (async function* () {
    yield Buffer.from(body);
  })();
  const readable = readableBody(bytes, spec, [], [], {});
  const chunks: Buffer[] = [];
  for await (const chunk of readable.bytes) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const ROWS = { records: ['rows'], recordNames: ['columns'] };

describe('records that are lists of values', () => {
  it('get the names that the answer gives once, and keep every digit', async () => {
    const body = '{"columns":["id","a \\"b\\""],"rows":[[12345678901234567890, 1.50],[2,{"x":[null]}]]}';
    expect(await recordsOf(body, ROWS)).toBe(
      '[{"id":12345678901234567890,"a \\"b\\"":1.50},{"id":2,"a \\"b\\"":{"x":[null]}}]',
    );
    expect(await recordsOf('{"columns":[],"rows":[]}', ROWS)).toBe('[]');
  });

  it('take names from objects, by a JSONPath', async () => {
    const body = '{"schema":{"fields":[{"name":"id"},{"name":"at"}]},"data":{"rows":[[1,"x"]]}}';
    const spec = { records: ['data', 'rows'], recordNames: '$.schema.fields[*].name' };
    expect(await recordsOf(body, spec)).toBe('[{"id":1,"at":"x"}]');
  });

  it.each([
    [
      '{"columns":["id","name"],"rows":[[1,2],[3]]}',
      'record 1 has 1 value, but there are 2 names at columns',
    ],
    ['{"columns":["id"],"rows":[{"id":1}]}', 'record 0 is not a list of values'],
    ['{"columns":["id","id"],"rows":[[1,2]]}', 'the name "id" twice'],
    ['{"columns":[{"name":"id"}],"rows":[[1]]}', 'a value at columns that is no text'],
    ['{"rows":[[1]]}', 'finds no names at columns'],
  ])('are refused where names and values do not go together: %s', async (body, said) => {
    const error: unknown = await recordsOf(body, ROWS).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ScanError);
    expect((error as ScanError).message).toContain(said);
  });

  it('are configured by a path', () => {
    const stream = {
      name: 'report',
      strategy: 'cursor',
      next: 'none',
      records: 'rows',
      record_names: 'columns',
    };
    const configuration = { source: { base_url: 'https://api.example.com' }, streams: [stream] };
    expect(plansFrom(configuration).plans[0]?.request).toMatchObject(ROWS);
    expect(() => plansFrom({ ...configuration, streams: [{ ...stream, format: 'csv' }] })).toThrow(
      'record_names: has no effect on csv',
    );
  });
});

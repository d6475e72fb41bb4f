import { describe, expect, it } from 'vitest';
import { planFrom, planFromFlat } from '../../src/config/index.js';
import { addressText, filesAddress } from '../../src/config/files-address.js';
import { filesOf } from '../../src/destinations/location.js';

const said = (destination: string): string => {
  try {
    planFromFlat({ destination });
    return 'fine';
  } catch (thrown) {
    return (thrown as Error).message;
  }
};

describe('the address of a file destination', () => {
  it.each([
    ['files:./lake', { at: { kind: 'local', path: './lake' }, format: 'parquet', partitionBy: null }],
    ['files:///data/a b', { at: { kind: 'local', path: '/data/a b' }, format: 'parquet', partitionBy: null }],
    ['FILES:lake?format=ndjson&partition_by=created%20at', { format: 'ndjson', partitionBy: 'created at' }],
    [
      's3://b',
      { at: { kind: 's3', bucket: 'b', prefix: '', endpoint: null, region: null, pathStyle: null } },
    ],
    [
      's3://b/p/q/?endpoint=http://127.0.0.1:1&region=x&path_style=false',
      { at: { bucket: 'b', prefix: 'p/q', endpoint: 'http://127.0.0.1:1', region: 'x', pathStyle: false } },
    ],
  ])('%s is taken apart, and put together the same', (text, parts) => {
    const address = filesAddress(text);
    expect(address).toMatchObject(parts);
    if (typeof address === 'string') throw new Error(address);
    expect(filesAddress(addressText(address))).toEqual(address);
  });

  it.each([
    ['files:', 'names no folder'],
    ['files://lake', 'names no folder'],
    ['files:lake?fromat=ndjson', 'unknown parameter "fromat"'],
    ['files:lake?format=csv', 'format=csv; allowed: parquet, ndjson'],
    ['files:lake?format=ndjson&format=parquet', 'twice'],
    ['files:lake?endpoint=http://x', 'unknown parameter "endpoint"'],
    ['s3://', 'names no bucket'],
    ['s3:/b', 'names no bucket'],
    ['s3://key:secret@bucket/p', 'names no bucket'],
    ['s3://b?endpoint=nowhere', 'not a URL'],
    ['s3://b?endpoint=http://user:pass@x', 'endpoint with credentials'],
    ['s3://b?path_style=yes', 'path_style=yes'],
  ])('%s is refused: %s', (text, why) => expect(said(text)).toContain(why));

  it('never shows the value of an unknown parameter, which may be a secret', () => {
    const message = said('s3://b?secret_key=abc123&x=${env:Y}');
    expect(message).toContain('unknown parameter "secret_key"');
    expect(message).not.toContain('abc123');
  });

  it('may hold references, which are looked up where the worker runs, and judged there', () => {
    const text = 's3://b/p?endpoint=${env:AT}&format=${env:FORMAT}';
    expect(said(text)).toBe('fine');
    expect(planFromFlat({ destination: text }).table.schema).toBe('main');
    const environment = { AT: 'http://127.0.0.1:9', FORMAT: 'ndjson', HIGHWATER_HOME: '/tmp/none' };
    expect(filesOf(text, environment).name).toBe('s3://b/p?format=${env:FORMAT}&endpoint=${env:AT}');
    expect(() => filesOf(text, { ...environment, FORMAT: 'csv' })).toThrow('format=${env:FORMAT}; allowed:');
    expect(() => filesOf(text, {})).toThrow('AT');
  });

  it('does not support deletes', () => {
    const stream = {
      name: 'a',
      path: '/a',
      strategy: 'page_number',
      primary_key: 'id',
      columns: { id: 'LONG' },
    };
    const configuration = {
      source: { base_url: 'http://127.0.0.1:1' },
      destination: 'files:lake',
      streams: [{ ...stream, total: 'total', deletes: 'soft' }],
    };
    expect(() => planFrom(configuration, 'a')).toThrow('streams[0].deletes: files do not support deletes');
  });
});

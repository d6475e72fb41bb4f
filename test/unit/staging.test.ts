import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  appendFile,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { dirname } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BatchLostError } from '../../src/errors.js';
import type { StagedFile, StreamKey } from '../../src/protocol.js';
import { Staging, type StagedMark } from '../../src/staging/staging.js';
import { scratch } from '../helpers/harness.js';

const MEBIBYTE = 1024 * 1024;
const STREAM: StreamKey = {
  schema: 'main',
  table: 'user',
  strategy: 'keyset',
  source: 'http://h/users',
  range: '',
};

let folder: Awaited<ReturnType<typeof scratch>>;
let staging: Staging;
beforeEach(async () => {
  folder = await scratch();
  staging = new Staging(folder.file('x.duckdb'), STREAM);
});
afterEach(() => folder.remove());

/** What a destination would read. */
const content = async (files: StagedFile[], from = staging): Promise<string> => {
  const parts = await Promise.all(files.map(async (file) => readFile(await from.verify(file), 'utf8')));
  return parts.join('');
};

async function stage(id: string, ...lines: string[]): Promise<StagedFile[]> {
  const writer = staging.begin(id);
  for (const line of lines) await writer.append(Buffer.from(line));
  return writer.end();
}

/** Every file below the scratch folder. */
const everything = async (): Promise<string[]> => (await readdir(folder.path, { recursive: true })).sort();

describe('a staged batch', () => {
  it('is read back as it was written, one record a line', async () => {
    const files = await stage('b1', '{"id":1}\n{"id":2}', '{"id":"é😀"}');
    expect(await content(files)).toBe('{"id":1}\n{"id":2}\n{"id":"é😀"}\n');
    expect(files.reduce((sum, file) => sum + file.bytes, 0)).toBe(
      Buffer.byteLength('{"id":1}\n{"id":2}\n{"id":"é😀"}\n'),
    );
  });

  it('is cut into parts of some megabytes, in order', async () => {
    const line = (i: number) => `${i}`.padEnd(MEBIBYTE, '.');
    const files = await stage('b1', ...Array.from({ length: 10 }, (_, i) => line(i)));
    expect(files.map((file) => file.name)).toEqual(['b1-0.ndjson', 'b1-1.ndjson', 'b1-2.ndjson']);
    expect((await content(files)).split('\n').map((l) => l.slice(0, 2))).toEqual([
      ...Array.from({ length: 10 }, (_, i) => `${i}.`),
      '',
    ]);
  });

  it('without records has no file', async () => {
    expect(await stage('b1')).toEqual([]);
    expect(await everything()).toEqual([]);
  });

  it('can be read by nobody but its owner', async () => {
    const [file] = await stage('b1', '{}');
    const path = await staging.verify(file as StagedFile);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(dirname(path))).mode & 0o777).toBe(0o700);
  });

  it('has a folder of its own for each stream, inside one beside the destination', async () => {
    const others: Partial<StreamKey>[] = [
      { table: 'User' },
      { schema: 'other' },
      { strategy: 'replay' },
      { source: 'http://h/users2' },
      { range: 'backfill ..' },
      // Parts that would run together if they were joined.
      { schema: 'mai', table: 'nuser' },
      { table: '../../../escape', source: '/etc/passwd' },
    ];
    const folders = new Set<string>();
    for (const other of [{}, ...others]) {
      const mine = new Staging(folder.file('x.duckdb'), { ...STREAM, ...other });
      const writer = mine.begin('same');
      await writer.append(Buffer.from('{}'));
      const [file] = await writer.end();
      folders.add(dirname(await mine.verify(file as StagedFile)));
    }
    expect(folders.size).toBe(others.length + 1);
    for (const path of folders) expect(dirname(path)).toBe(folder.file('x.duckdb.staging'));
  });
});

describe('verify', () => {
  let file: StagedFile;
  let path: string;
  beforeEach(async () => {
    [file] = (await stage('b1', '{"id":1,"name":"one"}', '{"id":2,"name":"two"}')) as [StagedFile];
    path = await staging.verify(file);
  });

  const lost = async (): Promise<string> => {
    const thrown: unknown = await staging.verify(file).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(BatchLostError);
    expect((thrown as Error).message).toContain(path);
    return (thrown as Error).message;
  };

  it('finds a file that is gone', async () => {
    await rm(path);
    expect(await lost()).toContain('is gone');
  });

  it('finds a file that was cut', async () => {
    await truncate(path, file.bytes - 1);
    expect(await lost()).toContain(`${file.bytes - 1} of ${file.bytes} bytes`);
    await truncate(path, 0);
    expect(await lost()).toContain(`0 of ${file.bytes} bytes`);
  });

  it('finds a file that has grown', async () => {
    await appendFile(path, '{}\n');
    expect(await lost()).toContain(`${file.bytes + 3} of ${file.bytes} bytes`);
  });

  it('finds any single altered bit', async () => {
    const whole = await readFile(path);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(7), async (at, bit) => {
        const altered = Buffer.from(whole);
        altered[at] = (altered[at] as number) ^ (1 << bit);
        await writeFile(path, altered);
        expect(await lost()).toContain('checksum wrong');
      }),
      { numRuns: 50 },
    );
    await writeFile(path, whole);
    expect(await staging.verify(file)).toBe(path);
  });

  it('finds two bytes that changed places, and zeros where data was (a disk that lost its cache)', async () => {
    const whole = await readFile(path);
    await writeFile(path, Buffer.concat([whole.subarray(1, 2), whole.subarray(0, 1), whole.subarray(2)]));
    await lost();
    await writeFile(path, Buffer.alloc(whole.length));
    await lost();
  });

  it('finds a folder in its place', async () => {
    await rm(path);
    await mkdir(path);
    await lost();
  });

  it('never looks outside of its folder, whatever a name says', async () => {
    await writeFile(folder.file('secret'), 'hush');
    const outside = { name: '../../secret', bytes: 4, crc32: 0 };
    const thrown: unknown = await staging.verify(outside).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(BatchLostError);
    expect((thrown as Error).message).toContain('is gone');
    await staging.discard([outside]);
    expect(await readFile(folder.file('secret'), 'utf8')).toBe('hush');
  });
});

describe('rollback', () => {
  it('takes back what was appended since the mark', async () => {
    const writer = staging.begin('b1');
    await writer.append(Buffer.from('1'));
    const mark = writer.mark();
    await writer.append(Buffer.from('2'));
    await writer.rollback(mark);
    await writer.append(Buffer.from('3'));
    expect(await content(await writer.end())).toBe('1\n3\n');
  });

  it('to the very start leaves nothing, and the batch can go on', async () => {
    const writer = staging.begin('b1');
    const mark = writer.mark();
    await writer.append(Buffer.alloc(5 * MEBIBYTE, '.'));
    await writer.append(Buffer.from('x'));
    await writer.rollback(mark);
    expect(writer.bytes).toBe(0);
    expect(await staging.list()).toEqual([]);
    await writer.append(Buffer.from('new'));
    expect(await content(await writer.end())).toBe('new\n');
  });

  it('may be done twice to one mark', async () => {
    const writer = staging.begin('b1');
    await writer.append(Buffer.from('kept'));
    const mark = writer.mark();
    for (const text of ['first', 'the second']) {
      await writer.append(Buffer.from(text));
      await writer.rollback(mark);
    }
    await writer.append(Buffer.from('last'));
    expect(await content(await writer.end())).toBe('kept\nlast\n');
  });

  it('restores the batch exactly, across part boundaries too', async () => {
    let batch = 0;
    const size = fc.oneof(
      fc.integer({ min: 1, max: 20 }),
      fc.constantFrom(MEBIBYTE, 2 * MEBIBYTE, 4 * MEBIBYTE - 1, 5 * MEBIBYTE),
    );
    const step = fc.oneof(
      { weight: 5, arbitrary: size.map((bytes) => ({ append: bytes })) },
      { weight: 2, arbitrary: fc.constant('mark' as const) },
      { weight: 2, arbitrary: fc.constant('rollback' as const) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
        const writer = staging.begin(`b${batch++}`);
        let wanted: Buffer[] = [];
        let marked: { mark: StagedMark; wanted: Buffer[] } = { mark: writer.mark(), wanted: [] };
        let letter = 0;
        for (const doing of steps) {
          if (doing === 'mark') marked = { mark: writer.mark(), wanted };
          else if (doing === 'rollback') {
            await writer.rollback(marked.mark);
            wanted = marked.wanted;
          } else {
            const line = Buffer.alloc(doing.append, 97 + (letter++ % 26));
            await writer.append(line);
            wanted = [...wanted, line, Buffer.from('\n')];
          }
        }
        const all = Buffer.concat(wanted);
        expect(writer.bytes).toBe(all.length);
        const files = await writer.end();
        expect(sha256(await content(files))).toBe(sha256(all));
        // Nothing else has stayed behind.
        expect((await staging.list()).sort()).toEqual(files.map((file) => file.name).sort());
        await staging.discard(files);
      }),
      { numRuns: 40 },
    );
  });
});

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');

describe('what is not needed any more', () => {
  it('goes with clear, other streams untouched', async () => {
    const other = new Staging(folder.file('x.duckdb'), { ...STREAM, table: 'other' });
    const writer = other.begin('b2');
    await writer.append(Buffer.from('{}'));
    const [theirs] = await writer.end();
    const [mine] = await stage('b1', '{}');
    await staging.clear();
    await expect(staging.verify(mine as StagedFile)).rejects.toBeInstanceOf(BatchLostError);
    expect(await staging.list()).toEqual([]);
    expect(await other.verify(theirs as StagedFile)).toContain('b2-0');
    await staging.clear();
  });

  it('goes with discard, twice as well, and takes the empty folders along', async () => {
    const first = await stage('b1', '{}');
    const second = await stage('b2', '{}');
    await staging.discard(first);
    expect(await staging.list()).toEqual(['b2-0.ndjson']);
    await staging.discard(second);
    await staging.discard(second);
    expect(await everything()).toEqual([]);
  });

  it('goes with abandon, also the part in hand', async () => {
    const writer = staging.begin('b1');
    await writer.append(Buffer.alloc(5 * MEBIBYTE));
    await writer.append(Buffer.from('x'));
    await writer.abandon();
    expect(await staging.list()).toEqual([]);
  });

  it('leaves the next batch alone when it goes while that one begins', async () => {
    for (let round = 0; round < 50; round++) {
      const before = await stage(`before${round}`, '{}');
      const [after] = await Promise.all([
        stage(`after${round}`, `{"round":${round}}`),
        staging.discard(before),
      ]);
      expect(await content(after)).toBe(`{"round":${round}}\n`);
      await staging.discard(after);
    }
  });

  it.skipIf(!existsSync('/proc/self/fd'))('holds no file open', async () => {
    const writer = staging.begin('b1');
    const mark = writer.mark();
    for (let round = 0; round < 3; round++) {
      await writer.append(Buffer.alloc(5 * MEBIBYTE));
      await writer.append(Buffer.from('x'));
      await writer.rollback(mark);
    }
    await writer.append(Buffer.from('y'));
    await writer.end();
    const descriptors = await readdir('/proc/self/fd');
    const open = await Promise.all(descriptors.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
    expect(open.filter((path) => path.startsWith(folder.path))).toEqual([]);
  });
});

import { createDecipheriv, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import proto from '@temporalio/proto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bundleFor, dataConverterFrom, PayloadReader } from '../../src/payloads/converter.js';
import { EncryptionCodec, keysFrom, readKeys } from '../../src/payloads/encryption.js';
import { scratch } from '../helpers/harness.js';

const [a, b] = [randomBytes(32), randomBytes(32)].map((bytes) => bytes.toString('base64'));
const codec = (text: string) => new EncryptionCodec(readKeys(text, 'here'));
const payload = (value: unknown): Payload => defaultPayloadConverter.toPayload(value);
const textOf = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString();

describe('payloads', () => {
  test('come back as they were, and never twice the same', async () => {
    const key = codec(`one:${a}`);
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const plain = payload(value);
        const [first, second] = await key.encode([plain, plain]);
        expect(Buffer.from(first?.data ?? []).equals(Buffer.from(second?.data ?? []))).toBe(false);
        const [back] = await key.decode([first as Payload]);
        expect(defaultPayloadConverter.fromPayload(back as Payload)).toEqual(
          JSON.parse(JSON.stringify(value)),
        );
      }),
      { numRuns: 100 },
    );
  });

  test("are laid out as in Temporal's samples: nonce, text, tag; encoding and key id beside", async () => {
    const [sealed] = await codec(`one:${a}`).encode([payload('words')]);
    expect(textOf(sealed?.metadata?.['encoding'])).toBe('binary/encrypted');
    expect(textOf(sealed?.metadata?.['encryption-key-id'])).toBe('one');
    const data = Buffer.from(sealed?.data ?? []);
    const decipher = createDecipheriv('aes-256-gcm', Buffer.from(a ?? '', 'base64'), data.subarray(0, 12));
    decipher.setAuthTag(data.subarray(-16));
    const inner = Buffer.concat([decipher.update(data.subarray(12, -16)), decipher.final()]);
    const { metadata, data: text } = proto.temporal.api.common.v1.Payload.decode(inner);
    expect([textOf(metadata?.['encoding']), textOf(text)]).toEqual(['json/plain', '"words"']);
  });

  test('are read by every key, and encrypted with the first; what is not encrypted is read too', async () => {
    const [old, both, fresh] = [codec(`old:${a}`), codec(`new:${b}\nold:${a}`), codec(`new:${b}`)];
    const before = await old.encode([payload(1)]);
    const after = await both.encode(await both.decode(before));
    expect(await fresh.decode(after)).toEqual(await old.decode(before));
    await expect(old.decode(after)).rejects.toThrow(
      'this is encrypted with the key "new", and this process has "old" only. Set HIGHWATER_PAYLOAD_KEY or HIGHWATER_PAYLOAD_KEY_FILE to the same value as for the workers',
    );
    const plain = payload('from before');
    expect(await both.decode([plain])).toEqual([plain]);
  });

  test('that were altered, or are of another key of that name, are refused', async () => {
    const [sealed] = await codec(`one:${a}`).encode([payload({ rows: 1 })]);
    const altered = { ...sealed, data: Buffer.from(sealed?.data ?? []) };
    altered.data[20] = (altered.data[20] ?? 0) ^ 1;
    const said = /^this is encrypted with another key "one" than that of this process/;
    await expect(codec(`one:${a}`).decode([altered])).rejects.toThrow(said);
    await expect(codec(`one:${b}`).decode([sealed as Payload])).rejects.toThrow(said);
    await expect(codec(`one:${a}`).decode([{ ...altered, data: Buffer.alloc(3) }])).rejects.toThrow(said);
    await expect(new EncryptionCodec([]).decode([sealed as Payload])).rejects.toThrow(
      'this is encrypted with the key "one", and this process has no key. Set HIGHWATER',
    );
  });
});

describe('keys', () => {
  test('are read from a variable or a file, with comments; one without a name is named by its hash', async () => {
    const folder = await scratch();
    await writeFile(folder.file('keys'), `# newest first\nnew:${b} # since November\n\nold:${a}\n`);
    expect(keysFrom({ HIGHWATER_PAYLOAD_KEY_FILE: folder.file('keys') }).map(({ id }) => id)).toEqual([
      'new',
      'old',
    ]);
    expect(keysFrom({ HIGHWATER_PAYLOAD_KEY: `x:${a},y:${b}` }).map(({ id }) => id)).toEqual(['x', 'y']);
    expect(keysFrom({ HIGHWATER_PAYLOAD_KEY: a })[0]?.id).toMatch(/^[0-9a-f]{8}$/);
    expect(keysFrom({})).toEqual([]);
    await folder.remove();
  });

  test.each([
    [
      { HIGHWATER_PAYLOAD_KEY: 'one:c2hvcnQ=' },
      /^HIGHWATER_PAYLOAD_KEY has no usable key in entry 1: .*openssl rand/,
    ],
    [{ HIGHWATER_PAYLOAD_KEY: `one:${a} one:${b}` }, /has two keys with the id "one"$/],
    [{ HIGHWATER_PAYLOAD_KEY: `:${a}` }, /has a key without an id$/],
    [{ HIGHWATER_PAYLOAD_KEY: '# none' }, /^HIGHWATER_PAYLOAD_KEY contains no key$/],
    [{ HIGHWATER_PAYLOAD_KEY_FILE: '/nowhere' }, /^HIGHWATER_PAYLOAD_KEY_FILE cannot be read: ENOENT/],
    [{ HIGHWATER_PAYLOAD_KEY: a, HIGHWATER_PAYLOAD_KEY_FILE: '/x' }, /^set either .* not both$/],
  ])('that cannot be used are refused, and not shown: %#', (environment, said) => {
    expect(() => keysFrom(environment)).toThrow(said);
    try {
      keysFrom(environment);
    } catch (thrown) {
      for (const key of ['c2hvcnQ', a, b]) expect(String(thrown)).not.toContain(key);
    }
  });
});

describe('a data converter of one’s own', () => {
  test('is loaded with its codecs; a key encrypts what they made', async () => {
    const folder = await scratch();
    await writeFile(
      folder.file('own.mjs'),
      `const turned = (payloads) => payloads.map((p) => ({ ...p, data: Buffer.from(p.data).reverse() }));
       export const dataConverter = { payloadCodecs: [{ encode: async (p) => turned(p), decode: async (p) => turned(p) }] };`,
    );
    const environment = { HIGHWATER_DATA_CONVERTER: folder.file('own.mjs') };
    const own = await dataConverterFrom(environment);
    expect(bundleFor(own)).toBe('workflow-bundle-encrypted.cjs');
    const [turned] = (await own.payloadCodecs?.[0]?.encode([payload('abc')])) ?? [];
    expect(textOf(turned?.data)).toBe('"cba"');
    const both = await dataConverterFrom({ ...environment, HIGHWATER_PAYLOAD_KEY: `one:${a}` });
    let sealed = [payload('abc')];
    for (const one of both.payloadCodecs ?? []) sealed = await one.encode(sealed);
    const [outer] = await codec(`one:${a}`).decode(sealed);
    expect(textOf(outer?.data)).toBe('"cba"');
    const reader = new PayloadReader(both);
    expect(reader.valueOf(await reader.decoded(sealed[0] as Payload))).toBe('abc');
    expect(bundleFor({ payloadConverterPath: '/own.cjs' })).toBeNull();
    await folder.remove();
  });

  test('that is none is refused with what it must be', async () => {
    const folder = await scratch();
    await writeFile(folder.file('wrong.mjs'), 'export default { payloadCodecs: [{}] };');
    await writeFile(folder.file('empty.mjs'), '');
    const load = (name: string) => dataConverterFrom({ HIGHWATER_DATA_CONVERTER: folder.file(name) });
    await expect(load('wrong.mjs')).rejects.toThrow(
      /wrong\.mjs, has codecs without "encode" and "decode"\. It must export/,
    );
    await expect(load('empty.mjs')).rejects.toThrow(/exports no data converter/);
    await expect(load('missing.mjs')).rejects.toThrow(/cannot be loaded: /);
    await folder.remove();
  });
});

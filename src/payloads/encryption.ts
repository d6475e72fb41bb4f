import { createCipheriv, createDecipheriv, createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Payload, PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import { HighwaterError, messageOf } from '../errors.js';

/** The names used in Temporal's own samples, so that codec servers are interchangeable. */
export const ENCRYPTED = 'binary/encrypted';
const KEY_ID = 'encryption-key-id';
const CIPHER = 'aes-256-gcm';
const [KEY_BYTES, IV_BYTES, TAG_BYTES] = [32, 12, 16];

const KEY_VARIABLES = 'HIGHWATER_PAYLOAD_KEY or HIGHWATER_PAYLOAD_KEY_FILE';

/** A payload cannot be read, or the configured keys cannot be used. */
export class PayloadKeyError extends HighwaterError {
  override readonly name = 'PayloadKeyError';
}

/** A key, and the id stored beside the data that it has encrypted. */
export interface PayloadKey {
  id: string;
  bytes: Buffer;
}

/**
 * Returns the keys from the environment; the first one encrypts, all decrypt. Empty if none is set.
 * @throws {PayloadKeyError}
 */
export function keysFrom(environment: NodeJS.ProcessEnv): PayloadKey[] {
  const text = environment['HIGHWATER_PAYLOAD_KEY'] ?? '';
  const file = environment['HIGHWATER_PAYLOAD_KEY_FILE'] ?? '';
  if (text !== '' && file !== '')
    throw new PayloadKeyError('set either HIGHWATER_PAYLOAD_KEY or HIGHWATER_PAYLOAD_KEY_FILE, not both');
  if (file === '') return text === '' ? [] : readKeys(text, 'HIGHWATER_PAYLOAD_KEY');
  let said: string;
  try {
    said = readFileSync(file, 'utf8');
  } catch (thrown) {
    throw new PayloadKeyError(`HIGHWATER_PAYLOAD_KEY_FILE cannot be read: ${messageOf(thrown)}`);
  }
  return readKeys(said, `HIGHWATER_PAYLOAD_KEY_FILE, ${file},`);
}

/**
 * Parses `id:base64` entries, separated by newlines or commas; `#` begins a comment. Messages never contain any part of
 * a key.
 */
export function readKeys(text: string, where: string): PayloadKey[] {
  const entries = text
    .split('\n')
    .flatMap((line) => line.replace(/#.*/, '').split(/[\s,]+/))
    .filter((entry) => entry !== '');
  const keys = entries.map((entry, i): PayloadKey => {
    const at = entry.indexOf(':');
    const bytes = Buffer.from(entry.slice(at + 1), 'base64');
    if (bytes.length !== KEY_BYTES)
      throw new PayloadKeyError(
        `${where} has no usable key in entry ${i + 1}: use "ID:KEY", where KEY is ${KEY_BYTES} bytes in base64. ` +
          `Make one with: echo "2026-11:$(openssl rand -base64 ${KEY_BYTES})"`,
      );
    const id = at === -1 ? createHash('sha256').update(bytes).digest('hex').slice(0, 8) : entry.slice(0, at);
    return { id, bytes };
  });
  if (keys.length === 0) throw new PayloadKeyError(`${where} contains no key`);
  for (const [i, { id, bytes }] of keys.entries()) {
    const other = keys.slice(0, i).find((before) => before.id === id);
    if (id === '' || (other !== undefined && !timingSafeEqual(other.bytes, bytes)))
      throw new PayloadKeyError(
        id === '' ? `${where} has a key without an id` : `${where} has two keys with the id "${id}"`,
      );
  }
  return keys;
}

/**
 * Encrypts payloads for the Temporal server with AES-256-GCM and a fresh nonce each. Unencrypted payloads stay
 * readable, so encryption can be switched on while syncs run. Without keys nothing is encrypted, and encrypted payloads
 * cannot be read.
 */
export class EncryptionCodec implements PayloadCodec {
  private readonly current: PayloadKey | undefined;

  constructor(private readonly keys: readonly PayloadKey[]) {
    this.current = keys[0];
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const { current } = this;
    return current === undefined ? payloads : payloads.map((payload) => encrypted(payload, current));
  }

  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) => (isEncrypted(payload) ? this.decrypted(payload) : payload));
  }

  private decrypted({ metadata, data }: Payload): Payload {
    const id = Buffer.from(metadata?.[KEY_ID] ?? []).toString('utf8');
    const named = this.keys.filter((key) => key.id === id);
    if (named.length === 0) {
      const here =
        this.keys.length === 0
          ? 'and this process has no key'
          : `and this process has ${this.keys.map((key) => `"${key.id}"`).join(', ')} only`;
      throw new PayloadKeyError(
        `this is encrypted with the key "${id}", ${here}. Set ${KEY_VARIABLES} to the same value as for the workers`,
      );
    }
    const bytes = Buffer.from(data ?? []);
    for (const key of named) {
      try {
        const decipher = createDecipheriv(CIPHER, key.bytes, bytes.subarray(0, IV_BYTES));
        decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
        const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]);
        return PayloadMessage.decode(text);
      } catch {
        // Another key with this id may fit.
      }
    }
    throw new PayloadKeyError(
      `this is encrypted with another key "${id}" than that of this process, or was ` +
        `altered. Set ${KEY_VARIABLES} to the same value as for the workers`,
    );
  }
}

const { Payload: PayloadMessage } = proto.temporal.api.common.v1;

export const isEncrypted = ({ metadata }: Payload): boolean =>
  Buffer.from(metadata?.['encoding'] ?? []).toString('utf8') === ENCRYPTED;

function encrypted(payload: Payload, { id, bytes }: PayloadKey): Payload {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(CIPHER, bytes, iv);
  const text = PayloadMessage.encode(payload).finish();
  return {
    metadata: { encoding: Buffer.from(ENCRYPTED), [KEY_ID]: Buffer.from(id) },
    data: Buffer.concat([iv, cipher.update(text), cipher.final(), cipher.getAuthTag()]),
  };
}

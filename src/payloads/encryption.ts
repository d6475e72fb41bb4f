import { createCipheriv, createDecipheriv, createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Payload, PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import { HighwaterError, messageOf } from '../errors.js';

/** The words of Temporal's own samples, so that their codec servers and ours read each other's payloads. */
export const ENCRYPTED = 'binary/encrypted';
const KEY_ID = 'encryption-key-id';
const CIPHER = 'aes-256-gcm';
const [KEY_BYTES, IV_BYTES, TAG_BYTES] = [32, 12, 16];

const KEY_VARIABLES = 'HIGHWATER_PAYLOAD_KEY or HIGHWATER_PAYLOAD_KEY_FILE';

/** A payload cannot be read, or the keys that payloads are encrypted with cannot be used. */
export class PayloadKeyError extends HighwaterError {
  override readonly name = 'PayloadKeyError';
}

/** A key, and the name that is written beside what it has encrypted. */
export interface PayloadKey {
  id: string;
  bytes: Buffer;
}

/**
 * The keys that the environment names; the first encrypts, all decrypt. Empty where it names none.
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

/** Reads `id:base64`, one a line or between commas; `#` begins a comment. Nothing of a key is ever in a message. */
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
        `${where} has no usable key as its ${i + 1}. entry: "ID:KEY" is needed, where KEY is ${KEY_BYTES} bytes in base64. ` +
          `One is made by: echo "2026-11:$(openssl rand -base64 ${KEY_BYTES})"`,
      );
    const id = at === -1 ? createHash('sha256').update(bytes).digest('hex').slice(0, 8) : entry.slice(0, at);
    return { id, bytes };
  });
  if (keys.length === 0) throw new PayloadKeyError(`${where} holds no key`);
  for (const [i, { id, bytes }] of keys.entries()) {
    const other = keys.slice(0, i).find((before) => before.id === id);
    if (id === '' || (other !== undefined && !timingSafeEqual(other.bytes, bytes)))
      throw new PayloadKeyError(
        id === '' ? `${where} has a key without an id` : `${where} has two keys of the id "${id}"`,
      );
  }
  return keys;
}

/**
 * Encrypts what goes to the Temporal server: AES-256-GCM, a fresh nonce each. What is not encrypted is read as it is,
 * so that encryption can begin while syncs run. Without keys nothing is encrypted, and what is cannot be read.
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
        `this is encrypted with the key "${id}", ${here}. Give it in ${KEY_VARIABLES}, as the workers have it`,
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
        // Another key of that id may be the one.
      }
    }
    throw new PayloadKeyError(
      `this is encrypted with a key "${id}" that is another one than the key "${id}" of this process, or was ` +
        `altered. Give the right one in ${KEY_VARIABLES}, as the workers have it`,
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

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { DataConverter, LoadedDataConverter, Payload } from '@temporalio/common';
import { loadDataConverter } from '@temporalio/common/lib/internal-non-workflow/index.js';
import { HighwaterError, messageOf } from '../errors.js';
import type { Json } from '../protocol.js';
import { EncryptionCodec, keysFrom } from './encryption.js';

/** A data converter of one's own cannot be used. */
export class DataConverterError extends HighwaterError {
  override readonly name = 'DataConverterError';
}

/** From source the build's file stands in: the SDK requires it, which reads no TypeScript. */
const ENCODED_FAILURES = ['./encoded-failures.cjs', '../../dist/payloads/encoded-failures.cjs']
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find((path) => existsSync(path));

/**
 * How payloads look on the Temporal server, as the environment says: encrypted by HIGHWATER_PAYLOAD_KEY or
 * HIGHWATER_PAYLOAD_KEY_FILE, converted by the module HIGHWATER_DATA_CONVERTER, both (encrypted last), or plain.
 * @throws {PayloadKeyError}
 * @throws {DataConverterError}
 */
export async function dataConverterFrom(
  environment: NodeJS.ProcessEnv = process.env,
): Promise<DataConverter> {
  const keys = keysFrom(environment);
  const path = environment['HIGHWATER_DATA_CONVERTER'] ?? '';
  const own = path === '' ? null : await converterIn(resolve(path));
  const isCoded = keys.length > 0 || (own?.payloadCodecs ?? []).length > 0;
  const failures = own?.failureConverterPath ?? (isCoded ? ENCODED_FAILURES : undefined);
  return {
    ...own,
    ...(failures !== undefined && { failureConverterPath: failures }),
    payloadCodecs: [
      ...(own?.payloadCodecs ?? []),
      // Without a key it says of what is encrypted that a key is needed; a codec of one's own may know better.
      ...(keys.length > 0 || own === null ? [new EncryptionCodec(keys)] : []),
    ],
  };
}

/**
 * Which of the workflow bundles of the build a converter goes with; null where it needs one of its own.
 * @param isTraced whether workflows make spans.
 */
export function bundleFor(
  { payloadConverterPath, failureConverterPath }: DataConverter,
  isTraced = false,
): string | null {
  const isPlain = failureConverterPath === undefined;
  if (payloadConverterPath !== undefined || (!isPlain && failureConverterPath !== ENCODED_FAILURES))
    return null;
  return `workflow-bundle${isTraced ? '-traced' : ''}${isPlain ? '' : '-encrypted'}.cjs`;
}

async function converterIn(path: string): Promise<DataConverter> {
  const refused = (what: string) =>
    new DataConverterError(
      `HIGHWATER_DATA_CONVERTER, ${path}, ${what}. It must export "dataConverter" (or a default), an object such as ` +
        `{ payloadCodecs: [{ encode, decode }] }`,
    );
  let module: { dataConverter?: unknown; default?: unknown };
  try {
    module = (await import(pathToFileURL(path).href)) as typeof module;
  } catch (thrown) {
    throw refused(`cannot be loaded: ${messageOf(thrown)}`);
  }
  const converter = module.dataConverter ?? module.default;
  if (typeof converter !== 'object' || converter === null) throw refused('exports no data converter');
  const { payloadCodecs = [] } = converter as DataConverter;
  const isCodec = (codec: unknown) =>
    ['encode', 'decode'].every((name) => typeof (codec as Record<string, unknown>)[name] === 'function');
  if (!Array.isArray(payloadCodecs) || !payloadCodecs.every(isCodec))
    throw refused('has codecs that do not encode and decode');
  return converter;
}

/** Reads payloads as they are on the server: what the SDK does for its own callers, for histories. */
export class PayloadReader {
  private readonly loaded: LoadedDataConverter;

  /** @throws {DataConverterError} */
  constructor(converter: DataConverter) {
    try {
      this.loaded = loadDataConverter(converter);
    } catch (thrown) {
      throw new DataConverterError(`the data converter cannot be used: ${messageOf(thrown)}`);
    }
  }

  /** A payload as it was before its codecs. @throws {PayloadKeyError} */
  async decoded(payload: Payload): Promise<Payload> {
    let payloads = [payload];
    for (const codec of [...this.loaded.payloadCodecs].reverse()) payloads = await codec.decode(payloads);
    return payloads[0] ?? payload;
  }

  /** The value of a decoded payload, or null if it has none that can be read. */
  valueOf(payload: Payload | null | undefined): Json {
    try {
      return payload ? this.loaded.payloadConverter.fromPayload<Json>(payload) : null;
    } catch {
      return null;
    }
  }

  /** The value of a payload of the server, or null if it has none that can be read. @throws {PayloadKeyError} */
  async read(payload: Payload): Promise<Json> {
    return this.valueOf(await this.decoded(payload));
  }

  /** A part of a history, or a failure, with all payloads decoded, and the messages of failures in their place. */
  async readable<T>(part: T): Promise<T> {
    return (await this.walk(part)) as T;
  }

  private async walk(part: unknown): Promise<unknown> {
    if (Array.isArray(part)) return Promise.all(part.map((one) => this.walk(one)));
    if (typeof part !== 'object' || part === null || part instanceof Uint8Array || isLong(part)) return part;
    if (isPayload(part)) return this.decoded(part);
    const entries = await Promise.all(
      Object.entries(part).map(async ([name, value]) => [name, await this.walk(value)] as const),
    );
    const copy: Record<string, unknown> = Object.fromEntries(entries);
    const said = this.valueOf(copy['encodedAttributes'] as Payload | undefined);
    const message = (said as { message?: unknown } | null)?.message;
    return typeof message === 'string' ? { ...copy, message } : copy;
  }
}

const isLong = (value: object) => 'low' in value && 'high' in value && 'unsigned' in value;
const isPayload = (value: object): value is Payload =>
  'metadata' in value && 'data' in value && value.data instanceof Uint8Array;

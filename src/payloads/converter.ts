import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DataConverter, LoadedDataConverter, Payload } from '@temporalio/common';
import { loadDataConverter } from '@temporalio/common/lib/internal-non-workflow/index.js';
import { HighwaterError, messageOf } from '../errors.js';
import { ownFile } from '../own-files.js';
import type { Json } from '../protocol.js';
import { EncryptionCodec, keysFrom } from './encryption.js';

/** A user's data converter cannot be loaded. */
export class DataConverterError extends HighwaterError {
  override readonly name = 'DataConverterError';
}

/** The built file also from source: the SDK loads it with `require`, which cannot read TypeScript. */
const ENCODED_FAILURES = ownFile('dist/payloads/encoded-failures.cjs');

/**
 * Builds the data converter that the environment configures: encryption by HIGHWATER_PAYLOAD_KEY or
 * HIGHWATER_PAYLOAD_KEY_FILE, the module HIGHWATER_DATA_CONVERTER, both (encrypted last), or neither.
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
      // Without keys this codec reports that encrypted payloads need one; a codec of the user's may be able to read
      // them.
      ...(keys.length > 0 || own === null ? [new EncryptionCodec(keys)] : []),
    ],
  };
}

/**
 * Returns the prebuilt workflow bundle for a converter; null if it needs its own.
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
    throw refused('has codecs without "encode" and "decode"');
  return converter;
}

/** Decodes payloads stored on the server, as the SDK does for its own callers; used for histories. */
export class PayloadReader {
  private readonly loaded: LoadedDataConverter;

  /** @throws {DataConverterError} */
  constructor(converter: DataConverter) {
    try {
      this.loaded = loadDataConverter(converter);
    } catch (thrown) {
      throw new DataConverterError(`the data converter failed to load: ${messageOf(thrown)}`);
    }
  }

  /** Returns a payload without its codecs. @throws {PayloadKeyError} */
  async decoded(payload: Payload): Promise<Payload> {
    let payloads = [payload];
    for (const codec of [...this.loaded.payloadCodecs].reverse()) payloads = await codec.decode(payloads);
    return payloads[0] ?? payload;
  }

  /** Returns the value of a decoded payload; null if it has no readable one. */
  valueOf(payload: Payload | null | undefined): Json {
    try {
      return payload ? this.loaded.payloadConverter.fromPayload<Json>(payload) : null;
    } catch {
      return null;
    }
  }

  /** Returns the value of a stored payload; null if it has no readable one. @throws {PayloadKeyError} */
  async read(payload: Payload): Promise<Json> {
    return this.valueOf(await this.decoded(payload));
  }

  /** Returns a part of a history, or a failure, with decoded payloads and failure messages. */
  async readable<T>(part: T): Promise<T> {
    return (await this.decodeTree(part)) as T;
  }

  private async decodeTree(part: unknown): Promise<unknown> {
    if (Array.isArray(part)) return Promise.all(part.map((one) => this.decodeTree(one)));
    if (typeof part !== 'object' || part === null || part instanceof Uint8Array || isLong(part)) return part;
    if (isPayload(part)) return this.decoded(part);
    const entries = await Promise.all(
      Object.entries(part).map(async ([name, value]) => [name, await this.decodeTree(value)] as const),
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

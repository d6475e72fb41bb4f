import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { access, mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Agent as HttpsAgent } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import type { BucketAddress } from '../../config/files-address.js';
import {
  DestinationBusyError,
  DestinationError,
  HighwaterError,
  messageOf,
  StorageFullError,
} from '../../errors.js';
import { loadPackages } from '../../optional-package.js';
import { piecesOf, TEMPORARY, type ObjectStore } from './object-store.js';
import type { Mask } from '../../secrets/masking.js';
import type { DestinationConnections } from '../../trust/connections.js';

/** Maximum keys in one delete request. */
const DELETE_KEYS = 1000;

/** Loads the SDK when a bucket is first used: it takes 30 MB and half a second. */
const sdk = () =>
  loadPackages(
    ['@aws-sdk/client-s3'],
    () => import('@aws-sdk/client-s3'),
    (text) => new DestinationError(`a destination in a bucket ${text}`),
  );

/**
 * A bucket of an S3-compatible store. Credentials and settings that the address leaves open come from where the AWS SDK
 * looks: environment, profiles, the role of the machine.
 */
export class S3Store implements ObjectStore {
  private constructor(
    private readonly client: S3Client,
    private readonly s3: Awaited<ReturnType<typeof sdk>>,
    private readonly address: BucketAddress,
    /** Folder for local copies of objects. */
    private readonly cache: string,
    /** Hides the values of references in the address. */
    private readonly mask: Mask,
  ) {}

  /** Opens a store, and checks that it supports conditional writes. @throws {DestinationError} if it does not. */
  static async open(
    address: BucketAddress,
    cache: string,
    connections: DestinationConnections,
    { mayWrite = true, mask = (text) => text }: { mayWrite?: boolean; mask?: Mask } = {},
  ): Promise<S3Store> {
    const s3 = await sdk();
    const environment = process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL'];
    const { endpoint, region, pathStyle } = address;
    const isElsewhere = endpoint !== null || environment !== undefined;
    const hasRegion = (process.env['AWS_REGION'] ?? process.env['AWS_DEFAULT_REGION']) !== undefined;
    const client = new s3.S3Client({
      ...(endpoint !== null && { endpoint }),
      ...(region !== null ? { region } : isElsewhere && !hasRegion && { region: 'us-east-1' }),
      forcePathStyle: pathStyle ?? isElsewhere,
      // Some stores do not know the newer checksums.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      maxAttempts: 4,
      requestHandler: {
        connectionTimeout: 10_000,
        requestTimeout: 120_000,
        throwOnRequestTimeout: true,
        httpAgent: connections.agent('http:'),
        httpsAgent: connections.agent('https:') as HttpsAgent,
      },
    });
    const store = new S3Store(client, s3, address, cache, mask);
    if (mayWrite)
      await store.honoursConditions().catch((thrown: unknown) => {
        client.destroy();
        throw thrown;
      });
    return store;
  }

  get name(): string {
    const { bucket, prefix } = this.address;
    return this.mask(`s3://${bucket}${prefix && `/${prefix}`}`);
  }

  get folder(): string {
    return this.cache;
  }

  get(key: string): Promise<Buffer | null> {
    return this.explainErrors(async () => {
      const body = await this.readObject(key);
      return body === null ? null : Buffer.concat((await body.toArray()) as Buffer[]);
    });
  }

  put(key: string, file: string): Promise<void> {
    return this.explainErrors(async () => {
      const { size } = await stat(file);
      await this.client.send(
        new this.s3.PutObjectCommand({ ...this.place(key), Body: piecesOf(file), ContentLength: size }),
      );
    });
  }

  putIfAbsent(key: string, body: string): Promise<boolean> {
    return this.explainErrors(async () => {
      try {
        await this.client.send(
          new this.s3.PutObjectCommand({ ...this.place(key), Body: body, IfNoneMatch: '*' }),
        );
        return true;
      } catch (thrown) {
        // 409: another write of the same key is in progress.
        if ([412, 409].includes(statusOf(thrown))) return false;
        throw thrown;
      }
    });
  }

  list(prefix: string): Promise<string[]> {
    return this.explainErrors(async () => (await this.listBelow(prefix)).keys);
  }

  folders(prefix: string): Promise<string[]> {
    return this.explainErrors(async () => (await this.listBelow(prefix)).folders);
  }

  async delete(keys: readonly string[]): Promise<void> {
    await this.explainErrors(async () => {
      for (let i = 0; i < keys.length; i += DELETE_KEYS) {
        const some = keys.slice(i, i + DELETE_KEYS).map((key) => ({ Key: this.place(key).Key }));
        const [only] = some;
        await (some.length === 1 && only !== undefined
          ? this.client.send(new this.s3.DeleteObjectCommand({ Bucket: this.address.bucket, ...only }))
          : this.client.send(
              new this.s3.DeleteObjectsCommand({
                Bucket: this.address.bucket,
                Delete: { Objects: some, Quiet: true },
              }),
            ));
      }
    });
  }

  /** Downloads an object once: objects never change. */
  async fileOf(key: string): Promise<string> {
    const path = join(this.cache, ...key.split('/'));
    const isThere = await access(path).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
    return this.explainErrors(async () => {
      const body = await this.readObject(key);
      if (body === null) throw new DestinationError(`${this.name} has lost ${key}, which its manifest lists`);
      await mkdir(dirname(path), { recursive: true });
      const temporary = `${path}.${randomUUID()}`;
      try {
        await pipeline(body, createWriteStream(temporary));
        await rename(temporary, path);
      } finally {
        await rm(temporary, { force: true });
      }
      return path;
    });
  }

  close(): Promise<void> {
    this.client.destroy();
    return Promise.resolve();
  }

  /** Whether the store refuses the second of two conditional writes. */
  private async honoursConditions(): Promise<void> {
    const key = `${TEMPORARY}/probe-${randomUUID()}`;
    const first = await this.putIfAbsent(key, 'may be deleted');
    let second = true;
    try {
      second = await this.putIfAbsent(key, 'may be deleted');
    } finally {
      await this.delete([key]);
    }
    if (first && !second) return;
    throw new DestinationError(
      `${this.name} ignores "If-None-Match: *" in PutObject: two writers could both commit, and one batch ` +
        `would be lost. Use a store that supports it, such as AWS S3, or a folder.`,
    );
  }

  private place(key: string): { Bucket: string; Key: string } {
    const { bucket, prefix } = this.address;
    return { Bucket: bucket, Key: prefix === '' ? key : `${prefix}/${key}` };
  }

  private async readObject(key: string): Promise<Readable | null> {
    try {
      const { Body } = await this.client.send(new this.s3.GetObjectCommand(this.place(key)));
      return Body as Readable;
    } catch (thrown) {
      // A missing bucket is a 404 too.
      if ((thrown as Error).name === 'NoSuchKey') return null;
      throw thrown;
    }
  }

  private async listBelow(prefix: string): Promise<{ keys: string[]; folders: string[] }> {
    const whole = this.place(prefix);
    const keys: string[] = [];
    const folders: string[] = [];
    let token: string | undefined;
    do {
      const page = await this.client.send(
        new this.s3.ListObjectsV2Command({
          Bucket: whole.Bucket,
          Prefix: whole.Key,
          Delimiter: '/',
          ...(token !== undefined && { ContinuationToken: token }),
        }),
      );
      const named = (key: string | undefined) => (key ?? '').slice(whole.Key.length);
      for (const { Key } of page.Contents ?? []) if (named(Key) !== '') keys.push(`${prefix}${named(Key)}`);
      for (const { Prefix } of page.CommonPrefixes ?? []) folders.push(named(Prefix).replace(/\/$/, ''));
      token = page.NextContinuationToken;
    } while (token !== undefined);
    return { keys: keys.sort(), folders };
  }

  private async explainErrors<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      if (thrown instanceof HighwaterError) throw thrown;
      const status = statusOf(thrown);
      const name = thrown instanceof Error ? thrown.name : '';
      const said = this.mask(`${name}: ${messageOf(thrown) || (thrown as NodeJS.ErrnoException).code || ''}`);
      if (status === 507 || /StorageFull|QuotaExceeded|InsufficientCapacity/i.test(name))
        throw new StorageFullError(`the destination ${this.name}`, said);
      // Includes errors of credentials, which may be renewed from outside.
      const mayPass =
        (status >= 500 && status !== 501) ||
        status === 429 ||
        status === 408 ||
        /^(TimeoutError|SlowDown|RequestTimeout|ExpiredToken|ExpiredTokenException|RequestTimeTooSkewed)$/.test(
          name,
        ) ||
        /^(E[A-Z]+|UND_ERR.*)$/.test((thrown as NodeJS.ErrnoException).code ?? '') ||
        /socket hang up|aborted|premature close|ECONN|EPIPE|ENOTFOUND|EAI_AGAIN/i.test(said);
      if (mayPass)
        throw new DestinationBusyError(`the destination ${this.name} is unreachable or busy: ${said}`);
      if (status >= 300 || /Credentials|Region|CredentialsProviderError/i.test(said))
        throw new DestinationError(`the destination ${this.name} refused the request: ${said}`);
      throw thrown;
    }
  }
}

const statusOf = (thrown: unknown): number =>
  (thrown as { $metadata?: { httpStatusCode?: number } } | null)?.$metadata?.httpStatusCode ?? 0;

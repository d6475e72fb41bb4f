/** The folder of a recording: `recording.json`, a file for each request, and the expected rows. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../errors.js';
import { RecordingError } from './errors.js';
import { exchangeText, readExchange, type Exchange } from './exchange.js';

const MANIFEST = 'recording.json';
const EXCHANGE = /^\d{4,}-.*\.json$/;

const manifest = z.strictObject({
  /** The version that has recorded it. */
  highwater: z.string(),
  /** The time of the recording: a test runs as if it were then. */
  recorded_at: z.iso.datetime(),
  streams: z.array(
    z.strictObject({
      name: z.string(),
      pages: z.int().min(0),
      /** Whether the pass ended by itself, and not at the limit of pages. */
      complete: z.boolean(),
    }),
  ),
});

/** What a recording holds. */
export type Manifest = z.infer<typeof manifest>;

/** A recorded exchange and its file. */
export type Recorded = Exchange & { file: string };

/** Returns the folder of a configuration's recording: `users.recording` beside `users.yaml`. */
export const recordingFolder = (configuration: string): string =>
  join(dirname(configuration), `${basename(configuration, extname(configuration))}.recording`);

/** Returns the file of the expected rows of a stream or table. */
export const expectationFile = (folder: string, name: string): string =>
  join(folder, 'expected', `${fileName(name)}.json`);

/** A name of a stream as that of a file: names that are written alike stay apart. */
function fileName(name: string): string {
  const plain = name.replace(/[^\w.-]+/g, '_').slice(0, 80);
  if (plain === name) return name;
  return `${plain}-${createHash('sha256').update(name).digest('hex').slice(0, 6)}`;
}

/** A recording that was read. */
export class Recording {
  private constructor(
    readonly folder: string,
    readonly manifest: Manifest,
    /** In the order in which they were recorded. */
    readonly exchanges: readonly Recorded[],
  ) {}

  /** @throws {RecordingError} */
  static async open(folder: string): Promise<Recording> {
    const text = await readFile(join(folder, MANIFEST), 'utf8').catch((thrown: unknown) => {
      const isMissing = (thrown as NodeJS.ErrnoException).code === 'ENOENT';
      const why = isMissing ? 'it has no recording.json' : messageOf(thrown);
      throw new RecordingError(
        `there is no recording in ${folder}: ${why}. "highwater record CONFIGURATION" makes one`,
      );
    });
    const read = manifestOf(text);
    if (read === null) throw new RecordingError(`${join(folder, MANIFEST)} is not the file of a recording`);
    const names = (await readdir(folder)).filter((name) => EXCHANGE.test(name)).sort(byNumber);
    const exchanges: Recorded[] = [];
    for (const file of names) {
      const path = join(folder, file);
      exchanges.push({ ...readExchange(path, await readFile(path, 'utf8')), file });
    }
    return new Recording(folder, read, exchanges);
  }
}

function manifestOf(text: string): Manifest | null {
  try {
    return manifest.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** More than 9,999 files have longer numbers. */
const byNumber = (x: string, y: string) => parseInt(x) - parseInt(y);

/** Writes a recording beside its folder, and puts it there once it is whole; an earlier one stays until then. */
export class RecordingWriter {
  private count = 0;
  private readonly files: { file: string; key: string; isRefused: boolean }[] = [];

  private constructor(
    private readonly folder: string,
    private readonly made: string,
  ) {}

  /** @throws {RecordingError} where the folder holds something else. */
  static async begin(folder: string): Promise<RecordingWriter> {
    if (existsSync(folder)) {
      const others = (await readdir(folder)).filter((name) => name !== MANIFEST && !EXCHANGE.test(name));
      const isOwn = existsSync(join(folder, MANIFEST)) || others.every((name) => name === 'expected');
      if (!isOwn)
        throw new RecordingError(
          `${folder} holds something other than a recording, such as ${others[0] ?? ''}: name another folder with --out`,
        );
    }
    // A name of its own: whatever else stands beside the folder is left alone.
    await mkdir(dirname(resolve(folder)), { recursive: true });
    const made = await mkdtemp(`${resolve(folder)}.new-`);
    return new RecordingWriter(folder, made);
  }

  /** @param key what the request is found by. */
  async add(exchange: Exchange, key: string): Promise<void> {
    const { status } = exchange.response;
    const file = `${String(++this.count).padStart(4, '0')}-${fileName(exchange.stream)}.json`;
    await writeFile(join(this.made, file), exchangeText(exchange));
    // Renewed credentials, which a test has no need of.
    const isRenewed = (one: (typeof this.files)[number]) => one.key === key && one.isRefused;
    for (const { file: before } of status < 400 ? this.files.filter(isRenewed) : [])
      await rm(join(this.made, before), { force: true });
    this.files.push({ file, key, isRefused: status === 401 || status === 403 });
  }

  async finish(written: Manifest): Promise<void> {
    await writeFile(join(this.made, MANIFEST), `${JSON.stringify(written, null, 2)}\n`);
    await mkdir(this.folder, { recursive: true });
    for (const name of await readdir(this.folder))
      if (name === MANIFEST || EXCHANGE.test(name)) await rm(join(this.folder, name));
    for (const name of await readdir(this.made)) await rename(join(this.made, name), join(this.folder, name));
    await rm(this.made, { recursive: true });
  }

  /** Removes what was written so far. */
  async abandon(): Promise<void> {
    await rm(this.made, { recursive: true, force: true });
  }
}

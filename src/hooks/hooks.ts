import { parseDuration } from '../durations.js';
import { entries, type TrustPolicy } from '../trust/policy.js';
import { findHook, refused, type HookFile } from './hook-file.js';
import { HookThread, ThreadEndedError, UnloadableError, type HookLimits } from './hook-thread.js';
import type { Batch, Outcome } from './messages.js';

const DEFAULT_SECONDS = 10;
const DEFAULT_MEGABYTES = 256;
/** A thread without work is ended after this time; the next batch starts another one. */
const IDLE_MILLISECONDS = 60_000;

/**
 * Reads the limits of hooks from the environment of a worker.
 * @throws {Error} for a value that cannot be used.
 */
export function hookLimits(environment: NodeJS.ProcessEnv): HookLimits {
  const [timeout = '', memory = ''] = [
    environment['HIGHWATER_HOOK_TIMEOUT'],
    environment['HIGHWATER_HOOK_MEMORY'],
  ];
  const seconds = timeout === '' ? DEFAULT_SECONDS : parseDuration(timeout);
  if (seconds === null || seconds <= 0)
    throw new Error(`HIGHWATER_HOOK_TIMEOUT is ${JSON.stringify(timeout)}; a duration such as 10s is needed`);
  const megabytes = memory === '' ? DEFAULT_MEGABYTES : Number(memory);
  if (!Number.isInteger(megabytes) || megabytes < 16)
    throw new Error(`HIGHWATER_HOOK_MEMORY is ${JSON.stringify(memory)}; megabytes are needed, at least 16`);
  const names = entries(environment['HIGHWATER_HOOK_ENV']) ?? [];
  const env = Object.fromEntries(
    names.flatMap((name) => {
      const value = environment[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
  return { seconds, megabytes, env };
}

/** A hook takes too long for its records, none of which takes long alone. */
export class TooSlowError extends Error {}

/** The hooks that make rows of records, and their threads. One object for each worker or command, which closes it. */
export class Hooks {
  private readonly runners = new Map<string, HookRunner>();

  constructor(
    private readonly trust: TrustPolicy,
    private readonly limits: HookLimits,
  ) {}

  /**
   * Finds a hook, without loading it.
   * @throws {ConfigurationError} if the worker has no such hook.
   * @throws {NotAllowedError} if configurations may name none.
   */
  find(name: string): HookFile {
    return findHook(name, this.trust);
  }

  /** Returns the runner of a hook. Runners of older versions of its code end. */
  runnerOf(file: HookFile): HookRunner {
    const known = this.runners.get(file.path);
    if (known?.file.digest === file.digest) return known;
    known?.retire();
    const runner = new HookRunner(file, this.limits);
    this.runners.set(file.path, runner);
    return runner;
  }

  close(): void {
    for (const runner of this.runners.values()) runner.close();
    this.runners.clear();
  }
}

/** Runs one version of one hook, in a thread that is started when it is needed. */
export class HookRunner {
  private thread: HookThread | null = null;
  /** Batches run one after the other. */
  private last: Promise<unknown> = Promise.resolve();
  private idle: NodeJS.Timeout | undefined;

  constructor(
    readonly file: HookFile,
    private readonly limits: HookLimits,
  ) {}

  /**
   * Makes rows of records, in their order.
   * @param stopsAtFailure whether the outcomes may end with the first failure.
   * @throws {ConfigurationError} if the hook cannot be loaded.
   * @throws {TooSlowError}
   */
  run(batch: Batch, stopsAtFailure = false): Promise<Outcome[]> {
    const running = this.last.then(() => this.runAll(batch, stopsAtFailure));
    this.last = running.catch(() => undefined);
    return running;
  }

  /** Loads the hook, if it is not. @throws {ConfigurationError} */
  load(): Promise<void> {
    const loading = this.last.then(async () => void (await this.started()));
    this.last = loading.catch(() => undefined);
    return loading;
  }

  close(): void {
    clearTimeout(this.idle);
    this.thread?.close();
    this.thread = null;
  }

  /** Closes it once the batches that it has been given are done. */
  retire(): void {
    void this.last.then(() => this.close());
  }

  /** Runs records. One that ends the thread fails, and a new thread takes the others. */
  private async runAll(batch: Batch, stopsAtFailure: boolean): Promise<Outcome[]> {
    const { records } = batch;
    if (records.length === 0) return [];
    try {
      return await this.runInThread(batch);
    } catch (thrown) {
      if (!(thrown instanceof ThreadEndedError) || thrown.how === 'closed') throw thrown;
      const { message, place } = thrown;
      if (thrown.how === 'slow') {
        throw new TooSlowError(
          `the hook ${this.file.name} ${message}: make it faster, or raise HIGHWATER_HOOK_TIMEOUT`,
        );
      }
      const part = (from: number, to?: number) => ({ ...batch, records: records.slice(from, to) });
      // The results of those before it are lost with the thread.
      const before = await this.runAll(part(0, place), stopsAtFailure);
      // Others may have used up the memory of a thread that died.
      const isSure = thrown.how === 'stuck' || records.length === 1;
      const outcomes = isSure
        ? [...before, { failure: message, place: null }]
        : [...before, ...(await this.runAll(part(place, place + 1), stopsAtFailure))];
      if (stopsAtFailure && outcomes.some((outcome) => 'failure' in outcome)) return outcomes;
      return [...outcomes, ...(await this.runAll(part(place + 1), stopsAtFailure))];
    }
  }

  private async runInThread(batch: Batch): Promise<Outcome[]> {
    const thread = await this.started();
    clearTimeout(this.idle);
    const outcomes = await thread.run(batch);
    this.idle = setTimeout(() => this.close(), IDLE_MILLISECONDS);
    this.idle.unref();
    return outcomes;
  }

  private async started(): Promise<HookThread> {
    if (this.thread?.isAlive === true) return this.thread;
    const { name, path } = this.file;
    try {
      this.thread = await HookThread.start(path, this.limits);
      return this.thread;
    } catch (thrown) {
      if (!(thrown instanceof UnloadableError)) throw thrown;
      throw refused(`the hook ${name} cannot be loaded from ${path}: ${thrown.message}`);
    }
  }
}

import { Worker } from 'node:worker_threads';
import { pathToFileURL } from 'node:url';
import { messageOf } from '../errors.js';
import { isSource, ownCode, ownFile } from '../own-files.js';
import { Progress, type Answer, type Batch, type Outcome, type ThreadData } from './messages.js';

/** Limits of a hook's thread; the worker's owner sets them. */
export interface HookLimits {
  /** Time for a batch of records. */
  seconds: number;
  megabytes: number;
  /** The environment variables that hooks see. */
  env: { [name: string]: string };
}

/**
 * How a thread ended: a record took too long (`stuck`), or all of them together (`slow`); by itself (`died`); or its owner closed it.
 */
export type ThreadEnd = 'stuck' | 'slow' | 'died' | 'closed';

/** A thread ended, or was ended, before it answered. */
export class ThreadEndedError extends Error {
  /** @param place of the record, in its batch, that the thread worked on. */
  constructor(
    message: string,
    readonly how: ThreadEnd,
    readonly place: number,
  ) {
    super(message);
  }
}

/** The hook cannot be loaded. */
export class UnloadableError extends Error {}

/** One thread, which runs one hook on one batch at a time. Once it has failed it is of no more use. */
export class HookThread {
  private readonly worker: Worker;
  private readonly progress = new Progress();
  private waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | null = null;
  private ended: { how: ThreadEnd; message: string } | null = null;

  private constructor(
    path: string,
    private readonly limits: HookLimits,
  ) {
    const library = pathToFileURL(ownCode(isSource ? 'hooks/index.ts' : 'hooks/index.js')).href;
    const workerData: ThreadData = { path, library, progress: this.progress.buffer };
    this.worker = new Worker(isSource ? FROM_SOURCE : ownCode('hooks/thread.js'), {
      eval: isSource,
      workerData,
      env: limits.env,
      argv: [],
      execArgv: [],
      // What a hook prints would appear in the middle of the output of a command.
      stdout: true,
      stderr: true,
      resourceLimits: { maxOldGenerationSizeMb: limits.megabytes, stackSizeMb: 4 },
    });
    this.worker.stdout.resume();
    this.worker.stderr.resume();
    this.worker.on('message', (answer: Answer) => this.settle((one) => one.resolve(answer)));
    this.worker.on('error', (thrown: NodeJS.ErrnoException) => {
      const isMemory = thrown.code === 'ERR_WORKER_OUT_OF_MEMORY';
      this.end(
        'died',
        isMemory
          ? `needed more than ${limits.megabytes} MB of memory`
          : `ended its thread: ${messageOf(thrown)}`,
      );
    });
    this.worker.on('exit', () => this.end('died', 'ended its thread'));
  }

  /**
   * Starts a thread and loads the hook.
   * @throws {UnloadableError}
   */
  static async start(path: string, limits: HookLimits): Promise<HookThread> {
    const thread = new HookThread(path, limits);
    const seconds = limits.seconds + LOAD_SECONDS;
    try {
      const answer = await thread.answer(seconds, () => ['stuck', `did not load within ${seconds} s`]);
      if ('unloadable' in answer) throw new UnloadableError(answer.unloadable);
      thread.worker.unref();
      return thread;
    } catch (thrown) {
      thread.close();
      throw thrown instanceof ThreadEndedError ? new UnloadableError(thrown.message) : thrown;
    }
  }

  /** Whether it can take batches. */
  get isAlive(): boolean {
    return this.ended === null;
  }

  /**
   * Runs the hook on records.
   * @throws {ThreadEndedError}
   */
  async run(batch: Batch): Promise<Outcome[]> {
    const { worker, progress, limits } = this;
    const { seconds } = limits;
    progress.begin(0);
    worker.ref();
    const answering = this.answer(seconds, () =>
      // A record that takes half of the time is at fault; otherwise all of them are slow.
      progress.milliseconds >= seconds * 500
        ? ['stuck', `did not end within ${seconds} s`]
        : ['slow', `took longer than ${seconds} s for ${batch.records.length} records`],
    );
    worker.postMessage(batch);
    const answer = await answering;
    worker.unref();
    return 'outcomes' in answer ? answer.outcomes : [];
  }

  close(): void {
    this.end('closed', 'was closed');
    void this.worker.terminate();
  }

  /** @param late says how the thread ends if it takes longer. */
  private async answer(seconds: number, late: () => [ThreadEnd, string]): Promise<Answer> {
    const answering = new Promise<Answer>((resolve, reject) => (this.waiting = { resolve, reject }));
    const timer = setTimeout(() => {
      this.end(...late());
      void this.worker.terminate();
    }, seconds * 1000);
    if (this.ended !== null) this.end('died', 'ended its thread');
    return answering.finally(() => clearTimeout(timer));
  }

  private end(how: ThreadEnd, message: string): void {
    const ended = (this.ended ??= { how, message });
    const { place } = this.progress;
    this.settle((one) => one.reject(new ThreadEndedError(ended.message, ended.how, place)));
  }

  private settle(how: (one: NonNullable<HookThread['waiting']>) => void): void {
    const { waiting } = this;
    this.waiting = null;
    if (waiting !== null) how(waiting);
  }
}

/** Code that loads the thread from source, which Node cannot do by itself: for tests. */
const FROM_SOURCE = `import(${JSON.stringify(pathToFileURL(ownFile('node_modules/tsx/dist/esm/api/index.mjs')).href)})
  .then(({ register }) => (register(), import(${JSON.stringify(pathToFileURL(ownCode('hooks/thread.ts')).href)})))`;

/** A module and what it imports may take this much longer than a batch. */
const LOAD_SECONDS = 10;

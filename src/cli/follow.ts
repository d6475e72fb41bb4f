import { setTimeout as delay } from 'node:timers/promises';
import { SyncFailedError, type HighwaterClient, type SyncHandle, type Work } from '../client.js';
import type { Progress, SyncResult } from '../protocol.js';
import { standingOf } from '../sync-condition.js';
import { frame, Pace, plainLine, type LiveStream } from './live.js';
import { note } from './output.js';
import { canRedraw, paint } from './terminal.js';

/** Milliseconds before the first poll and between polls. */
const TERMINAL = { first: 700, every: 700 };
const LOG = { first: 2000, every: 2000 };
/** Streams of a sync of several that are asked at once. */
const ASKED_AT_ONCE = 16;

/**
 * Waits for a sync, showing how far it is: on a terminal a line for each stream that is drawn over, else a line whenever
 * something has changed.
 * @throws {SyncFailedError} if the sync fails or waits for an operator's decision.
 */
export async function followSync(client: HighwaterClient, handle: SyncHandle): Promise<SyncResult> {
  const done = new AbortController();
  const result = handle.result().finally(() => done.abort());
  let giveUp: (error: SyncFailedError) => void = () => undefined;
  const asks = new Promise<never>((_, reject) => (giveUp = reject));
  const showing = show(new Follower(client, handle), done.signal, ({ status, trouble }) => {
    if (status !== 'blocked' || trouble?.deletes === undefined) return;
    giveUp(new SyncFailedError(handle.workflowId, trouble.type, trouble.message, trouble.deletes));
    done.abort();
  });
  try {
    return await Promise.race([result, asks]);
  } finally {
    await showing;
  }
}

async function show(
  follower: Follower,
  signal: AbortSignal,
  look: (progress: Progress) => void,
): Promise<void> {
  const isTerminal = canRedraw(process.stderr);
  const screen = isTerminal ? new Screen(process.stderr) : new Log();
  const { first, every } = isTerminal ? TERMINAL : LOG;
  for (let wait = first; ; wait = every) {
    await delay(wait, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) break;
    const looked = await follower.look().catch(() => null);
    if (looked === null || signal.aborted) continue;
    screen.show(looked.streams);
    if (looked.progress !== null) look(looked.progress);
  }
  screen.clear();
}

/** Draws lines over those that it drew before. */
class Screen {
  private lines = 0;

  constructor(private readonly stream: NodeJS.WriteStream) {}

  show(streams: readonly LiveStream[]): void {
    const { stream } = this;
    const size = { columns: stream.columns || 80, rows: stream.rows || 24 };
    const lines = frame(streams, size, (tone, text) => paint(tone, text, stream));
    stream.write(`${this.over()}${lines.map((line) => `${line}\n`).join('')}`);
    this.lines = lines.length;
  }

  clear(): void {
    this.stream.write(this.over());
    this.lines = 0;
  }

  /** Moves to the first line drawn, and clears from there. */
  private over(): string {
    return this.lines === 0 ? '' : `\u001b[${this.lines}A\r\u001b[J`;
  }
}

/** Writes the lines that are not as they were. */
class Log {
  private readonly shown = new Map<string, string>();

  show(streams: readonly LiveStream[]): void {
    for (const stream of streams) {
      const line = plainLine(stream);
      if (line === '' || this.shown.get(stream.stream) === line) continue;
      this.shown.set(stream.stream, line);
      note(line);
    }
  }

  clear(): void {
    this.shown.clear();
  }
}

/** Looks at a sync again and again. */
class Follower {
  private readonly paces = new Map<string, Pace>();
  private readonly totals = new Map<string, number>();

  constructor(
    private readonly client: HighwaterClient,
    private readonly handle: SyncHandle,
  ) {}

  async look(): Promise<{ streams: LiveStream[]; progress: Progress | null }> {
    const { workflowId } = this.handle;
    const [progress, work] = await lookAt(this.handle);
    if (progress === null || progress.streams.length === 0) {
      const name = progress?.stream || workflowId;
      return { progress, streams: [this.live(name, workflowId, progress, work)] };
    }
    const running = progress.streams
      .filter(({ status }) => ['running', 'blocked'].includes(status))
      .slice(0, ASKED_AT_ONCE);
    const looked = new Map(
      await Promise.all(
        running.map(async ({ stream }) => {
          const id = `${workflowId}/${stream}`;
          const [own, ownWork] = await lookAt(this.client.sync(id));
          return [stream, this.live(stream, id, own, ownWork)] as const;
        }),
      ),
    );
    const streams = progress.streams.map(({ stream, status }): LiveStream => {
      const pace = this.pace(stream);
      const total = this.totals.get(stream) ?? null;
      const known = { stream, read: pace.read, rate: pace.rate(), total, standing: null };
      const one = looked.get(stream);
      if (status === 'queued' || status === 'done' || status === 'failed') return { ...known, state: status };
      return one ?? { ...known, state: 'reading' };
    });
    return { progress, streams };
  }

  private pace(stream: string): Pace {
    const pace = this.paces.get(stream) ?? new Pace();
    this.paces.set(stream, pace);
    return pace;
  }

  private live(stream: string, id: string, progress: Progress | null, work: Work | null): LiveStream {
    const now = Date.now();
    const { reading = null, retry = null, taskQueue = '' } = work ?? {};
    const pace = this.pace(stream);
    pace.record(reading?.read ?? (progress?.records ?? 0) + (reading?.records ?? 0), now);
    if (reading?.total != null) this.totals.set(stream, reading.total);
    const standing =
      progress === null && retry === null
        ? null
        : standingOf(
            {
              id,
              execution: 'RUNNING',
              progress,
              retry,
              taskQueue,
              isPolled: null,
              ended: null,
              outcome: null,
            },
            now,
          );
    return {
      stream,
      state: 'reading',
      standing,
      read: pace.read,
      total: this.totals.get(stream) ?? null,
      rate: pace.rate(),
    };
  }
}

const lookAt = (handle: SyncHandle): Promise<[Progress | null, Work | null]> =>
  Promise.all([handle.progress().catch(() => null), handle.work().catch(() => null)]);

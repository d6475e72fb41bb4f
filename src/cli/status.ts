import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import type { SyncHandle } from '../client.js';
import { messageOf } from '../errors.js';
import { PayloadKeyError } from '../payloads/encryption.js';
import type { SyncResult } from '../protocol.js';
import { askSyncs, connected, type Answer, type Connected } from './asking.js';
import { note, outputWidth, print, summary, webUiLink, wrapped } from './output.js';
import { firstLine, report, streamsReport } from './report.js';

const EVERY_MILLISECONDS = 2000;

export function statusCommand(): Command {
  return new Command('status')
    .description('Show a sync: progress, cursor, waits, problems, the last passes, or how it ended.')
    .argument('<id>', 'the workflow id; ID/STREAM for one of several streams')
    .option('--watch', 'update every two seconds until the sync ends')
    .option('--json', 'print one JSON object; with --watch, one per line')
    .addHelpText(
      'after',
      `
The exit code is 0 whatever the state of the sync, and 1 if there is no sync with that id.

Examples:
  highwater status users
  highwater status users --watch
  highwater status users --json`,
    )
    .action((id: string, options: { watch?: boolean; json?: boolean }) =>
      connected((to) => (options.watch === true ? watch(to, id, options) : once(to, id, options))),
    );
}

async function once(to: Connected, id: string, options: { json?: boolean }): Promise<void> {
  const shown = await lookAtSync(to, id);
  if (options.json === true) {
    print(JSON.stringify(shown.json));
    return;
  }
  if (shown.isSilent) note('running, but no worker answers; start one: npx highwater worker');
  if (shown.screen !== '') print(shown.screen);
  if (shown.json.webUi !== null) print(`Web UI: ${shown.json.webUi}`);
}

/** On a terminal the screen is drawn over; elsewhere what has changed follows. */
async function watch(to: Connected, id: string, options: { json?: boolean }): Promise<void> {
  const terminal = process.stdout.isTTY === true;
  for (let before = ''; ; await delay(EVERY_MILLISECONDS)) {
    const shown = await lookAtSync(to, id);
    const text =
      options.json === true
        ? JSON.stringify(shown.json)
        : shown.isSilent
          ? 'running, but no worker answers'
          : shown.screen;
    if (terminal && options.json !== true) process.stdout.write('\u001b[2J\u001b[H');
    if (terminal || text !== before) print(text);
    before = text;
    if (shown.json.status !== 'RUNNING') return;
  }
}

interface Shown {
  screen: string;
  /** It runs, and no worker answers. */
  isSilent: boolean;
  json: { status: string; webUi: string | null; [name: string]: unknown };
}

async function lookAtSync({ client, server, to }: Connected, id: string): Promise<Shown> {
  const handle = client.sync(id);
  const [status, runId] = await Promise.all([handle.status(), handle.runId()]);
  const webUi = webUiLink(server.uiUrl, to.namespace, id, runId);
  const known = { id, runId, status };
  if (status !== 'RUNNING') {
    const outcome = await ended(handle);
    const screen = [
      outcome.result?.status ?? status.toLowerCase(),
      outcome.result === null ? (outcome.error ?? '') : summary(outcome.result.streams),
    ].join('\n');
    return { screen, isSilent: false, json: { ...known, ...outcome, webUi } };
  }
  const [answer = null] = await askSyncs(client, [handle]);
  const trouble = await handle.trouble();
  const streams = answer === null ? [] : await askStreams({ client, id, answer });
  const again =
    trouble === null
      ? []
      : [
          wrapped(
            `retrying (attempt ${trouble.attempt}): ${firstLine(trouble.message, 1000)}`,
            2,
            outputWidth(),
          ),
        ];
  const screen = [...(answer === null ? [] : [body(answer, streams)]), ...again].join('\n');
  const { progress = null, state = null } = answer ?? {};
  return {
    screen,
    isSilent: answer === null,
    json: {
      ...known,
      progress,
      state,
      trouble,
      ...(streams.length > 0 && {
        streams: streams.map(({ stream, answer: own }) => ({
          stream,
          ...(own ?? { progress: null, state: null }),
        })),
      }),
      webUi,
    },
  };
}

type Streams = { stream: string; status: string; answer: Answer | null }[];

const body = (answer: Answer, streams: Streams) =>
  streams.length === 0 ? report(answer, Date.now()) : streamsReport(streams, Date.now());

/** The streams of a sync of several: those that have begun are asked themselves. */
async function askStreams(of: { client: Connected['client']; id: string; answer: Answer }): Promise<Streams> {
  const { streams } = of.answer.progress;
  const begun = streams.filter(({ status }) => status !== 'queued');
  const answers = await askSyncs(
    of.client,
    begun.map(({ stream }) => of.client.sync(`${of.id}/${stream}`)),
  );
  const byName = new Map(begun.map(({ stream }, i) => [stream, answers[i] ?? null]));
  return streams.map(({ stream, status }) => ({ stream, status, answer: byName.get(stream) ?? null }));
}

const ended = (handle: SyncHandle): Promise<{ result: SyncResult | null; error: string | null }> =>
  handle.result().then(
    (result) => ({ result, error: null }),
    (thrown: unknown) => {
      if (thrown instanceof PayloadKeyError) throw thrown;
      return { result: null, error: messageOf(thrown) };
    },
  );

import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { connected, type Connected } from './asking.js';
import { lookAt } from './look.js';
import { print, summary, visible, webUiLink, wrapped } from './output.js';
import { headline, report, streamsReport } from './status-screen.js';
import { latestOf, SYNC_OR_SCHEDULE } from './latest.js';
import { canRedraw } from './terminal.js';

const EVERY_MILLISECONDS = 2000;

export function statusCommand(): Command {
  return new Command('status')
    .description('Show a sync: progress, cursor, waits, problems, the last passes, or how it ended.')
    .argument('<id>', SYNC_OR_SCHEDULE)
    .option('--watch', 'update every two seconds until the sync ends')
    .option('--json', 'print one JSON object; with --watch, one per line')
    .addHelpText(
      'after',
      `
The first line gives the state of the sync and since when; the second gives the next step. With a schedule's id, the
command shows its latest sync.
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
  print(shown.screen);
  if (shown.json.webUi !== null) print(`Web UI: ${shown.json.webUi}`);
}

/** Redraws the screen on a terminal; elsewhere prints the text when it changes. */
async function watch(to: Connected, id: string, options: { json?: boolean }): Promise<void> {
  const redraws = canRedraw(process.stdout) && options.json !== true;
  for (let before = ''; ; await delay(EVERY_MILLISECONDS)) {
    const shown = await lookAtSync(to, id);
    const text = options.json === true ? JSON.stringify(shown.json) : shown.screen;
    if (redraws) process.stdout.write('\u001b[2J\u001b[H');
    if (redraws || text !== before) print(text);
    before = text;
    if (shown.json.status !== 'RUNNING') return;
  }
}

interface Shown {
  screen: string;
  json: { status: string; webUi: string | null; [name: string]: unknown };
}

async function lookAtSync(connection: Connected, id: string): Promise<Shown> {
  const { client, server, to } = connection;
  const latest = await latestOf(client, id);
  const look = await lookAt(client, latest.id);
  const { runId, execution, standing, answer, retry, streams, outcome } = look;
  const webUi = webUiLink(server.uiUrl, to.namespace, look.id, runId);
  const now = Date.now();
  const parts = [
    ...(latest.schedule === null ? [] : [latest.schedule]),
    headline(standing),
    ...(outcome?.result == null ? [] : [summary(outcome.result.streams)]),
    ...(outcome?.error == null ? [] : restOf(outcome.error)),
    ...(answer === null ? [] : [streams.length === 0 ? report(answer, now) : streamsReport(streams, now)]),
    ...(retry === null || answer?.progress.trouble != null ? [] : restOf(retry.message)),
  ];
  const known = { id: look.id, runId, status: execution, standing };
  if (outcome !== null) return { screen: parts.join('\n'), json: { ...known, ...outcome, webUi } };
  const { progress = null, state = null } = answer ?? {};
  return {
    screen: parts.join('\n'),
    json: {
      ...known,
      progress,
      state,
      retry,
      ...(streams.length > 0 && {
        streams: streams.map(({ stream, answer: own, standing: its }) => ({
          stream,
          standing: its,
          ...(own ?? { progress: null, state: null }),
        })),
      }),
      webUi,
    },
  };
}

/** The lines of a message after its first, which the headline shows. */
const restOf = (message: string): string[] => {
  const [, ...rest] = message.split('\n').filter((line) => line.trim() !== '');
  return rest.map((line) => wrapped(`  ${visible(line.trim())}`, 2));
};

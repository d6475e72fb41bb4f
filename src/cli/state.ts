import { Command, InvalidArgumentError } from 'commander';
import { streamKey } from '../plan/stream-key.js';
import { ConfigurationError } from '../errors.js';
import { strategyName, type Cursor, type Json } from '../protocol.js';
import { strategyOf } from '../strategies/index.js';
import type { MoveInput } from '../move-target.js';
import { connected } from './asking.js';
import { historyOf } from './in-destination.js';
import { counted, cursorText, note, print, table, visible, wrapped, outputWidth } from './output.js';
import { moveTo, placeOfFile, placeOfSync, type MovedTo, type Place } from './places.js';
import { namesFile, onlyConfiguration } from './subject.js';

interface Options {
  stream?: string;
  destination?: string;
  json?: boolean;
}

const WHICH = 'the workflow id (ID/STREAM for one of several streams), or a configuration file';

const which = (command: Command) =>
  command
    .option('--stream <name>', 'with a file: the stream, if there are several')
    .option('-d, --destination <file>', "with a file: the DuckDB file (default: the configuration's)")
    .option('--json', 'print one JSON object');

export function stateCommand(): Command {
  const get = which(new Command('get'))
    .description('Show the cursor of a stream, the workflow that holds it, and its earlier cursors.')
    .argument('[sync]', `${WHICH} (default: the only configuration in this folder)`)
    .option('--limit <n>', 'show this many of the last commits and moves, or "all"', asLimit, 20)
    .action(async (sync: string | undefined, options: Options & { limit: number }) =>
      show(sync ?? (await onlyConfiguration()), options),
    );
  const set = which(new Command('set'))
    .description('Move a stream to a given cursor; the names are those that "state get" shows.')
    .argument('<sync>', WHICH)
    .argument('<key=value...>', 'the cursor, as KEY=VALUE or as one JSON object')
    .action((sync: string, pairs: string[], options: Options) =>
      move(sync, { state: stateOf(pairs) }, options),
    );
  const rewind = which(new Command('rewind'))
    .description('Move a stream back to an earlier cursor.')
    .argument('<sync>', WHICH)
    .requiredOption(
      '--to <time|batch|start>',
      'a time such as 2026-11-22T10:00:00Z, a batch id or its first letters, or "start"',
    )
    .action((sync: string, options: Options & { to: string }) => move(sync, { to: options.to }, options));
  return new Command('state')
    .description('Show the cursor of a stream and its history, or move it.')
    .addCommand(get)
    .addCommand(set)
    .addCommand(rewind)
    .addHelpText(
      'after',
      `
A move writes a new checkpoint to the destination. A running sync drops its batches in flight and continues from
there; otherwise the next sync does. Rows stay, and records that are read again are upserted. In the list, "…" marks
the middle of a pass, "↩" a move.

Examples:
  highwater state get users
  highwater state get shop/orders --limit all --json
  highwater state rewind users --to 2026-11-22T10:00:00Z
  highwater state rewind users --to 1f0c7c1e
  highwater state rewind users.json --to start
  highwater state set users last_updated_at=2026-11-22T10:00:00Z`,
    );
}

function asLimit(text: string): number {
  if (text === 'all') return Number.MAX_SAFE_INTEGER;
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new InvalidArgumentError('Give a whole number of at least 1, or "all".');
}

const placeOf = (sync: string, options: Options): Promise<Place> => {
  if (namesFile(sync)) return placeOfFile(sync, options);
  if (options.stream !== undefined || options.destination !== undefined) {
    const path = options.stream !== undefined ? '--stream' : '--destination';
    throw new ConfigurationError([
      { path, message: 'needs a configuration file, and there is no such file' },
    ]);
  }
  return connected((to) => placeOfSync(to, sync));
};

async function show(sync: string, options: Options & { limit: number }): Promise<void> {
  const whole = await placeOf(sync, options);
  const { plan, destination, sync: running } = whole;
  const { stored, total, entries } = await historyOf(destination, {
    key: streamKey(plan),
    limit: options.limit,
  });
  const state = (cursor: Cursor | null | undefined) => (cursor === undefined ? null : stateAt(whole, cursor));
  const { schema, table: name } = plan.table;
  if (options.json === true) {
    print(
      JSON.stringify({
        stream: plan.stream,
        strategy: strategyName(plan.options),
        table: `${schema}.${name}`,
        destination,
        state: state(stored?.checkpoint.cursor ?? null),
        checkpoint: stored?.checkpoint ?? null,
        since: stored?.since ?? null,
        holder: stored?.holder ?? null,
        total,
        history: entries.map((entry) => ({ ...entry, state: state(entry.cursor) })),
      }),
    );
    return;
  }
  if (stored === null) {
    print(`${plan.stream}: nothing has been read yet (destination: ${destination})`);
    return;
  }
  const { cursor } = stored.checkpoint;
  const pass =
    cursor === null
      ? 'before the first pass'
      : cursor.ended === null
        ? `in pass ${cursor.pass}`
        : `after pass ${cursor.pass} (${cursor.ended})`;
  const holds = running?.isRunning === true && stored.holder.workflowId === running.id ? ' (running)' : '';
  const line = (name: string, value: string) =>
    print(wrapped(`${name.padEnd(12)}${visible(value)}`, 12, outputWidth()));
  line('stream', `${plan.stream} · ${strategyName(plan.options)} · ${schema}.${name}`);
  line('cursor', `${cursorText(state(cursor) ?? {})} · ${pass}`);
  line('checkpoint', `${stored.checkpoint.id} since ${stored.since}`);
  line('holder', `${stored.holder.workflowId}${holds}`);
  line('destination', destination);
  if (entries.length === 0) return;
  print('');
  print(
    table(
      ['when', 'batch', 'records', 'rows', 'cursor'],
      entries.map(({ at, id, records, rows, moved, cursor: place }) => [
        at,
        id.slice(0, BATCH_LETTERS),
        ...(moved === null ? [records, rows] : ['', '']),
        [place === undefined ? '?' : placeText(whole, place), ...(moved === null ? [] : [`↩ ${moved}`])].join(
          ' ',
        ),
      ]),
    ),
  );
  if (entries.length < total)
    note(`(${counted(total - entries.length, 'older entry', 'older entries')} not shown: --limit all)`);
}

/** Enough to tell one batch from another. */
const BATCH_LETTERS = 13;

/** The state at a cursor; of the beginning, that of a stream that was never read. */
function stateAt({ plan, custom }: Place, cursor: Cursor | null): { [name: string]: Json } {
  const { strategy } = strategyOf(plan, custom);
  return strategy.state(cursor ?? strategy.begin(null, new Date(0).toISOString()));
}

/** The value alone if its name says nothing new; "…" in the middle of a pass. */
function placeText(place: Place, cursor: Cursor | null): string {
  if (cursor === null) return 'start';
  const state = Object.entries(stateAt(place, cursor)).filter(([, value]) => value !== null);
  const text = state.length === 1 ? String(state[0]?.[1]) : cursorText(Object.fromEntries(state));
  return cursor.ended === null ? `${text} …` : text;
}

async function move(sync: string, to: MoveInput, options: Options): Promise<void> {
  const place = await placeOf(sync, options);
  const moved = await moveTo(place, to);
  if (options.json === true) {
    print(JSON.stringify({ sync, stream: place.plan.stream, ...moved }));
    return;
  }
  print(movedText(sync, place, moved));
}

/** The outcome as text. */
export function movedText(sync: string, { sync: running }: Place, { done, state }: MovedTo): string {
  const goesOn = running?.isRunning === true ? 'continues from' : 'the next sync continues from';
  return done
    ? `${sync}: ${goesOn} ${cursorText(state)}`
    : `${sync}: will be moved as soon as its stream can be opened; "highwater status" shows why it cannot yet`;
}

function stateOf(pairs: readonly string[]): { [name: string]: Json } {
  const [first = ''] = pairs;
  if (pairs.length === 1 && first.trim().startsWith('{')) {
    try {
      return JSON.parse(first) as { [name: string]: Json };
    } catch {
      throw new ConfigurationError([
        { path: 'the state', message: `is not valid JSON: ${first.slice(0, 80)}` },
      ]);
    }
  }
  return Object.fromEntries(
    pairs.map((text) => {
      const at = text.indexOf('=');
      if (at < 1)
        throw new Error(`${JSON.stringify(text)} is not KEY=VALUE; write, for example, offset=1000`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

import { Command, InvalidArgumentError, Option } from 'commander';
import { loadPlans } from '../config/index.js';
import type { StreamPlan } from '../protocol.js';
import { recordingFolder } from '../recording/folder.js';
import { plainMembers, recordSync, type RecordedSync } from '../recording/record.js';
import type { Removed } from '../recording/scrubber.js';
import { durationText } from '../durations.js';
import {
  asLimit,
  counted,
  note,
  outputWidth,
  print,
  probedFrom,
  shellWord,
  table,
  visible,
  wrapped,
} from './output.js';

/** Pages of each stream that are recorded unless a number is given: enough to see how the list goes on. */
const PAGES = 10;

interface Options {
  stream?: string;
  pages: number;
  out?: string;
  json?: boolean;
}

export function recordCommand(): Command {
  return new Command('record')
    .description(
      'Record requests and answers of the live source, without secrets, for "highwater test". Writes no destination.',
    )
    .argument('<configuration>', 'a file: JSON (comments allowed) or YAML')
    .option('--stream <name>', 'only this stream, and those that it reads per record of')
    .addOption(
      new Option('--pages <n>', 'maximum pages of each stream')
        .default(PAGES, String(PAGES))
        .argParser(asPages),
    )
    .option(
      '--out <folder>',
      'the folder to write (default: NAME.recording beside the configuration NAME.yaml)',
    )
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Kept are method, address and body of each request, and of its answer status, body and the headers that paging and rate
limits need. Credentials and values of references (\${env:NAME} and the like) are replaced by ***; logins are not kept.
Records are kept as the source sends them: read the files before you share them. A recording replaces an earlier one in
the same folder; the expected rows stay.

Examples:
  highwater record github.yaml
  highwater record github.yaml --stream issues --pages 3`,
    )
    .action(record);
}

/** @throws {InvalidArgumentError} */
const asPages = (text: string): number => {
  const pages = asLimit(text);
  if (pages <= 100_000) return pages;
  throw new InvalidArgumentError('Give at most 100000 pages.');
};

async function record(file: string, options: Options): Promise<void> {
  const { configuration, plans } = await loadPlans(file);
  const folder = options.out ?? recordingFolder(file);
  const stop = new AbortController();
  const onInterrupt = () => stop.abort(new Error('interrupted: nothing was recorded'));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onInterrupt);
  const recorded = await recordSync({
    configuration,
    plans,
    folder,
    ...(options.stream !== undefined && { stream: options.stream }),
    pages: options.pages,
    environment: process.env,
    credentialsBeside: (await probedFrom(plans.plans[0] as StreamPlan)).destination ?? null,
    signal: stop.signal,
    onWait: (seconds, reason) => note(`waits ${durationText(Math.ceil(seconds))}: ${reason}`),
  });
  if (options.json === true) print(JSON.stringify({ folder, ...shownAsJson(recorded) }));
  else printRecorded(file, folder, options, recorded);
  for (const plan of plans.plans) {
    const plain = recorded.streams.some(({ stream }) => stream === plan.stream) ? plainMembers(plan) : [];
    if (plain.length > 0)
      note(
        `! ${visible(plan.stream)}: recorded in plain, although the table has them hashed, masked or not at all: ` +
          `${visible(plain.join(', '))}. Edit the files before you share them.`,
      );
  }
}

const shownAsJson = ({ streams, removed }: RecordedSync) => ({
  streams: streams.map(({ stream, exchanges, pages, records, isComplete }) => ({
    stream,
    requests: exchanges,
    pages,
    records,
    complete: isComplete,
  })),
  removed: {
    places: removed.places,
    request_headers: [...removed.requestHeaders].sort(),
    response_headers: [...removed.responseHeaders].sort(),
    short_references: [...removed.short].sort(),
  },
});

function printRecorded(
  file: string,
  folder: string,
  { pages: limit }: Options,
  recorded: RecordedSync,
): void {
  const { streams, removed } = recorded;
  print(
    table(
      ['stream', 'requests', 'pages', 'records', 'ends'],
      streams.map(({ stream, exchanges, pages, records, isComplete }) => [
        stream,
        exchanges,
        pages,
        records,
        isComplete ? 'with the list' : `after ${counted(limit, 'page')} (--pages)`,
      ]),
    ),
  );
  print('');
  const limitOfLine = Math.min(outputWidth(), 100);
  for (const line of [
    ...removedLines(removed),
    `Recorded in ${folder}. Records are as the source sent them: read the files before you share them.`,
  ])
    print(wrapped(line, 0, limitOfLine));
  print(`Next: npx highwater test ${shellWord(file)} --update`);
}

function removedLines({ places, requestHeaders, short }: Removed): string[] {
  const credentials = [...requestHeaders]
    .filter((name) => /auth|cookie|key|token|secret|sign/.test(name))
    .sort();
  const headers = credentials.length === 0 ? '' : `; headers with credentials: ${credentials.join(', ')}`;
  return [
    `Removed: request headers and logins${headers}; secrets in ${counted(places, 'place')}.`,
    ...(short.size === 0
      ? []
      : [`Not searched for in answers, because the value is short: ${[...short].sort().join(', ')}.`]),
  ];
}

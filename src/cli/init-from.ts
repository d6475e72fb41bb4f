/** `init --from`: writes what a description of an API says, and lists what it could not take over. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { Document } from 'yaml';
import { plansFrom } from '../config/index.js';
import { ConfigurationError, HighwaterError, messageOf } from '../errors.js';
import { lookAt } from '../inspect/api/look.js';
import { variablesIn } from '../inspect/credentials.js';
import {
  type Imported,
  ImportError,
  type ImportedStream,
  importedFromText,
} from '../inspect/imports/index.js';
import type { Json, StreamPlan } from '../protocol.js';
import { checked } from './check.js';
import { refuseExisting, writeConfiguration } from './init-file.js';
import { finishInit, type InitOptions } from './init-outcome.js';
import { counted, print, probedFrom, visible, wrapped } from './output.js';

/** Streams that are looked at in the live API. */
const LOOKS = 5;

type Keys = { [key: string]: Json };

export async function initFrom(from: string, options: InitOptions): Promise<void> {
  const file = options.file ?? 'highwater.yaml';
  refuseExisting(file, options.force === true);
  const imported = await read(from);
  if (options.baseUrl !== undefined) useBaseUrl(imported, options.baseUrl);
  if (imported.needsBaseUrl)
    imported.leftOut.push('the address of the server, which the description does not name: give --base-url');
  const name =
    options.name ??
    (imported.streams.length === 1 ? (imported.streams[0]?.name ?? 'api') : apiName(imported));
  const environment = { ...process.env, ...imported.secrets };
  const given = variablesIn(sourceOf(imported));
  const unset = given.filter((variable) => environment[variable] === undefined);
  const notes: string[] = [];
  const isLive = options.discover && unset.length === 0;
  if (isLive) await lookAtStreams(imported, environment, notes);
  const { configuration, refused } = usableConfiguration(imported, name, file);
  imported.leftOut.push(...refused);
  const variables = variablesIn(configuration);
  const files = await writeConfiguration(
    file,
    new Document(configuration).toString({ lineWidth: 110 }),
    variables,
  );
  const { plans } = plansFrom(configuration, undefined, true);
  const missing = soundness(configuration);
  const findings = isLive && missing === null ? await checked(plans, plans, { environment }) : null;
  const { kind, assumed, leftOut, secrets } = imported;
  finishInit({
    file,
    files,
    variables,
    secrets: Object.keys(secrets),
    printFound: () => {
      const source = from === '-' ? 'standard input' : visible(from);
      print(`Read ${source}: ${kind}, ${counted(plans.length, 'stream')}.`);
      printList('Could not take over', leftOut);
      printList('Assumed', assumed);
      printList('Notes', notes);
      print('');
    },
    json: options.json === true ? { before: { kind }, after: { assumed, notes, leftOut } } : null,
    missing,
    findings,
  });
}

async function read(from: string): Promise<Imported> {
  let text: string;
  try {
    text = from === '-' ? await textOf(process.stdin) : await readFile(from, 'utf8');
  } catch (thrown) {
    throw new ImportError(`${visible(from)} cannot be read: ${messageOf(thrown)}`);
  }
  try {
    return importedFromText(text);
  } catch (thrown) {
    if (!(thrown instanceof ImportError)) throw thrown;
    throw new ImportError(`${from === '-' ? 'standard input' : visible(from)}: ${thrown.message}`);
  }
}

function useBaseUrl(imported: Imported, baseUrl: string): void {
  imported.baseUrl = baseUrl.replace(/\/$/, '');
  imported.needsBaseUrl = false;
}

/** api.example.com → example */
function apiName({ baseUrl }: Imported): string {
  const host = URL.canParse(baseUrl) ? new URL(baseUrl).hostname : 'api';
  if (/^[\d.]+$|:|^localhost$/.test(host)) return 'api';
  const parts = host.split('.').filter((part) => !/^(www|api|com|org|net|io|dev)$/.test(part));
  return parts.at(-1)?.replace(/[^\w-]/g, '_') ?? 'api';
}

const sourceOf = ({ baseUrl, auth, headers }: Imported): Keys => ({
  base_url: baseUrl,
  ...(auth !== null && { auth }),
  ...(Object.keys(headers).length > 0 && { headers }),
});

/** Finds the paging of streams whose description does not say it, in the live API. */
async function lookAtStreams(
  imported: Imported,
  environment: NodeJS.ProcessEnv,
  notes: string[],
): Promise<void> {
  const open = imported.streams.filter(({ needsLook, keys }) => needsLook && keys['method'] === undefined);
  for (const stream of open.slice(0, LOOKS)) {
    try {
      const { strategy: _s, next: _n, records: _r, ...place } = stream.keys;
      const configuration = { source: sourceOf(imported), streams: [{ name: stream.name, ...place }] };
      const probing = async (plan: StreamPlan) => ({ ...(await probedFrom(plan)), environment });
      const look = await lookAt(
        { configuration, name: stream.name, preferred: [] },
        probing,
        () => undefined,
      );
      if (look.isPartOnly)
        notes.push(`${stream.name}: requests found no way to read more than the first page`);
      stream.keys = { ...place, ...keyFound(look.discovery.primaryKeys[0]?.columns), ...look.keys };
      stream.needsLook = false;
      notes.push(`${stream.name}: ${counted(look.requests, 'request')} found: ${look.paging}`);
    } catch (thrown) {
      if (!(thrown instanceof HighwaterError)) throw thrown;
      notes.push(`${stream.name}: could not be looked at: ${messageOf(thrown).split('\n')[0] ?? ''}`);
    }
  }
  for (const { name } of open.slice(LOOKS))
    notes.push(`${name}: how it pages was not tried; "highwater check" reads it`);
}

const keyFound = (columns: string[] | undefined): Keys =>
  columns === undefined ? {} : { primary_key: columns.length === 1 ? (columns[0] ?? '') : columns };

/** The configuration of all streams that can stand in one; the others, with the reason. */
function usableConfiguration(
  imported: Imported,
  name: string,
  file: string,
): { configuration: Keys; refused: string[] } {
  const destination = `${basename(file).replace(/\.[^.]*$/, '') || 'highwater'}.duckdb`;
  const withStreams = (streams: ImportedStream[]): Keys => ({
    sync: { name },
    source: sourceOf(imported),
    destination,
    streams: streams.map((stream) => ({ name: stream.name, ...stream.keys })),
  });
  const refused: string[] = [];
  const usable = imported.streams.filter((stream) => {
    const problem = soundness(withStreams([stream]), true);
    if (problem !== null) refused.push(`${stream.name}: ${problem}`);
    return problem === null;
  });
  if (usable.length === 0)
    throw new ImportError(`no stream can be taken over:\n${refused.map((line) => `  ${line}`).join('\n')}`);
  return { configuration: withStreams(usable), refused };
}

/** Says why a configuration is refused; null: it is not. */
function soundness(configuration: Keys, isDraft = false): string | null {
  try {
    plansFrom(configuration, undefined, isDraft);
    return null;
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError)) throw thrown;
    return thrown.problems.map(({ path, message }) => `${path} ${message}`).join('; ');
  }
}

function printList(title: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  print(`\n${title}`);
  for (const line of lines) print(wrapped(`  - ${visible(line)}`, 4));
}

import { basename } from 'node:path';
import { Command, Option } from 'commander';
import { REFERENCE_ORIGIN, REFERENCE_PATHS } from '../config/reference-source.js';
import { baseUrl as baseUrlSchema } from '../config/values.js';
import { plansFrom } from '../config/index.js';
import { ConfigurationError, HighwaterError, messageOf } from '../errors.js';
import { type Look, lookAt, LookError, lookAsTold } from '../inspect/api/look.js';
import { REQUESTS_IN_ALL, RequestBudget } from '../inspect/request-budget.js';
import { useOf } from '../inspect/api/names.js';
import { objectAt, type OneStream, type StreamKeys } from '../inspect/api/stream-keys.js';
import {
  AUTH_KINDS,
  type AuthKind,
  draftedAuth,
  type DraftedAuth,
  type Secrets,
  shownAuth,
  variablesIn,
} from '../inspect/credentials.js';
import { draft } from '../inspect/draft.js';
import { nameOfPath } from '../inspect/stream-names.js';
import { STRATEGIES, type StreamPlan } from '../protocol.js';
import { checked } from './check.js';
import { initFrom } from './init-from.js';
import { finishInit, type InitOptions } from './init-outcome.js';
import { refuseExisting, writeConfiguration } from './init-file.js';
import { counted, note, print, probedFrom, shellWord, visible, wrapped } from './output.js';
import { Questions } from './questions.js';

/** The API could not be understood, so no configuration was written. */
class InitFailedError extends HighwaterError {
  override readonly name = 'InitFailedError';
}

export function initCommand(): Command {
  return new Command('init')
    .description(
      `Look at a live API, or read a description of it, and write a first configuration. Finds out how the API pages with at most ${REQUESTS_IN_ALL} requests, reads a sample, and checks the result.`,
    )
    .argument('[url]', 'the address of a list of records')
    .option('--base-url <url>', 'the address of the API; with --path instead of a URL')
    .option('--path <path>', 'the path of the list to read, appended to the base URL')
    .option(
      '--from <file>',
      'read an OpenAPI description, a curl command, a HAR file or an Airbyte manifest instead ("-": standard input)',
    )
    .option('--name <name>', 'the name of the stream and its table (default: the last part of the path)')
    .addOption(
      new Option('--strategy <name>', 'how to read the list (default: as requests show)').choices([
        ...STRATEGIES,
      ]),
    )
    .addOption(new Option('--auth <type>', 'how to authenticate').choices([...AUTH_KINDS]))
    .option('--auth-name <name>', 'api_key: the name of the header, parameter or cookie')
    .addOption(new Option('--auth-in <place>', 'api_key: where it is').choices(['header', 'query', 'cookie']))
    .option('--auth-url <url>', 'session: the login; oauth2: the token endpoint')
    .option('--file <file>', 'the file to write (default: highwater.yaml)')
    .option('-y, --yes', 'ask nothing: use what is found, and the defaults')
    .option('--force', 'overwrite an existing file')
    .option('--columns', 'write the columns that the sample shows (default: they follow from the records)')
    .option('--no-discover', 'send no request: write what the options say')
    .option('--json', 'print one JSON object, and ask nothing')
    .addHelpText(
      'after',
      `
Examples:
  highwater init https://api.example.com/v1/orders --auth bearer
  highwater init --from openapi.json
  pbpaste | highwater init --from -`,
    )
    .action(init);
}

/** The facts about the API that are known before the first request. */
interface Given {
  baseUrl: string;
  path: string;
  name: string;
  file: string;
  auth: DraftedAuth;
  params: { [name: string]: string };
  /** Parameters of pages that the address has. */
  preferred: string[];
  /** Secrets of the address, which are used and not written. */
  secrets: Secrets;
  /** Given by the user. */
  strategy: string | null;
}

async function init(url: string | undefined, options: InitOptions): Promise<void> {
  if (options.from !== undefined) return initFrom(options.from, options);
  const asks = options.yes !== true && options.json !== true && process.stdin.isTTY === true;
  const isForced = options.force === true;
  if (!asks || options.file !== undefined) refuseExisting(options.file ?? DEFAULT_FILE, isForced);
  const questions = asks ? new Questions() : null;
  const budget = new RequestBudget();
  try {
    const first = await firstAnswers(url, options, questions);
    // An answer that cannot stand in a configuration is refused before a request is sent.
    plansFrom(configurationOf(first, { strategy: 'cursor', next: 'none' }), undefined, true);
    const { given, look } = options.discover
      ? await lookOrAsk(first, options, questions, budget)
      : { given: await withAuth(first, options, questions), look: null };
    const final = await lastAnswers(given, look, options, questions);
    refuseExisting(final.file, isForced);
    await finish(final, look, options, budget);
  } finally {
    questions?.close();
  }
}

const DEFAULT_FILE = 'highwater.yaml';
const SAMPLE_API = `${REFERENCE_ORIGIN}${REFERENCE_PATHS.keyset}`;

/** Address and path, by which the API can be asked. */
async function firstAnswers(
  url: string | undefined,
  options: InitOptions,
  questions: Questions | null,
): Promise<Given> {
  const problem = (said: string) =>
    baseUrlSchema.safeParse(withoutUser(said)).error?.issues[0]?.message ?? null;
  const isGiven = url !== undefined || options.baseUrl !== undefined;
  const isReference = options.baseUrl === REFERENCE_ORIGIN || !isGiven;
  const sample = isReference ? referencePath(options.strategy ?? 'keyset') : '';
  const address =
    url ??
    options.baseUrl ??
    (await questions?.text('URL of the list to read', `${REFERENCE_ORIGIN}${sample}`, problem)) ??
    SAMPLE_API;
  const place = options.baseUrl === undefined ? placeIn(address) : { ...NOTHING_GIVEN, baseUrl: address };
  const needsPath = place.path === '' && options.path === undefined;
  const path =
    needsPath && questions !== null ? await questions.text('Path of the list to read', sample) : null;
  const given = { ...place, path: options.path ?? path ?? (place.path === '' ? sample : place.path) };
  return {
    ...given,
    name: options.name ?? nameOf(given.path),
    file: options.file ?? DEFAULT_FILE,
    strategy: options.strategy ?? null,
    ...(options.auth !== undefined && { auth: authOf(options.auth, options, given.baseUrl) }),
  };
}

const NOTHING_GIVEN = {
  baseUrl: '',
  path: '',
  params: {},
  preferred: [],
  secrets: {},
  auth: { auth: null, variables: [], assumed: [] },
};

const withoutUser = (url: string) => url.replace(/^(\w+:\/\/)[^/@]*@/, '$1').replace(/[?#].*$/s, '');

/** Takes an address apart; credentials in it become references. */
function placeIn(address: string): Omit<Given, 'name' | 'file' | 'strategy'> {
  if (!URL.canParse(address) || !/^https?:/.test(address)) return { ...NOTHING_GIVEN, baseUrl: address };
  const url = new URL(address);
  const user =
    url.username === ''
      ? null
      : { name: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
  const all = Object.fromEntries(url.searchParams);
  const preferred = Object.keys(all).filter((name) => useOf(name) !== null && useOf(name) !== 'since');
  const params = Object.fromEntries(Object.entries(all).filter(([name]) => !preferred.includes(name)));
  const shown = shownAuth({}, params, user);
  return {
    baseUrl: url.origin,
    path: url.pathname === '/' ? '' : url.pathname,
    params: shown.params,
    preferred,
    secrets: shown.secrets,
    auth: { auth: shown.auth, variables: shown.auth === null ? [] : variablesIn(shown.auth), assumed: [] },
  };
}

type Reference = keyof typeof REFERENCE_PATHS;
const isReferencePath = (path: string) => Object.values<string>(REFERENCE_PATHS).includes(path);
const referencePath = (strategy: string) =>
  Object.hasOwn(REFERENCE_PATHS, strategy) ? REFERENCE_PATHS[strategy as Reference] : REFERENCE_PATHS.keyset;

const nameOf = (path: string) => (isReferencePath(path) ? 'user' : nameOfPath(path));

const authOf = (kind: AuthKind, options: InitOptions, baseUrl: string): DraftedAuth =>
  draftedAuth(kind, { name: options.authName, in: options.authIn, url: options.authUrl }, baseUrl);

async function withAuth(
  given: Given,
  options: InitOptions,
  questions: Questions | null,
  otherwise: AuthKind = 'none',
): Promise<Given> {
  if (questions === null || options.auth !== undefined) return given;
  const kind = await questions.oneOf<AuthKind>('Authentication', AUTH_KINDS, otherwise);
  const details = { ...options };
  if (kind === 'api_key')
    details.authName ??= await questions.text('Header or parameter of the key', 'X-Api-Key');
  if (kind === 'session') details.authUrl ??= await questions.text('Path of the login', '/login');
  if (kind === 'oauth2')
    details.authUrl ??= await questions.text('URL of the token endpoint', `${given.baseUrl}/oauth/token`);
  return { ...given, auth: authOf(kind, details, given.baseUrl) };
}

/** Looks at the API; where it asks for credentials, asks the user which. */
async function lookOrAsk(
  first: Given,
  options: InitOptions,
  questions: Questions | null,
  budget: RequestBudget,
): Promise<{ given: Given; look: Look }> {
  let given = first;
  for (let tries = 0; ; tries++) {
    try {
      return { given, look: await look(given, options, budget) };
    } catch (thrown) {
      const asksFor = thrown instanceof LookError ? thrown.asksFor : [];
      const mayAsk = questions !== null && options.auth === undefined && asksFor.length > 0 && tries === 0;
      if (!mayAsk) throw new InitFailedError(`${explained(thrown, given)}\nNothing was written.`);
      note(messageOf(thrown));
      given = await withAuth(given, options, questions, asksFor[0]);
    }
  }
}

async function look(given: Given, options: InitOptions, budget: RequestBudget): Promise<Look> {
  const onWait = (seconds: number) => note(`The source asks to wait ${Math.ceil(seconds)} s.`);
  const configuration = configurationOf(given, {});
  const place = { configuration, name: given.name, preferred: given.preferred };
  const probing = async (plan: StreamPlan) => ({
    ...(await probedFrom(plan)),
    environment: environmentOf(given),
  });
  if (options.json !== true && process.stderr.isTTY === true)
    note(`Looking at ${visible(given.baseUrl + given.path)} with at most ${REQUESTS_IN_ALL} requests …`);
  return given.strategy === null
    ? lookAt(place, probing, onWait, budget)
    : lookAsTold(place, given.strategy, probing, onWait, budget);
}

const environmentOf = ({ secrets }: Given): NodeJS.ProcessEnv => ({ ...process.env, ...secrets });

/** Returns the reason why the API could not be looked at, and what to do. */
function explained(thrown: unknown, given: Given): string {
  const { auth } = given;
  const environment = environmentOf(given);
  const message =
    thrown instanceof ConfigurationError
      ? thrown.problems.map(({ path, message }) => `${path} ${message}`).join('; ')
      : messageOf(thrown);
  const missing = auth.variables.filter((name) => environment[name] === undefined);
  if (missing.length > 0) {
    return `${message}\nSet ${missing.join(' and ')} in this terminal (export ${missing[0] ?? ''}=…), then run the same command again.`;
  }
  if (thrown instanceof LookError && thrown.asksFor.length > 0) {
    return auth.auth === null
      ? `${message}\nIt asks for credentials: add --auth ${thrown.asksFor.join(', or --auth ')} (all kinds: ${AUTH_KINDS.join(', ')}).`
      : `${message}\nThe credentials were refused: check the values of ${auth.variables.join(' and ')}, and the kind of authentication.`;
  }
  return `${message}\nTo write a configuration without looking at the API, add --no-discover.`;
}

/** Everything else is known now: the answers begin with what was found. */
async function lastAnswers(
  given: Given,
  look: Look | null,
  options: InitOptions,
  questions: Questions | null,
): Promise<Given> {
  if (questions === null) return { ...given, strategy: given.strategy ?? (look === null ? 'keyset' : null) };
  const found = String(look?.keys['strategy'] ?? 'keyset');
  if (look !== null) printLook(look);
  // What requests have shown is not asked about.
  const isFound = look !== null && look.keys['strategy'] !== undefined;
  const strategy =
    options.strategy ??
    (isFound ? found : await questions.oneOf('Strategy', STRATEGIES, found as (typeof STRATEGIES)[number]));
  const name = options.name ?? (await questions.text('Name of the stream and its table', given.name));
  const file = options.file ?? (await questions.text('File', given.file));
  return { ...given, strategy: strategy === found && look !== null ? null : strategy, name, file };
}

/** @throws {ConfigurationError} where an answer cannot stand in a configuration. */
function configurationOf(given: Given, keys: StreamKeys): OneStream {
  const { baseUrl, path, name, auth, params, file } = given;
  const allParams = { ...params, ...objectAt(keys, 'params') };
  const configuration = {
    sync: { name },
    source: { base_url: baseUrl, ...(auth.auth !== null && { auth: auth.auth }) },
    destination: `${basename(file).replace(/\.[^.]*$/, '') || 'highwater'}.duckdb`,
    streams: [
      {
        name,
        ...(path !== '' && { path }),
        ...keys,
        ...(Object.keys(allParams).length > 0 && { params: allParams }),
      },
    ],
  };
  return configuration;
}

/** Writes the file, checks it, and says what to do next. */
async function finish(
  given: Given,
  look: Look | null,
  options: InitOptions,
  budget: RequestBudget,
): Promise<void> {
  if (look?.isPartOnly === true && given.strategy === null) {
    if (options.json !== true) printLook(look);
    throw new InitFailedError(
      'only a part of the list could be read, so nothing was written. If you know how the API pages, add --strategy NAME, or write a file to complete by hand with --no-discover',
    );
  }
  const asked = given.strategy === null ? look?.keys : keysAsTold(given, look);
  const configuration = configurationOf(given, asked ?? {});
  const { plans } = plansFrom(configuration, undefined, true);
  const sampled = new Map(look === null ? [] : [[given.name, look.discovery]]);
  const drafted = draft(configuration, plans, sampled, { columns: options.columns === true });
  const isComplete = look !== null && look.discovery.records > 0;
  const text = isComplete ? drafted.text : draft(withGuesses(configuration, given), plans, new Map()).text;
  const variables = variablesIn(configuration);
  const files = await writeConfiguration(given.file, text, variables);
  const notes = [...drafted.notes, ...given.auth.assumed];
  if (!isComplete) notes.push(`${GUESSES}: "highwater discover ${shellWord(given.file)} --write" finds them`);
  if (look !== null && options.columns === true) {
    notes.push(
      `the columns are inferred from ${counted(look.discovery.records, 'record')}: check their types`,
    );
  }
  const { plans: written } = isComplete ? plansFrom(drafted.configuration) : { plans: [] };
  const findings = isComplete
    ? await checked(written, written, { environment: environmentOf(given), budget })
    : null;
  const { found = [], assumed = [], unknown = [], requests = 0 } = look ?? {};
  finishInit({
    file: given.file,
    files,
    variables,
    secrets: Object.keys(given.secrets),
    printFound: () => {
      if (look !== null && (options.yes === true || process.stdin.isTTY !== true)) printLook(look);
      for (const line of notes) note(`note: ${line}`);
    },
    json: options.json === true ? { after: { notes, requests, found, assumed, unknown } } : null,
    missing: null,
    findings,
  });
}

const GUESSES = 'primary_key and cursor_field are guesses';

/** The user's own strategy, and of what was found that which does not depend on it. */
function keysAsTold({ strategy }: Given, look: Look | null): StreamKeys {
  const records = look?.keys['records'];
  if (look !== null && look.keys['strategy'] === strategy) return look.keys;
  return {
    strategy: strategy ?? 'keyset',
    ...(strategy === 'cursor' && { next: 'link' }),
    ...(records !== undefined && { records }),
  };
}

/** Names that most APIs use, to be replaced. */
function withGuesses(configuration: OneStream, { path, strategy }: Given): OneStream {
  const [stream = {}] = configuration.streams;
  const usesTime = ['keyset', 'timestamp', 'replay'].includes(String(stream['strategy'] ?? strategy));
  const field = isReferencePath(path) ? 'updatedAt' : 'updated_at';
  return {
    ...configuration,
    streams: [{ ...stream, ...(usesTime && { cursor_field: field }), primary_key: 'id' }],
  };
}

/** Prints what was tried and found. */
function printLook({ requests, found, assumed, unknown }: Look): void {
  print(`Sent ${counted(requests, 'request')}.\n\nFound`);
  const widest = Math.max(...found.map(({ what }) => what.length));
  for (const { what, text } of found)
    print(wrapped(`  ${what.padEnd(widest)}  ${visible(text)}`, widest + 4));
  for (const [title, lines] of [
    ['Assumed', assumed],
    ['Not found', unknown],
  ] as const) {
    if (lines.length === 0) continue;
    print(`\n${title}`);
    for (const line of lines) print(wrapped(`  - ${visible(line)}`, 4));
  }
  print('');
}

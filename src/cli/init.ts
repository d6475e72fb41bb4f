import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Command, Option } from 'commander';
import { Document } from 'yaml';
import { baseUrl as baseUrlSchema } from '../config/values.js';
import { suggestion } from '../config/problems.js';
import { REFERENCE_COLUMNS, REFERENCE_ORIGIN, REFERENCE_PATHS } from '../config/reference-source.js';
import { plansFrom } from '../config/index.js';
import { ConfigurationError, HighwaterError, messageOf } from '../errors.js';
import { discover } from '../inspect/discover.js';
import { draft } from '../inspect/draft.js';
import { ownFile } from '../own-files.js';
import { type Json, STRATEGIES } from '../protocol.js';
import { note, print, probedFrom } from './output.js';

const AUTHS = ['none', 'bearer', 'basic', 'api_key'] as const;
type AuthType = (typeof AUTHS)[number];

interface Options {
  baseUrl?: string;
  path?: string;
  name?: string;
  strategy?: string;
  auth?: string;
  file?: string;
  yes?: boolean;
  force?: boolean;
  discover: boolean;
  json?: boolean;
}

/** Something is there that must not be written over. */
class InitRefusedError extends HighwaterError {
  override readonly name = 'InitRefusedError';
}

export function initCommand(): Command {
  return new Command('init')
    .description('Write a first configuration: asks questions on a terminal, or takes the options.')
    .option('--base-url <url>', `the address of the API (default: ${REFERENCE_ORIGIN}, the sample API)`)
    .option('--path <path>', 'the path of the list to read, appended to the base URL')
    .option('--name <name>', 'the name of the stream and its table (default: the last part of the path)')
    .addOption(new Option('--strategy <name>', 'how to read the list').choices([...STRATEGIES]))
    .addOption(new Option('--auth <type>', 'how to authenticate').choices([...AUTHS]))
    .option('--file <file>', 'the file to write (default: highwater.yaml)')
    .option('-y, --yes', 'ask nothing: use the defaults for missing options')
    .option('--force', 'overwrite an existing file')
    .option('--no-discover', 'do not read sample records from the API to find the columns and the key')
    .option('--json', 'print one JSON object, and ask nothing')
    .addHelpText(
      'after',
      `
Examples:
  highwater init
  highwater init --yes
  highwater init --base-url https://api.example.com/v1 --path /orders --strategy page_number --auth bearer --yes`,
    )
    .action(init);
}

/** The facts about the API that are known before the first request. */
interface Answers {
  baseUrl: string;
  path: string;
  name: string;
  strategy: string;
  auth: AuthType;
  file: string;
}

async function init(options: Options): Promise<void> {
  const asks = options.yes !== true && options.json !== true && process.stdin.isTTY === true;
  const answers = asks ? await askQuestions(options) : withDefaults(options);
  const { file } = answers;
  const variables = variablesOf(answers.auth);
  const example = join(dirname(file), '.env.example');
  const there = [file, ...(variables.length > 0 ? [example] : [])].filter((path) => existsSync(path));
  if (there.length > 0 && options.force !== true) {
    throw new InitRefusedError(
      `${there.join(' and ')} already ${there.length === 1 ? 'exists' : 'exist'}; --force overwrites`,
    );
  }
  const configuration = configurationOf(answers);
  const { text, notes } = await written(configuration, answers, options.discover);
  await mkdir(dirname(resolve(file)), { recursive: true });
  await writeFile(file, text);
  const made = [file];
  if (variables.length > 0) {
    await writeFile(example, environmentOf(variables, file));
    made.push(example);
  }
  if (options.json === true) {
    print(JSON.stringify({ status: 'written', files: made, variables, notes }));
    return;
  }
  for (const line of notes) note(`note: ${line}`);
  print(`Wrote ${made.join(' and ')}.`);
  if (variables.length > 0)
    print(`Set ${variables.join(' and ')} in the environment of commands and workers.`);
  print(`Next:\n  npx highwater check ${file}\n  npx highwater run ${file}`);
}

function withDefaults(options: Options): Answers {
  const strategy = options.strategy ?? 'keyset';
  const baseUrl = options.baseUrl ?? REFERENCE_ORIGIN;
  const path = options.path ?? defaultPath(baseUrl, strategy);
  return {
    baseUrl,
    path,
    strategy,
    name: options.name ?? nameOf(path),
    auth: (options.auth ?? 'none') as AuthType,
    file: options.file ?? 'highwater.yaml',
  };
}

/** The names of the reference API for the strategy; another API's are not known. */
const defaultPath = (baseUrl: string, strategy: string) =>
  baseUrl === REFERENCE_ORIGIN && isReference(strategy) ? REFERENCE_PATHS[strategy] : '';

type Reference = keyof typeof REFERENCE_PATHS;
const isReference = (strategy: string): strategy is Reference => Object.hasOwn(REFERENCE_PATHS, strategy);
const isReferencePath = (path: string) => Object.values<string>(REFERENCE_PATHS).includes(path);

/** `/v1/orders.json?x=1` → orders. */
function nameOf(path: string): string {
  if (isReferencePath(path)) return 'user';
  const word =
    path
      .replace(/[?#].*$/s, '')
      .split('/')
      .filter((part) => part !== '')
      .at(-1) ?? '';
  return word.replace(/\.\w+$/, '').replace(/[^\w-]+/g, '_') || 'records';
}

async function askQuestions(options: Options): Promise<Answers> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  // Ctrl-C and Ctrl-D end it: nothing has been written yet.
  const gone = new AbortController();
  terminal.once('close', () => gone.abort());
  const text = async (what: string, given: string | undefined, otherwise: string): Promise<string> => {
    if (given !== undefined) return given;
    const shown = otherwise === '' ? '' : ` (${otherwise})`;
    const said = (await terminal.question(`${what}${shown}: `, { signal: gone.signal })).trim();
    return said === '' ? otherwise : said;
  };
  const url = async (): Promise<string> => {
    for (;;) {
      const said = await text('Base URL of the API', options.baseUrl, REFERENCE_ORIGIN);
      const wrong = baseUrlSchema.safeParse(said).error?.issues[0]?.message;
      if (wrong === undefined || options.baseUrl !== undefined) return said;
      note(wrong);
    }
  };
  const oneOf = async <T extends string>(
    what: string,
    given: string | undefined,
    words: readonly T[],
    otherwise: T,
  ): Promise<T> => {
    for (;;) {
      const said = await text(`${what}: ${words.join(', ')}`, given, otherwise);
      const word = words.find((one) => one === said);
      if (word !== undefined) return word;
      note(`${JSON.stringify(said)} is not one of them${suggestion(said, words)}`);
    }
  };
  try {
    const baseUrl = await url();
    const strategy = await oneOf('Strategy', options.strategy, STRATEGIES, 'keyset');
    const path = await text('Path of the list to read', options.path, defaultPath(baseUrl, strategy));
    const name = await text('Name of the stream and its table', options.name, nameOf(path));
    const auth = await oneOf<AuthType>('Authentication', options.auth, AUTHS, 'none');
    const file = await text('File', options.file, 'highwater.yaml');
    return { baseUrl, path, strategy, name, auth, file };
  } catch (thrown) {
    if (gone.signal.aborted) throw new InitRefusedError('interrupted; nothing was written');
    throw thrown;
  } finally {
    terminal.close();
  }
}

const VARIABLES: Record<AuthType, readonly string[]> = {
  none: [],
  bearer: ['API_TOKEN'],
  basic: ['API_USER', 'API_PASSWORD'],
  api_key: ['API_KEY'],
};
const variablesOf = (auth: AuthType) => [...VARIABLES[auth]];

const AUTH: Record<AuthType, { [key: string]: Json } | null> = {
  none: null,
  bearer: { type: 'bearer', token: '${env:API_TOKEN}' },
  basic: { type: 'basic', username: '${env:API_USER}', password: '${env:API_PASSWORD}' },
  api_key: { type: 'api_key', name: 'X-Api-Key', value: '${env:API_KEY}', in: 'header' },
};

/** @throws {ConfigurationError} where an answer cannot stand in a configuration. */
function configurationOf({ baseUrl, path, name, strategy, auth, file }: Answers): { [key: string]: Json } {
  const credentials = AUTH[auth];
  const configuration = {
    sync: { name },
    source: { base_url: baseUrl, ...(credentials !== null && { auth: credentials }) },
    destination: `${basename(file).replace(/\.[^.]*$/, '') || 'highwater'}.duckdb`,
    streams: [
      {
        name,
        ...(path !== '' && { path }),
        strategy,
        ...(strategy === 'cursor' && { next: 'link' }),
      },
    ],
  };
  plansFrom(configuration, undefined, true);
  return configuration;
}

/** The file's text: with what a sample shows, else with the reference table's columns, else with some to begin with. */
async function written(
  configuration: { [key: string]: Json },
  answers: Answers,
  asksApi: boolean,
): Promise<{ text: string; notes: string[] }> {
  const { plans } = plansFrom(configuration, undefined, true);
  const [plan] = plans;
  if (plan === undefined) throw new Error('a configuration of no stream');
  const notes: string[] = [];
  if (asksApi) {
    try {
      const found = await discover(plan, SAMPLE, plans, await probedFrom(plan));
      const drafted = draft(configuration, plans, new Map([[plan.stream, found]]));
      if (found.records > 0 && isSound(drafted.configuration)) {
        return { text: commented(drafted.text, answers), notes: drafted.notes };
      }
      notes.push(...drafted.notes);
    } catch (thrown) {
      const why =
        thrown instanceof ConfigurationError
          ? thrown.problems.map(({ path, message }) => `${path} ${message}`).join('; ')
          : (messageOf(thrown).split('\n')[0] ?? '');
      notes.push(`could not read sample records from the API: ${why}`);
    }
  }
  const [stream] = configuration['streams'] as { [key: string]: Json }[];
  const columns: Record<string, string> = isReferencePath(answers.path)
    ? REFERENCE_COLUMNS
    : { id: 'STRING', updated_at: 'UTC_DATETIME' };
  const times = Object.keys(columns).find((name) => /^updated/.test(name)) ?? '';
  const usesTime = ['keyset', 'timestamp', 'replay'].includes(answers.strategy);
  const whole = {
    ...configuration,
    streams: [{ ...stream, ...(usesTime && { cursor_field: times }), primary_key: 'id', columns }],
  };
  if (!isReferencePath(answers.path)) {
    notes.push(
      `columns, primary_key${usesTime ? ' and cursor_field' : ''} are guesses: "highwater discover ${answers.file}" finds them`,
    );
  }
  return { text: commented(new Document(whole).toString({ lineWidth: 110 }), answers), notes };
}

/** Records by which columns are told. */
const SAMPLE = 200;

function isSound(configuration: Json): boolean {
  try {
    plansFrom(configuration);
    return true;
  } catch (thrown) {
    if (!(thrown instanceof ConfigurationError)) throw thrown;
    return false;
  }
}

/** The packaged schema, by which editors complete and check the file. */
const SCHEMA = ownFile('highwater.schema.json');

/** Comments at the keys that a reader will want to change. */
function commented(text: string, { file, auth }: Answers): string {
  const path = relative(dirname(resolve(file)), SCHEMA)
    .split(sep)
    .join('/');
  const lines = text.split('\n').flatMap((line): string[] => {
    const [key = ''] = /^[a-z_]+(?=:)/.exec(line) ?? [];
    const comment = COMMENTS[key];
    const more = key === 'source' && auth === 'api_key' ? [KEY_COMMENT] : [];
    return comment === undefined ? [line] : [`# ${comment}`, ...more, line];
  });
  return [
    `# yaml-language-server: $schema=${path.startsWith('.') ? path : `./${path}`}`,
    `# Written by "highwater init". "highwater check" tests it against the API. All keys: docs/configuration.md in the package.`,
    ...lines,
  ].join('\n');
}

const COMMENTS: Record<string, string> = {
  source:
    'The API. Write credentials as references, ${env:NAME}: the worker reads them from its environment.',
  destination:
    'The DuckDB file; a relative path starts at the folder of the worker. Add "interval: 15m" to keep the sync running.',
  streams:
    'One table per stream. Most APIs need some of these keys: records, next, names, page_size, params.',
};

const KEY_COMMENT =
  '# The header X-Api-Key carries the key: "name" changes the header, "in" may also be query or cookie.';

function environmentOf(variables: readonly string[], file: string): string {
  return [
    `# The variables of ${basename(file)}. Copy this file to .env, fill it in, keep it out of version control, and load it:`,
    '#   set -a; . ./.env; set +a',
    ...variables.map((name) => `${name}=`),
    '',
  ].join('\n');
}

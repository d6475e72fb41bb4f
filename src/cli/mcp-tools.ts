/** The tools of the MCP server: each runs the command of its name in a process of its own, and returns its JSON. */
import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { isAbsolute, relative, resolve } from 'node:path';
import * as z from 'zod';
import { HighwaterError, messageOf } from '../errors.js';
import { ownCode } from '../own-files.js';

/** Rights that the user grants to configurations. */
export interface ToolOptions {
  folder: string;
  trust: 'local' | 'none';
  allowEnv: readonly string[];
  allowHosts: readonly string[];
}

/** The answer of a tool, in the form of the protocol. */
export interface ToolResult {
  [key: string]: unknown;
  content: { type: 'text'; text: string }[];
  structuredContent?: { [key: string]: unknown };
  isError?: boolean;
}

interface Tool<Input extends z.ZodObject> {
  name: string;
  title: string;
  description: string;
  input: Input;
  annotations: {
    readOnlyHint: boolean;
    destructiveHint: boolean;
    idempotentHint: boolean;
    openWorldHint: boolean;
  };
  run: (input: z.infer<Input>, options: ToolOptions, signal: AbortSignal) => Promise<ToolResult>;
}

/** A file is not one that the tools may read. */
class OutsideFolderError extends HighwaterError {
  override readonly name = 'OutsideFolderError';
}

/**
 * Returns the path of a file in a folder, with links followed.
 * @throws {OutsideFolderError} in the same words whether a file outside exists or not.
 */
export function fileInside(folder: string, given: string): string {
  const root = realpathSync(folder);
  const path = resolve(root, given);
  const isInside = (one: string) => {
    const way = relative(root, one);
    return way !== '' && !way.startsWith('..') && !isAbsolute(way);
  };
  if (!isInside(path) || (existsSync(path) && !isInside(realpathSync(path))))
    throw new OutsideFolderError(`the tools read files in ${root} only, not ${given}`);
  if (!existsSync(path)) throw new OutsideFolderError(`there is no file ${given} in ${root}`);
  return path;
}

const CLI = ownCode('cli.js');
const OUTPUT_LIMIT = 4 * 1024 * 1024;
const MESSAGE_LIMIT = 4000;

/** The variables that a command needs by itself; a configuration may refer to no other unless it is allowed. */
const NEEDED =
  /^(?:PATH|HOME|TMPDIR|TEMP|TMP|LANG|LC_.*|TZ|SystemRoot|USERPROFILE|APPDATA|LOCALAPPDATA|NODE_EXTRA_CA_CERTS|SSL_CERT_.*|XDG_.*|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|TEMPORAL_.*|HIGHWATER_.*)$/;

/** Returns the environment of a command that reads a configuration. */
export function environmentFor(
  { trust, allowEnv, allowHosts }: ToolOptions,
  from: NodeJS.ProcessEnv,
): NodeJS.ProcessEnv {
  if (trust === 'local') return from;
  const allowed = new Set(allowEnv.flatMap((names) => names.split(',')).map((name) => name.trim()));
  const kept = Object.entries(from).filter(([name]) => NEEDED.test(name) || allowed.has(name));
  return {
    ...Object.fromEntries(kept),
    HIGHWATER_COMMAND_TRUST: 'none',
    ...(allowed.size > 0 && { HIGHWATER_ALLOW_ENV: [...allowed].join(',') }),
    ...(allowHosts.length > 0 && { HIGHWATER_ALLOW_HOSTS: allowHosts.join(',') }),
  };
}

/** Runs a command that prints JSON. An exit code of its own (1: problems, differences) is no failure of the tool. */
async function runCommand(
  args: string[],
  { folder, environment, signal }: { folder: string; environment: NodeJS.ProcessEnv; signal: AbortSignal },
): Promise<ToolResult> {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: folder,
    env: { ...environment, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let output = '';
  let messages = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (output.length > OUTPUT_LIMIT) child.kill();
  });
  child.stderr
    .setEncoding('utf8')
    .on('data', (text: string) => (messages = (messages + text).slice(-MESSAGE_LIMIT)));
  const code = await new Promise<number | null>((done, failed) =>
    child.once('error', failed).once('close', done),
  );
  if (output.length > OUTPUT_LIMIT)
    return failure('the answer is longer than 4 MB; ask for less, such as with limit');
  const answer = jsonIn(output);
  const said = messages.trim();
  if (answer === null)
    return failure(said === '' ? `the command ended with exit code ${String(code)}` : said);
  const structuredContent = { ...answer, ...(said !== '' && { messages: said.split('\n') }), exitCode: code };
  return { content: [{ type: 'text', text: JSON.stringify(structuredContent, null, 1) }], structuredContent };
}

const failure = (text: string): ToolResult => ({ content: [{ type: 'text', text }], isError: true });

/** Returns the JSON of an output: an object, or lines of objects. */
function jsonIn(output: string): { [key: string]: unknown } | null {
  const text = output.trim();
  if (text === '') return null;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as { [key: string]: unknown };
    return { items: value };
  } catch {
    try {
      return { items: text.split('\n').map((line) => JSON.parse(line) as unknown) };
    } catch {
      return null;
    }
  }
}

const READS = { readOnlyHint: true, destructiveHint: false, idempotentHint: true };
const file = z.string().min(1).max(4096).describe('path of the configuration, in the working folder');
const stream = z.string().min(1).max(500).optional().describe('only this stream');
const id = z
  .string()
  .min(1)
  .max(1000)
  // It must not be taken for an option, nor for a file.
  .regex(/^[^-]/, 'an id does not begin with "-"')
  .describe('workflow id of the sync; ID/STREAM for one of several streams');

const flag = (name: string, value: string | number | undefined): string[] =>
  value === undefined ? [] : [`--${name}=${value}`];

const tool = <Input extends z.ZodObject>(one: Tool<Input>): Tool<Input> => one;

/** A tool that reads a configuration file. */
const ofFile =
  <Input extends { file: string; stream?: string | undefined }>(
    command: string,
    more: (input: Input) => string[] = () => [],
  ) =>
  async (input: Input, options: ToolOptions, signal: AbortSignal): Promise<ToolResult> => {
    let path: string;
    try {
      path = fileInside(options.folder, input.file);
    } catch (thrown) {
      return failure(messageOf(thrown));
    }
    const environment = environmentFor(options, process.env);
    const args = [command, '--json', ...flag('stream', input.stream), ...more(input), '--', path];
    return runCommand(args, { folder: options.folder, environment, signal });
  };

/** A tool that asks about a sync. Refuses file names, which the command would read as a configuration. */
const ofSync =
  <Input extends { id: string }>(command: string, more: (input: Input) => string[] = () => []) =>
  async (input: Input, options: ToolOptions, signal: AbortSignal): Promise<ToolResult> => {
    const { folder } = options;
    // The same answer whether there is such a file or not: files outside of the folder are none of an assistant's.
    if (isPath(input.id)) return failure('give the id of a sync, not a path');
    if (existsSync(resolve(folder, input.id)) || /\.(?:jsonc?|ya?ml)$/i.test(input.id))
      return failure(`give the id of a sync, not a file: ${input.id}`);
    const environment = environmentFor(options, process.env);
    return runCommand([command, '--json', ...more(input), '--', input.id], { folder, environment, signal });
  };

/** Whether a name could lead out of the working folder. */
const isPath = (name: string): boolean => /^(?:[/\\~]|[a-z]:[/\\])|(?:^|[/\\])\.\.?(?:[/\\]|$)/i.test(name);

const auditInput = z.strictObject({
  id,
  stream,
  from: z.string().min(1).max(500).optional().describe('start of the range, inclusive'),
  to: z.string().min(1).max(500).optional().describe('end of the range, inclusive'),
  keys: z.int().min(0).max(1000).optional().describe('most keys to list of each kind of difference'),
});
const limit = (most: number, text: string) => z.int().min(1).max(most).optional().describe(text);
const logsInput = z.strictObject({ id, limit: limit(1000, 'last lines; 50 unless given') });
const previewInput = z.strictObject({ file, stream, limit: limit(100, 'records; 20 unless given') });
const discoverInput = z.strictObject({
  file,
  stream,
  sample: limit(10_000, 'records to read of each stream; 200 unless given'),
});

export const TOOLS = [
  tool({
    ...{ name: 'check', title: 'Check a configuration', input: z.strictObject({ file, stream }) },
    description:
      'Checks a configuration against its live source: credentials, keys, order, page size, range boundary. Writes nothing.',
    annotations: { ...READS, openWorldHint: true },
    run: ofFile('check'),
  }),
  tool({
    ...{ name: 'preview', title: 'Preview records', input: previewInput },
    description: 'Returns the first records of a stream, and each request. Writes nothing.',
    annotations: { ...READS, openWorldHint: true },
    run: ofFile<z.infer<typeof previewInput>>('preview', (input) => flag('limit', input.limit)),
  }),
  tool({
    ...{ name: 'discover', title: 'Discover columns and keys', input: discoverInput },
    description:
      'Reads a few pages of each stream and returns the configuration with columns, primary key and cursor field. Writes nothing.',
    annotations: { ...READS, openWorldHint: true },
    run: ofFile<z.infer<typeof discoverInput>>('discover', (input) => flag('sample', input.sample)),
  }),
  tool({
    ...{ name: 'status', title: 'Status of a sync', input: z.strictObject({ id }) },
    description:
      'Returns the state of a sync: progress, cursor, waits, problems, the last passes, or how it ended.',
    annotations: { ...READS, openWorldHint: false },
    run: ofSync('status'),
  }),
  tool({
    ...{ name: 'logs', title: 'Events of a sync', input: logsInput },
    description: 'Returns the last events of a sync in order: batches, waits, failures, commands.',
    annotations: { ...READS, openWorldHint: false },
    run: ofSync<z.infer<typeof logsInput>>('logs', (input) => flag('limit', input.limit)),
  }),
  tool({
    ...{ name: 'audit', title: 'Audit a table', input: auditInput },
    description:
      'Compares the table of a sync with its source and returns the differences. Starts a workflow that reads the source again; repairs nothing.',
    annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: true },
    run: ofSync<z.infer<typeof auditInput>>('audit', (input) => [
      ...flag('stream', input.stream),
      ...flag('from', input.from),
      ...flag('to', input.to),
      ...flag('keys', input.keys),
    ]),
  }),
] as unknown as readonly Tool<z.ZodObject>[];

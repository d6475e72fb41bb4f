/**
 * Runs the examples of the documentation. A fence with the info string `console` holds commands, each after `$ `, and
 * their output. See "Examples in the documentation" in CONTRIBUTING.md.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { DemoServer } from '../../src/dev/demo-api.js';
import { freePorts } from '../../src/dev/ports.js';
import { CLI } from './harness.js';
import { envWithoutTemporal } from './temporal.js';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** A command of an example. */
export interface Step {
  /** Line of the page, from 1. */
  line: number;
  /** The command; several lines where a line ends with `\`, or with a here-document. */
  command: string;
  /** The output that the page shows, without empty lines at its ends. */
  output: string;
  /** Whether it runs until the page's end: it ends with `&`, or its fence is `console background`. */
  isBackground: boolean;
}

/** The examples of one page, in its order. */
export interface Page {
  /** Path from the repository's root. */
  file: string;
  steps: Step[];
}

/** Returns README.md and the pages in docs, with their text. */
export function documents(): { file: string; text: string }[] {
  const pages = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  return ['README.md', ...pages.map((name) => `docs/${name}`)].map((file) => ({
    file,
    text: readFileSync(join(ROOT, file), 'utf8'),
  }));
}

/** Matches a fence, or a comment `<!-- console … -->`: commands that run and are not shown. */
const FENCE = /^( *)(?:```console( background)?\n([\s\S]*?)^ *```$|<!-- console\n([\s\S]*?)-->$)/gm;

/**
 * Returns the commands of a page.
 * @throws {Error} if a fence holds something before its first command.
 */
export function parsePage(file: string, text: string): Page {
  const steps: Step[] = [];
  for (const match of text.matchAll(FENCE)) {
    const [, indent = '', background, shown, hidden] = match;
    const lines = (shown ?? hidden ?? '').split('\n').map((line) => withoutIndent(line, indent.length));
    const first = text.slice(0, match.index).split('\n').length + 1;
    let step: Step | null = null;
    lines.forEach((line, i) => {
      if (line.startsWith('$ ')) {
        step = {
          line: first + i,
          command: line.slice(2),
          output: '',
          isBackground: background !== undefined,
        };
        steps.push(step);
      } else if (step?.output === '' && goesOn(step.command)) {
        step.command += `\n${line}`;
      } else if (step !== null) {
        step.output += `${line}\n`;
      } else if (line.trim() !== '') {
        throw new Error(`${file}:${first + i}: the example begins with output; a command begins with "$ "`);
      }
    });
  }
  for (const step of steps) {
    step.output = step.output.replace(/^\n+|\s+$/g, '');
    if (/[^&]&$/.test(step.command)) {
      step.command = step.command.slice(0, -1).trimEnd();
      step.isBackground = true;
    }
  }
  return { file, steps };
}

/** Whether the next line still belongs to a command: after `\`, or in a here-document. */
function goesOn(command: string): boolean {
  const [, end] = /<<-?\s*['"]?(\w+)/.exec(command.split('\n')[0] ?? '') ?? [];
  return end === undefined ? command.endsWith('\\') : command.split('\n').at(-1)?.trim() !== end;
}

const withoutIndent = (line: string, indent: number): string =>
  line.replace(new RegExp(`^ {0,${indent}}`), '');

/** Texts that differ from run to run: the one in an example stands for any of the same kind. */
const VARYING: [RegExp, string][] = [
  // The sample API's records are of 2026-01-01: their times are compared as they are.
  [
    /(?!2026-01-0[12])\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?/,
    String.raw`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?`,
  ],
  [/\b\d\d:\d\d:\d\d(?:\.\d+)?Z?/, String.raw`\d\d:\d\d:\d\d(?:\.\d+)?Z?`],
  // Ids of runs, batches and workflows: hexadecimal, with at least one digit.
  [/\b(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b/, '[0-9a-f]{8,}(?:-[0-9a-f]{4,})*'],
  // Ids of checkpoints: twelve characters.
  [/(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Z])(?=[\w-]*[a-z])[\w-]{12}(?![\w-])/, String.raw`[\w-]{12}`],
  [/\bprocess \d+/, String.raw`process \d+`],
  [/"pid":\s?\d+/, String.raw`"pid":\s?\d+`],
  [/\b[\d,.]+(?= (?:records|rows|requests)\/s)/, String.raw`[\d,.]+`],
  [
    /\b\d+(?:\.\d+)? ?(?:ms|s|min)\b|\b\d+(?:\.\d+)? ?[mhd]\b(?= ago)/,
    String.raw`\d+(?:\.\d+)? ?(?:ms|s|min|m|h|d)(?: \d+ ?(?:s|min|m|h)\b)*`,
  ],
  // The widths of columns follow from the widths of what varies.
  [/─+/, '─+'],
  [/(?<=\S) {2,}(?=\S)/, ' {2,}'],
  [/…/, '.*'],
];

const VARYING_ANYWHERE = new RegExp(VARYING.map(([pattern]) => `(${pattern.source})`).join('|'), 'g');

/** Returns the pattern that a shown line stands for. */
function linePattern(shown: string): RegExp {
  let source = '';
  let end = 0;
  for (const match of shown.matchAll(VARYING_ANYWHERE)) {
    const kind = match.slice(1).findIndex((group) => group !== undefined);
    source += literal(shown.slice(end, match.index)) + (VARYING[kind]?.[1] ?? '');
    end = match.index + match[0].length;
  }
  return new RegExp(`^${source}${literal(shown.slice(end))}$`);
}

const literal = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`);

/** Lines without their colours, trailing spaces, and the empty lines at the ends. */
const linesOf = (text: string): string[] =>
  text
    // oxlint-disable-next-line no-control-regex
    .replace(/\u001b\[[0-9;]*m/g, '')
    .split(/\r?\n/)
    .map((line) => line.trimEnd())
    .join('\n')
    .replace(/^\n+|\n+$/g, '')
    .split('\n');

/** Folders of readers, in examples; a run has another. */
const HOME = /\/home\/(?:you|me)(?=\/|\b)/g;

/**
 * Compares an output with the one that a page shows. `…` in the shown output stands for any text of a line, a line of
 * nothing else for any lines; times, ids, durations and the widths of columns may differ.
 * @returns the first shown line that the output lacks, or `null` if they agree.
 */
export function difference(shown: string, printed: string): string | null {
  const expected = linesOf(shown.replace(HOME, '/home/you'));
  const actual = linesOf(printed);
  const patterns = expected.map((line) => (line.trim() === '…' ? null : linePattern(line)));
  // Places of the output that the lines so far may end at: several after a line that stands for any lines.
  let places = new Set([0]);
  for (const [i, pattern] of patterns.entries()) {
    const next = new Set<number>();
    for (const place of places) {
      if (pattern === null) for (let at = place; at <= actual.length; at++) next.add(at);
      else if (place < actual.length && pattern.test(actual[place] ?? '')) next.add(place + 1);
    }
    if (next.size === 0) {
      const at = Math.min(...places);
      return `line ${i + 1} of the shown output, ${quoted(expected[i])}, is printed as ${quoted(actual[at])}`;
    }
    places = next;
  }
  if (places.has(actual.length)) return null;
  return `the shown output ends before ${quoted(actual[Math.max(...places)])}`;
}

const quoted = (line: string | undefined): string => (line === undefined ? 'nothing' : JSON.stringify(line));

/** Commands that only read: one that shows something else is repeated, since a sync may need a moment. */
const READS =
  /^(?:npx )?highwater (?:status|list|logs|query|rejects(?! --retry)|state get|schedule list|doctor)\b|^temporal workflow (?:query|list|count|describe|show)\b|^curl (?!.*(?:-X|-d|--data))/;
const READ_WITHIN_MS = 20_000;
const COMMAND_WITHIN_MS = 60_000;

/** The Temporal server that the examples use. */
export interface Server {
  address: string;
  uiUrl: string;
  /** Path of the Temporal CLI. */
  cli: string;
}

/**
 * Runs the examples of a page in an empty folder, in a namespace of its own.
 * @throws {Error} with the page's line, the command and its output, where an example is wrong.
 */
export async function runPage(page: Page, server: Server): Promise<void> {
  const home = await realpath(await mkdtemp(join(tmpdir(), 'highwater-page-')));
  const folder = join(home, 'work');
  const background: Background[] = [];
  let api: DemoServer | null = null;
  try {
    const [port = 0] = await freePorts([0]);
    const namespace = `page-${page.file.replace(/\W+/g, '-').toLowerCase()}-${port}`;
    await Promise.all([prepare(home, server), addNamespace(server.address, namespace)]);
    // A page without the command that starts the sample API takes it to be up already.
    if (!page.steps.some(({ command }) => startsApi(command))) {
      api = new DemoServer({ rows: 200 });
      await api.listen(port);
    }
    const shell: Shell = { home, folder, port, namespace, server, written: new Set() };
    for (const step of page.steps) {
      const problem = await runStep(step, shell, background);
      if (problem === null) continue;
      throw new Error(`${page.file}:${step.line}: $ ${step.command}\n${problem}`);
    }
  } finally {
    await Promise.all(background.map((one) => one.end()));
    await api?.close();
    await rm(home, { recursive: true, force: true });
  }
}

const startsApi = (command: string): boolean => /highwater demo\b.*--api/.test(command);

/** Everything that a command of a page runs with. */
interface Shell {
  home: string;
  folder: string;
  /** Port of the sample API, for 5001. */
  port: number;
  namespace: string;
  server: Server;
  /** Files that `cat` has written. */
  written: Set<string>;
}

/** Makes the folder of a page, and beside it the programs that its commands name. */
async function prepare(home: string, { cli }: Server): Promise<void> {
  const bin = join(home, 'bin');
  await Promise.all([mkdir(join(home, 'work')), mkdir(bin), mkdir(join(home, 'node_modules'))]);
  // Programs of the examples import the package by its name.
  await symlink(ROOT, join(home, 'node_modules', 'highwater'), 'dir');
  const highwater = `"${process.execPath}" "${CLI}"`;
  const programs: Record<string, string> = {
    highwater: `exec ${highwater} "$@"`,
    npx: `[ "$1" = highwater ] || { echo "examples run npx highwater only" >&2; exit 127; }\nshift\nexec ${highwater} "$@"`,
    temporal: `exec "${cli}" "$@"`,
  };
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(bin, name), 0o755);
  }
  await writeFile(join(home, 'environment'), '');
}

export async function addNamespace(address: string, namespace: string): Promise<void> {
  const connection = await Connection.connect({ address });
  try {
    await connection.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: { seconds: 86_400 as never },
    });
    // The server's frontend learns of it a little later.
    for (const deadline = Date.now() + 15_000; ; await delay(50)) {
      try {
        await connection.workflowService.listOpenWorkflowExecutions({ namespace, maximumPageSize: 1 });
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
    }
  } finally {
    await connection.close();
  }
}

/** @returns what is wrong, or `null`. */
async function runStep(step: Step, shell: Shell, background: Background[]): Promise<string | null> {
  const file = /^cat ([\w.-]+(?:\/[\w.-]+)*)$/.exec(step.command)?.[1];
  const path = join(shell.folder, file ?? '');
  // The page's reader writes the file; one that a command has written is compared.
  if (file !== undefined && step.output !== '' && (shell.written.has(file) || !existsSync(path))) {
    shell.written.add(file);
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, `${asRun(step.output, shell)}\n`);
    return null;
  }
  if (step.isBackground) {
    const started = new Background(step, shell);
    background.push(started);
    return started.ready();
  }
  for (const deadline = Date.now() + READ_WITHIN_MS; ; await delay(200)) {
    const ended = await execute(step.command, shell);
    const wrong = wrongIn(step, ended);
    if (wrong === null) return null;
    if (!READS.test(step.command) || Date.now() > deadline) return `${wrong}\n\nIt printed:\n${ended.output}`;
  }
}

/** How a command has ended. */
interface Ended {
  status: number | string;
  /** Standard output and standard error, as a terminal shows them. */
  output: string;
  /** Standard output alone. */
  answer: string;
}

function wrongIn(step: Step, { status, output, answer }: Ended): string | null {
  if (step.output === '') return status === 0 ? null : `it ended with ${status}`;
  const wrong = difference(step.output, output);
  // A page may leave out the remarks that commands write to standard error.
  return wrong === null || (status === 0 && difference(step.output, answer) === null) ? null : wrong;
}

/** Runs a command to its end. */
async function execute(command: string, shell: Shell): Promise<Ended> {
  const child = launch(command, shell);
  let output = '';
  let answer = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    answer += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output += text));
  const overdue = setTimeout(() => {
    output += `\n(stopped: it had not ended after ${COMMAND_WITHIN_MS / 1000} s)`;
    signalGroup(child, 'SIGKILL');
  }, COMMAND_WITHIN_MS);
  const [status, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearTimeout(overdue);
  return {
    status: status ?? signal ?? 1,
    output: asShown(output, shell),
    answer: asShown(answer, shell),
  };
}

/** Starts a command in the page's folder, with the variables that earlier commands exported. */
function launch(command: string, shell: Shell): ChildProcess {
  const { home, folder, server, namespace } = shell;
  const script = `. "$HIGHWATER_EXAMPLE_ENVIRONMENT"\n${asRun(command, shell)}\nended=$?\nexport -p | grep -v ' _=' > "$HIGHWATER_EXAMPLE_ENVIRONMENT"\nexit $ended`;
  return spawn('sh', ['-c', script], {
    cwd: folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: envWithoutTemporal({
      PATH: `${join(home, 'bin')}:${process.env['PATH'] ?? ''}`,
      HIGHWATER_HOME: join(home, '.highwater'),
      HIGHWATER_EXAMPLE_ENVIRONMENT: join(home, 'environment'),
      TEMPORAL_ADDRESS: server.address,
      TEMPORAL_UI_URL: server.uiUrl,
      TEMPORAL_NAMESPACE: namespace,
    }),
  });
}

/** A text of the page as it is run: with the ports of this run. */
function asRun(text: string, { port }: Shell): string {
  const mapped = text.replaceAll('127.0.0.1:5001', `127.0.0.1:${port}`);
  if (startsApi(mapped) && !mapped.includes('--port'))
    return mapped.replace(/highwater demo\b/, `highwater demo --port ${port}`);
  // Its default is the sample API's usual port.
  if (/highwater init\b(?!.*(http|--base-url|--from))/.test(mapped))
    return mapped.replace(/highwater init\b/, `highwater init http://127.0.0.1:${port}/pagination/keyset`);
  return mapped;
}

/** Returns the output of a command as the page shows it. */
function asShown(text: string, { home, folder, port, namespace, server }: Shell): string {
  return text
    .replaceAll(folder, '/home/you')
    .replaceAll(home, '/home/you')
    .replaceAll(`127.0.0.1:${port}`, '127.0.0.1:5001')
    .replaceAll(server.uiUrl, 'http://127.0.0.1:8233')
    .replaceAll(server.address, '127.0.0.1:7233')
    .replaceAll(namespace, 'default');
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // It has ended.
  }
}

/** A command that runs until the page's end. */
class Background {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #output = '';
  #hasEnded = false;

  constructor(
    private readonly step: Step,
    private readonly shell: Shell,
  ) {
    this.#child = launch(step.command, shell);
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => (this.#output += text));
    this.#closed = once(this.#child, 'close').then(() => (this.#hasEnded = true));
  }

  /**
   * Waits until it has printed the shown output, or, where the page shows none, a first line; a worker until it is ready.
   * @returns what is wrong, or `null`.
   */
  async ready(): Promise<string | null> {
    const isWorker = /highwater (?:worker|dev)\b/.test(this.step.command);
    for (const deadline = Date.now() + 30_000; ; await delay(25)) {
      const output = asShown(this.#output, this.shell);
      const isReady =
        this.step.output !== ''
          ? difference(`${this.step.output}\n…`, output) === null
          : isWorker
            ? output.includes('Worker ready')
            : output.includes('\n');
      if (isReady) return null;
      if (this.#hasEnded || Date.now() > deadline) {
        const wrong = this.step.output === '' ? null : difference(`${this.step.output}\n…`, output);
        return `${this.#hasEnded ? 'it has ended' : 'it was not ready within 30 s'}${wrong === null ? '' : `: ${wrong}`}\n\nIt printed:\n${output}`;
      }
    }
  }

  async end(): Promise<void> {
    signalGroup(this.#child, 'SIGTERM');
    const overdue = setTimeout(() => signalGroup(this.#child, 'SIGKILL'), 5000);
    await this.#closed;
    clearTimeout(overdue);
  }
}

/** Configurations that are written as a program: its default export is the configuration. */
import { createRequire } from 'node:module';
import { basename, extname, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ConfigurationError, messageOf, NotAllowedError, type Position, type Problem } from '../errors.js';
import type { Json } from '../protocol.js';
import { lineOfSyntaxError } from '../syntax-error.js';
import { kindOf, shapeProblem } from './problems.js';

const TYPESCRIPT = ['.ts', '.mts'];
const PROGRAMS = ['.mjs', '.js', ...TYPESCRIPT];

/** Whether a name is that of a program, which is run to get its configuration. */
export const isProgram = (file: string): boolean => PROGRAMS.includes(extname(file).toLowerCase());

const isTypeScript = (file: string): boolean => TYPESCRIPT.includes(extname(file).toLowerCase());

/**
 * Runs a program, and returns its default export as plain JSON. Only for a file that the user of this process has named:
 * the program has all rights of the process.
 * @throws {ConfigurationError} if the program cannot be run, or exports something else.
 * @throws {NotAllowedError} if the process reads files of somebody whom its user does not trust.
 */
export async function runProgram(file: string, environment: NodeJS.ProcessEnv = process.env): Promise<Json> {
  if (environment['HIGHWATER_COMMAND_TRUST'] === 'none') {
    throw new NotAllowedError(
      `${file} is a program, and this command runs no programs, because HIGHWATER_COMMAND_TRUST is "none". ` +
        'Write the configuration as YAML or JSON: "highwater config FILE" prints that of a program you trust.',
    );
  }
  const refuse = (problem: Problem) => new ConfigurationError([problem], file);
  const module = await load(resolve(file)).catch((thrown: unknown) => {
    throw refuse(loadProblem(thrown, file));
  });
  const exported = defaultOf(module);
  if (exported === undefined) {
    const message = 'has no default export; write "export default defineSync({ … })"';
    throw refuse({ path: '', message });
  }
  const problem = shapeProblem(exported);
  if (problem !== null) throw refuse(problem);
  const problems: Problem[] = [];
  const plain = asJson(exported, '', problems);
  if (problems.length > 0) throw new ConfigurationError(problems, file);
  return plain;
}

/** A module of CommonJS that a compiler made of ECMAScript has its own `default` in that of the module. */
function defaultOf(module: { default?: unknown }): unknown {
  const { default: exported } = module;
  const isCompiled = typeof exported === 'object' && exported !== null && '__esModule' in exported;
  return isCompiled ? (exported as { default?: unknown }).default : exported;
}

type Module = { default?: unknown };

/** By tsx where the project of the file has it, else by Node itself. */
async function load(path: string): Promise<Module> {
  const url = pathToFileURL(path).href;
  const tsx = isTypeScript(path) ? tsxFor(path) : null;
  if (tsx === null) return (await import(/* @vite-ignore */ url)) as Module;
  const { tsImport } = (await import(/* @vite-ignore */ pathToFileURL(tsx).href)) as {
    tsImport: (specifier: string, parent: string) => Promise<Module>;
  };
  return tsImport(url, url);
}

/** Returns the path of the API of tsx; null if the project has none. */
function tsxFor(path: string): string | null {
  try {
    // What `require` finds fails on Node 20; its sibling is the module for `import`.
    return createRequire(path)
      .resolve('tsx/esm/api')
      .replace(/\.cjs$/, '.mjs');
  } catch {
    return null;
  }
}

const INSTALL_TSX = 'install tsx in this folder (npm install --save-dev tsx)';

/** Says why a program did not run, and what to do. */
function loadProblem(thrown: unknown, file: string): Problem {
  const said = messageOf(thrown);
  const advice = adviceFor(thrown, said, file);
  if (advice !== null) return { path: '', message: advice };
  const name = thrown instanceof Error ? `${thrown.name}: ` : '';
  const position = positionIn(thrown, file);
  const message = `cannot be run: ${name}${said}`;
  return { path: '', message, ...(position !== null && { position }) };
}

/** Returns what to do about an error of Node's own; null for any other. */
function adviceFor(thrown: unknown, said: string, file: string): string | null {
  const { code } = thrown as NodeJS.ErrnoException;
  const node = `Node ${process.versions.node}`;
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION' && isTypeScript(file)) {
    const plain = `${basename(file, extname(file))}.mjs`;
    return `is TypeScript, which ${node} does not run. Use Node 22.18 or later, or ${INSTALL_TSX}, or write it as JavaScript, ${plain}`;
  }
  if (code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX')
    return `uses TypeScript that ${node} does not run, such as an enum: ${said}. Write it without, or ${INSTALL_TSX}`;
  if (code === 'ERR_MODULE_NOT_FOUND' && said.includes("package 'highwater'"))
    return 'imports "highwater", which is not installed where the file is: run "npm install highwater" there, or export the configuration without defineSync()';
  if (thrown instanceof SyntaxError && /outside a module|Unexpected token 'export'/.test(said))
    return 'is read as CommonJS: name it .mjs, or write "type": "module" in the package.json of its folder';
  return null;
}

/** The place in the file that a stack names first. */
function positionIn(thrown: unknown, file: string): Position | null {
  const stack = thrown instanceof Error ? (thrown.stack ?? '') : '';
  const path = resolve(file);
  for (const [, place = '', line, column] of stack.matchAll(
    /((?:file:\/\/)?\/[^\s():?]+)[^\s():]*:(\d+)(?::(\d+))?/g,
  )) {
    const found = place.startsWith('file:') ? fileURLToPath(place) : place;
    if (found === path) return { line: Number(line), column: Number(column ?? 1) };
  }
  const line = thrown instanceof SyntaxError ? lineOfSyntaxError(path) : null;
  return line === null ? null : { line, column: 1 };
}

/** Copies a value that JSON can express; members without a value are left out, as `JSON.stringify` does. */
function asJson(value: unknown, path: string, problems: Problem[]): Json {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (Array.isArray(value)) return value.map((item: unknown, i) => asJson(item, `${path}[${i}]`, problems));
  if (isPlainObject(value)) {
    const members = Object.entries(value).filter(([, inner]) => inner !== undefined);
    const at = (name: string) => (path === '' ? name : `${path}.${name}`);
    return Object.fromEntries(members.map(([name, inner]) => [name, asJson(inner, at(name), problems)]));
  }
  problems.push({
    path: path.slice(0, 100),
    message: `${unfit(value)}; a configuration holds what JSON can hold`,
  });
  return null;
}

const isPlainObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' &&
  value !== null &&
  // A module of another realm has another Object.
  (Object.getPrototypeOf(value) === null || Object.getPrototypeOf(Object.getPrototypeOf(value)) === null);

function unfit(value: unknown): string {
  if (typeof value === 'bigint') return `is a bigint: write the text "${value}"`;
  if (typeof value === 'number') return `is ${value}`;
  if (value instanceof Promise) return 'is a promise: write "await" before it';
  if (value instanceof Date) return 'is a Date: write its text, such as by toISOString()';
  if (typeof value === 'object' && value !== null)
    return `is an object of the class ${value.constructor.name}`;
  return `is ${kindOf(value)}`;
}

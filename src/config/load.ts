import { readFile, stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { parse as parseJsonc, parseTree, printParseErrorCode, visit, type ParseError } from 'jsonc-parser';
import { LineCounter, parseDocument } from 'yaml';
import { ConfigurationError, messageOf, PROBLEMS_SHOWN, type Position, type Problem } from '../errors.js';
import type { Json } from '../protocol.js';
import { shapeProblem } from './problems.js';
import { isProgram, runProgram } from './program.js';
import { jsonPositions, lineStarts, type Locate, position, yamlPositions } from './positions.js';
import type { Configuration } from './types.js';

/** A configuration is small; more than this is some other file. */
const SIZE_LIMIT = 1024 * 1024;
/** The YAML parser takes a time that grows with the square of the nesting: half a minute for a megabyte of brackets. */
const YAML_SIZE_LIMIT = 128 * 1024;

/** A configuration file that was read: its content as plain JSON, not yet checked, and where in it things stand. */
export class ConfigurationFile {
  constructor(
    /** As it was given. */
    readonly name: string,
    readonly content: Json,
    private readonly locate: Locate,
  ) {}

  /**
   * Checks the content.
   * @throws {ConfigurationError} that `check` throws, each problem with its line and column.
   */
  checked<T>(check: (content: Json, file: string) => T): T {
    try {
      return check(this.content, this.name);
    } catch (thrown) {
      if (!(thrown instanceof ConfigurationError)) throw thrown;
      const problems = thrown.problems.map((problem, i) =>
        i < PROBLEMS_SHOWN ? this.located(problem) : problem,
      );
      throw new ConfigurationError(problems, this.name);
    }
  }

  private located(problem: Problem): Problem {
    const found = problem.position ?? this.locate(problem.path);
    return found === null ? problem : { ...problem, position: found };
  }
}

/**
 * Reads a configuration file: JSON, JSON with comments and trailing commas, or YAML (`.yaml`, `.yml`); or runs a program
 * (`.ts`, `.mts`, `.mjs`, `.js`) whose default export is the configuration.
 * @throws {ConfigurationError} that names file, line and column.
 * @throws {NotAllowedError} for a program where HIGHWATER_COMMAND_TRUST is `none`.
 */
export async function openConfiguration(file: string): Promise<ConfigurationFile> {
  if (isProgram(file)) return openProgram(file);
  const bytes = await readFile(file).catch((thrown: unknown) => {
    throw new ConfigurationError([{ path: '', message: unreadable(thrown) }], file);
  });
  const yaml = ['.yaml', '.yml'].includes(extname(file).toLowerCase());
  const limit = yaml ? YAML_SIZE_LIMIT : SIZE_LIMIT;
  if (bytes.length > limit) {
    throw new ConfigurationError([{ path: '', message: `is larger than ${limit} bytes` }], file);
  }
  const text = bytes.toString('utf8').replace(/^\uFEFF/, '');
  try {
    const { value, locate } = yaml ? fromYaml(text, file) : fromJsonc(text, file);
    const read = new ConfigurationFile(file, value, locate);
    read.checked((content) => {
      const problem = shapeProblem(content);
      if (problem !== null) throw new ConfigurationError([problem]);
    });
    return read;
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
    throw new ConfigurationError([{ path: '', message: 'is nested too deeply' }], file);
  }
}

/** The places of its values are not known: its problems are named by their paths. */
async function openProgram(file: string): Promise<ConfigurationFile> {
  const refuse = (message: string) => new ConfigurationError([{ path: '', message }], file);
  const found = await stat(file).catch((thrown: unknown) => {
    throw refuse(unreadable(thrown));
  });
  if (!found.isFile()) throw refuse('is a folder');
  return new ConfigurationFile(file, await runProgram(file), () => null);
}

/**
 * Reads a configuration file: JSON, JSON with comments, or YAML; or runs a program whose default export is the configuration.
 * Keys and values are not checked yet; `HighwaterClient.start` does that.
 * @throws {ConfigurationError} if the file cannot be read, parsed or run; it names file, line and column.
 */
export async function loadConfiguration(file: string): Promise<Configuration> {
  return asConfiguration((await openConfiguration(file)).content);
}

/** Takes plain JSON, such as the content of a file, to be a configuration. It is not checked here. */
export const asConfiguration = (content: Json): Configuration => content as unknown as Configuration;

interface Parsed {
  value: Json;
  locate: Locate;
}

function fromJsonc(text: string, file: string): Parsed {
  const errors: ParseError[] = [];
  const value = parseJsonc(text, errors, { allowTrailingComma: true }) as Json | undefined;
  const first = errors[0];
  if (first !== undefined || value === undefined) {
    const message =
      first === undefined ? 'is empty' : `is not valid JSON: ${printParseErrorCode(first.error)}`;
    throw misread(file, message, position(lineStarts(text), first?.offset ?? 0));
  }
  refuseSwallowed(text, file);
  let found: Locate | null = null;
  // The tree is made where something is wrong, and only there.
  const locate: Locate = (path) =>
    (found ??= jsonPositions(text, parseTree(text, [], { allowTrailingComma: true })))(path);
  return { value, locate };
}

const misread = (file: string, message: string, at: Position) =>
  new ConfigurationError([{ path: '', message, position: at }], file);

/** The parser would make it the object's prototype, and it would be gone. */
function refuseSwallowed(text: string, file: string): void {
  visit(text, {
    onObjectProperty: (name, _offset, _length, line, column) => {
      if (name !== '__proto__') return;
      const message = '"__proto__" is not allowed as a name';
      throw misread(file, message, { line: line + 1, column: column + 1 });
    },
  });
}

function fromYaml(text: string, file: string): Parsed {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, merge: true });
  const problems = document.errors.map(({ message, linePos }): Problem => {
    const problem = { path: '', message: `is not valid YAML: ${message.split('\n')[0] ?? ''}` };
    return linePos === undefined
      ? problem
      : { ...problem, position: { line: linePos[0].line, column: linePos[0].col } };
  });
  if (problems.length > 0) throw new ConfigurationError(problems, file);
  try {
    const value = document.toJS({ maxAliasCount: 100 }) as Json;
    return { value, locate: yamlPositions(document, lines) };
  } catch (thrown) {
    throw new ConfigurationError([{ path: '', message: `is not valid YAML: ${messageOf(thrown)}` }], file);
  }
}

function unreadable(thrown: unknown): string {
  const { code } = thrown as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'the file does not exist';
  return code === 'EISDIR' ? 'is a folder' : `cannot be read: ${messageOf(thrown)}`;
}

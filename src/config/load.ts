import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { parse as parseJsonc, printParseErrorCode, visit, type ParseError } from 'jsonc-parser';
import { parseDocument } from 'yaml';
import { ConfigurationError, messageOf } from '../errors.js';
import type { Json } from '../protocol.js';
import { shapeProblem } from './flat.js';

/** A configuration is small; more than this is some other file. */
const SIZE_LIMIT = 1024 * 1024;
/** The YAML parser takes a time that grows with the square of the nesting: half a minute for a megabyte of brackets. */
const YAML_SIZE_LIMIT = 128 * 1024;

/**
 * Reads a configuration file: JSON, JSON with comments and trailing commas, or YAML (`.yaml`, `.yml`).
 * @returns its content as plain JSON, not yet checked.
 * @throws {ConfigurationError} that names file, line and column.
 */
export async function loadConfiguration(file: string): Promise<Json> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (thrown) {
    throw new ConfigurationError([{ path: '', message: `cannot be read: ${messageOf(thrown)}` }], file);
  }
  const yaml = ['.yaml', '.yml'].includes(extname(file).toLowerCase());
  const limit = yaml ? YAML_SIZE_LIMIT : SIZE_LIMIT;
  if (bytes.length > limit) {
    throw new ConfigurationError([{ path: '', message: `is larger than ${limit} bytes` }], file);
  }
  const text = bytes.toString('utf8').replace(/^\uFEFF/, '');
  let value: Json;
  try {
    value = yaml ? fromYaml(text, file) : fromJsonc(text, file);
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
    throw new ConfigurationError([{ path: '', message: 'is nested too deeply' }], file);
  }
  const problem = shapeProblem(value);
  if (problem !== null) throw new ConfigurationError([problem], file);
  return value;
}

function fromJsonc(text: string, file: string): Json {
  const errors: ParseError[] = [];
  const value = parseJsonc(text, errors, { allowTrailingComma: true }) as Json | undefined;
  const first = errors[0];
  if (first !== undefined || value === undefined) {
    const offset = first?.offset ?? 0;
    const before = text.slice(0, offset).split('\n');
    const message =
      first === undefined ? 'is empty' : `is not valid JSON: ${printParseErrorCode(first.error)}`;
    throw new ConfigurationError(
      [{ path: `line ${before.length}, column ${(before.at(-1) ?? '').length + 1}`, message }],
      file,
    );
  }
  refuseSwallowed(text, file);
  return value;
}

/** The parser would make it the object's prototype, and it would be gone. */
function refuseSwallowed(text: string, file: string): void {
  visit(text, {
    onObjectProperty: (name, _offset, _length, line, column) => {
      if (name !== '__proto__') return;
      const message = '"__proto__" is a name that cannot be used here';
      throw new ConfigurationError([{ path: `line ${line + 1}, column ${column + 1}`, message }], file);
    },
  });
}

function fromYaml(text: string, file: string): Json {
  const document = parseDocument(text);
  const problems = document.errors.map((error) => ({
    path: `line ${error.linePos?.[0].line ?? '?'}, column ${error.linePos?.[0].col ?? '?'}`,
    message: `is not valid YAML: ${error.message.split('\n')[0] ?? ''}`,
  }));
  if (problems.length > 0) throw new ConfigurationError(problems, file);
  try {
    return document.toJS({ maxAliasCount: 100 }) as Json;
  } catch (thrown) {
    throw new ConfigurationError([{ path: '', message: `is not valid YAML: ${messageOf(thrown)}` }], file);
  }
}

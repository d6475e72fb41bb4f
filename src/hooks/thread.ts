/** The code of a hook's thread: loads the hook, and makes rows of the records that it is sent. */
import module from 'node:module';
import { basename } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { lineOfSyntaxError } from '../syntax-error.js';
import { NotJsonError, readExact, writeExact, type ExactRecord } from './exact-json.js';
import type { Transform, TransformContext, TransformResult } from './index.js';
import {
  failureText,
  Progress,
  type Answer,
  type Batch,
  type HookFailure,
  type Outcome,
  type ThreadData,
} from './messages.js';

const { path, library, progress: buffer } = workerData as ThreadData;
const progress = new Progress(buffer);
const answer = (said: Answer) => parentPort?.postMessage(said);

/** Lets hooks import `highwater/hooks` from any folder. */
function resolveLibrary(): void {
  const { registerHooks } = module as unknown as {
    registerHooks?: (hooks: {
      resolve: (specifier: string, context: unknown, next: (s: string, c: unknown) => unknown) => unknown;
    }) => void;
  };
  if (registerHooks !== undefined) {
    registerHooks({
      resolve: (specifier, context, next) =>
        next(specifier === 'highwater/hooks' ? library : specifier, context),
    });
    return;
  }
  const source = `let library;
    export const initialize = (data) => void (library = data);
    export const resolve = (specifier, context, next) =>
      next(specifier === 'highwater/hooks' ? library : specifier, context);`;
  module.register(`data:text/javascript,${encodeURIComponent(source)}`, {
    data: library,
    parentURL: library,
  });
}

async function load(): Promise<Transform> {
  resolveLibrary();
  const loaded = (await import(pathToFileURL(path).href)) as { default?: unknown };
  if (typeof loaded.default === 'function') return loaded.default as Transform;
  throw new Error('has no default export that is a function: export default defineTransform((record) => …)');
}

/** Says what was thrown, and on which line of the hook. */
function failureOf(thrown: unknown): HookFailure {
  if (thrown instanceof NotJsonError) return { failure: thrown.message, place: null };
  if (!(thrown instanceof Error))
    return { failure: `threw ${typeof thrown === 'string' ? thrown : typeof thrown}`, place: null };
  const name = thrown.name === 'Error' ? '' : `${thrown.name}: `;
  return { failure: `${name}${thrown.message}`, place: placeIn(thrown.stack ?? '') ?? syntaxPlace(thrown) };
}

/** The place of a SyntaxError in the hook itself, as `tidy.mjs:3`. */
function syntaxPlace(thrown: Error): string | null {
  const line = thrown instanceof SyntaxError ? lineOfSyntaxError(path) : null;
  return line === null ? null : `${basename(path)}:${line}`;
}

/** The first place in a stack that is not part of this package or of Node, as `tidy.mjs:3:14`. */
function placeIn(stack: string): string | null {
  const own = new URL('.', import.meta.url).href;
  for (const [, url = '', place = ''] of stack.matchAll(/(file:\/\/\S+?):(\d+(?::\d+)?)\b/g)) {
    if (url.startsWith(own)) continue;
    return `${basename(fileURLToPath(url.replace(/\?.*/, '')))}:${place}`;
  }
  return null;
}

const isRecord = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Writes the rows of a result. @throws {NotJsonError} */
function rowsOf(result: unknown, record: ExactRecord): string[] {
  if (result === null) return [];
  const rows: unknown[] = Array.isArray(result) ? result : [result];
  return rows.map((row, i) => {
    if (isRecord(row)) return writeExact(row, record);
    const where = Array.isArray(result) ? `item ${i} of its result` : 'its result';
    const kind = row === null ? 'null' : Array.isArray(row) ? 'a list' : nameOfType(row);
    throw new NotJsonError(`${where} is ${kind}; a transform returns a record, a list of records, or null`);
  });
}

const nameOfType = (value: unknown) => (value === undefined ? 'undefined' : `a ${typeof value}`);

async function outcomesOf(transform: Transform, { records, stream, parent }: Batch): Promise<Outcome[]> {
  const context: TransformContext = Object.freeze({
    stream,
    parent: parent === null ? null : Object.freeze(parent),
  });
  const outcomes: Outcome[] = [];
  for (const [place, text] of records.entries()) {
    progress.begin(place);
    try {
      const record = readExact(text);
      let result: TransformResult | Promise<TransformResult> = transform(record.value as never, context);
      // Awaiting each result of a plain function would cost more than most transforms.
      if (result instanceof Promise) result = await result;
      outcomes.push(rowsOf(result, record));
    } catch (thrown) {
      outcomes.push(failureOf(thrown));
    }
  }
  return outcomes;
}

try {
  const transform = await load();
  parentPort?.on('message', (batch: Batch) => {
    void outcomesOf(transform, batch).then((outcomes) => answer({ outcomes }));
  });
  answer({ loaded: true });
} catch (thrown) {
  answer({ unloadable: failureText(failureOf(thrown)) });
}

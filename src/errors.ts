import type { FailureType } from './failures.js';
import type { Holder, Json, TooManyDeletes } from './protocol.js';

/** An error for its reader: what happened, where, and what to do. */
export abstract class HighwaterError extends Error {
  abstract override readonly name: string;
  /** The facts of the message, for programs. */
  readonly details?: Json;
}

/** An error of a running sync; `failures.ts` says what follows from each. */
export abstract class SyncError extends HighwaterError {
  abstract override readonly name: FailureType;
}

/** A place in a file, both counted from 1. */
export interface Position {
  line: number;
  column: number;
}

/** One thing wrong with a configuration. */
export interface Problem {
  path: string;
  message: string;
  /** Its position, if the configuration came from a file. */
  position?: Position;
}

/** A longer list does not help, and would not fit where errors are kept. */
export const PROBLEMS_SHOWN = 50;

/** The configuration cannot be used; lists every problem at once. */
export class ConfigurationError extends SyncError {
  override readonly name = 'ConfigurationError';
  constructor(
    readonly problems: Problem[],
    readonly file?: string,
  ) {
    const where = file === undefined ? 'the configuration' : file;
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    super(
      `${where} has ${count}:\n` +
        problems
          .slice(0, PROBLEMS_SHOWN)
          .map((problem) => `  ${shown(problem, file)}`)
          .join('\n') +
        (problems.length > PROBLEMS_SHOWN ? `\n  … and ${problems.length - PROBLEMS_SHOWN} more` : ''),
    );
  }
}

/** `file:line:column  path: message`, as far as these are known. */
function shown({ path, message, position }: Problem, file: string | undefined): string {
  const what = path === '' ? '(top level)' : path;
  if (position === undefined) return `${what}: ${message}`;
  const where = `${file ?? ''}:${position.line}:${position.column}`;
  return path === '' ? `${where}  ${message}` : `${where}  ${what}: ${message}`;
}

/** Says which list of the worker's owner would allow something, or which variable. */
export type AllowedBy =
  | {
      /** The option without its dashes. */
      list: 'allow-env' | 'allow-files' | 'allow-secrets' | 'allow-destinations' | 'allow-hosts';
      /** The entry that the list would need. */
      entry: string;
      /** The list as it is, where a new one takes its place. */
      now?: string;
    }
  | { variable: string };

/** A configuration refers to something that the worker's owner has not allowed. */
export class NotAllowedError extends SyncError {
  /** Tells it from others where only an error's code and message are kept. */
  static readonly CODE = 'HIGHWATER_NOT_ALLOWED';
  override readonly name = 'NotAllowedError';
  readonly code = NotAllowedError.CODE;

  /** @param text all that it says. */
  constructor(text: string) {
    super(text);
  }

  static of(what: string, by: AllowedBy): NotAllowedError {
    return new NotAllowedError(
      `configurations on this worker may not use ${what}. ${advice(by)} (docs/security.md).`,
    );
  }
}

function advice(by: AllowedBy): string {
  if ('variable' in by) return `The worker's owner can change that: ${by.variable} names the folder of hooks`;
  const { list, entry, now } = by;
  const variable = `HIGHWATER_${list.toUpperCase().replace('-', '_')}`;
  const option = `--${list} ${now === undefined ? entry : `${now},${entry}`}`;
  return `The worker's owner can allow it with ${option}, or with ${variable}`;
}

/** The strategy or the destination of a stream comes from an extension that this worker does not have. */
export class ExtensionMissingError extends SyncError {
  override readonly name = 'ExtensionMissingError';
}

/** The source refused a request (4xx) or answered what cannot be used whatever one does. */
export class SourceRefusedError extends SyncError {
  override readonly name = 'SourceRefusedError';
  constructor(
    readonly request: string,
    message: string,
    readonly status: number | null = null,
    readonly body: string = '',
    method = 'GET',
  ) {
    super(`${message}\n  request: ${method} ${request}`);
  }
}

/** The source did not answer, or answered 5xx: worth trying again. */
export class SourceUnavailableError extends SyncError {
  override readonly name = 'SourceUnavailableError';
  constructor(
    readonly request: string,
    message: string,
    method = 'GET',
  ) {
    super(`${message}\n  request: ${method} ${request}`);
  }
}

/** A provider of secrets did not answer, or not now: worth trying again. */
export class SecretUnavailableError extends SyncError {
  override readonly name = 'SecretUnavailableError';
}

/** The source answered something that is not a page of records. A few tries, in case it was a hiccup. */
export class MalformedAnswerError extends SyncError {
  override readonly name = 'MalformedAnswerError';
  constructor(request: string, message: string, method = 'GET') {
    super(`${message}\n  request: ${method} ${request}`);
  }
}

/**
 * The source insists on an answer that contradicts itself: the page was asked for several times, and the pass was begun
 * again. The message has both statements.
 */
export class ContradictingAnswerError extends SyncError {
  override readonly name = 'ContradictingAnswerError';
  constructor(request: string, message: string, method = 'GET') {
    super(
      `${message}. Highwater requested the page several times; no rows were deleted. If the records are right, the configured ` +
        `"total", "total_pages" or "more" counts something else: remove it\n  request: ${method} ${request}`,
    );
  }
}

const WOULD: Record<TooManyDeletes['how'], [verb: string, rest: string]> = {
  removed: ['remove', ''],
  marked: ['mark', ' as deleted'],
  ended: ['end the current versions of', ''],
};

/** The end of a pass would remove more rows than `max_deletes` allows; nothing of its last batch was written. */
export class TooManyDeletesError extends SyncError {
  override readonly name = 'TooManyDeletesError';
  constructor(
    override readonly details: TooManyDeletes,
    /** The origin of the limit, for the message. */
    limit: string,
  ) {
    const { table, how, deletes, rows, allowed } = details;
    const [verb, rest] = WOULD[how];
    const many = (n: number) => n.toLocaleString('en-US');
    super(
      `this pass would ${verb} ${many(deletes)} of the ${many(rows)} ${rows === 1 ? 'row' : 'rows'} of table ${table}${rest}: ` +
        `its source no longer has them. At most ${many(allowed)} may go without approval (${limit}). ` +
        'Nothing was removed, and the last batch of the pass is not committed.',
    );
  }
}

/** A record that cannot be stored. */
export class RecordError extends SyncError {
  override readonly name = 'RecordError';
}

/** Another checkpoint is stored than the one this batch was fetched from; nothing was written. */
export class CheckpointConflictError extends SyncError {
  override readonly name = 'CheckpointConflictError';
  /** Whether the sync that was refused holds the stream itself; its worker finds out. */
  declare details?: { ours: boolean };
  constructor(
    readonly stream: string,
    readonly base: string,
    readonly stored: string | null,
    readonly holder: Holder | null,
  ) {
    super(
      `the destination refused a stale batch: ${stream} is at checkpoint ${stored ?? '(none)'}, but the batch was fetched ` +
        `from ${base}. ${holder === null ? 'No workflow holds the stream' : `The workflow "${holder.workflowId}" holds the stream`}. Nothing was written.`,
    );
  }
}

/** A range cannot be read beside the sync, or not this one; nothing was written. */
export class RangeRefusedError extends SyncError {
  override readonly name = 'RangeRefusedError';
}

/** Another running workflow holds the stream. */
export class StreamHeldError extends SyncError {
  override readonly name = 'StreamHeldError';
  constructor(
    stream: string,
    readonly holder: string,
    /** The address of its Temporal server, where that is another one. */
    elsewhere: string | null = null,
  ) {
    super(
      `the running workflow "${holder}"${elsewhere === null ? '' : ` of another Temporal server, ${elsewhere},`} writes ${stream}. Wait until it ends, cancel it, or take the ` +
        `stream from it with --take-over.`,
    );
  }
}

/** A stream cannot be moved there; it stays where it is. */
export class MoveRefusedError extends SyncError {
  override readonly name = 'MoveRefusedError';
}

/** A configuration is one of another sync than the one that runs; that goes on as it is. */
export class ChangeRefusedError extends SyncError {
  override readonly name = 'ChangeRefusedError';
  constructor(readonly problems: string[]) {
    super(
      `a running sync cannot become another sync:\n  ${problems.join('\n  ')}\n` +
        'Stop the running sync, and start the other.',
    );
  }
}

/** A staged batch is missing, cut short or altered; it is fetched again. */
export class BatchLostError extends SyncError {
  override readonly name = 'BatchLostError';
}

/** The code of a hook has changed since the stream was opened; opening it again notices. */
export class HookChangedError extends SyncError {
  override readonly name = 'HookChangedError';
}

/** The input of a workflow or an activity is invalid; none of it is used. */
export class InputRefusedError extends SyncError {
  override readonly name = 'InputRefusedError';
  /** @param problems the path to each and what was expected there. */
  constructor(
    what: string,
    readonly problems: readonly string[],
  ) {
    super(`${what} is invalid:\n  ${problems.join('\n  ')}`);
  }
}

/** Another program has the destination file open for writing. */
export class DestinationBusyError extends SyncError {
  override readonly name = 'DestinationBusyError';
}

/** The destination cannot be used as it is. */
export class DestinationError extends SyncError {
  override readonly name = 'DestinationError';
}

/** A disk is full. Once there is room the sync goes on by itself. */
export class StorageFullError extends SyncError {
  override readonly name = 'StorageFullError';
  constructor(where: string, said: string) {
    super(
      `there is no space left for ${where}: ${said}. Free some space; the sync then continues by itself.`,
    );
  }
}

/** Whether a thrown error says that a disk, or a user's share of it, is full. */
export const isStorageFull = (thrown: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((thrown as NodeJS.ErrnoException | null)?.code ?? '') ||
  /no space left on device|disk quota exceeded|not enough space on the disk/i.test(messageOf(thrown));

/** The destination is not on this machine, or is owned by another worker by now. */
export class DestinationElsewhereError extends SyncError {
  override readonly name = 'DestinationElsewhereError';
}

/** The database that a sync has written is gone, or another one stands in its place. A sync that goes on waits for it. */
export class DestinationGoneError extends SyncError {
  override readonly name = 'DestinationGoneError';
  constructor(what: string) {
    super(
      `${what}. Nothing was written. Restore it, and the sync continues by itself; or run "highwater resume" to start over ` +
        'with what is there now.',
    );
  }
}

/** A table is gone although its checkpoint stands; opening the stream again begins it anew. */
export class TableGoneError extends SyncError {
  override readonly name = 'TableGoneError';
  constructor({ schema, table }: { schema: string; table: string }) {
    super(`table ${schema}.${table} is gone, but its checkpoint is still there`);
  }
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

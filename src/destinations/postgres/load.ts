/**
 * Loads the files of a batch into PostgreSQL: as rows that the worker has typed; and where one does not fit, as lines of a
 * temporary table, which PostgreSQL's JSON functions convert.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { messageOf, type RecordError } from '../../errors.js';
import { faultPoint } from '../../faults.js';
import { PARENT, type Json, type TableSpec } from '../../protocol.js';
import { memberTexts } from '../../request/paths.js';
import { batchColumns, cannotHold, columnIn, doesNotFit, somethingMisfits } from '../checkpoints.js';
import { counts, type Batch, type LoadRequest, type Loader, type SortedLines } from '../sql/dialect.js';
import { keepMisfits } from '../sql/rejects.js';
import { identifier, joined, literal, numeral, sql, type Sql } from '../sql/sql.js';
import { fromText, recordType } from './columns.js';
import type { Habits } from './habits.js';
import { sendLines } from './lines.js';
import { loadTyped } from './load-typed.js';
import type { SegmentMemory } from './segments.js';
import type { PostgresSession } from './session.js';
import { UnencodableError } from './wire.js';

/** State that loaders share, from one batch to the next. */
export interface LoaderState {
  memory: SegmentMemory;
  habits: Habits;
}

/** Loads batches in a PostgreSQL transaction; its temporary tables end with the transaction. */
export class PostgresLoader implements Loader {
  /** @param state null: PostgreSQL types all values. */
  constructor(
    private readonly session: PostgresSession,
    private readonly state: LoaderState | null,
  ) {}

  /** Loads a batch that the worker has typed; if anything in it does not fit, as lines, which shows what it is. */
  readonly load = async <T>(request: LoadRequest, write: (batch: Batch) => Promise<T>): Promise<T> => {
    const { session, state } = this;
    const files = await request.files();
    // PostgreSQL replaces the number of a child row's record by the key that it has stored.
    if (state === null || request.roots !== undefined) return this.loadFiles(request, files, true, write);
    const { memory, habits } = state;
    await session.run(sql`SAVEPOINT encoded`);
    try {
      const batch = await loadTyped(session, request, files, { memory, habits: habits.of(request.table) });
      const written = await write(batch);
      faultPoint('transaction.half');
      return written;
    } catch (thrown) {
      if (!(thrown instanceof UnencodableError) && !isDataError(thrown)) throw thrown;
      await session.run(sql`ROLLBACK TO SAVEPOINT encoded`);
      return this.loadFiles(request, files, true, write);
    }
  };

  /**
   * Loads files into a temporary table.
   * @param isAsStaged whether lines may have members without a column.
   */
  private async loadFiles<T>(
    request: LoadRequest,
    files: readonly string[],
    isAsStaged: boolean,
    write: (batch: Batch) => Promise<T>,
  ): Promise<T> {
    const { session } = this;
    const { table, isReadOnce } = request;
    try {
      await session.run(sql`SAVEPOINT loaded`);
      const lines = await this.copyLines(sql`json`, files);
      return await write(
        await this.makeBatch(table, sql`SELECT place, line FROM ${lines}`, request, isReadOnce),
      );
    } catch (thrown) {
      if (!isDataError(thrown)) throw thrown;
      await session.run(sql`ROLLBACK TO SAVEPOINT loaded`);
      if (isAsStaged && (thrown as { code?: string }).code === UNTRANSLATABLE) {
        // The unreadable text may be in members that are not stored.
        return await withColumnsOnly(table, files, (stored) => this.loadFiles(request, stored, false, write));
      }
      if (table.quarantine !== true) throw await this.findMisfit(table, files, messageOf(thrown));
      try {
        const lines = await this.sortFiles(table, files);
        if (request.dropsMisfits !== true) await keepMisfits(session, request, lines);
        return await write(await this.loadFitting(table, lines, request));
      } catch (again) {
        // A constraint that is not Highwater's: no single record breaks it.
        if (!isDataError(again)) throw again;
        await session.run(sql`ROLLBACK TO SAVEPOINT loaded`);
        throw await this.findMisfit(table, files, messageOf(again));
      }
    } finally {
      faultPoint('transaction.half');
    }
  }

  /**
   * Makes a batch from lines.
   * @param lines a query for `place` and `line`.
   */
  private async makeBatch(
    table: TableSpec,
    lines: Sql,
    { keeps, roots }: Pick<LoadRequest, 'keeps' | 'roots'>,
    isReadOnce: boolean,
  ): Promise<Batch> {
    const columns = batchColumns(table);
    const keys = joined(table.primaryKey.map((name) => columnIn(columns, name)));
    const own = sql`(${typedLines(table, lines)}) AS b`;
    const typed = roots === undefined ? own : sql`(${withKeysOfRoots(columns, own, roots)}) AS b`;
    const query =
      keeps === 'all'
        ? sql`SELECT * FROM ${typed}`
        : sql`SELECT DISTINCT ON (${keys}) place, ${joined([...columns.values()])} FROM ${typed} ORDER BY ${keys}, place DESC`;
    // Converted on the way into the table.
    if (isReadOnce) return { name: sql`(${query})`, columns };
    const name = this.newName('batch');
    await this.session.run(sql`CREATE TEMP TABLE ${name} ON COMMIT DROP AS ${query}`);
    return { name: sql`pg_temp.${name}`, columns };
  }

  readonly readMembers = async (files: readonly string[], members: readonly string[]): Promise<Sql> => {
    const lines = await this.copyLines(sql`json`, files);
    const texts = members.map((name) => sql`line ->> ${literal(name)} AS ${identifier(name)}`);
    return sql`(SELECT place, ${joined(texts)} FROM ${lines} ORDER BY place)`;
  };

  readonly sortLines = (table: TableSpec, files: readonly string[]): Promise<SortedLines> =>
    withColumnsOnly(table, files, (stored) => this.sortFiles(table, stored));

  readonly loadFitting = (
    table: TableSpec,
    { name }: SortedLines,
    request: Pick<LoadRequest, 'keeps' | 'roots'>,
  ): Promise<Batch> => this.makeBatch(table, fittingLines(name), request, false);

  private async sortFiles(table: TableSpec, files: readonly string[]): Promise<SortedLines> {
    const { session } = this;
    const texts = await this.copyLines(sql`text`, files);
    const trials = Object.entries(table.columns).map(([name, type]) => {
      const column = identifier(name);
      const cannot = literal(`column ${JSON.stringify(name)} cannot hold `);
      return `
      BEGIN
        PERFORM ${fromText(sql`r.${column}`, type)} FROM json_to_record(line::json) AS r(${column} ${recordType(type)});
      EXCEPTION WHEN data_exception OR feature_not_supported OR program_limit_exceeded THEN
        RETURN ${cannot} || left((line::json -> ${literal(name)})::text, 200) || ${literal(` as ${type}`)};
      END;`;
    });
    // Checks the whole record first, because PostgreSQL unescapes all of it, whichever column is read.
    const whole = `
      BEGIN
        PERFORM r.x FROM json_to_record(line::json) AS r(x text);
      EXCEPTION WHEN data_exception THEN
        RETURN ${literal(`it ${HOLDS_NO_TEXT}`)};
      END;`;
    const body = literal(`BEGIN ${whole} ${trials.join('')} RETURN NULL; END`);
    // A temporary function: it exists in this session only, and is dropped with the transaction.
    await session.run(
      sql`CREATE FUNCTION pg_temp._highwater_misfit(line text) RETURNS text LANGUAGE plpgsql AS ${body}`,
    );
    const made = this.newName('sorted');
    await session.run(
      sql`CREATE TEMP TABLE ${made} ON COMMIT DROP AS SELECT place, line, pg_temp._highwater_misfit(line) AS reason FROM ${texts}`,
    );
    await session.run(sql`DROP FUNCTION pg_temp._highwater_misfit(text)`);
    const name = sql`pg_temp.${made}`;
    const odd = await session.rows(
      sql`SELECT place, line FROM ${name} WHERE reason = ${literal(`it ${HOLDS_NO_TEXT}`)}`,
    );
    if (odd.length > 0) {
      const reasons = odd.map(
        ([place, line]) =>
          sql`(${numeral(Number(place))}, ${literal(`${whereNoText(line ?? '', table)} ${HOLDS_NO_TEXT}`)})`,
      );
      await session.run(
        sql`UPDATE ${name} AS s SET reason = n.reason FROM (VALUES ${joined(reasons)}) AS n (place, reason) WHERE s.place = n.place`,
      );
    }
    return { name, fitting: typedLines(table, fittingLines(name)) };
  }

  /** Copies the lines of files into a temporary table, in order. @returns its name. */
  private async copyLines(type: Sql, files: readonly string[]): Promise<Sql> {
    const name = this.newName('lines');
    await this.session.run(
      sql`CREATE TEMP TABLE ${name} (place bigint GENERATED ALWAYS AS IDENTITY, line ${type}) ON COMMIT DROP`,
    );
    await sendLines(this.session, sql`pg_temp.${name}`, type, files);
    return sql`pg_temp.${name}`;
  }

  private readonly newName = (what: string): Sql => identifier(`_${what}_${this.session.nextNumber()}`);

  /** Finds the record that does not fit, for the error message, by bisection; only after a batch has failed. */
  private async findMisfit(table: TableSpec, files: readonly string[], said: string): Promise<RecordError> {
    const { session } = this;
    const unknown = somethingMisfits(table, said);
    let texts: Sql;
    try {
      texts = await this.copyLines(sql`text`, files);
    } catch (thrown) {
      // The database is not UTF-8.
      if (isDataError(thrown)) return unknown;
      throw thrown;
    }
    const fits = async (spec: TableSpec, first: number, last: number) => {
      await session.run(sql`SAVEPOINT trial`);
      try {
        const columns = [...batchColumns(spec).values()].map((name) => sql`count(${name})`);
        const lines = sql`SELECT place, line::json AS line FROM ${texts} WHERE place BETWEEN ${numeral(first)} AND ${numeral(last)}`;
        await session.run(sql`SELECT ${joined(columns)} FROM (${typedLines(spec, lines)}) AS r`);
        return true;
      } catch (thrown) {
        if (!isDataError(thrown)) throw thrown;
        return false;
      } finally {
        await session.run(sql`ROLLBACK TO SAVEPOINT trial`);
      }
    };
    let [first, last] = [1, (await counts(session, sql`SELECT count(*) FROM ${texts}`))[0] ?? 0];
    if (await fits(table, first, last)) return unknown;
    while (first < last) {
      const middle = Math.floor((first + last) / 2);
      if (await fits(table, first, middle)) first = middle + 1;
      else last = middle;
    }
    const [[line = ''] = []] = await session.rows(
      sql`SELECT line FROM ${texts} WHERE place = ${numeral(first)}`,
    );
    const text = (name: string) => {
      const json = memberTexts(line ?? '', new Map([[name, [name]]])).get(name) ?? 'null';
      return json.startsWith('"') ? (JSON.parse(json) as string) : json.replace(/\s+/g, '');
    };
    const key = table.primaryKey.map(text).join(', ');
    if (!(await fits({ ...table, columns: { [randomUUID()]: 'STRING' } }, first, first))) {
      // PostgreSQL unescapes the whole record, so the failing column has to be found from its text.
      return doesNotFit(key, `${whereNoText(line ?? '', table)} ${HOLDS_NO_TEXT}.`);
    }
    for (const [name, type] of Object.entries(table.columns)) {
      if (await fits({ ...table, columns: { [name]: type } }, first, first)) continue;
      return doesNotFit(key, cannotHold(name, text(name), type));
    }
    return unknown;
  }
}

/** Returns a query for the typed columns of lines. @param lines a query for `place` and `line`. */
function typedLines(table: TableSpec, lines: Sql): Sql {
  const columns = Object.entries(table.columns);
  const record = joined(columns.map(([name, type]) => sql`${identifier(name)} ${recordType(type)}`));
  const typed = columns.map(
    ([name, type], i) => sql`${fromText(sql`r.${identifier(name)}`, type)} AS c${numeral(i)}`,
  );
  return sql`SELECT l.place, ${joined(typed)} FROM (${lines}) AS l, json_to_record(l.line) AS r(${record})`;
}

/** Replaces the numbers of records by their keys, and drops rows of other records; see {@link LoadRequest.roots}. */
function withKeysOfRoots(columns: ReadonlyMap<string, Sql>, lines: Sql, roots: Sql): Sql {
  const selected = [...columns].map(([name, column]) =>
    name === PARENT ? sql`r.parent AS ${column}` : sql`b.${column}`,
  );
  return sql`SELECT b.place, ${joined(selected)} FROM ${lines} JOIN ${roots} AS r ON r.record = b.${columnIn(columns, PARENT)}`;
}

const fittingLines = (sorted: Sql): Sql =>
  sql`SELECT place, line::json AS line FROM ${sorted} WHERE reason IS NULL`;

/** Error code for text with NUL, which PostgreSQL cannot store. */
const UNTRANSLATABLE = '22P05';

/** Passes on files with the same lines; in lines with NUL, only the members that have a column. */
async function withColumnsOnly<T>(
  table: TableSpec,
  files: readonly string[],
  work: (files: string[]) => Promise<T>,
): Promise<T> {
  const paths = new Map(Object.keys(table.columns).map((name) => [name, [name]]));
  const made: string[] = [];
  try {
    for (const file of files) {
      const path = `${file}.columns`;
      made.push(path);
      const lines = createInterface({ input: createReadStream(file), crlfDelay: Infinity });
      const kept = async function* () {
        for await (const line of lines) {
          const members = line.includes('\\u0000') ? memberTexts(line, paths) : null;
          const texts = members && [...members].map(([name, text]) => `${JSON.stringify(name)}:${text}`);
          yield texts === null ? `${line}\n` : `{${texts.join(',')}}\n`;
        }
      };
      await pipeline(kept, createWriteStream(path, { mode: 0o600 }));
    }
    return await work(made);
  } finally {
    await Promise.all(made.map((file) => rm(file, { force: true })));
  }
}

const HOLDS_NO_TEXT =
  'contains a character that PostgreSQL cannot store, such as NUL or half of a surrogate pair';

/** Names the column of a record whose text PostgreSQL cannot store. */
function whereNoText(line: string, { columns }: TableSpec): string {
  const record = JSON.parse(line) as { [name: string]: Json };
  const name = Object.keys(columns).find(
    (one) => Object.hasOwn(record, one) && hasNoText(record[one] ?? null),
  );
  return name === undefined ? 'one of its members' : `column ${JSON.stringify(name)}`;
}

function hasNoText(value: Json): boolean {
  if (typeof value === 'string') return /\0|\p{Surrogate}/u.test(value);
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(hasNoText);
  return Object.entries(value).some(([name, inner]) => hasNoText(name) || hasNoText(inner));
}

/** Data exceptions, NaN in integers, constraints that are not Highwater's, and texts too long for an index. */
export const isDataError = (thrown: unknown): boolean =>
  /^(22|23|54|0A)/.test((thrown as { code?: string }).code ?? '');

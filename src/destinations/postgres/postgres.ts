import { tmpdir } from 'node:os';
import type { Pool, PoolClient, QueryConfig } from 'pg';
import {
  DestinationBusyError,
  DestinationError,
  DestinationGoneError,
  HighwaterError,
  messageOf,
  StorageFullError,
  TableGoneError,
} from '../../errors.js';
import type { StreamKey } from '../../protocol.js';
import type { OpenRequest, WriteOutcome, WriteRequest } from '../destination.js';
import { commitBatch } from '../sql/commit.js';
import { findGone } from '../sql/drift.js';
import { SqlDestination } from '../sql/sql-destination.js';
import { checkpointOf, checkpointsIn, checkpointQuery } from '../sql/stored-checkpoints.js';
import { numeral, sql, type Sql } from '../sql/sql.js';
import { postgresDialect } from './dialect.js';
import { Habits } from './habits.js';
import { PostgresLoader, type LoaderState } from './load.js';
import { SegmentMemory } from './segments.js';
import { PostgresSession } from './session.js';

/** Time after which a server that has not begun a transaction counts as unreachable. */
const ANSWER_MILLISECONDS = 10_000;

export interface PostgresLimits {
  lockSeconds: number;
  /** Limit of a statement on a batch; statements on a whole table have as long as an activity. */
  statementSeconds: number;
  /** Idle time in a transaction after which the worker counts as frozen and its locks are released. */
  idleSeconds: number;
}

export const POSTGRES_LIMITS: PostgresLimits = { lockSeconds: 30, statementSeconds: 600, idleSeconds: 45 };

/**
 * Writes to PostgreSQL: sends typed rows into a temporary table, then writes those that are new or changed, in the checkpoint's
 * transaction. No session state outlives a transaction, so a connection pooler works.
 */
export class PostgresDestination extends SqlDestination<PostgresSession> {
  constructor(
    private pool: Pool,
    /** The server's name in messages, without the password. */
    private readonly address: string,
    private readonly limits: PostgresLimits = POSTGRES_LIMITS,
    /** Hides secrets in the server's messages. */
    private mask: (text: string) => string = (text) => text,
    /** Called when the server refuses these credentials; returns whether others may be available. */
    private readonly forgetCredentials: () => boolean = () => false,
  ) {
    super();
  }

  protected override readonly dialect = postgresDialect;
  protected override readonly folder = tmpdir();
  /** Absent state makes PostgreSQL type all values; see {@link PostgresLoader}. */
  protected readonly state: LoaderState | null = { memory: new SegmentMemory(), habits: new Habits() };

  protected override read<T>(work: (session: PostgresSession) => Promise<T>): Promise<T> {
    return this.transaction(work);
  }

  protected override loaderOf(session: PostgresSession): PostgresLoader {
    return new PostgresLoader(session, this.state);
  }

  protected override addressOf(schema: string): string {
    return `schema ${schema} of ${this.address}`;
  }

  protected override prepareStream(request: OpenRequest, asked: Set<string>): Promise<StreamKey[]> {
    return super.prepareStream(request, asked).catch((thrown: unknown) => {
      throw request.expects === undefined ? thrown : this.orGone(thrown);
    });
  }

  /** Switches to new connections; current ones are closed when their work is done. */
  reconnect(pool: Pool, mask: (text: string) => string): void {
    const before = this.pool;
    this.pool = pool;
    this.mask = mask;
    void before.end();
  }

  /** Does nothing: a pooler keeps a connection only for one transaction. */
  override prepare(): void {}

  override async close(): Promise<void> {
    await this.pool.end();
  }

  override async write(request: WriteRequest): Promise<WriteOutcome> {
    try {
      await this.upgradeTables(request.key);
      return await this.commit(request);
    } catch (thrown) {
      const { code = '' } = thrown as { code?: string };
      if (UNDEFINED.includes(code)) await this.refuseIfGone(request);
      throw this.orGone(thrown);
    }
  }

  /** @throws {DestinationGoneError | TableGoneError} if the schema or the table is gone. */
  private refuseIfGone({ key, table, children }: WriteRequest): Promise<void> {
    return this.transaction(async (session) => {
      for (const name of ['checkpoints', 'differences'] as const) {
        if (await session.dialect.hasOwnTable(session, key.schema, name)) continue;
        throw new DestinationGoneError(
          `the data that the sync has written to ${this.addressOf(key.schema)} is gone`,
        );
      }
      const gone = await findGone(
        session,
        table,
        children?.tables.map((child) => child.table),
      );
      if (gone !== null) throw new TableGoneError(gone);
    });
  }

  private commit(request: WriteRequest): Promise<WriteOutcome> {
    const { key } = request;
    return this.transaction(async (session) => {
      const { dialect } = session;
      // The sync writes before or after a range, never at the same time.
      if (request.range !== undefined) await dialect.lockTable(session, key);
      // The row lock makes concurrent writers of a stream wait.
      const rows = await session.rows(sql`${checkpointQuery(dialect, key)} ${dialect.forUpdate}`);
      const stored = checkpointOf(checkpointsIn(rows, key), key);
      return commitBatch(session, request, stored, this.loaderOf(session));
    });
  }

  private orGone(thrown: unknown): unknown {
    return isDatabaseGone(thrown)
      ? new DestinationGoneError(`the database of ${this.address} is gone`)
      : thrown;
  }

  /** Runs all work of Highwater on a connection that is released after the transaction. */
  protected override async transaction<T>(work: (session: PostgresSession) => Promise<T>): Promise<T> {
    let client: PoolClient;
    try {
      client = await this.pool.connect();
    } catch (thrown) {
      throw this.explainError(thrown);
    }
    let broken: Error | undefined;
    const onError = (error: Error) => (broken = error);
    // Without a listener a broken connection would end the process.
    client.on('error', onError);
    try {
      const begin: QueryConfig & { text: Sql; query_timeout: number } = {
        query_timeout: ANSWER_MILLISECONDS,
        text: sql`BEGIN; SET LOCAL lock_timeout = ${numeral(this.limits.lockSeconds * 1000)};
         SET LOCAL statement_timeout = ${numeral(this.limits.statementSeconds * 1000)};
         SET LOCAL idle_in_transaction_session_timeout = ${numeral(this.limits.idleSeconds * 1000)}; SET LOCAL TimeZone = 'UTC';
         SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL client_min_messages = 'warning'; SET LOCAL standard_conforming_strings = on`,
      };
      await client.query(begin).catch((thrown: unknown) => {
        // A later statement would wait behind this one.
        broken = thrown as Error;
        throw thrown;
      });
      const result = await work(new PostgresSession(client));
      await client.query('COMMIT');
      return result;
    } catch (thrown) {
      if (broken === undefined)
        await client.query('ROLLBACK').catch((failed: unknown) => (broken = failed as Error));
      throw this.explainError(thrown);
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  private explainError(thrown: unknown): unknown {
    if (thrown instanceof HighwaterError) return thrown;
    const { code = '' } = thrown as { code?: string };
    const said = this.mask(messageOf(thrown));
    if (code === '53100') return new StorageFullError(`the destination ${this.address}`, said);
    const mayPass =
      /^(08|53|57P0|40|25P03)/.test(code) ||
      ['55P03', '25006', '57014'].includes(code) ||
      /^E[A-Z]+$/.test(code) ||
      /connection (terminated|ended|error|timeout)|terminating connection|timeout exceeded|read timeout/i.test(
        said,
      );
    if (mayPass)
      return new DestinationBusyError(`the destination ${this.address} is unreachable or busy: ${said}`);
    if (code.startsWith('28') && this.forgetCredentials())
      return new DestinationBusyError(
        `the destination ${this.address} refused the connection: ${said}. Its secrets are read again`,
      );
    // Wrong password, missing database, missing rights, or an untrusted certificate.
    if (/^(28|3D|42501)|CERT|SIGNATURE/.test(code))
      return new DestinationError(`the destination ${this.address} refused the connection: ${said}`, {
        cause: thrown,
      });
    if (thrown instanceof Error) {
      thrown.message = said;
      thrown.stack = this.mask(thrown.stack ?? '');
    }
    return thrown;
  }
}

/** Whether the server reports that the database does not exist. */
const isDatabaseGone = (thrown: unknown): boolean =>
  thrown instanceof DestinationError && (thrown.cause as { code?: string } | undefined)?.code === '3D000';

/** Undefined table, undefined schema. */
const UNDEFINED = ['42P01', '3F000'];

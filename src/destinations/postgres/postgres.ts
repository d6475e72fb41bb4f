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
import type { StreamKey, TableSpec } from '../../protocol.js';
import { notReady } from '../checkpoints.js';
import type { OpenRequest, WriteOutcome, WriteRequest } from '../destination.js';
import { commitBatch } from '../sql/commit.js';
import { isTableGone } from '../sql/drift.js';
import { SqlDestination } from '../sql/sql-destination.js';
import { checkpointOf, checkpointsIn, checkpointQuery } from '../sql/stored-checkpoints.js';
import { numeral, sql, type Sql } from '../sql/sql.js';
import { postgresDialect } from './dialect.js';
import { PostgresLoader } from './load.js';
import { PostgresSession } from './session.js';

/** A server that has not begun a transaction by then does not answer: it was stopped, or is out of reach. */
const ANSWER_MILLISECONDS = 10_000;

/** Limits of one transaction. */
export interface PostgresLimits {
  lockSeconds: number;
  /** Of a statement that handles a batch; those that go through a whole table have as long as an activity. */
  statementSeconds: number;
  /** A worker that says nothing for so long, in a transaction, is frozen: what it holds is let go of. */
  idleSeconds: number;
}

export const POSTGRES_LIMITS: PostgresLimits = { lockSeconds: 30, statementSeconds: 600, idleSeconds: 45 };

/**
 * Rows into PostgreSQL: staged in a temporary table, then one INSERT … ON CONFLICT, in the transaction of the
 * checkpoint. Nothing outlives a transaction in its session, so that a pooler may stand between.
 */
export class PostgresDestination extends SqlDestination<PostgresSession> {
  constructor(
    private pool: Pool,
    /** Names the server in messages; without a password. */
    private readonly address: string,
    private readonly limits: PostgresLimits = POSTGRES_LIMITS,
    /** Hides secrets in the server's own words. */
    private mask: (text: string) => string = (text) => text,
    /** Called when the server refuses these credentials; returns whether others may be had. */
    private readonly forgetCredentials: () => boolean = () => false,
  ) {
    super();
  }

  protected override readonly folder = tmpdir();

  protected override read<T>(work: (session: PostgresSession) => Promise<T>): Promise<T> {
    return this.transaction(work);
  }

  protected override loaderOf(session: PostgresSession): PostgresLoader {
    return new PostgresLoader(session);
  }

  protected override addressOf(schema: string): string {
    return `schema ${schema} of ${this.address}`;
  }

  protected override notReady(table: TableSpec, thrown: unknown): unknown {
    return postgresDialect.isRefusal(thrown) ? notReady(table, messageOf(thrown)) : thrown;
  }

  protected override prepareStream(request: OpenRequest): Promise<StreamKey[]> {
    return super.prepareStream(request).catch((thrown: unknown) => {
      throw request.expects === undefined ? thrown : this.orGone(thrown);
    });
  }

  /** Uses other connections from here on; those in use are closed when they are done. */
  reconnect(pool: Pool, mask: (text: string) => string): void {
    const before = this.pool;
    this.pool = pool;
    this.mask = mask;
    void before.end();
  }

  /** Does nothing: a pooler keeps a connection together only for a transaction. */
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

  /** @throws {DestinationGoneError | TableGoneError} where the schema or the table is gone. */
  private refuseIfGone({ key, table }: WriteRequest): Promise<void> {
    return this.transaction(async (session) => {
      for (const name of ['checkpoints', 'differences'] as const) {
        if (await session.dialect.hasOwnTable(session, key.schema, name)) continue;
        throw new DestinationGoneError(`what the sync has written to ${this.addressOf(key.schema)} is gone`);
      }
      if (await isTableGone(session, table)) throw new TableGoneError(table);
    });
  }

  private commit(request: WriteRequest): Promise<WriteOutcome> {
    const { key } = request;
    return this.transaction(async (session) => {
      const { dialect } = session;
      // Beside a range the sync writes before it or after it, never meanwhile.
      if (request.range !== undefined) await dialect.lockTable(session, key);
      // The row's lock makes writers of one stream wait for each other.
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

  /** Runs everything that the server is asked for: a connection is Highwater's for a transaction, and no longer. */
  protected override async transaction<T>(work: (session: PostgresSession) => Promise<T>): Promise<T> {
    let client: PoolClient;
    try {
      client = await this.pool.connect();
    } catch (thrown) {
      throw this.explain(thrown);
    }
    let broken: Error | undefined;
    const onError = (error: Error) => (broken = error);
    // Without a listener a connection that is cut would end the process.
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
        // A later statement would wait behind it.
        broken = thrown as Error;
        throw thrown;
      });
      const result = await work(new PostgresSession(client));
      await client.query('COMMIT');
      return result;
    } catch (thrown) {
      if (broken === undefined)
        await client.query('ROLLBACK').catch((failed: unknown) => (broken = failed as Error));
      throw this.explain(thrown);
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  private explain(thrown: unknown): unknown {
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
      return new DestinationBusyError(
        `the destination ${this.address} cannot be reached or is busy: ${said}`,
      );
    if (code.startsWith('28') && this.forgetCredentials())
      return new DestinationBusyError(
        `the destination ${this.address} refuses: ${said}; its secrets are read anew`,
      );
    // Wrong password, no such database, no rights, or a certificate that is not trusted here.
    if (/^(28|3D|42501)|CERT|SIGNATURE/.test(code))
      return new DestinationError(`the destination ${this.address} refuses: ${said}`, { cause: thrown });
    if (thrown instanceof Error) {
      thrown.message = said;
      thrown.stack = this.mask(thrown.stack ?? '');
    }
    return thrown;
  }
}

/** Whether a server says that it has no such database. */
const isDatabaseGone = (thrown: unknown): boolean =>
  thrown instanceof DestinationError && (thrown.cause as { code?: string } | undefined)?.code === '3D000';

/** No such table, no such schema. */
const UNDEFINED = ['42P01', '3F000'];

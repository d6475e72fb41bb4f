/** A destination that speaks SQL, whichever database it is. */
import { messageOf } from '../../errors.js';
import { notReady, openWhenFree, otherRanges, refuseIfHeld, sameKey } from '../checkpoints.js';
import type {
  Destination,
  History,
  HistoryRequest,
  OpenRequest,
  OpenResult,
  ParentRow,
  ParentsRequest,
  Ranges,
  WriteOutcome,
  WriteRequest,
} from '../destination.js';
import type { StreamKey, TableSpec } from '../../protocol.js';
import { exactColumns } from '../../sources/exact-columns.js';
import type { Dialect, Loader, OwnTable, SqlSession } from './dialect.js';
import { refuseOtherDatabase, refuseSharedChildren, settleKey, startOverWhereGone } from './drift.js';
import { columnsOf, prepareTable } from './evolution.js';
import { areTablesOld, databaseId, prepareOwnTables } from './own-tables.js';
import { readParents } from './parents.js';
import { besideTable, concludeAudit, forgetRange, rangeRefusal } from './ranges.js';
import { retryRejects, wholeRetry, type RetryOutcome, type RetryRequest } from './retry.js';
import {
  allCheckpoints,
  checkpointOf,
  checkpointQuery,
  checkpointsIn,
  claimStream,
  readHistory,
  storedCheckpoints,
} from './stored-checkpoints.js';
import { sql } from './sql.js';

/** The shared part of the SQL destinations; each adds its transactions, its loader and its errors. */
export abstract class SqlDestination<Session extends SqlSession> implements Destination {
  /** Runs `work` in a transaction. */
  protected abstract transaction<T>(work: (session: Session) => Promise<T>): Promise<T>;
  /** Runs `work` on a connection, to read only. */
  protected abstract read<T>(work: (session: Session) => Promise<T>): Promise<T>;
  /** How this destination loads batches. */
  protected abstract loaderOf(session: Session): Loader;
  /** Names the database of a schema, for messages. */
  protected abstract addressOf(schema: string): string;
  /** The folder in which files wait for the database. */
  protected abstract readonly folder: string;
  protected abstract readonly dialect: Dialect;

  abstract prepare(request: WriteRequest): void;
  abstract write(request: WriteRequest): Promise<WriteOutcome>;
  abstract close(): Promise<void>;

  async openStream(request: OpenRequest): Promise<OpenResult> {
    const { key } = request;
    const asked = new Set<string>();
    const startedOver = await this.prepareStream(request, asked);
    const isGone = startedOver.some((one) => sameKey(one, key));
    return openWhenFree(
      request,
      () => this.read((session) => storedCheckpoints(session, key)),
      (free) => this.transaction((session) => claimStream(session, request, free, isGone)),
      asked,
    );
  }

  /**
   * Makes the tables ready.
   * @param asked gets the holders that do not run.
   * @returns the streams that start over, as the table was gone.
   */
  protected async prepareStream(request: OpenRequest, asked: Set<string>): Promise<StreamKey[]> {
    const { key, table, expects } = request;
    const { schema } = table;
    const refused = (thrown: unknown): never => {
      throw this.notReady(table, thrown);
    };
    await this.transaction(async (session) => {
      refuseOtherDatabase(this.addressOf(schema), await databaseId(session, schema), expects);
      await prepareOwnTables(session, schema);
      await refuseSharedChildren(session, request);
    }).catch(refused);
    // A sync that runs may be writing the table: it is not touched before that is known.
    await refuseIfHeld(request, await this.read((session) => storedCheckpoints(session, key)), asked);
    return this.transaction(async (session) => {
      // One at a time: two that make the same table at once would fail.
      await session.dialect.prepareSchema(session, schema);
      const settle = await settleKey(session, request);
      const { deletesBeforeAltering } = session.dialect;
      if (deletesBeforeAltering) await settle();
      const startedOver = await this.prepareAnew(session, table, request.children);
      if (!deletesBeforeAltering) await settle();
      return startedOver;
    }).catch(refused);
  }

  /** Makes the table ready. @returns the streams that start over, as it was gone. */
  private async prepareAnew(
    session: Session,
    table: TableSpec,
    children: readonly TableSpec[] = [],
  ): Promise<StreamKey[]> {
    const startedOver = await startOverWhereGone(session, table, children);
    await prepareTable(session, table);
    for (const child of children) await prepareTable(session, child);
    return startedOver;
  }

  /** Makes the table ready, and Highwater's own ones, outside of the opening of a stream. */
  protected async prepareTables(session: Session, table: TableSpec): Promise<void> {
    try {
      await prepareOwnTables(session, table.schema);
      await this.prepareAnew(session, table);
    } catch (thrown) {
      throw this.notReady(table, thrown);
    }
  }

  /** Makes the tables ready for a batch. @returns false for a stale batch, which changes no table of a stream. */
  protected async prepareForWrite(session: Session, request: WriteRequest): Promise<boolean> {
    const { key, base, table, children } = request;
    try {
      await prepareOwnTables(session, key.schema);
      const found = checkpointsIn(await session.rows(checkpointQuery(this.dialect, key)), key);
      if (checkpointOf(found, key)?.id !== base) return false;
      await this.prepareAnew(
        session,
        table,
        children?.tables.map((child) => child.table),
      );
      return true;
    } catch (thrown) {
      throw this.notReady(table, thrown);
    }
  }

  /** The error for a table that could not be made ready: a {@link DestinationError} where the database refused it. */
  private notReady(table: TableSpec, thrown: unknown): unknown {
    return this.dialect.isRefusal(thrown) ? notReady(table, messageOf(thrown)) : thrown;
  }

  /** Schemas whose own tables are known to be of this version, or were not there. */
  private readonly upgraded = new Set<string>();

  /** Brings Highwater's own tables up to date: an older worker may have opened the stream. */
  protected async upgradeTables({ schema }: Pick<StreamKey, 'schema'>): Promise<void> {
    if (this.upgraded.has(schema)) return;
    if (await this.read((session) => areTablesOld(session, schema)))
      await this.transaction((session) => prepareOwnTables(session, schema));
    this.upgraded.add(schema);
  }

  async history(request: HistoryRequest): Promise<History> {
    await this.upgradeTables(request.key);
    return this.read((session) => readHistory(session, request));
  }

  async parents(request: ParentsRequest): Promise<ParentRow[] | null> {
    await this.upgradeTables(request.key);
    await this.upgradeTables(request.parent.table);
    return this.read((session) => readParents(session, request));
  }

  retry(asked: RetryRequest): Promise<RetryOutcome> {
    const request = wholeRetry(asked);
    return retryRejects(request, {
      folder: this.folder,
      exact: exactColumns,
      transaction: (work) =>
        this.transaction(async (session) => {
          await this.prepareTables(session, request.table);
          return work(session, this.loaderOf(session));
        }),
    });
  }

  readonly ranges: Ranges = {
    refusal: rangeRefusal,
    now: () =>
      this.read(async (session) => {
        const [[now] = []] = await session.rows(sql`SELECT CAST(now() AS VARCHAR)`);
        return now ?? '';
      }),
    stands: (key) =>
      this.readWith(key, 'checkpoints', null, async (session) => {
        return checkpointOf(await storedCheckpoints(session, key), key) ?? null;
      }),
    kept: (key) =>
      this.readWith(key, 'checkpoints', [], async (session) =>
        otherRanges(key, await allCheckpoints(session, key)),
      ),
    conclude: async (request) => {
      await this.upgradeTables(request.key);
      return this.transaction(async (session) => {
        await session.dialect.lockTable(session, request.key);
        await session.dialect.takeTime(session);
        const known = await columnsOf(session, request.table);
        const table = besideTable(known?.spec() ?? request.table);
        return concludeAudit(session, { ...request, table });
      });
    },
    forget: async (key) => {
      await this.upgradeTables(key);
      await this.transaction(async (session) => {
        if (!(await session.dialect.hasOwnTable(session, key.schema, 'differences'))) return;
        await session.dialect.lockTable(session, key);
        await forgetRange(session, key);
      });
    },
  };

  /** Reads from one of Highwater's own tables. @param otherwise where the database does not have it. */
  private async readWith<T>(
    key: StreamKey,
    table: OwnTable,
    otherwise: T,
    read: (session: Session) => Promise<T>,
  ): Promise<T> {
    await this.upgradeTables(key);
    return this.read(async (session) =>
      (await session.dialect.hasOwnTable(session, key.schema, table)) ? read(session) : otherwise,
    );
  }
}

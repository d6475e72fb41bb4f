/** Changes to tables that other sessions read meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DestinationBusyError } from '../../errors.js';
import type { SqlSession } from '../sql/dialect.js';
import { literal, numeral, sql, type Sql } from '../sql/sql.js';

/**
 * A statement that waits for its lock blocks everyone behind it, including readers: it gives up after this time, lets
 * them pass, and tries again.
 */
const LOCK_MILLISECONDS = 1500;
const PAUSE_MILLISECONDS = 1000;
/** After this time the transaction ends and releases its other locks; the activity is retried. */
const PATIENCE_MILLISECONDS = 12_000;
const LOCK_NOT_AVAILABLE = '55P03';

/** Gives the transaction's following statements as long as an activity has, since they scan whole tables. */
export const takeTime = async (session: SqlSession): Promise<void> => {
  await session.run(sql`SET LOCAL statement_timeout = '6h'`);
};

/**
 * Runs one statement that changes a table, in the session's transaction.
 * @param relation the table, quoted and with its schema.
 * @throws {DestinationBusyError} naming the sessions that hold the table, if its lock is not available for a while.
 */
export async function changeTable(session: SqlSession, relation: Sql, statement: Sql): Promise<void> {
  const began = performance.now();
  const [[before] = []] = await session.rows(sql`SELECT current_setting('lock_timeout')`);
  await takeTime(session);
  for (;;) {
    await session.runAll([
      sql`SAVEPOINT change_table`,
      sql`SET LOCAL lock_timeout = ${numeral(LOCK_MILLISECONDS)}`,
    ]);
    try {
      await session.run(statement);
      await session.runAll([
        sql`RELEASE SAVEPOINT change_table`,
        sql`SET LOCAL lock_timeout = ${literal(before ?? '0')}`,
      ]);
      return;
    } catch (thrown) {
      if ((thrown as { code?: string }).code !== LOCK_NOT_AVAILABLE) throw thrown;
      // Restores the lock timeout too.
      await session.runAll([sql`ROLLBACK TO SAVEPOINT change_table`, sql`RELEASE SAVEPOINT change_table`]);
    }
    if (performance.now() - began > PATIENCE_MILLISECONDS)
      throw new DestinationBusyError(await heldMessage(session, relation, statement));
    await sleep(PAUSE_MILLISECONDS);
  }
}

async function heldMessage(session: SqlSession, relation: Sql, statement: string): Promise<string> {
  const found = await session.rows(
    sql`SELECT l.pid, max(l.mode), max(a.usename), max(a.application_name), max(a.state),
       max(extract(epoch FROM clock_timestamp() - a.xact_start))::integer AS seconds
     FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
     WHERE l.relation = to_regclass(${literal(relation)}) AND l.granted AND l.pid <> pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     GROUP BY l.pid ORDER BY seconds DESC NULLS LAST LIMIT 3`,
  );
  const holders = found.map(([pid, mode, user = null, application = null, state = null, seconds = null]) => {
    const who = [
      ...(user === null ? [] : [`user ${user}`]),
      ...(application === null || application === '' ? [] : [`application ${application}`]),
      ...(state === null
        ? []
        : [`${state}${seconds === null ? '' : `, in its transaction for ${seconds} s`}`]),
    ];
    return `process ${pid}${who.length === 0 ? '' : ` (${who.join(', ')})`} holds ${mode}`;
  });
  const held = holders.length === 0 ? 'other transactions are waiting for it' : holders.join('; ');
  return (
    `the table ${relation} cannot be changed while others use it: ${held}. Highwater waits ${LOCK_MILLISECONDS / 1000} s for the lock, so that ` +
    `readers do not queue, and retries by itself; if that transaction is stale, end it.\n` +
    `  statement: ${statement.slice(0, 200)}`
  );
}

import { destinationContract as contract } from '../../src/testing/destination/contract.js';
import type {
  ContractOptions,
  Row,
  TestedDestination as Tested,
} from '../../src/testing/destination/tested.js';
import type { TestedDestination } from './tested.js';

/** The promises of every destination; see `docs/guarantees.md`. The destinations of this repository pass all of them. */
export function destinationContract(
  name: string,
  start: () => Promise<TestedDestination>,
  options: ContractOptions = {},
): void {
  const all = { deletes: true, quarantine: true, parents: true };
  contract(name, async () => lookedAt(await start()), { ...all, ...options });
}

/** The destination, with the answers that the suite asks for, found out in SQL. */
function lookedAt(tested: TestedDestination): Tested {
  const { ownSchema, query } = tested;
  return {
    ...tested,
    rejects: async ({ table }) =>
      (
        await query(`SELECT reason, record FROM ${ownSchema}_highwater_rejects WHERE "table" = '${table}'`)
      ).map(([reason, record]) => ({ reason: String(reason), record: String(record) })),
    live: async ({ table, deletes }) =>
      (
        await query(
          `SELECT a::INTEGER FROM main.${table} ${deletes === 'soft' ? 'WHERE _highwater_deleted_at IS NULL' : ''}`,
        )
      ).map(([a]): Row => ({ a: String(a) })),
    remembered: async () =>
      Number((await query(`SELECT count(*)::INTEGER FROM ${ownSchema}_highwater_seen`))[0]?.[0]),
    reopen: async () => lookedAt(await tested.reopen()),
  };
}

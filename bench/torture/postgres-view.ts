/** Looks into a journal in PostgreSQL, on connections of its own. */

import type { JournalView, RecordSeen } from "./journal-view.ts";
import type { PostgresClient } from "./postgres-client.ts";

export function viewPostgres({ query }: PostgresClient, schema: string): JournalView {
  const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);
  /** How an owner's process is written down: the machine, the process id, its start. */
  const isOf = "split_part(process, ' ', 2) = $1::text";

  const states = async () =>
    Object.fromEntries(
      (
        await query<{ status: string; count: number }>(
          `select status, count(*)::integer as count from ${schema}.redemptions group by status`,
        )
      ).map(({ status, count }) => [status, count]),
    );
  const sendingOf = async (pid: number) =>
    idsOf(
      await query(
        `select redemption_id as id from ${schema}.redemptions
          where status = 'sending' and owner in (select owner from ${schema}.owners where ${isOf})`,
        [pid],
      ),
    );

  return {
    states,
    sendingOf,
    async beatOf(pid) {
      const sql = `select beat::integer from ${schema}.owners where ${isOf}`;
      return (await query<{ beat: number }>(sql, [pid]))[0]?.beat;
    },
    takenOver: async () =>
      idsOf(
        await query(
          `select redemption_id as id from ${schema}.redemptions
            where status = 'unresolved' and code = 'OWNER_GONE'`,
        ),
      ),
    records: () =>
      query<RecordSeen>(
        `select redemption_id as "redemptionId", status, reason, code, amount::float8 as amount, attempt
          from ${schema}.redemptions`,
      ),

    async look(pid) {
      // First: another server takes over within the second.
      const own = await sendingOf(pid);
      const all = query<{ id: string }>(
        `select redemption_id as id from ${schema}.redemptions where status = 'sending'`,
      );
      const [sending, seen] = await Promise.all([all, states()]);
      return { states: seen, sending: [...new Set([...own, ...idsOf(sending)])], own };
    },
  };
}

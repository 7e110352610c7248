/**
 * Looks into a journal from outside. Read-only: a connection that may write would, as the last one to
 * close, tidy up what the killed process left, and hide whatever is wrong with it.
 */

import { pathToFileURL } from "node:url";
import Database from "libsql";

export interface RecordSeen {
  readonly redemptionId: string;
  readonly status: string;
  readonly reason: string | null;
  readonly code: string | null;
  readonly amount: number | null;
  readonly attempt: number;
}

export type States = Readonly<Record<string, number>>;

export interface JournalView {
  /** How many records there are by status; none where the file has no tables yet. */
  states(): States;
  /** Ids of the records that are on the wire. */
  sending(): string[];
  /** Ids of records that were on the wire when their owner ended, and that another one found. */
  takenOver(): string[];
  records(): RecordSeen[];
}

export function viewJournal(file: string): JournalView {
  function ask<Row>(sql: string): Row[] {
    let db: Database.Database | undefined;
    try {
      db = new Database(`${pathToFileURL(file).href}?mode=ro`);
      db.pragma("busy_timeout = 5000");
      return db.prepare(sql).all() as Row[];
    } catch (error) {
      // Killed before its first start was done.
      if (/no such table|unable to open/.test(String(error))) return [];
      throw error;
    } finally {
      db?.close();
    }
  }
  return {
    states: () =>
      Object.fromEntries(
        ask<{ status: string; count: number }>(
          "select status, count(*) as count from redemptions group by status",
        ).map(({ status, count }) => [status, count]),
      ),
    sending: () =>
      ask<{ id: string }>(
        "select redemption_id as id from redemptions where status in ('sending', 'prepared') and status = 'sending'",
      ).map(({ id }) => id),
    takenOver: () =>
      ask<{ id: string }>(
        "select redemption_id as id from redemptions where status = 'unresolved' and code = 'OWNER_GONE'",
      ).map(({ id }) => id),
    records: () =>
      ask<RecordSeen>(
        "select redemption_id as redemptionId, status, reason, code, amount, attempt from redemptions",
      ),
  };
}

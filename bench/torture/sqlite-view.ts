/**
 * Looks into a journal in a file. Read-only: a connection that may write would, as the last one to
 * close, tidy up what the killed process left, and hide whatever is wrong with it.
 */

import { execFile } from "node:child_process";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import Database from "libsql";
import type { JournalView, Look, RecordSeen } from "./journal-view.ts";

const run = promisify(execFile);

/** @param code the folder with the compiled files of this run */
export function viewSqlite(file: string, code: string): JournalView {
  const { ask, states, sending, look } = openSqlite(file);
  return {
    states: async () => states(),
    sendingOf: async (pid) => sending(pid),
    beatOf: async (pid) =>
      ask<{ beat: number }>("select beat from owners where process like ?", [like(pid)])[0]?.beat,
    takenOver: async () =>
      ask<{ id: string }>(
        "select redemption_id as id from redemptions where status = 'unresolved' and code = 'OWNER_GONE'",
      ).map(({ id }) => id),
    records: async () =>
      ask<RecordSeen>(
        "select redemption_id as redemptionId, status, reason, code, amount, attempt from redemptions",
      ),

    async look(pid, alone) {
      // Quickly, where another process or a new worker is about to take over.
      if (!alone) return look(pid);
      const reader = path.join(code, "journal-reader.js");
      const { stdout } = await run(process.execPath, [reader, file, String(pid)], {
        maxBuffer: 2 ** 26,
      });
      return JSON.parse(stdout);
    },
  };
}

export function openSqlite(file: string) {
  function ask<Row>(sql: string, values: readonly unknown[] = []): Row[] {
    let db: Database.Database | undefined;
    try {
      db = new Database(`${pathToFileURL(file).href}?mode=ro`);
      db.pragma("busy_timeout = 5000");
      return db.prepare(sql).all(...values) as Row[];
    } catch (error) {
      // Killed before its first start was done.
      if (/no such table|unable to open/.test(String(error))) return [];
      throw error;
    } finally {
      db?.close();
    }
  }

  const sending = (pid: number) =>
    ask<{ id: string }>(
      `select redemption_id as id from redemptions
        where status = 'sending' and owner in (select owner from owners where process like ?)`,
      [like(pid)],
    ).map(({ id }) => id);

  const states = () =>
    Object.fromEntries(
      ask<{ status: string; count: number }>(
        "select status, count(*) as count from redemptions group by status",
      ).map(({ status, count }) => [status, count]),
    );

  const look = (pid: number): Look => ({
    states: states(),
    sending: ask<{ id: string }>(
      "select redemption_id as id from redemptions where status in ('sending', 'prepared') and status = 'sending'",
    ).map(({ id }) => id),
    own: sending(pid),
  });
  return { ask, states, sending, look };
}

/** How an owner's process is written down: the machine, the process id, its start. */
const like = (pid: number) => `% ${pid} %`;

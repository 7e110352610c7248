/** The one file of the journal that knows the binding to SQLite, and what SQLite does beside statements. */

import { pathToFileURL } from "node:url";
import type Database from "libsql";
import { loadSqlite } from "../packages.ts";

/** Statements are let go of with the connection that they were prepared on. */
export type Connection = Database.Database;

/** Milliseconds that a write waits for those of other processes, of which a busy one may starve the others. */
export const busyTimeoutMs = 10_000;

/** @param path a file, or `:memory:` */
export function openConnection(path: string, options?: { readonly readonly: true }): Connection {
  const Sqlite = loadSqlite();
  const connection = new Sqlite(path, options);
  connection.pragma(`busy_timeout = ${busyTimeoutMs}`);
  return connection;
}

/**
 * From here on no end of this connection, by `close`, by the collector of garbage or by the end of the process, takes
 * the log away. SQLite deletes it where the connection that closes believes to be the last; another process
 * whose lock was dropped (https://sqlite.org/howtocorrupt.html, section 2.2) would write on into the deleted file. A
 * second, read-only view of the same file keeps the first from closing as the last, and cannot delete anything itself.
 *
 * The log stays short all the same: SQLite starts it anew when all of it is in the file and nobody reads it, and
 * `shortenLog` empties it.
 */
export function keepLog(connection: Connection, path: string): void {
  const url = `${pathToFileURL(path).href}?mode=ro`;
  connection.exec(`attach '${url.replaceAll("'", "''")}' as keeper`);
  // It takes its lock with the first read.
  connection.prepare("select count(*) from keeper.sqlite_schema").all();
}

/**
 * Moves what is in the log into the file and empties the log, as far as nobody reads it: whoever does is not
 * waited for, since all that commit would wait, too.
 */
export function shortenLog(connection: Connection): void {
  connection.pragma("busy_timeout = 0");
  try {
    connection.pragma("main.wal_checkpoint(TRUNCATE)");
  } finally {
    connection.pragma(`busy_timeout = ${busyTimeoutMs}`);
  }
}

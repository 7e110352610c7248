/** The run's own connections to PostgreSQL, which outlive what it does to the servers' ones. */

import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { monotonicMs } from "./clock.ts";

export interface PostgresClient {
  /** Asks again while PostgreSQL is away. No rows where there are no tables yet. */
  query<Row>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  close(): Promise<void>;
}

/** Milliseconds that PostgreSQL may take to come back. */
const awayMs = 60_000;
/** SQLSTATE: no such table, no such schema. */
const noTable = new Set(["42P01", "3F000"]);

export function openPostgresClient(url: string): PostgresClient {
  const pool = new pg.Pool({ connectionString: url, max: 4, connectionTimeoutMillis: 5_000 });
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return {
    async query<Row>(sql: string, values: readonly unknown[] = []) {
      const giveUpAt = monotonicMs() + awayMs;
      for (;;) {
        try {
          return (await pool.query(sql, [...values])).rows as Row[];
        } catch (error) {
          const { code = "" } = error as { code?: string };
          if (noTable.has(code)) return [];
          if (code.startsWith("42") || monotonicMs() > giveUpAt) throw error;
          await sleep(20);
        }
      }
    },
    close: () => pool.end(),
  };
}

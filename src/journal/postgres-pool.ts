/** Connections to PostgreSQL, and transactions on them. */

import type { Pool, PoolClient, PoolConfig } from "pg";
import { CreditMeterError } from "../errors.ts";
import { requireHere } from "../packages.ts";

/**
 * What is asked for unless the operator says otherwise. No connection is waited for, and no statement,
 * for ever: a network that swallows packets would stop the journal without a word. The limits are kept
 * on this side, since PgBouncer does not pass such parameters on.
 */
const defaults: PoolConfig = {
  max: 4,
  connectionTimeoutMillis: 10_000,
  query_timeout: 30_000,
  keepAlive: true,
  fallback_application_name: "express-credit-meter",
};

/** How often a transaction is run again that PostgreSQL has chosen to undo. */
const triesAgain = 5;

/**
 * Milliseconds that PostgreSQL waits for the next statement of a transaction, and then undoes it. A process
 * that stands still, or a host that is gone without a word, would keep its locks otherwise, and whoever takes
 * over from it waits for them. Shorter than the silence after which it counts as gone.
 */
const idleInTransactionMs = 5_000;

/** Serialization failure and deadlock: it was undone, certainly and as a whole. */
const undone = new Set(["40001", "40P01"]);

/** `int8`, `int2`, `int4`, `float8`, `numeric`: whatever an application tells `pg` to make of them. */
const numberTypes = new Set([20, 21, 23, 701, 1700]);
const types = {
  getTypeParser(type: number) {
    if (numberTypes.has(type)) return Number;
    if (type === 16) return (value: string) => value === "t";
    if (type === 3802) return JSON.parse;
    return (value: string) => value;
  },
};

/** Runs one statement. Never prepared by name: PgBouncer's transaction pooling would lose it. */
export type Query = <Row>(text: string, values?: readonly unknown[]) => Promise<Row[]>;

export interface Connections {
  readonly query: Query;
  /** @param first statements without parameters that come with the beginning. */
  transaction<Value>(run: (query: Query) => Promise<Value>, first?: string): Promise<Value>;
  end(): Promise<void>;
}

export async function connect(config: PoolConfig): Promise<Connections> {
  checkPostgres();
  const { Pool } = requireHere()("pg") as typeof import("pg");
  return createConnections(new Pool({ ...defaults, ...config }));
}

/**
 * Tells at the start of the program, not at its first charge.
 *
 * @throws {CreditMeterError} `journal-unusable`, where the package `pg` is missing
 */
export function checkPostgres(): void {
  try {
    requireHere().resolve("pg");
  } catch (error) {
    throw unusable(
      'A journal in PostgreSQL needs the package "pg", which is not installed: npm install pg.',
      error,
    );
  }
}

/** The mend stands in the message: a local disk, which mends a journal in a file, is none here. */
export function unusable(message: string, cause?: unknown): CreditMeterError {
  return new CreditMeterError("journal-unusable", message, { cause });
}

function createConnections(pool: Pool): Connections {
  // A connection that is lost while it is idle, or between two statements: whoever uses it next learns
  // of it. Without a listener it would end the process.
  const ignore = () => {};
  pool.on("error", ignore);
  pool.on("connect", (client) => client.on("error", ignore));

  function queryOn(client: Pool | PoolClient): Query {
    return async (text, values = []) =>
      (await client.query({ text, values: [...values], types })).rows;
  }

  /**
   * A connection on which anything failed is closed: it may be half-way through a statement, and
   * PostgreSQL undoes what was not committed on it.
   */
  async function attempt<Value>(run: (query: Query) => Promise<Value>, first: string) {
    const client = await pool.connect();
    let failed = true;
    try {
      // Whatever the server's, the database's or the role's default: what was committed is durable.
      await client.query(
        `begin; set local synchronous_commit = on;
          set local idle_in_transaction_session_timeout = ${idleInTransactionMs}; ${first}`,
      );
      const value = await run(queryOn(client));
      const { command } = await client.query("commit");
      if (command !== "COMMIT") throw new Error(`PostgreSQL answered ${command} to COMMIT.`);
      failed = false;
      return value;
    } finally {
      client.release(failed);
    }
  }

  return {
    query: queryOn(pool),
    async transaction(run, first = "") {
      for (let tries = 0; ; tries += 1) {
        try {
          return await attempt(run, first);
        } catch (error) {
          const { code } = error as { code?: string };
          if (tries >= triesAgain || code === undefined || !undone.has(code)) throw error;
        }
      }
    },
    end: () => pool.end(),
  };
}

/** The fleet's PostgreSQL: the one that `DATABASE_URL` names, or one from packages in a temporary folder. */

import pg from "pg";
import { atInterrupt } from "../../test/support/folder.ts";
import { startPostgres } from "../../test/support/postgres.ts";

export interface Database {
  readonly url: string;
  /** A schema of this run alone; gone when it stops. */
  readonly schema: string;
  readonly isGiven: boolean;
  stop(): Promise<void>;
}

export async function openDatabase(): Promise<Database> {
  const given = process.env.DATABASE_URL ?? "";
  const { url, stop } = await startPostgres(given);
  const schema = `fleet_example_${process.pid}_${Date.now().toString(36)}`;
  async function dropSchema() {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query(`drop schema if exists ${schema} cascade`);
    await client.end();
  }

  if (given !== "") {
    // A server of our own is stopped, and its folder removed, by whoever started it.
    atInterrupt(dropSchema);
  }
  return {
    url,
    schema,
    isGiven: given !== "",
    async stop() {
      if (given !== "") await dropSchema();
      await stop();
    },
  };
}

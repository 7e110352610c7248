/** Where the journal of a run lies: what its servers are told, and how it is looked into. */

import { randomUUID } from "node:crypto";
import type { TestPostgres } from "../../test/support/postgres.ts";
import type { JournalView } from "./journal-view.ts";
import type { ServerSettings } from "./messages.ts";
import { openPostgresClient, type PostgresClient } from "./postgres-client.ts";
import { viewPostgres } from "./postgres-view.ts";
import { viewSqlite } from "./sqlite-view.ts";

export interface JournalPlace {
  readonly setting: ServerSettings["journal"];
  readonly view: JournalView;
  /** Where it is in PostgreSQL. */
  readonly postgres?: InPostgres;
  close(): Promise<void>;
}

export interface InPostgres {
  readonly server: TestPostgres;
  /** Of the run, and not of its servers. */
  readonly client: PostgresClient;
  /** The servers' connections have this name, and no others do. */
  readonly name: string;
}

/** @param code the folder with the compiled files of this run */
export function inFile(file: string, code: string): JournalPlace {
  return { setting: file, view: viewSqlite(file, code), close: async () => {} };
}

/** In a schema of its own, which is gone afterwards: the server may be somebody else's. */
export function inPostgres(server: TestPostgres): JournalPlace {
  const name = `torture_${randomUUID().replaceAll("-", "")}`;
  const client = openPostgresClient(server.url);
  return {
    setting: {
      postgres: { connectionString: server.url, application_name: name },
      schema: name,
    },
    view: viewPostgres(client, name),
    postgres: { server, client, name },
    async close() {
      await client.query(`drop schema if exists ${name} cascade`).catch(() => {});
      await client.close();
    },
  };
}

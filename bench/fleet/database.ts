/** The PostgreSQL that is measured, seen from outside of the journal. */

import pg from "pg";
import { startPostgres } from "../../test/support/postgres.ts";
import { cpuOfPostgres } from "./cpu.ts";

export interface Sizes {
  /** Of the redemptions with their indexes, for each of them. */
  readonly recordBytes: number;
  /** The same after VACUUM FULL: without what updates left behind. */
  readonly compactRecordBytes: number;
  /** Of all tables of the journal, for each redemption. */
  readonly allBytes: number;
  readonly debtRows: number;
  readonly spentRows: number;
}

export interface Database {
  readonly url: string;
  readonly version: string;
  /** Milliseconds of one commit of one row, in the median. */
  readonly commitMs: number;
  cpuMs(): number | undefined;
  /** Bytes of write-ahead log so far. */
  walBytes(): Promise<number>;
  sizes(schema: string): Promise<Sizes>;
  drop(schema: string): Promise<void>;
  stop(): Promise<void>;
}

export async function openDatabase(): Promise<Database> {
  const { url, stop } = await startPostgres(process.env.DATABASE_URL ?? "");
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const one = async (sql: string) => (await client.query(sql)).rows[0] as Record<string, string>;
  const {
    fsync,
    version = "",
    backend,
  } = await one(
    `select current_setting('fsync') as fsync, current_setting('server_version') as version,
      pg_backend_pid() as backend`,
  );
  if (fsync !== "on") throw new Error("fsync is off on this PostgreSQL: it would measure nothing.");

  return {
    url,
    version,
    commitMs: await commitMs(client),
    cpuMs: () => cpuOfPostgres(Number(backend)),
    async walBytes() {
      const { bytes } = await one("select pg_current_wal_insert_lsn() - '0/0' as bytes");
      return Number(bytes);
    },
    async sizes(s) {
      const sizes = () =>
        one(`
        select pg_total_relation_size('${s}.redemptions') as records,
          (select sum(pg_total_relation_size(oid)) from pg_class
            where relnamespace = '${s}'::regnamespace and relkind = 'r') as all_tables`);
      const { count } = await one(`select count(*) from ${s}.redemptions`);
      const { debts, spent } = await one(
        `select (select count(*) from ${s}.debts) as debts, (select count(*) from ${s}.spent) as spent`,
      );
      const left = await sizes();
      await client.query(`vacuum full ${s}.redemptions`);
      const compact = await sizes();
      const each = (bytes: string | undefined) => Math.round(Number(bytes) / Number(count));
      return {
        recordBytes: each(left.records),
        compactRecordBytes: each(compact.records),
        allBytes: each(left.all_tables),
        debtRows: Number(debts),
        spentRows: Number(spent),
      };
    },
    async drop(schema) {
      await client.query(`drop schema if exists ${schema} cascade`);
    },
    async stop() {
      await client.end();
      await stop();
    },
  };
}

async function commitMs(client: pg.Client): Promise<number> {
  const table = `fleet_bench_probe_${process.pid}`;
  await client.query(`create table ${table} (n integer)`);
  const took: number[] = [];
  for (let n = 0; n < 200; n += 1) {
    const began = performance.now();
    await client.query(`insert into ${table} values (${n})`);
    took.push(performance.now() - began);
  }
  await client.query(`drop table ${table}`);
  return took.sort((a, b) => a - b)[took.length >> 1] ?? 0;
}

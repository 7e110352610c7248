/** What can befall PostgreSQL under the servers: it crashes in mid-commit, it cuts their connections. */

import { setTimeout as sleep } from "node:timers/promises";
import { monotonicMs } from "./clock.ts";
import type { InPostgres } from "./journal-place.ts";

interface Session {
  readonly pid: number;
  /** A transaction is open. */
  readonly open: boolean;
  /** It is just being committed. */
  readonly committing: boolean;
}

/** How many of the servers' connections a fault struck, as they were seen right before. */
export interface Struck {
  readonly connections: number;
  readonly open: number;
  readonly committing: number;
}

/** How long the moment is waited for at which something is under way. */
const aimMs = 3_000;

/** PostgreSQL ends while a commit is under way, and comes back with a recovery. */
export async function crashPostgres(postgres: InPostgres): Promise<Struck> {
  const sessions = await catchIn(postgres, ({ committing }) => committing);
  // It is told at once: what was seen is under way still.
  await postgres.server.restart?.("immediate");
  return struck(sessions);
}

/** The server ends some of the connections, of which one has a transaction open. */
export async function cutConnections(postgres: InPostgres, random: () => number): Promise<Struck> {
  const sessions = await catchIn(postgres, ({ open }) => open);
  const victims = sessions.filter(({ open }) => open || random() < 0.5);
  await postgres.client.query(
    "select pg_terminate_backend(pid) from unnest($1::integer[]) as pid",
    [victims.map(({ pid }) => pid)],
  );
  return struck(victims);
}

/** Whether a process has a transaction open that writes: each of them locks its owner first. */
export async function isInTransaction({ client, name }: InPostgres, pid: number): Promise<boolean> {
  const sql = `select owner from ${name}.owners where split_part(process, ' ', 2) = $1::text`;
  const listed = await client.query(sql, [pid]);
  const free = await client.query(`${sql} for update skip locked`, [pid]);
  return free.length < listed.length;
}

async function catchIn(
  { client, name }: InPostgres,
  isIt: (session: Session) => boolean,
): Promise<Session[]> {
  const giveUpAt = monotonicMs() + aimMs;
  for (;;) {
    const sessions = await client.query<Session>(
      `select pid, xact_start is not null as open, state = 'active' and query ilike 'commit' as committing
        from pg_stat_activity where application_name = $1`,
      [name],
    );
    if (sessions.some(isIt) || monotonicMs() > giveUpAt) return sessions;
    await sleep(1);
  }
}

function struck(sessions: readonly Session[]): Struck {
  const count = (isIt: (session: Session) => boolean) => sessions.filter(isIt).length;
  return {
    connections: sessions.length,
    open: count(({ open }) => open),
    committing: count(({ committing }) => committing),
  };
}

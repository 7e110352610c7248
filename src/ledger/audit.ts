import type Database from "libsql";

/** What an audit finds when everything agrees. `bigint`: sums can pass 2^53. */
export interface Audit {
  /** Credits ever minted. */
  minted: bigint;
  /** Credits ever burned. */
  burned: bigint;
  /** Credits that holders have now: minted less burned. */
  outstanding: bigint;
  /** Accounts of holders. */
  holders: number;
  /** Mints and burns. */
  transfers: number;
}

/**
 * Checks the accounts against the transfers that made them; throws when they disagree. That
 * `minted` less `burned` is `outstanding` follows from what is checked.
 */
export function audit(db: Database.Database): Audit {
  const rows = (sql: string) => db.prepare(sql).safeIntegers().all() as Record<string, bigint>[];
  const wrong = [
    ...rows(
      `SELECT account.id, balance, coalesce(c.total, 0) - coalesce(d.total, 0) AS moved
       FROM account
       LEFT JOIN (SELECT credit AS id, sum(amount) AS total FROM transfer GROUP BY credit) c
         ON c.id = account.id
       LEFT JOIN (SELECT debit AS id, sum(amount) AS total FROM transfer GROUP BY debit) d
         ON d.id = account.id
       WHERE balance <> moved`,
    ).map((row) => `account ${row.id} has ${row.balance}, its transfers say ${row.moved}`),
    ...rows("SELECT id, balance FROM account WHERE holder <> '' AND balance < 0").map(
      (row) => `account ${row.id} is below zero: ${row.balance}`,
    ),
    ...rows(
      `SELECT transfer.id FROM transfer
       JOIN account d ON d.id = debit JOIN account c ON c.id = credit
       WHERE c.plan_id <> d.plan_id OR (kind = 'mint') <> (d.holder = '') OR
         (kind = 'burn') <> (c.holder = '')`,
    ).map((row) => `transfer ${row.id} is not between a plan and its own holder`),
  ];
  const [totals] = rows(
    `SELECT coalesce(sum(iif(kind = 'mint', amount, 0)), 0) AS minted,
       coalesce(sum(iif(kind = 'burn', amount, 0)), 0) AS burned, count(*) AS transfers
     FROM transfer`,
  );
  const [now] = rows(
    "SELECT coalesce(sum(balance), 0) AS outstanding, count(*) AS holders FROM account WHERE holder <> ''",
  );
  const { minted = 0n, burned = 0n, transfers = 0n } = totals ?? {};
  const { outstanding = 0n, holders = 0n } = now ?? {};
  if (wrong.length > 0) {
    throw new Error(
      `The ledger's accounts do not agree; start again with a new file. ${wrong.slice(0, 10).join("; ")}.`,
    );
  }
  return { minted, burned, outstanding, holders: Number(holders), transfers: Number(transfers) };
}

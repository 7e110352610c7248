import type Database from "libsql";

/** What the ledger knows of an access token that it issued. */
export interface Permission {
  expired: boolean;
  /** Taken by one settlement only. */
  singleUse: boolean;
  spent: boolean;
}

/** The access tokens that the ledger issued, by the hash of their bytes: no token is kept. */
export interface Permissions {
  /** `ttlMs` of `null`: it never expires. */
  grant(tokenHash: string, permission: { ttlMs: number | null; singleUse: boolean }): void;
  /** `undefined` for a token that the ledger did not issue, or that was changed. */
  find(tokenHash: string): Permission | undefined;
  spend(tokenHash: string): void;
}

export function createPermissions(db: Database.Database, now: () => number): Permissions {
  const grant = db.prepare(
    "INSERT INTO permission (token_hash, expires_at, single_use) VALUES (?, ?, ?)",
  );
  const find = db.prepare(
    "SELECT expires_at, single_use, spent FROM permission WHERE token_hash = ?",
  );
  const spend = db.prepare("UPDATE permission SET spent = 1 WHERE token_hash = ?");
  return {
    grant(tokenHash, { ttlMs, singleUse }) {
      grant.run(tokenHash, ttlMs === null ? null : now() + ttlMs, singleUse ? 1 : 0);
    },
    find(tokenHash) {
      const row = find.get(tokenHash) as
        | { expires_at: number | null; single_use: number; spent: number }
        | undefined;
      return (
        row && {
          expired: row.expires_at !== null && row.expires_at <= now(),
          singleUse: row.single_use === 1,
          spent: row.spent === 1,
        }
      );
    },
    spend(tokenHash) {
      spend.run(tokenHash);
    },
  };
}

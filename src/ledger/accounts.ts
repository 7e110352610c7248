import { type Audit, audit } from "./audit.ts";
import { closeDatabase, isConstraint, maxCredits, openDatabase } from "./database.ts";
import { createPermissions, type Permissions } from "./permissions.ts";

/** Credits that move between a plan and one of its holders. */
export interface Movement {
  planId: string;
  /** Compared without case. */
  holderAddress: string;
  /** Credits, 1 to `Number.MAX_SAFE_INTEGER`. */
  amount: number;
}

/** Where a movement came from; kept beside it. */
export interface Origin {
  idempotencyKey: string | null;
  /** What a settlement was asked under, whether that counts or not; `null` for a redemption. */
  agentRequestId: string | null;
  correlationId: string | null;
}

/** Credits that were burned once. */
export interface Burn extends Movement, Origin {
  /** Counts up with every mint and burn of this ledger. */
  burnId: number;
  /** Time of the burn, ISO 8601. */
  at: string;
}

/** Which burns are meant; a field that is left out takes all. */
export interface BurnFilter {
  planId?: string;
  holderAddress?: string;
  idempotencyKey?: string;
  agentRequestId?: string;
}

/** The answer that a key of idempotency is bound to. */
export interface Remembered {
  fingerprint: string;
  status: number;
  body: string;
}

/** What became of a mint or burn: the holder's balance after it, or before it when refused. */
export interface Moved {
  applied: boolean;
  balance: number;
}

/** A {@link Moved} burn, which has a number when it was applied. */
export type Burned =
  | { applied: true; balance: number; burnId: number }
  | (Moved & { applied: false });

export interface Accounts {
  /** All of `work` or, when it throws, nothing of it. */
  commit<T>(work: () => T): T;
  mint(movement: Movement, origin: Origin): Moved;
  burn(movement: Movement, origin: Origin): Burned;
  /** `undefined` when the holder never had credits of the plan. */
  balance(planId: string, holderAddress: string): number | undefined;
  /** Whether the plan ever minted. */
  knows(planId: string): boolean;
  recall(key: string): Remembered | undefined;
  remember(key: string, answer: Remembered): void;
  burns(filter: BurnFilter & { limit?: number }): Burn[];
  countBurns(filter: BurnFilter): number;
  audit(): Audit;
  /** Kept beside the accounts, so that one commit holds both. */
  permissions: Permissions;
  close(): void;
}

/** Double-entry accounts in SQLite: a file, or memory when `path` is `:memory:`. */
export function openAccounts(path: string, now: () => number): Accounts {
  const db = openDatabase(path);
  const find = db.prepare("SELECT id, balance FROM account WHERE plan_id = ? AND holder = ?");
  const both = db.prepare(
    `SELECT holder.id, holder.balance, plan.id AS plan FROM account holder
     JOIN account plan ON plan.plan_id = holder.plan_id AND plan.holder = ''
     WHERE holder.plan_id = ? AND holder.holder = ?`,
  );
  const open = db.prepare("INSERT INTO account (plan_id, holder) VALUES (?, ?) RETURNING id");
  const post = db.prepare(
    `INSERT INTO transfer
       (kind, debit, credit, amount, idempotency_key, agent_request_id, correlation_id, at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const recall = db.prepare("SELECT fingerprint, status, body FROM answer WHERE key = ?");
  const remember = db.prepare(
    "INSERT INTO answer (key, fingerprint, status, body) VALUES (?, ?, ?, ?)",
  );

  const account = (planId: string, holder: string) =>
    find.get(planId, holder.toLowerCase()) as { id: number; balance: number } | undefined;
  const opened = (planId: string, holder: string) =>
    account(planId, holder)?.id ?? (open.get(planId, holder.toLowerCase()) as { id: number }).id;
  const record = (kind: string, debit: number, credit: number, amount: number, origin: Origin) =>
    Number(
      post.run(
        kind,
        debit,
        credit,
        amount,
        origin.idempotencyKey,
        origin.agentRequestId,
        origin.correlationId,
        now(),
      ).lastInsertRowid,
    );

  const accounts: Accounts = {
    commit(work) {
      db.exec("BEGIN IMMEDIATE");
      try {
        const result = work();
        db.exec("COMMIT");
        return result;
      } catch (error) {
        // SQLite has rolled back by itself when, say, the disk is full.
        if (db.inTransaction) db.exec("ROLLBACK");
        throw error;
      }
    },
    mint({ planId, holderAddress, amount }, origin) {
      const balance = account(planId, holderAddress)?.balance ?? 0;
      if (amount > maxCredits - balance) return { applied: false, balance };
      db.exec("SAVEPOINT mint");
      try {
        record("mint", opened(planId, ""), opened(planId, holderAddress), amount, origin);
        return { applied: true, balance: balance + amount };
      } catch (error) {
        // The plan's own side is full: SQLite counts to 2^63, about a thousand full holders.
        if (!isConstraint(error)) throw error;
        db.exec("ROLLBACK TO mint");
        return { applied: false, balance };
      } finally {
        db.exec("RELEASE mint");
      }
    },
    burn({ planId, holderAddress, amount }, origin) {
      const holder = both.get(planId, holderAddress.toLowerCase()) as
        | { id: number; balance: number; plan: number }
        | undefined;
      if (!holder || holder.balance < amount) {
        return { applied: false, balance: holder?.balance ?? 0 };
      }
      const burnId = record("burn", holder.id, holder.plan, amount, origin);
      return { applied: true, balance: holder.balance - amount, burnId };
    },
    balance: (planId, holderAddress) => account(planId, holderAddress)?.balance,
    knows: (planId) => account(planId, "") !== undefined,
    recall: (key) => recall.get(key) as Remembered | undefined,
    remember: (key, { fingerprint, status, body }) => {
      remember.run(key, fingerprint, status, body);
    },
    burns(filter) {
      const rows = db
        .prepare(
          `SELECT transfer.id, plan_id, holder, amount, idempotency_key, agent_request_id,
             correlation_id, at
           ${burnsWhere} ORDER BY transfer.id LIMIT ?`,
        )
        .all(...bound(filter), filter.limit ?? -1) as BurnRow[];
      return rows.map(toBurn);
    },
    countBurns: (filter) =>
      (db.prepare(`SELECT count(*) AS n ${burnsWhere}`).get(...bound(filter)) as { n: number }).n,
    audit: () => audit(db),
    permissions: createPermissions(db, now),
    close: () => closeDatabase(db),
  };
  return accounts;
}

const burnsWhere = `FROM transfer JOIN account ON account.id = debit
  WHERE kind = 'burn' AND (?1 IS NULL OR plan_id = ?1) AND (?2 IS NULL OR holder = ?2)
    AND (?3 IS NULL OR idempotency_key = ?3) AND (?4 IS NULL OR agent_request_id = ?4)`;

function bound(filter: BurnFilter): (string | null)[] {
  return [
    filter.planId ?? null,
    filter.holderAddress?.toLowerCase() ?? null,
    filter.idempotencyKey ?? null,
    filter.agentRequestId ?? null,
  ];
}

interface BurnRow {
  id: number;
  plan_id: string;
  holder: string;
  amount: number;
  idempotency_key: string | null;
  agent_request_id: string | null;
  correlation_id: string | null;
  at: number;
}

function toBurn(row: BurnRow): Burn {
  return {
    burnId: row.id,
    planId: row.plan_id,
    holderAddress: row.holder,
    amount: row.amount,
    idempotencyKey: row.idempotency_key,
    agentRequestId: row.agent_request_id,
    correlationId: row.correlation_id,
    at: new Date(row.at).toISOString(),
  };
}

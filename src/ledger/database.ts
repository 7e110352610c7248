import type Database from "libsql";
import { loadSqlite } from "../packages.ts";

/** The most credits one holder can have on one plan: `Number.MAX_SAFE_INTEGER`. */
export const maxCredits: number = Number.MAX_SAFE_INTEGER;

/** Marks a file as this ledger's ("ECML"), so that no other database is taken for one. */
const applicationId = 0x45434d4c;
const schemaVersion = 2;

/*
 * A plan's own account (holder '') is the other side of all its holders, so a plan's balances sum
 * to zero. Balances change in one place, the trigger: no transfer without both of its sides.
 */
const schema = `
CREATE TABLE account (
  id INTEGER PRIMARY KEY,
  plan_id TEXT NOT NULL,
  holder TEXT NOT NULL,
  balance INTEGER NOT NULL DEFAULT 0,
  UNIQUE (plan_id, holder),
  CHECK (CASE holder WHEN '' THEN balance <= 0 ELSE balance BETWEEN 0 AND ${maxCredits} END)
) STRICT;
CREATE TABLE transfer (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('mint', 'burn')),
  debit INTEGER NOT NULL REFERENCES account,
  credit INTEGER NOT NULL REFERENCES account CHECK (credit <> debit),
  amount INTEGER NOT NULL CHECK (amount BETWEEN 1 AND ${maxCredits}),
  idempotency_key TEXT,
  agent_request_id TEXT,
  correlation_id TEXT,
  at INTEGER NOT NULL
) STRICT;
CREATE TRIGGER post AFTER INSERT ON transfer BEGIN
  UPDATE account SET balance = balance - new.amount WHERE id = new.debit;
  UPDATE account SET balance = balance + new.amount WHERE id = new.credit;
END;
CREATE TABLE answer (
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  status INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE permission (
  token_hash TEXT PRIMARY KEY,
  expires_at INTEGER,
  single_use INTEGER NOT NULL CHECK (single_use IN (0, 1)),
  spent INTEGER NOT NULL DEFAULT 0 CHECK (spent IN (0, 1))
) STRICT, WITHOUT ROWID;
PRAGMA application_id = ${applicationId};
PRAGMA user_version = ${schemaVersion};
`;

/** The ledger's database: a file, or memory when `path` is `:memory:`. */
export function openDatabase(path: string): Database.Database {
  const db = connect(path);
  try {
    const fresh = isFresh(db, path);
    if (path === ":memory:") {
      db.exec("PRAGMA synchronous = OFF");
    } else {
      db.pragma("journal_mode = WAL");
      db.exec("PRAGMA synchronous = NORMAL");
    }
    db.exec("PRAGMA foreign_keys = ON");
    if (fresh) db.exec(`BEGIN IMMEDIATE; ${schema} COMMIT`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function connect(path: string): Database.Database {
  const Sqlite = loadSqlite();
  try {
    return new Sqlite(path, { timeout: 5_000 });
  } catch (cause) {
    const message = `The ledger cannot open the file ${path}: give a path in a folder that exists and can be written to.`;
    throw new Error(message, { cause });
  }
}

/**
 * Closes the database. Its write-ahead log is emptied first: libsql keeps a connection open until
 * its last statement has been collected, so closing alone would leave that to chance.
 */
export function closeDatabase(db: Database.Database): void {
  try {
    db.pragma("wal_checkpoint(TRUNCATE)");
  } finally {
    db.close();
  }
}

/** Whether there is no ledger in it yet; throws when there is something else. */
function isFresh(db: Database.Database, path: string): boolean {
  const application = pragma(db, "application_id");
  const version = pragma(db, "user_version");
  if (application === applicationId && version === schemaVersion) return false;
  const { n } = db.prepare("SELECT count(*) AS n FROM sqlite_schema").get() as { n: number };
  if (n === 0) return true;
  throw new Error(
    application === applicationId
      ? `The ledger file ${path} is of version ${version}, this one knows ${schemaVersion}: give another path.`
      : `${path} is a database of something else: give another path for the ledger.`,
  );
}

function pragma(db: Database.Database, name: "application_id" | "user_version"): number {
  return (db.prepare(`PRAGMA ${name}`).get() as Record<typeof name, number>)[name];
}

/** SQLite's primary result code 19, whatever the extended one is. */
export function isConstraint(error: unknown): boolean {
  return error instanceof loadSqlite().SqliteError && ((error.rawCode ?? 0) & 0xff) === 19;
}

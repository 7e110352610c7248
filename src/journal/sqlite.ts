/**
 * The journal in SQLite, for the processes of one machine. WAL with `synchronous=FULL`: a commit that
 * returned survives a power cut. `secure_delete`: a proof that is cleared is overwritten, and is out of
 * the files with the next `tidy` that nobody reads beside, which empties the WAL, once no more than `secretsAtOnce` wait.
 */

import { createHmac } from "node:crypto";
import { chmodSync, statSync } from "node:fs";
import type { Account, HoldAnswer, HoldAsked } from "../account.ts";
import { elapsed } from "../clock.ts";
import { CreditMeterError } from "../errors.ts";
import { loadSqlite } from "../packages.ts";
import { type Answer, holderKeyOf } from "../redemption.ts";
import type {
  ActRecord,
  Batch,
  Claim,
  Claimed,
  Entry,
  Journal,
  Reservation,
  Settlement,
} from "./journal.ts";
import { unusable } from "./place.ts";
import { hasEnded, thisProcess } from "./process.ts";
import {
  amountOf,
  type ClaimedRow,
  claimedOf,
  decisionOf,
  fits,
  lateAnswerOf,
  lostKeptMs,
  never,
  type Row,
  recordOf,
  spentKeptMs,
} from "./rows.ts";
import { type Connection, keepLog, openConnection, shortenLog } from "./sqlite-binding.ts";
import { applicationId, migrations } from "./sqlite-schema.ts";
import { text } from "./text.ts";

/** Milliseconds for which a new file is tried again that another process turns to WAL at this moment. */
const patienceMs = 10_000;

/**
 * A record that says "not before" a time further away than this was written under another clock.
 * (The longest wait that is ever asked for is an hour.)
 */
const longestWaitMs = 2 * 3_600_000;

/** Records put off whose time has come that one claim makes ready: it must not hold others up. */
const readyAtOnce = 1_000;

/** Secrets that `tidy` writes anew, at the most; while more wait to be sent, it leaves them alone. */
const secretsAtOnce = 10_000;

/**
 * @param path a file, or `:memory:`
 * @throws {CreditMeterError} `journal-unusable`
 */
export function openSqliteJournal(path: string): Journal {
  let db: Connection | undefined;
  try {
    db = openConnection(path);
    // SQLite gives the two files that it makes beside it the same mode.
    if (path !== ":memory:") chmodSync(path, 0o600);
    const mode = withPatience(() => useWal(db as Connection));
    if (mode !== "wal" && path !== ":memory:") throw new Error("it has no write-ahead log there");
    if (path !== ":memory:") keepLog(db, path);
    db.pragma("synchronous = FULL");
    // Only macOS has it, and there nothing less reaches the disk (https://sqlite.org/pragma.html).
    db.pragma("fullfsync = ON");
    db.pragma("secure_delete = ON");
    migrate(db, path);
    return createJournal(db);
  } catch (error) {
    db?.close();
    if (error instanceof CreditMeterError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw unusable(`The journal cannot be opened at ${path}: ${why}.`, error);
  }
}

function useWal(db: Connection): string {
  return one<{ journal_mode: string }>(db.pragma("journal_mode = WAL")).journal_mode;
}

/**
 * Where two processes turn a new file to WAL at the same moment, SQLite fails one of them at once and
 * does not wait for `busy_timeout`: it sees a deadlock
 * (https://sqlite.org/c3ref/busy_handler.html).
 */
function withPatience<Value>(run: () => Value): Value {
  const until = elapsed() + patienceMs;
  const shared = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      return run();
    } catch (error) {
      const isBusy = (error as { code?: unknown }).code === "SQLITE_BUSY";
      if (!isBusy || elapsed() > until) throw error;
      Atomics.wait(shared, 0, 0, 1 + Math.random() * 10);
    }
  }
}

/**
 * Looks at a journal while the program starts, and changes nothing: what can never be opened stops it there, and
 * not in the thread that would find out later. What may pass (another process that holds it) is left to that.
 *
 * @throws {CreditMeterError} `journal-unusable`
 */
export function checkSqliteJournal(path: string): void {
  let db: Connection | undefined;
  try {
    loadSqlite();
    // SQLite, and not this process itself, reads it: the file must not be opened and closed beside SQLite.
    if (path === ":memory:" || statSync(path).size === 0) return;
    db = openConnection(path, { readonly: true });
    versionOf(db, path);
  } catch (error) {
    if (error instanceof CreditMeterError) throw error;
    const { code, message } = error as { code?: string; message: string };
    if (code?.startsWith("SQLITE_") && code !== "SQLITE_NOTADB") return;
    const why = code === "SQLITE_NOTADB" ? "it is no SQLite database" : message;
    throw unusable(`The journal cannot be opened at ${path}: ${why}.`, error);
  } finally {
    db?.close();
  }
}

/** The version of its schema; 0 where it is new. */
function versionOf(db: Connection, path: string): number {
  const { user_version: version } = one<{ user_version: number }>(db.pragma("user_version"));
  const { application_id: id } = one<{ application_id: number }>(db.pragma("application_id"));
  const { tables } = one<{ tables: number }>(
    db.prepare("select count(*) as tables from sqlite_schema").all(),
  );
  if (id !== applicationId && (id !== 0 || version !== 0 || tables !== 0)) {
    throw unusable(`The journal cannot live at ${path}: that is a database of something else.`);
  }
  if (version > migrations.length) {
    throw unusable(
      `The journal at ${path} was written by a newer version of this package (schema ${version}, this one knows ${migrations.length}): install that version again.`,
    );
  }
  return version;
}

function migrate(db: Connection, path: string) {
  inTransaction(db, () => {
    const version = versionOf(db, path);
    for (const migration of migrations.slice(version)) db.exec(migration);
    if (version === migrations.length) return;
    db.pragma(`application_id = ${applicationId}`);
    db.pragma(`user_version = ${migrations.length}`);
  });
}

function inTransaction<Value>(db: Connection, run: () => Value): Value {
  // Immediate: a transaction that reads first and writes later would fail, not wait, when another
  // process wrote in between.
  db.exec("begin immediate");
  try {
    const value = run();
    db.exec("commit");
    return value;
  } catch (error) {
    // A full disk has rolled back already.
    if (db.inTransaction) db.exec("rollback");
    throw error;
  }
}

const records = "select * from redemptions left join secrets using (seq)";

function createJournal(db: Connection): Journal {
  const append = db.prepare(`
    insert into redemptions (
      redemption_id, status, plan_id, holder_address, holder_key, route, environment, amount, hold, usage,
      code, reason, message, bytes, owner, admitted_at, changed_at, repeatable, expires_at
    )
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    on conflict (redemption_id) do update set
      status = excluded.status, amount = excluded.amount, hold = excluded.hold, usage = excluded.usage, code = excluded.code,
      reason = excluded.reason, message = excluded.message, bytes = excluded.bytes, owner = null,
      changed_at = excluded.changed_at
    where excluded.status <> 'prepared' and (redemptions.status = 'prepared'
      or (redemptions.status = 'unresolved' and redemptions.reason = 'delivery-unconfirmed'))`);
  const keep = db.prepare(`
    insert into secrets (seq, proof, body)
    select seq, ?, ? from redemptions where redemption_id = ?
    on conflict do update set proof = excluded.proof, body = coalesce(excluded.body, body)`);

  const settle = db.prepare(`
    update redemptions set
      status = :status, redeemed_amount = :redeemed, remaining_balance = :remaining,
      short = :short, burn = :burn, payer = :payer, code = :code, reason = :reason, message = :message,
      not_before = :notBefore, changed_at = :now,
      doubt_since = iif(:mayBeApplied, coalesce(doubt_since, sent_at), doubt_since)
    where redemption_id = :id and owner = :owner and attempt = :attempt
      and (status = 'sending' or
        (:status in ('completed', 'failed') and status in ('unresolved', 'pending')))`);

  const makeReady = db.prepare(`
    update redemptions set not_before = null where seq in (
      select seq from redemptions where status = 'pending' and not_before <= ?
      union all
      select seq from redemptions where status = 'pending' and not_before > ?
      union all
      -- Put off in the future: the clock was set back since, and says nothing of this wait.
      select seq from redemptions where status = 'pending' and not_before is not null and changed_at > ?
      limit ${readyAtOnce})`);
  const nextHolder = db.prepare(`
    select holder_key from redemptions
    where status = 'pending' and not_before is null and holder_key > ? order by holder_key limit 1`);
  const sendingOf = db.prepare(`
    select count(*) as count from redemptions
    where status = 'sending' and owner = ? and holder_key = ?`);
  const oldestOf = db.prepare(`
    select seq, changed_at as since from redemptions
    where status = 'pending' and not_before is null and holder_key = ?
    order by expires_at, seq limit 1`);
  const take = db.prepare(`
    update redemptions set
      status = 'sending', attempt = attempt + 1, owner = :owner, sent_at = :now, changed_at = :now,
      first_sent_at = coalesce(first_sent_at, :now), code = null, reason = null, message = null
    where seq = :seq and status = 'pending'
    returning redemption_id, holder_key, amount, attempt, sent_at, doubt_since, repeatable, expires_at,
      :since as waiting_since,
      (select body from secrets where secrets.seq = redemptions.seq) as body`);

  const readMany = db.prepare(`${records} where redemption_id in (select value from json_each(?))`);
  const backlog = db.prepare(`
    select records, bytes, credits,
      (select min(admitted_at) from redemptions where status = 'pending') as oldest
    from backlog`);
  const countSending = db.prepare(
    "select count(*) as count from redemptions where status = 'sending'",
  );
  const countUnresolved = db.prepare(
    "select count(*) as count from redemptions where status = 'unresolved'",
  );
  const balanceBefore = db.prepare(`
    select remaining_balance as amount, changed_at as at from redemptions
    where status in ('completed', 'failed')
      and status = 'completed' and remaining_balance is not null
      and holder_key = ? and changed_at <= ? and redemption_id <> ?
    order by changed_at desc limit 1`);

  const debts = db.prepare("select unsettled, doubtful from debts where holder_key = ?");
  const spent = db.prepare("select credits from spent where holder_key = ?");
  const onWire = db.prepare(`
    select coalesce(sum(amount), 0) as credits from redemptions
    where status = 'sending' and holder_key = ?`);
  const heldBy = db.prepare(`
    select coalesce(sum(credits), 0) as credits, coalesce(sum(iif(owner <> :owner, credits, 0)), 0) as elsewhere
    from holds where holder_key = :key and owner is not null and redemption_id <> :id`);
  const onCredit = db.prepare(`
    select coalesce(sum(credits), 0) as credits from holds
    where on_credit = 1 and redemption_id <> :id
      and (lost_at is null or lost_at > unixepoch('subsec') * 1000 - :blockForMs)`);
  const putOnHold = db.prepare(`
    insert into holds (redemption_id, holder_key, owner, credits, on_credit)
    select :id, :key, :owner, :credits, :onCredit where not exists (
      select 1 from redemptions where redemption_id = :id and status <> 'prepared')
    on conflict do update set credits = excluded.credits, on_credit = excluded.on_credit`);
  const release = db.prepare(
    "delete from holds where redemption_id in (select value from json_each(?)) and owner is not null",
  );
  const giveBack = db.prepare(`
    delete from proofs where redemption_id in (
      select value from json_each(?) where value not in (select redemption_id from redemptions))`);
  const releaseAll = db.prepare("delete from holds where owner = ?");
  const forgetSpent = db.prepare(
    `delete from spent where at < unixepoch('subsec') * 1000 - ${spentKeptMs}`,
  );
  const forgetHolds = db.prepare(`
    delete from holds where lost_at < unixepoch('subsec') * 1000 - ${lostKeptMs}
      or (owner is not null and owner not in (select owner from owners))`);
  const lastOutcome = db.prepare(`
    select status, reason, changed_at as at from redemptions
    where status in ('completed', 'failed') and holder_key = ?
    order by changed_at desc limit 1`);
  const lastRefusal = db.prepare(`
    select changed_at as at from redemptions
    where status = 'failed' and holder_key = ?
      and reason not in ('insufficient-credits', 'payment-expired') and code <> 'operator'
    order by changed_at desc limit 1`);
  const reserve = db.prepare(`
    insert into proofs (digest, redemption_id, at) select :digest, :id, :now
    where not exists (
      select 1 from redemptions where redemption_id = :id and status = 'skipped')
    on conflict do nothing`);
  const reservedBy = db.prepare("select redemption_id from proofs where digest = ?");
  const pruneProofs = db.prepare(
    "delete from proofs where digest in (select digest from proofs where at < ? limit ?)",
  );
  const digestKey = one<{ key: string }>(db.prepare("select key from secret_key").all()).key;

  const register = db.prepare(
    "insert into owners (owner, beat, process) values (?, 0, ?) on conflict do nothing",
  );
  const beat = db.prepare(`
    insert into owners (owner, beat, process) values (?, 1, ?)
    on conflict (owner) do update set beat = beat + 1`);
  const others = db.prepare("select owner, beat, process from owners where owner <> ?");
  const lost = db.prepare(`
    update redemptions set status = 'unresolved', changed_at = :now, reason = 'answer-lost',
      code = 'OWNER_GONE', message = 'The process that was sending this charge ended before an answer came.'
    where status = 'sending' and owner = :from
      and (:since is null or repeatable = 0 or coalesce(doubt_since, sent_at) < :since)
    returning redemption_id`);
  const sendAgain = db.prepare(`
    update redemptions set status = 'pending', changed_at = :now, not_before = null,
      doubt_since = coalesce(doubt_since, sent_at)
    where status = 'sending' and owner = :from
    returning redemption_id`);
  const unconfirmed = db.prepare(`
    update redemptions set status = 'unresolved', changed_at = :now,
      reason = 'delivery-unconfirmed', code = 'delivery-unconfirmed',
      message = 'The process ended before it was known whether the response was delivered.'
    where status = 'prepared' and owner = :from
    returning redemption_id`);
  const dismiss = db.prepare("delete from owners where owner = ?");
  const dismissIdle = db.prepare(`
    delete from owners where owner = :owner
      and not exists (select 1 from redemptions where status = 'sending' and owner = :owner)
      and not exists (select 1 from redemptions where status = 'prepared' and owner = :owner)`);

  const decide = db.prepare(`
    update redemptions set
      status = :status, changed_at = :now, not_before = null, doubt_since = null,
      amount = coalesce(:amount, amount), redeemed_amount = :redeemed, short = 0,
      bytes = coalesce(:bytes, bytes),
      code = :code, reason = :reason, message = :message
    where redemption_id = :id
      and ((status = 'unresolved' and :act <> 'cancel')
        or (status = 'pending' and :act in ('cancel', 'fail')))
      and (:quietMs is null or sent_at is null or (status = 'pending' and doubt_since is null)
        or sent_at <= :now - :quietMs)
      and case :act
      when 'supply' then amount is null
      when 'resend' then exists (
        select 1 from secrets where secrets.seq = redemptions.seq and body is not null)
      else true end`);
  const addAct = db.prepare(
    "insert into acts (redemption_id, act, by, note, at, amount) values (?, ?, ?, ?, ?, ?)",
  );
  const addAnswer = db.prepare(`
    insert into acts (redemption_id, act, by, note, at, amount)
    select redemption_id, 'answer', 'ledger', :note, :now, :amount from redemptions as known
    where redemption_id = :id
      and (attempt > :attempt or exists (
        select 1 from acts where acts.redemption_id = known.redemption_id
          and act in ('complete', 'fail', 'cancel')))
      and not exists (
        select 1 from acts where acts.redemption_id = known.redemption_id
          and act = 'answer' and note = :note)`);
  const actsOf = db.prepare(
    "select redemption_id, act, by, note, at, amount from acts where redemption_id = ? order by seq",
  );
  const prune = db.prepare(`
    delete from redemptions where seq in (
      select seq from redemptions
      where status in ('completed', 'failed', 'skipped') and changed_at < ? limit ?)`);

  const someSecrets = db.prepare(`select seq from secrets limit ${secretsAtOnce + 1}`);
  const allSecrets = db.prepare("select seq, proof, body from secrets order by seq");
  const clearSecrets = db.prepare("delete from secrets");
  const putBack = db.prepare("insert into secrets (seq, proof, body) values (?, ?, ?)");

  const processName = thisProcess();
  /** The holder whose record was taken last: the next claim goes on behind it. */
  let cursor = "";

  function appendOne(entry: Entry, batch: Batch) {
    const body = text(entry.body);
    const bytes = Buffer.byteLength(body ?? "");
    const row = rowOf(entry, bytes, batch);
    if (append.run(row).changes === 0 || entry.status === "skipped") return;
    if (body !== null || entry.proof !== null) keep.run(text(entry.proof), body, row[0]);
  }

  function reserveOne({ redemptionId, proof }: Reservation, { now }: Batch): boolean {
    // As text: libsql 0.5 ends the whole process where it meets a blob.
    const digest = createHmac("sha256", digestKey).update(proof).digest("base64");
    const id = text(redemptionId);
    if (reserve.run({ digest, id, now }).changes === 1) return true;
    return first<{ redemption_id: string }>(reservedBy.all(digest))?.redemption_id === id;
  }

  /**
   * What SQLite copies from page to page, to keep them evenly filled, stays behind in the unused part of
   * a page, where `secure_delete` does not reach. A page that is freed is overwritten as a whole.
   */
  function writeSecretsAnew() {
    if (someSecrets.all().length > secretsAtOnce) return;
    const rows = allSecrets.all() as { seq: number; proof: string | null; body: string | null }[];
    clearSecrets.run();
    for (const { seq, proof, body } of rows) putBack.run(seq, proof, body);
  }

  function settleOne(settlement: Settlement, { owner, now }: Batch): boolean {
    const { answer } = settlement;
    const { changes } = settle.run({
      ...columnsOf(answer),
      id: text(settlement.redemptionId),
      attempt: settlement.attempt,
      owner,
      now,
      notBefore: settlement.notBefore,
      mayBeApplied: settlement.mayBeApplied ? 1 : 0,
    });
    return changes === 1;
  }

  function isLate(settlement: Settlement, { now }: Batch): boolean {
    const late = lateAnswerOf(settlement);
    if (!late) return false;
    const id = text(settlement.redemptionId);
    const { attempt } = settlement;
    return addAnswer.run({ id, attempt, now, ...late, note: text(late.note) }).changes === 1;
  }

  function accountOf(key: string): Account {
    const { unsettled = 0, doubtful = 0 } =
      first<{ unsettled: number; doubtful: number }>(debts.all(key)) ?? {};
    const last = first<{ status: string; reason: string; at: number }>(lastOutcome.all(key));
    const isBroke = last?.status === "failed" && last.reason === "insufficient-credits";
    return {
      unsettled,
      doubtful,
      spent: first<{ credits: number }>(spent.all(key))?.credits ?? 0,
      onWire: one<{ credits: number }>(onWire.all(key)).credits,
      refused: {
        credits: isBroke ? last.at : null,
        otherwise: first<{ at: number }>(lastRefusal.all(key))?.at ?? null,
      },
    };
  }

  function holdOne(asked: HoldAsked, owner: string): HoldAnswer {
    const { planId, holderAddress, credits, within } = asked;
    const id = text(asked.redemptionId);
    const key = text(holderKeyOf(planId, holderAddress));
    const account = accountOf(key);
    const { credits: held, elsewhere } = one<{ credits: number; elsewhere: number }>(
      heldBy.all({ owner, key, id }),
    );
    const exposure =
      "total" in within
        ? null
        : one<{ credits: number }>(onCredit.all({ id, blockForMs: within.blockForMs })).credits;
    const answer = { account, elsewhere, exposure };
    const onCreditToo = "total" in within ? 0 : 1;
    const isHeld =
      fits(asked, { ...answer, held }) &&
      putOnHold.run({ id, key, owner, credits, onCredit: onCreditToo }).changes === 1;
    return { ...answer, isHeld };
  }

  /** One of each holder in turn, round after round, until there are enough or no more. */
  function claimSome(claim: Claim, { owner, now }: Batch): Claimed[] {
    const claimed: Claimed[] = [];
    makeReady.run(now, now + longestWaitMs, now);
    /** Holders to pass over. Those at their cap are no more than this owner has on the wire. */
    const passed = new Set(claim.avoid === undefined ? [] : [claim.avoid]);
    let skipped = 0;
    while (claimed.length < claim.limit && skipped <= passed.size) {
      const next = first<{ holder_key: string }>(nextHolder.all(cursor));
      const holder = (next ?? first<{ holder_key: string }>(nextHolder.all("")))?.holder_key;
      if (holder === undefined) break;
      cursor = holder;
      const record = passed.has(holder) ? undefined : takeOne(holder, claim.perHolder, owner, now);
      if (record) claimed.push(record);
      else passed.add(holder);
      skipped = record ? 0 : skipped + 1;
    }
    if (claimed.length === 0 && claim.limit > 0 && claim.avoid !== undefined) {
      const record = takeOne(claim.avoid, claim.perHolder, owner, now);
      if (record) claimed.push(record);
    }
    return claimed;
  }

  function takeOne(holder: string, perHolder: number, owner: string, now: number) {
    if (one<{ count: number }>(sendingOf.all(owner, holder)).count >= perHolder) return undefined;
    const due = first<{ seq: number; since: number }>(oldestOf.all(holder));
    const row = due && first<ClaimedRow>(take.all({ ...due, owner, now }));
    return row && claimedOf(row);
  }

  return {
    commit: (batch) =>
      settled(() =>
        inTransaction(db, () => {
          // Whoever has something under way is on the list, so that another can take it over: also
          // one that was taken for gone, and was not.
          register.run(batch.owner, processName);
          for (const entry of batch.append) appendOne(entry, batch);
          const reserved = (batch.reserve ?? []).map((one) => reserveOne(one, batch));
          const settled = batch.settle.map((settlement) => settleOne(settlement, batch));
          return {
            reserved,
            settled,
            late: batch.settle.map((one, index) => !settled[index] && isLate(one, batch)),
            claimed: batch.claim ? claimSome(batch.claim, batch) : [],
          };
        }),
      ),

    read: (ids) =>
      settled(() => readMany.all(JSON.stringify(ids.map(text))).map((row) => recordOf(row as Row))),

    list: (filter) =>
      settled(() => {
        const conditions = ["seq > :after"];
        if (filter.status) conditions.push("status = :status");
        if (filter.holderAddress) conditions.push("lower(holder_address) = :holder");
        const rows = db
          .prepare(`${records} where ${conditions.join(" and ")} order by seq limit :limit`)
          .all({
            after: filter.after ?? 0,
            limit: filter.limit + 1,
            ...(filter.status && { status: filter.status }),
            ...(filter.holderAddress && { holder: text(filter.holderAddress).toLowerCase() }),
          }) as Row[];
        const page = rows.slice(0, filter.limit);
        return {
          records: page.map(recordOf),
          next: rows.length > filter.limit ? (page.at(-1)?.seq ?? null) : null,
        };
      }),

    totals: () =>
      settled(() => {
        const { records, bytes, credits, oldest } = one<{
          records: number;
          bytes: number;
          credits: number;
          oldest: number | null;
        }>(backlog.all());
        return {
          pending: records,
          pendingBytes: bytes,
          credits,
          oldestPendingAt: oldest,
          sending: one<{ count: number }>(countSending.all()).count,
          unresolved: one<{ count: number }>(countUnresolved.all()).count,
        };
      }),

    account: (planId, holderAddress) =>
      settled(() => accountOf(text(holderKeyOf(planId, holderAddress)))),

    hold: (owner, asked) =>
      settled(() =>
        inTransaction(db, () => {
          register.run(owner, processName);
          return asked.map((one) => holdOne(one, owner));
        }),
      ),

    release: (ids) =>
      settled(() =>
        inTransaction(db, () => {
          for (const statement of [release, giveBack]) {
            statement.run(JSON.stringify(ids.map(text)));
          }
        }),
      ),

    balanceBefore: (record) =>
      settled(() => {
        const key = text(holderKeyOf(record.planId, record.holderAddress));
        const before = record.firstSentAt ?? record.changedAt;
        const row = first<{ amount: number | string; at: number }>(
          balanceBefore.all(key, before, text(record.redemptionId)),
        );
        return row ? { amount: row.amount, at: row.at } : null;
      }),

    clock: () => Promise.resolve(null),

    beat: (owner) =>
      settled(() =>
        inTransaction(db, () => {
          beat.run(owner, processName);
          return others.all(owner) as { owner: string; beat: number; process: string }[];
        }).map((other) => ({
          owner: other.owner,
          beat: other.beat,
          gone: hasEnded(other.process),
        })),
      ),

    takeOver: ({ from, now, resendSince }) =>
      settled(() =>
        inTransaction(db, () => {
          const ids = (rows: unknown[]) =>
            (rows as { redemption_id: string }[]).map((row) => row.redemption_id);
          const unresolved = [
            ...ids(lost.all({ from, now, since: resendSince })),
            ...ids(unconfirmed.all({ from, now })),
          ];
          const pending = ids(sendAgain.all({ from, now }));
          releaseAll.run(from);
          dismiss.run(from);
          return { unresolved, pending };
        }),
      ),

    act: (act, { redemptionId, by, note, at }, quietMs) =>
      settled(() =>
        inTransaction(db, () => {
          const id = text(redemptionId);
          const what = { act: act.act, id, now: at, quietMs: quietMs ?? null };
          const decision = { ...decisionOf(act), ...what };
          if (decide.run(decision).changes === 0) return undefined;
          const body = act.act === "supply" ? text(act.body) : null;
          if (decision.status === "pending") keep.run(null, body, id);
          addAct.run(id, act.act, text(by), text(note), at, amountOf(act));
          return recordOf(one<Row>(readMany.all(JSON.stringify([id]))));
        }),
      ),

    acts: (redemptionId) =>
      settled(() =>
        (
          actsOf.all(text(redemptionId)) as (Omit<ActRecord, "redemptionId"> & {
            redemption_id: string;
          })[]
        ).map(({ redemption_id, act, by, note, at, amount }) => ({
          redemptionId: redemption_id,
          act,
          by,
          note,
          at,
          amount,
        })),
      ),

    prune: (before, limit) =>
      settled(() => {
        pruneProofs.run(before, limit);
        return prune.run(before, limit).changes;
      }),

    tidy: () =>
      settled(() => {
        inTransaction(db, writeSecretsAnew);
        forgetSpent.run();
        forgetHolds.run();
        shortenLog(db);
      }),

    close: (owner) =>
      settled(() => {
        try {
          releaseAll.run(owner);
          dismissIdle.run({ owner });
          shortenLog(db);
        } catch {
          // A full disk: all that was committed is durable, and whoever opens it next tidies up.
        } finally {
          db.close();
        }
      }),
  };
}

/** Runs at once; the promise only carries what came of it. */
function settled<Value>(run: () => Value): Promise<Value> {
  try {
    return Promise.resolve(run());
  } catch (error) {
    return Promise.reject(error);
  }
}

function rowOf(entry: Entry, bytes: number, { owner, now }: Batch) {
  const { planId, holderAddress, error } = entry;
  return [
    text(entry.redemptionId),
    entry.status,
    text(planId),
    text(holderAddress),
    text(holderKeyOf(planId, holderAddress)),
    text(entry.route),
    entry.environment,
    entry.amount,
    entry.hold,
    text(entry.usage && JSON.stringify(entry.usage)),
    text(error?.code ?? null),
    text(error?.reason ?? null),
    text(error?.message ?? null),
    bytes,
    entry.status === "prepared" ? owner : null,
    entry.admittedAt,
    now,
    entry.repeatable ? 1 : 0,
    entry.expiresAt ?? never,
  ];
}

function columnsOf(answer: Answer) {
  if (answer.status === "completed") {
    const { status, redeemedAmount: redeemed, remainingBalance: remaining } = answer;
    const { transaction = null, payer = null } = answer;
    const short = answer.short ? 1 : 0;
    const none = { code: null, reason: null, message: null };
    return {
      status,
      redeemed,
      remaining,
      short,
      burn: text(transaction),
      payer: text(payer),
      ...none,
    };
  }
  const { status, reason } = answer;
  const none = { redeemed: null, remaining: null, short: 0, burn: null, payer: null };
  return { status, reason, code: text(answer.code), message: text(answer.message), ...none };
}

function first<Row>(rows: unknown): Row | undefined {
  return (rows as Row[])[0];
}

function one<Row>(rows: unknown): Row {
  return (rows as [Row])[0];
}

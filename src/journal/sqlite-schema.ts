/** The tables of the SQLite journal, and how an older file becomes a newer one. */

/** Credits of a row that count as not settled; as an expression of SQL. */
const unsettled = (row: "old" | "new") => `case
    when ${row}.status in ('pending', 'sending') then coalesce(${row}.amount, 0)
    when ${row}.status = 'unresolved' and ${row}.reason = 'price-error' then ${row}.hold
    else 0 end`;

/** Credits of a row that may have been burned; as an expression of SQL. */
const doubtful = (row: "old" | "new") =>
  `iif(${row}.status = 'unresolved' and ${row}.first_sent_at is not null, coalesce(${row}.amount, 0), 0)`;

/** Credits of a row that were burned or may have been; as an expression of SQL. */
const burned = (row: "old" | "new") =>
  `iif(${row}.status = 'completed', ${row}.amount, ${doubtful(row)})`;

/** What becomes of the hold of a redemption whose record is `new`; as statements of SQL. */
const letGo = `
    delete from holds where redemption_id = new.redemption_id and (
      on_credit = 0 or new.status in ('completed', 'skipped')
      or new.code in ('operator', 'payment-expired'));
    update holds set owner = null, credits = coalesce(new.amount, new.hold),
      lost_at = iif(new.status = 'failed', unixepoch('subsec') * 1000, null)
    where redemption_id = new.redemption_id;`;

/** Marks a file as a journal ("ECMJ"), so that no other database is taken for one. */
export const applicationId = 0x45434d4a;

/**
 * Migrations, oldest first; `PRAGMA user_version` counts those that were applied. Never change one
 * that was released: add another.
 */
export const migrations: readonly string[] = [
  `
  create table redemptions (
    seq integer primary key,
    redemption_id text not null unique,
    status text not null check (status in
      ('prepared', 'pending', 'sending', 'completed', 'failed', 'unresolved', 'skipped')),
    plan_id text not null,
    holder_address text not null,
    holder_key text not null,
    route text not null,
    environment text not null,
    amount integer,
    -- Credits that were set aside for it, while its amount is not known.
    hold integer not null,
    -- JSON.
    usage text,
    -- No declared type: numbers stay numbers, decimal strings past 2^53 stay strings.
    redeemed_amount,
    remaining_balance,
    burn text,
    payer text,
    short integer not null default 0,
    code text,
    reason text,
    message text,
    -- Of the body, as UTF-8.
    bytes integer not null,
    attempt integer not null default 0,
    owner text,
    -- Null: may be taken at once.
    not_before integer,
    admitted_at integer not null,
    changed_at integer not null,
    first_sent_at integer,
    sent_at integer,
    doubt_since integer,
    repeatable integer not null,
    -- The greatest number where it is not known to.
    expires_at integer not null
  );
  -- In a table of their own, which \`tidy\` can write anew.
  create table secrets (seq integer primary key, proof text, body text);
  create trigger over after update of status on redemptions
    when new.status in ('completed', 'failed', 'skipped') begin
    delete from secrets where seq = new.seq;
  end;
  -- What may be taken: a holder's next is one step away, however much waits or is put off.
  create index ready on redemptions (holder_key, expires_at, seq) where status = 'pending' and not_before is null;
  create index put_off on redemptions (not_before) where status = 'pending' and not_before is not null;
  create index put_off_at on redemptions (changed_at) where status = 'pending' and not_before is not null;
  create index pending on redemptions (admitted_at) where status = 'pending';
  create index sending on redemptions (owner, holder_key) where status = 'sending';
  create index prepared on redemptions (owner) where status = 'prepared';
  create index unresolved on redemptions (seq) where status = 'unresolved';
  create index finished on redemptions (changed_at)
    where status in ('completed', 'failed', 'skipped');
  create index outcomes on redemptions (holder_key, changed_at)
    where status in ('completed', 'failed');
  create index refusals on redemptions (holder_key, changed_at) where status = 'failed';
  -- Kept, not counted: to count a million records takes longer than a commit may.
  create table backlog (
    records integer not null,
    bytes integer not null,
    -- Of what is not settled.
    credits integer not null
  );
  insert into backlog values (0, 0, 0);
  -- What holders owe, as far as it is not settled: credits of what is pending or sending, or set aside
  -- for what has no price yet; and of what was sent and may have been applied.
  create table debts (
    holder_key text primary key,
    unsettled integer not null,
    doubtful integer not null
  ) without rowid;
  create trigger owed after insert on redemptions when ${unsettled("new")} > 0 begin
    insert into debts values (new.holder_key, ${unsettled("new")}, 0)
      on conflict do update set unsettled = unsettled + excluded.unsettled;
    update backlog set credits = credits + ${unsettled("new")};
  end;
  create trigger owed_otherwise after update of status on redemptions
    when ${unsettled("old")} <> ${unsettled("new")} or ${doubtful("old")} <> ${doubtful("new")} begin
    insert into debts values (
        new.holder_key, ${unsettled("new")} - ${unsettled("old")}, ${doubtful("new")} - ${doubtful("old")})
      on conflict do update set
        unsettled = unsettled + excluded.unsettled, doubtful = doubtful + excluded.doubtful;
    update backlog set credits = credits + ${unsettled("new")} - ${unsettled("old")};
  end;
  create trigger owed_no_more after update on debts
    when new.unsettled = 0 and new.doubtful = 0 begin
    delete from debts where holder_key = new.holder_key;
  end;
  -- What holders have spent: see \`Account\`.
  create table spent (
    holder_key text primary key,
    credits integer not null,
    at integer not null
  ) without rowid;
  create index spent_at on spent (at);
  create trigger spent_more after update of status on redemptions
    when ${burned("new")} > ${burned("old")} begin
    insert into spent values (
        new.holder_key, ${burned("new")} - ${burned("old")}, unixepoch('subsec') * 1000)
      on conflict do update set credits = credits + excluded.credits, at = excluded.at;
  end;
  -- Credits that are set aside for requests under way. Those on credit stay until their charge is
  -- settled, without an owner: they count against what all such holders may owe, and against nothing
  -- else. What the ledger refuses of them was lost at that time.
  create table holds (
    redemption_id text primary key,
    holder_key text not null,
    owner text,
    credits integer not null,
    on_credit integer not null,
    lost_at integer
  ) without rowid;
  create index holds_by_holder on holds (holder_key) where owner is not null;
  create index holds_by_owner on holds (owner) where owner is not null;
  create index holds_on_credit on holds (lost_at, credits) where on_credit = 1;
  create trigger recorded after insert on redemptions when new.status <> 'prepared' begin
    ${letGo}
  end;
  create trigger recorded_later after update of status on redemptions
    when new.status not in ('prepared', 'sending') begin
    ${letGo}
  end;
  -- Proofs that were used, as digests; a redemption that is skipped gives its proof back.
  create table proofs (
    digest text primary key,
    redemption_id text not null,
    at integer not null
  ) without rowid;
  create index proofs_by_redemption on proofs (redemption_id);
  create index proofs_by_age on proofs (at);
  create trigger given_back after update of status on redemptions when new.status = 'skipped' begin
    delete from proofs where redemption_id = new.redemption_id;
  end;
  create trigger given_back_at_once after insert on redemptions when new.status = 'skipped' begin
    delete from proofs where redemption_id = new.redemption_id;
  end;
  -- Of the digests, so that nobody who sees them can try proofs against them elsewhere.
  create table secret_key (key text not null);
  insert into secret_key values (hex(randomblob(32)));
  create trigger pending_added after insert on redemptions when new.status = 'pending' begin
    update backlog set records = records + 1, bytes = bytes + new.bytes;
  end;
  create trigger pending_came after update of status on redemptions
    when new.status = 'pending' and old.status <> 'pending' begin
    update backlog set records = records + 1, bytes = bytes + new.bytes;
  end;
  create trigger pending_went after update of status on redemptions
    when old.status = 'pending' and new.status <> 'pending' begin
    update backlog set records = records - 1, bytes = bytes - old.bytes;
  end;
  create table owners (
    owner text primary key,
    beat integer not null,
    process text not null
  );
  create table acts (
    seq integer primary key,
    redemption_id text not null,
    act text not null,
    by text not null,
    note text,
    at integer not null,
    amount integer
  );
  create index acts_by_redemption on acts (redemption_id);
  `,
];

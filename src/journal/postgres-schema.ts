/** The tables of the PostgreSQL journal, and how an older schema becomes a newer one. */

/** Credits of a row that count as not settled; as an expression of SQL. */
const unsettled = (row: "o" | "n") => `case
    when ${row}.status in ('pending', 'sending') then coalesce(${row}.amount, 0)
    when ${row}.status = 'unresolved' and ${row}.reason = 'price-error' then ${row}.hold
    else 0 end`;

/** Credits of a row that may have been burned; as an expression of SQL. */
const doubtful = (row: "o" | "n") => `case
    when ${row}.status = 'unresolved' and ${row}.first_sent_at is not null then coalesce(${row}.amount, 0)
    else 0 end`;

const waits = (row: "o" | "n") => `case when ${row}.status = 'pending' then 1 else 0 end`;
const bytes = (row: "o" | "n") =>
  `case when ${row}.status = 'pending' then ${row}.bytes else 0 end`;

/**
 * Migrations, oldest first; the table `journal_version` counts those that were applied. Never change
 * one that was released: add another. `s` is the schema, quoted.
 */
export const migrations: readonly ((s: string) => string)[] = [
  (s) => `
  create sequence ${s}.redemptions_seq;
  create table ${s}.redemptions (
    seq bigint primary key default nextval('${s}.redemptions_seq'),
    redemption_id text collate "C" not null unique,
    status text not null check (status in
      ('prepared', 'pending', 'sending', 'completed', 'failed', 'unresolved', 'skipped')),
    plan_id text not null,
    holder_address text not null,
    -- "C": claims walk through the holders in the order of the index.
    holder_key text collate "C" not null,
    route text not null,
    environment text not null,
    -- Not bigint: what is no whole number is remembered, too, as \`charge-invalid\`.
    amount numeric,
    -- Credits that were set aside for it, while its amount is not known.
    hold numeric not null,
    -- JSON, as a text: jsonb refuses some of what JSON allows.
    usage text,
    -- Numbers stay numbers, decimal strings past 2^53 stay strings.
    redeemed_amount jsonb,
    remaining_balance jsonb,
    short boolean not null default false,
    code text,
    reason text,
    message text,
    -- Of the body, as UTF-8.
    bytes bigint not null,
    attempt integer not null default 0,
    owner text,
    -- Null: may be taken at once.
    not_before bigint,
    admitted_at bigint not null,
    changed_at bigint not null,
    first_sent_at bigint,
    sent_at bigint,
    doubt_since bigint
  );
  -- In a table of their own: an update of a record does not copy them, and none is left when it is over.
  create table ${s}.secrets (seq bigint primary key, proof text, body text);
  -- What may be taken: a holder's oldest is one step away, however much waits or is put off.
  create index ready on ${s}.redemptions (holder_key, seq) where status = 'pending' and not_before is null;
  create index put_off on ${s}.redemptions (not_before) where status = 'pending' and not_before is not null;
  create index put_off_at on ${s}.redemptions (changed_at) where status = 'pending' and not_before is not null;
  create index pending on ${s}.redemptions (admitted_at) where status = 'pending';
  create index sending on ${s}.redemptions (owner, holder_key) where status = 'sending';
  create index prepared on ${s}.redemptions (owner) where status = 'prepared';
  create index unresolved on ${s}.redemptions (seq) where status = 'unresolved';
  create index finished on ${s}.redemptions (changed_at)
    where status in ('completed', 'failed', 'skipped');
  create index outcomes on ${s}.redemptions (holder_key, changed_at)
    where status in ('completed', 'failed');
  create index refusals on ${s}.redemptions (holder_key, changed_at) where status = 'failed';

  -- What holders owe, as far as it is not settled, and what of it waits. Each change adds a row of
  -- differences and the sum is what counts: a row for each holder would make all processes wait in turn
  -- for the one that charges the same holder.
  create table ${s}.debts (
    holder_key text collate "C" not null,
    unsettled numeric not null,
    doubtful numeric not null,
    pending bigint not null,
    bytes bigint not null
  );
  create index debts_by_holder on ${s}.debts (holder_key);

  -- Proofs that were used, as digests; a redemption that is skipped gives its proof back.
  create table ${s}.proofs (
    digest text collate "C" primary key,
    redemption_id text collate "C" not null,
    at bigint not null
  );
  create index proofs_by_redemption on ${s}.proofs (redemption_id);
  create index proofs_by_age on ${s}.proofs (at);
  -- Of the digests, so that nobody who sees them can try proofs against them elsewhere.
  create table ${s}.secret_key (key text not null);

  create table ${s}.owners (owner text primary key, beat bigint not null, process text not null);
  create table ${s}.acts (
    seq bigint generated always as identity primary key,
    redemption_id text collate "C" not null,
    act text not null,
    by text not null,
    note text,
    at bigint not null,
    amount numeric
  );
  create index acts_by_redemption on ${s}.acts (redemption_id);

  -- One step of an index for each record, whatever the tables looked like when the plan was made: it is
  -- kept as long as the connection is.
  create function ${s}.added() returns trigger language plpgsql
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  begin
    insert into ${s}.debts
    select n.holder_key, sum(${unsettled("n")}), 0, sum(${waits("n")}), sum(${bytes("n")})
    from added n group by n.holder_key
    having sum(${unsettled("n")}) <> 0 or sum(${waits("n")}) <> 0;
    delete from ${s}.proofs where redemption_id in (
      select n.redemption_id from added n where n.status = 'skipped');
    return null;
  end $$;
  create trigger added after insert on ${s}.redemptions
    referencing new table as added for each statement execute function ${s}.added();

  create function ${s}.changed() returns trigger language plpgsql
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  begin
    insert into ${s}.debts
    select * from (
      select holder_key, sum(unsettled) as unsettled, sum(doubtful) as doubtful,
        sum(pending) as pending, sum(bytes) as bytes
      from (
        select n.holder_key, ${unsettled("n")} as unsettled, ${doubtful("n")} as doubtful,
          ${waits("n")} as pending, ${bytes("n")} as bytes
        from after n
        union all
        select o.holder_key, -(${unsettled("o")}), -(${doubtful("o")}), -(${waits("o")}), -(${bytes("o")})
        from before o) as both_sides
      group by holder_key) as sums
    where unsettled <> 0 or doubtful <> 0 or pending <> 0 or bytes <> 0;
    delete from ${s}.secrets where seq in (
      select n.seq from after n where n.status in ('completed', 'failed', 'skipped'));
    delete from ${s}.proofs where redemption_id in (
      select n.redemption_id from after n where n.status = 'skipped');
    return null;
  end $$;
  create trigger changed after update on ${s}.redemptions
    referencing old table as before new table as after
    for each statement execute function ${s}.changed();
  `,
];

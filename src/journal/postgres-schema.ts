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

/** Credits of a row that were burned or may have been; as an expression of SQL. */
const burned = (row: "o" | "n") =>
  `case when ${row}.status = 'completed' then ${row}.amount else ${doubtful(row)} end`;

/** Milliseconds since 1970 by the clock of the database: hosts' clocks differ. */
const now = "(extract(epoch from clock_timestamp()) * 1000)::bigint";

/** What becomes of the holds of redemptions whose records are these; as statements of SQL. */
const letGo = (s: string, rows: "added" | "after") => `
    delete from ${s}.holds where redemption_id in (
      select h.redemption_id from ${rows} n join ${s}.holds h using (redemption_id)
      where n.status <> 'prepared'
        and (not h.on_credit or n.status in ('completed', 'skipped')
          or n.code in ('operator', 'payment-expired')));
    update ${s}.holds as h set owner = null, credits = coalesce(n.amount, n.hold),
      lost_at = case when n.status = 'failed' then ${now} end
    from ${rows} n where h.redemption_id = n.redemption_id and n.status not in ('prepared', 'sending');`;

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
    burn text,
    payer text,
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
    doubt_since bigint,
    repeatable boolean not null,
    -- The greatest number where it is not known to.
    expires_at bigint not null
  );
  -- In a table of their own: an update of a record does not copy them, and none is left when it is over.
  create table ${s}.secrets (seq bigint primary key, proof text, body text);
  -- What may be taken: a holder's next is one step away, however much waits or is put off.
  create index ready on ${s}.redemptions (holder_key, expires_at, seq) where status = 'pending' and not_before is null;
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

  -- What holders have spent (see \`Account\`), in rows of differences, too.
  create table ${s}.spent (
    holder_key text collate "C" not null,
    credits numeric not null,
    at bigint not null
  );
  create index spent_by_holder on ${s}.spent (holder_key);
  create index spent_by_age on ${s}.spent (at);

  -- Credits that are set aside for requests under way. Those on credit stay until their charge is
  -- settled, without an owner: they count against what all such holders may owe, and against nothing
  -- else. What the ledger refuses of them was lost at that time.
  create table ${s}.holds (
    redemption_id text collate "C" primary key,
    holder_key text collate "C" not null,
    owner text,
    credits numeric not null,
    on_credit boolean not null,
    lost_at bigint
  );
  create index holds_by_holder on ${s}.holds (holder_key) where owner is not null;
  create index holds_by_owner on ${s}.holds (owner) where owner is not null;
  create index holds_on_credit on ${s}.holds (lost_at) include (credits) where on_credit;

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
    ${letGo(s, "added")}
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
    ${letGo(s, "after")}
    return null;
  end $$;
  create trigger changed after update on ${s}.redemptions
    referencing old table as before new table as after
    for each statement execute function ${s}.changed();

  -- Apart from the other: to put both sides of many rows together takes a join that is none of steps of
  -- an index.
  create function ${s}.spend() returns trigger language plpgsql as $$
  begin
    insert into ${s}.spent
    select n.holder_key, sum(${burned("n")} - (${burned("o")})), ${now}
    from after n join before o using (seq)
    where ${burned("n")} > ${burned("o")}
    group by n.holder_key;
    return null;
  end $$;
  create trigger spend after update on ${s}.redemptions
    referencing old table as before new table as after
    for each statement execute function ${s}.spend();

  -- What is known of a holder. (A function of one statement, and \`stable\`, becomes part of the query.)
  create function ${s}.account(holder text) returns table (
    unsettled numeric, doubtful numeric, spent numeric, on_wire numeric, broke bigint, otherwise bigint)
  language sql stable as $$
    select
      coalesce(sum(unsettled), 0),
      coalesce(sum(doubtful), 0),
      (select coalesce(sum(credits), 0) from ${s}.spent where holder_key = holder),
      (select coalesce(sum(amount), 0) from ${s}.redemptions
        where status = 'sending' and holder_key = holder),
      (select case when status = 'failed' and reason = 'insufficient-credits' then changed_at end
        from ${s}.redemptions
        where status in ('completed', 'failed') and holder_key = holder
        order by changed_at desc limit 1),
      (select changed_at from ${s}.redemptions
        where status = 'failed' and holder_key = holder
          and reason not in ('insufficient-credits', 'payment-expired') and code <> 'operator'
        order by changed_at desc limit 1)
    from ${s}.debts where holder_key = holder
  $$;

  -- In one round trip: sets credits aside for each that is asked for, if it fits, and tells what the
  -- decision came from. The same rules as \`fits\` in rows.ts.
  create function ${s}.hold(asked jsonb, asker text, asker_process text) returns setof jsonb
  language plpgsql set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  declare
    one record;
    known record;
    holder text;
    own numeric;
    others numeric;
    exposure numeric;
    is_held boolean;
  begin
    -- Requests do not survive a crash of the database's machine, and neither need their holds.
    perform set_config('synchronous_commit', 'off', true);
    insert into ${s}.owners values (asker, 0, asker_process) on conflict do nothing;
    -- One process at a time decides about a holder, and about what all owe who pay on credit. In one
    -- order, so that none waits for another crosswise. What is read from here on is read afterwards.
    perform pg_advisory_xact_lock(hashtext('express-credit-meter ${s}'), key)
    from (
      select hashtext(a ->> 'holder_key') as key from jsonb_array_elements(asked) as a
      union
      select hashtext('on credit') from jsonb_array_elements(asked) as a where (a ->> 'total') is null
      order by 1) as keys;
    for one in
      select * from jsonb_to_recordset(asked) as a (
        n integer, redemption_id text, holder_key text, credits numeric, total numeric,
        credit_line numeric, max_exposure numeric, block_for_ms bigint, broke bigint, otherwise bigint)
      order by a.holder_key, a.n
    loop
      if holder is distinct from one.holder_key then
        holder := one.holder_key;
        -- In one statement, which sees one moment: a hold becomes a record in one commit, and between two
        -- statements it would be neither. Only who has the lock adds to the holds.
        select a.*, h.held, h.elsewhere into known
        from ${s}.account(holder) as a, (
          select coalesce(sum(credits), 0) as held,
            coalesce(sum(credits) filter (where owner <> asker), 0) as elsewhere
          from ${s}.holds where holder_key = holder and owner is not null) as h;
      end if;
      select coalesce(sum(credits), 0) into own from ${s}.holds
        where redemption_id = one.redemption_id and owner is not null;
      others := known.held - own;
      exposure := null;
      if one.total is null then
        select coalesce(sum(h.credits), 0) into exposure from ${s}.holds as h
          where h.on_credit and h.redemption_id <> one.redemption_id
            and (h.lost_at is null or h.lost_at > ${now} - one.block_for_ms);
      end if;
      is_held := (known.broke is null or known.broke is not distinct from one.broke)
        and (known.otherwise is null or known.otherwise is not distinct from one.otherwise)
        and case when one.total is not null
          then known.spent + known.unsettled + others + one.credits <= one.total
          else known.unsettled + known.doubtful + others + one.credits <= one.credit_line
            and exposure + one.credits <= one.max_exposure
        end;
      if is_held then
        insert into ${s}.holds as h (redemption_id, holder_key, owner, credits, on_credit)
        select one.redemption_id, holder, asker, one.credits, one.total is null
        where not exists (
          select 1 from ${s}.redemptions as r
          where r.redemption_id = one.redemption_id and r.status <> 'prepared')
        on conflict (redemption_id) do update set
          credits = excluded.credits, on_credit = excluded.on_credit;
        is_held := found;
        if is_held then known.held := others + one.credits; end if;
      end if;
      return next jsonb_build_object(
        'n', one.n, 'is_held', is_held, 'elsewhere', known.elsewhere, 'exposure', exposure,
        'account', to_jsonb(known) - 'held' - 'elsewhere');
    end loop;
  end $$;
  `,
];

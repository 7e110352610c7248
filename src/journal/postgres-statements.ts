/**
 * What the PostgreSQL journal says to its database. Locks are taken in one order, by all: the owner, then
 * records by their id.
 */

import { lostKeptMs, spentKeptMs } from "./rows.ts";

/** Records put off whose time has come that one claim makes ready: it must not hold others up. */
const readyAtOnce = 1_000;

/**
 * The statements of the PostgreSQL journal.
 *
 * @param s the schema, quoted
 */
export function createStatements(s: string) {
  // Records are found by arrays of their keys: PostgreSQL then goes by the index whatever it believes of
  // the table, and right after a table has grown it believes what is long past.
  const records = `select * from ${s}.redemptions left join ${s}.secrets using (seq)`;

  const append = `
    with given as materialized (
      select * from json_to_recordset($1) as given (
        n integer, redemption_id text, status text, plan_id text, holder_address text,
        holder_key text, route text, environment text, amount numeric, hold numeric, usage text,
        code text, reason text, message text, bytes bigint, owner text, admitted_at bigint,
        repeatable boolean, expires_at bigint, proof text, body text)
    ),
    -- Numbered as they were handed over, written in the order of their ids, as everywhere.
    numbered as materialized (
      select nextval('${s}.redemptions_seq') as seq, ordered.* from (
        select * from given order by n offset 0) as ordered
    ),
    kept as (
      insert into ${s}.redemptions as known (
        seq, redemption_id, status, plan_id, holder_address, holder_key, route, environment, amount,
        hold, usage, code, reason, message, bytes, owner, admitted_at, changed_at, repeatable, expires_at)
      select seq, redemption_id, status, plan_id, holder_address, holder_key, route, environment, amount,
        hold, usage, code, reason, message, bytes, owner, admitted_at, $2, repeatable, expires_at
      from numbered order by redemption_id collate "C"
      on conflict (redemption_id) do update set
        status = excluded.status, amount = excluded.amount, hold = excluded.hold,
        usage = excluded.usage, code = excluded.code, reason = excluded.reason,
        message = excluded.message, bytes = excluded.bytes, owner = null,
        changed_at = excluded.changed_at
      where excluded.status <> 'prepared' and (known.status = 'prepared'
        or (known.status = 'unresolved' and known.reason = 'delivery-unconfirmed'))
      returning seq, redemption_id
    )
    insert into ${s}.secrets as secrets (seq, proof, body)
    select kept.seq, proof, body from kept join given using (redemption_id)
    where status <> 'skipped' and coalesce(proof, body) is not null
    on conflict (seq) do update set
      proof = excluded.proof, body = coalesce(excluded.body, secrets.body)`;

  const reserve = `
    insert into ${s}.proofs (digest, redemption_id, at)
    select distinct on (digest) digest, redemption_id, $2::bigint
    from json_to_recordset($1) as given (n integer, digest text, redemption_id text)
    where not exists (
      select 1 from ${s}.redemptions as known
      where known.redemption_id = given.redemption_id and known.status = 'skipped')
    order by digest, n
    on conflict do nothing`;
  const reservedBy = `select digest, redemption_id from ${s}.proofs where digest = any($1)`;

  const settle = `
    with given as materialized (
      select * from json_to_recordset($1) as given (
        id text, attempt integer, status text, redeemed jsonb, remaining jsonb, short boolean,
        burn text, payer text,
        code text, reason text, message text, not_before bigint, may_be_applied boolean)
    ),
    -- What is seen once it is locked is what it is.
    locked as materialized (
      select seq, redemption_id, status, owner, attempt from ${s}.redemptions
      where redemption_id = any (array(select id from given))
      order by redemption_id for update
    ),
    fits as materialized (
      select locked.seq, given.* from given join locked on locked.redemption_id = given.id
      where locked.owner = $2 and locked.attempt = given.attempt
        and (locked.status = 'sending' or
          (given.status in ('completed', 'failed') and locked.status in ('unresolved', 'pending')))
    )
    update ${s}.redemptions as known set
      status = fits.status, redeemed_amount = redeemed, remaining_balance = remaining,
      short = fits.short, burn = fits.burn, payer = fits.payer, code = fits.code, reason = fits.reason, message = fits.message,
      not_before = fits.not_before, changed_at = $3,
      doubt_since = case when may_be_applied then coalesce(doubt_since, sent_at) else doubt_since end
    from fits where known.seq = fits.seq
    returning known.redemption_id as id`;

  const makeReady = `
    update ${s}.redemptions set not_before = null where seq = any (array(
      select seq from ${s}.redemptions where seq = any (array(
        select seq from ${s}.redemptions where status = 'pending' and not_before <= $1
        union all
        select seq from ${s}.redemptions where status = 'pending' and not_before > $2
        union all
        -- Put off in the future: the clock was set back since, and says nothing of this wait.
        select seq from ${s}.redemptions
        where status = 'pending' and not_before is not null and changed_at > $1
        limit ${readyAtOnce}))
      for update skip locked))`;

  /** The holders with something to take, one step of the index each, behind a holder. */
  const walk = (name: string, from: string, until: string) => `
    ${name} (holder_key, place) as (
      (select holder_key, 1 from ${s}.redemptions
        where status = 'pending' and not_before is null and ${from} ${until}
        order by holder_key limit 1)
      union all
      select (
        select holder_key from ${s}.redemptions
        where status = 'pending' and not_before is null and holder_key > ${name}.holder_key ${until}
        order by holder_key limit 1), place + 1
      from ${name} where holder_key is not null and place < (select holders from enough)
    )`;

  /**
   * Chosen first and then locked, so that no more is locked than is taken. What another process was just
   * taking comes back without an id.
   */
  const take = `
    with recursive
    mine as materialized (
      select holder_key, count(*) as sending from ${s}.redemptions
      where status = 'sending' and owner = $1 group by holder_key
    ),
    -- Those at their cap are no more than this owner has on the wire, and one is avoided.
    enough as materialized (select $4::bigint + count(*) + 1 as holders from mine),
    ${walk("ahead", "holder_key > $3", "")},
    ${walk("behind", "holder_key <= $3", "and holder_key <= $3")},
    holders as (
      select holder_key, place from ahead where holder_key is not null
      union all
      select holder_key, place + (select holders from enough) from behind
      where holder_key is not null
    ),
    room as (
      select holder_key, place, $5::bigint - coalesce(sending, 0) as free
      from holders left join mine using (holder_key)
      where ($6::text is null or holder_key <> $6) and $5::bigint > coalesce(sending, 0)
    ),
    chosen as materialized (
      select seq, row_number() over (order by turn, place) as n
      from room cross join lateral (
        select seq, row_number() over (order by expires_at, seq) as turn from (
          select seq, expires_at from ${s}.redemptions as due
          where status = 'pending' and not_before is null and due.holder_key = room.holder_key
            and seq <> all ($7::bigint[])
          order by expires_at, seq limit least(free, $4::bigint)) as oldest
      ) as due
      order by n limit $4::bigint
    ),
    locked as materialized (
      select seq, status, not_before, changed_at as waiting_since from ${s}.redemptions
      where seq = any (array(select seq from chosen)) for update skip locked
    ),
    taken as (
      update ${s}.redemptions as known set
        status = 'sending', attempt = attempt + 1, owner = $1, sent_at = $2, changed_at = $2,
        first_sent_at = coalesce(first_sent_at, $2), code = null, reason = null, message = null
      where seq = any (array(
        select seq from locked where status = 'pending' and not_before is null))
      returning known.seq, redemption_id, holder_key, amount, attempt, sent_at, doubt_since, repeatable,
        expires_at
    )
    select seq, redemption_id, holder_key, amount, attempt, sent_at, doubt_since, repeatable,
      expires_at, waiting_since, body
    from chosen left join taken using (seq) left join locked using (seq) left join ${s}.secrets using (seq) order by n`;

  const oldestOf = `
    select seq, changed_at as since from ${s}.redemptions
    where status = 'pending' and not_before is null and holder_key = $1 and (
      select count(*) from ${s}.redemptions
      where status = 'sending' and owner = $2 and holder_key = $1) < $3
    order by expires_at, seq limit 1 for update skip locked`;
  const takeThis = `
    with taken as (
      update ${s}.redemptions set
        status = 'sending', attempt = attempt + 1, owner = $1, sent_at = $2, changed_at = $2,
        first_sent_at = coalesce(first_sent_at, $2), code = null, reason = null, message = null
      where seq = $3 and status = 'pending'
      returning seq, redemption_id, holder_key, amount, attempt, sent_at, doubt_since, repeatable,
        expires_at, $4::bigint as waiting_since
    )
    select * from taken left join ${s}.secrets using (seq)`;

  /** Rows of differences become one for each holder. */
  const sumUpOf = (table: string, sums: string) => `
    with gone as (
      delete from ${s}.${table} where ctid = any (array(
        select ctid from ${s}.${table}
        where holder_key in (
          select holder_key from ${s}.${table} group by holder_key having count(*) > 1 limit 1000)
        limit 100000 for update skip locked))
      returning *
    )
    insert into ${s}.${table} ${sums}`;
  const sumUp = sumUpOf(
    "debts",
    `select * from (
      select holder_key, sum(unsettled) as unsettled, sum(doubtful) as doubtful,
        sum(pending) as pending, sum(bytes) as bytes
      from gone group by holder_key) as sums
    where unsettled <> 0 or doubtful <> 0 or pending <> 0 or bytes <> 0`,
  );
  const sumUpSpent = sumUpOf(
    "spent",
    "select holder_key, sum(credits), max(at) from gone group by holder_key",
  );
  const ago = (ms: number) => `(extract(epoch from clock_timestamp()) * 1000)::bigint - ${ms}`;
  const forgetSpent = `
    delete from ${s}.spent as old where at < ${ago(spentKeptMs)} and not exists (
      select 1 from ${s}.spent as newer
      where newer.holder_key = old.holder_key and newer.at >= ${ago(spentKeptMs)})`;
  const forgetHolds = `
    delete from ${s}.holds where lost_at < ${ago(lostKeptMs)}
      or (owner is not null and owner not in (select owner from ${s}.owners))`;

  const totals = `
    select coalesce(sum(pending), 0) as pending, coalesce(sum(bytes), 0) as bytes,
      coalesce(sum(unsettled), 0) as credits,
      (select min(admitted_at) from ${s}.redemptions where status = 'pending') as oldest,
      (select count(*) from ${s}.redemptions where status = 'sending') as sending,
      (select count(*) from ${s}.redemptions where status = 'unresolved') as unresolved
    from ${s}.debts`;

  const account = `select * from ${s}.account($1)`;
  const hold = `select * from ${s}.hold($1, $2, $3) as answer`;
  const release = `
    with given_back as (
      delete from ${s}.proofs where redemption_id = any ($1) and not exists (
        select 1 from ${s}.redemptions as r where r.redemption_id = proofs.redemption_id))
    delete from ${s}.holds where redemption_id = any ($1) and owner is not null`;
  const releaseAll = `delete from ${s}.holds where owner = $1`;

  const balanceBefore = `
    select remaining_balance as amount, changed_at as at from ${s}.redemptions
    where status in ('completed', 'failed')
      and status = 'completed' and remaining_balance is not null
      and holder_key = $1 and changed_at <= $2 and redemption_id <> $3
    order by changed_at desc limit 1`;

  // Not of the transaction: of this moment.
  const clock = `select ${ago(0)} as now`;
  const beat = `
    with alive as (
      insert into ${s}.owners as known (owner, beat, process) values ($1, 1, $2)
      on conflict (owner) do update set beat = known.beat + 1)
    select owner, beat, process from ${s}.owners where owner <> $1`;
  const dismiss = `delete from ${s}.owners where owner = $1`;
  const ofOwner = (status: string) => `(
    select seq from ${s}.redemptions where status = '${status}' and owner = $1
    order by redemption_id for update)`;
  const lost = `
    update ${s}.redemptions set status = 'unresolved', changed_at = $2, reason = 'answer-lost',
      code = 'OWNER_GONE', message = 'The process that was sending this charge ended before an answer came.'
    where seq in ${ofOwner("sending")} and status = 'sending' and owner = $1
      and ($3::bigint is null or not repeatable or coalesce(doubt_since, sent_at) < $3)
    returning redemption_id as id`;
  const unconfirmed = `
    update ${s}.redemptions set status = 'unresolved', changed_at = $2,
      reason = 'delivery-unconfirmed', code = 'delivery-unconfirmed',
      message = 'The process ended before it was known whether the response was delivered.'
    where seq in ${ofOwner("prepared")} and status = 'prepared' and owner = $1
    returning redemption_id as id`;
  const sendAgain = `
    update ${s}.redemptions set status = 'pending', changed_at = $2, not_before = null,
      doubt_since = coalesce(doubt_since, sent_at)
    where seq in ${ofOwner("sending")} and status = 'sending' and owner = $1
    returning redemption_id as id`;
  const dismissIdle = `
    delete from ${s}.owners where owner = $1
      and not exists (
        select 1 from ${s}.redemptions where status = 'sending' and owner = $1)
      and not exists (
        select 1 from ${s}.redemptions where status = 'prepared' and owner = $1)`;

  const decide = `
    update ${s}.redemptions as known set
      status = given.status, changed_at = $3, not_before = null, doubt_since = null,
      amount = coalesce(given.amount, known.amount), redeemed_amount = given.redeemed, short = false,
      bytes = coalesce(given.bytes, known.bytes),
      code = given.code, reason = given.reason, message = given.message
    from json_to_record($1) as given (
      act text, status text, amount numeric, redeemed jsonb, bytes bigint, code text, reason text,
      message text)
    where redemption_id = $2
      and ((known.status = 'unresolved' and given.act <> 'cancel')
        or (known.status = 'pending' and given.act in ('cancel', 'fail')))
      and ($4::bigint is null or sent_at is null
        or (known.status = 'pending' and doubt_since is null) or sent_at <= $3 - $4::bigint)
      and case given.act
      when 'supply' then known.amount is null
      when 'resend' then exists (
        select 1 from ${s}.secrets where secrets.seq = known.seq and body is not null)
      else true end
    returning known.seq`;
  const keep = `
    insert into ${s}.secrets as known (seq, proof, body) values ($1, null, $2)
    on conflict (seq) do update set proof = null, body = coalesce(excluded.body, known.body)`;
  const addAct = `
    insert into ${s}.acts (redemption_id, act, by, note, at, amount)
    values ($1, $2, $3, $4, $5, $6)`;
  const addAnswers = `
    insert into ${s}.acts (redemption_id, act, by, note, at, amount)
    select known.redemption_id, 'answer', 'ledger', given.note, $2, given.amount
    from json_to_recordset($1) as given (id text, attempt integer, note text, amount numeric)
    join ${s}.redemptions as known on known.redemption_id = given.id
    where (known.attempt > given.attempt or exists (
        select 1 from ${s}.acts where acts.redemption_id = known.redemption_id
          and act in ('complete', 'fail', 'cancel')))
      and not exists (
        select 1 from ${s}.acts where acts.redemption_id = known.redemption_id
          and act = 'answer' and acts.note = given.note)
    returning redemption_id as id, note`;
  const actsOf = `
    select redemption_id, act, by, note, at, amount from ${s}.acts
    where redemption_id = $1 order by seq`;

  const pruneProofs = `
    delete from ${s}.proofs where digest = any (array(
      select digest from ${s}.proofs where at < $1 limit $2 for update skip locked))`;
  const prune = `
    delete from ${s}.redemptions where seq = any (array(
      select seq from ${s}.redemptions
      where status in ('completed', 'failed', 'skipped') and changed_at < $1
      order by changed_at limit $2 for update skip locked))
    returning seq`;

  return {
    records,
    append,
    reserve,
    reservedBy,
    settle,
    makeReady,
    take,
    oldestOf,
    takeThis,
    sumUp,
    sumUpSpent,
    forgetSpent,
    forgetHolds,
    totals,
    account,
    hold,
    release,
    releaseAll,
    balanceBefore,
    clock,
    beat,
    dismiss,
    lost,
    unconfirmed,
    sendAgain,
    dismissIdle,
    decide,
    keep,
    addAct,
    addAnswers,
    actsOf,
    pruneProofs,
    prune,
  };
}

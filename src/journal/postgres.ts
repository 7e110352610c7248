/**
 * The journal in PostgreSQL, for the processes of a fleet. A commit is one transaction with one
 * statement of each kind, however many records it has. Nothing lives longer in a connection than a
 * transaction, so that PgBouncer may pool transactions.
 *
 * Locks are taken in one order, by all: the owner, then records by their id. Where two still meet
 * crosswise, PostgreSQL undoes one of them, which is run again.
 */

import { createHmac, randomBytes } from "node:crypto";
import type { PoolConfig } from "pg";
import type { Account, HoldAnswer, HoldAsked } from "../account.ts";
import { CreditMeterError } from "../errors.ts";
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
import { type Connections, checkPostgres, connect, type Query } from "./postgres-pool.ts";
import { migrations } from "./postgres-schema.ts";
import { hasEnded, thisProcess } from "./process.ts";
import {
  amountOf,
  type ClaimedRow,
  claimedOf,
  decisionOf,
  lostKeptMs,
  never,
  type Row,
  recordOf,
  spentKeptMs,
} from "./rows.ts";
import { text } from "./text.ts";

export { checkPostgres };

/** Where PostgreSQL is. Plain data: it may cross to another thread. */
export interface PostgresPlace {
  /**
   * A connection string (`postgres://…`), or what `pg` takes for a pool. What it leaves out comes from the
   * `PG*` environment variables.
   */
  readonly postgres: string | Readonly<Record<string, unknown>>;
  /** Where the tables are; "credit_meter" by default. */
  readonly schema?: string | undefined;
}

/**
 * A record that says "not before" a time further away than this was written under another clock.
 * (The longest wait that is ever asked for is an hour.)
 */
const longestWaitMs = 2 * 3_600_000;

/** Records put off whose time has come that one claim makes ready: it must not hold others up. */
const readyAtOnce = 1_000;

/** Times that one claim looks for records in the place of those that another process was just taking. */
const looksAgain = 3;

/** After so many commits the rows of differences in `debts` are summed up. */
const sumUpAfter = 200;

/**
 * Classes of SQLSTATE that no later try mends: authorization, no such database, access or syntax, and
 * what the server does not support (https://www.postgresql.org/docs/current/errcodes-appendix.html).
 */
const hopeless = /^(?:28|3D|42|0A)/;

/**
 * Connects with the first thing that it is asked for. Until that has worked, each tries anew.
 *
 * @throws {CreditMeterError} `journal-unusable`, for the name of the schema; everything else is found
 * out by the first use.
 */
export function openPostgresJournal({ postgres, schema = "credit_meter" }: PostgresPlace): Journal {
  const pool: PoolConfig = typeof postgres === "string" ? { connectionString: postgres } : postgres;
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
    throw unusable(
      `The journal cannot live in the schema "${schema}": its name may have small letters, digits and underscores only, 63 at the most.`,
    );
  }
  let opening: Promise<Store> | undefined;
  let closed = false;

  function store(): Promise<Store> {
    if (closed) return Promise.reject(new Error("The journal is closed."));
    if (opening) return opening;
    const attempt = open(pool, schema);
    opening = attempt;
    attempt.catch(() => {
      if (opening === attempt) opening = undefined;
    });
    return attempt;
  }

  return createJournal(`"${schema}"`, store, async () => {
    closed = true;
    return opening?.catch(() => undefined);
  });
}

interface Store extends Connections {
  /** Of the digests of proofs. */
  readonly digestKey: string;
}

async function open(config: PoolConfig, schema: string): Promise<Store> {
  let connections: Connections | undefined;
  try {
    connections = await connect(config);
    return { ...connections, digestKey: await migrate(connections, schema) };
  } catch (error) {
    await connections?.end();
    const { code, message } = error as { code?: string; message: string };
    if (error instanceof CreditMeterError || !code || !hopeless.test(code)) throw error;
    throw unusable(`The journal cannot be opened in PostgreSQL: ${message}.`, error);
  }
}

/** Returns the key of the digests. */
function migrate({ transaction }: Connections, schema: string): Promise<string> {
  const s = `"${schema}"`;
  return transaction(async (query) => {
    // Several processes may start at the same moment. It ends with the transaction.
    await query("select pg_advisory_xact_lock(hashtext('express-credit-meter'), hashtext($1))", [
      schema,
    ]);
    const [found] = await query<{
      encoding: string;
      exists: boolean;
      ours: boolean;
      relations: number;
    }>(
      `select current_setting('server_encoding') as encoding,
        to_regnamespace($1) is not null as exists,
        to_regclass($2) is not null as ours,
        (select count(*) from pg_class where relnamespace = to_regnamespace($1)) as relations`,
      [s, `${s}.journal_version`],
    );
    if (!found) throw new Error("PostgreSQL did not answer.");
    if (found.encoding !== "UTF8") {
      throw unusable(
        `The journal cannot live in this PostgreSQL database: its encoding is ${found.encoding}, and must be UTF8.`,
      );
    }
    if (!found.ours) {
      if (found.relations > 0) {
        throw unusable(`The journal cannot live in the schema "${schema}": it has other tables.`);
      }
      // Only where it is missing: whoever may not make one can be given one.
      if (!found.exists) await query(`create schema ${s}`);
      await query(`create table ${s}.journal_version (version integer not null)`);
      await query(`insert into ${s}.journal_version values (0)`);
    }
    const [row] = await query<{ version: number }>(`select version from ${s}.journal_version`);
    const version = row?.version ?? 0;
    if (version > migrations.length) {
      throw unusable(
        `The journal in the schema "${schema}" was written by a newer version of this package (schema ${version}, this one knows ${migrations.length}): install that version again.`,
      );
    }
    if (version < migrations.length) {
      // Without parameters, so that one text may hold many statements.
      for (const migration of migrations.slice(version)) await query(migration(s));
      await query(`update ${s}.journal_version set version = $1`, [migrations.length]);
    }
    await query(
      `insert into ${s}.secret_key select $1 where not exists (select 1 from ${s}.secret_key)`,
      [randomBytes(32).toString("hex")],
    );
    const [secret] = await query<{ key: string }>(`select key from ${s}.secret_key`);
    if (!secret) throw new Error("The journal has lost its key.");
    return secret.key;
  });
}

function createJournal(
  s: string,
  store: () => Promise<Store>,
  /** Nothing is opened any more; returns what was. */
  shut: () => Promise<Store | undefined>,
): Journal {
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
      select seq, status, not_before from ${s}.redemptions
      where seq = any (array(select seq from chosen)) for update skip locked
    ),
    taken as (
      update ${s}.redemptions as known set
        status = 'sending', attempt = attempt + 1, owner = $1, sent_at = $2, changed_at = $2,
        first_sent_at = coalesce(first_sent_at, $2), code = null, reason = null, message = null
      where seq = any (array(
        select seq from locked where status = 'pending' and not_before is null))
      returning known.seq, redemption_id, holder_key, amount, attempt, sent_at, doubt_since, repeatable
    )
    select seq, redemption_id, holder_key, amount, attempt, sent_at, doubt_since, repeatable, body
    from chosen left join taken using (seq) left join ${s}.secrets using (seq) order by n`;

  const oldestOf = `
    select seq from ${s}.redemptions
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
      returning seq, redemption_id, holder_key, amount, attempt, sent_at, doubt_since, repeatable
    )
    select * from taken left join ${s}.secrets using (seq)`;

  const sumUp = `
    with gone as (
      delete from ${s}.debts where ctid = any (array(
        select ctid from ${s}.debts
        where holder_key in (
          select holder_key from ${s}.debts group by holder_key having count(*) > 1 limit 1000)
        limit 100000 for update skip locked))
      returning *
    )
    insert into ${s}.debts
    select * from (
      select holder_key, sum(unsettled) as unsettled, sum(doubtful) as doubtful,
        sum(pending) as pending, sum(bytes) as bytes
      from gone group by holder_key) as sums
    where unsettled <> 0 or doubtful <> 0 or pending <> 0 or bytes <> 0`;

  const sumUpSpent = `
    with gone as (
      delete from ${s}.spent where ctid = any (array(
        select ctid from ${s}.spent
        where holder_key in (
          select holder_key from ${s}.spent group by holder_key having count(*) > 1 limit 1000)
        limit 100000 for update skip locked))
      returning *
    )
    insert into ${s}.spent
    select holder_key, sum(credits), max(at) from gone group by holder_key`;
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
    where redemption_id = $2 and known.status = 'unresolved' and case given.act
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

  const processName = thisProcess();
  /** The holder whose record was taken last: the next claim goes on behind it. */
  let cursor = "";
  let commits = 0;

  /**
   * Whoever has something under way is on the list, so that another can take it over: also one that was
   * taken for gone, and was not. That it is written each time has a second use: two commits of one owner
   * never run side by side, so that when a commit whose end was not seen is repeated, what came of the
   * first is settled before.
   */
  const register = (owner: string) => `
    insert into ${s}.owners (owner, beat, process)
    values (${literal(owner)}, 0, ${literal(processName)})
    on conflict (owner) do update set process = excluded.process`;

  async function appendAll(query: Query, batch: Batch) {
    const rows = batch.append.map((entry) => rowOf(entry, batch));
    for (const some of rounds(rows, (row) => row.redemption_id)) {
      await query(append, [JSON.stringify(some.map((row, n) => ({ ...row, n }))), batch.now]);
    }
  }

  async function reserveAll(
    query: Query,
    reservations: readonly Reservation[],
    now: number,
    digestKey: string,
  ): Promise<boolean[]> {
    if (reservations.length === 0) return [];
    const rows = reservations.map(({ redemptionId, proof }, n) => ({
      n,
      redemption_id: text(redemptionId),
      digest: createHmac("sha256", digestKey).update(proof).digest("base64"),
    }));
    await query(reserve, [JSON.stringify(rows), now]);
    const found = await query<{ digest: string; redemption_id: string }>(reservedBy, [
      rows.map(({ digest }) => digest),
    ]);
    const ids = new Map(found.map((row) => [row.digest, row.redemption_id]));
    return rows.map((row) => ids.get(row.digest) === row.redemption_id);
  }

  async function settleAll(query: Query, { settle: settlements, owner, now }: Batch) {
    const rows = settlements.map((settlement, n) => ({ n, ...columnsOf(settlement) }));
    const applied = new Set<number>();
    for (const some of rounds(rows, ({ id }) => id)) {
      const found = await query<{ id: string }>(settle, [JSON.stringify(some), owner, now]);
      const ids = new Set(found.map(({ id }) => id));
      for (const { n, id } of some) if (ids.has(id)) applied.add(n);
    }
    return rows.map(({ n }) => applied.has(n));
  }

  /** One of each holder in turn, round after round, until there are enough or no more. */
  async function claimSome(query: Query, claim: Claim, { owner, now }: Batch): Promise<Claimed[]> {
    const { limit, perHolder, avoid = null } = claim;
    if (limit <= 0) return [];
    await query(makeReady, [now, now + longestWaitMs]);
    const claimed: Claimed[] = [];
    const missed: number[] = [];
    for (let look = 0; look < looksAgain && claimed.length < limit; look += 1) {
      const wanted = limit - claimed.length;
      const values = [owner, now, cursor, wanted, perHolder, avoid && text(avoid), missed];
      const rows = await query<ClaimedRow | { seq: number; redemption_id: null }>(take, values);
      const taken = rows.filter((row): row is ClaimedRow => row.redemption_id !== null);
      claimed.push(...taken.map(claimedOf));
      cursor = taken.at(-1)?.holder_key ?? cursor;
      if (taken.length === rows.length) break;
      missed.push(...rows.filter((row) => row.redemption_id === null).map(({ seq }) => seq));
    }
    if (claimed.length > 0 || avoid === null) return claimed;
    const [due] = await query<{ seq: number }>(oldestOf, [text(avoid), owner, perHolder]);
    if (!due) return [];
    return (await query<ClaimedRow>(takeThis, [owner, now, due.seq])).map(claimedOf);
  }

  return {
    async commit(batch) {
      const { transaction, query, digestKey } = await store();
      const committed = await transaction(async (query) => {
        await appendAll(query, batch);
        return {
          reserved: await reserveAll(query, batch.reserve ?? [], batch.now, digestKey),
          settled: await settleAll(query, batch),
          claimed: batch.claim ? await claimSome(query, batch.claim, batch) : [],
        };
      }, register(batch.owner));
      commits += 1;
      // Nothing waits for it, and what fails is done by the next.
      if (commits % sumUpAfter === 0) {
        for (const statement of [sumUp, sumUpSpent]) query(statement).catch(() => {});
      }
      return committed;
    },

    async read(ids) {
      const { query } = await store();
      const rows = await query<Row>(`${records} where redemption_id = any($1)`, [ids.map(text)]);
      return rows.map(recordOf);
    },

    async list({ status, holderAddress, after = 0, limit }) {
      const { query } = await store();
      const rows = await query<Row>(
        `${records} where seq > $1 and ($2::text is null or status = $2)
          and ($3::text is null or substr(holder_key, length(plan_id) + 2) = $3)
          order by seq limit $4`,
        [
          after,
          status || null,
          holderAddress ? text(holderAddress.toLowerCase()) : null,
          limit + 1,
        ],
      );
      const page = rows.slice(0, limit);
      return {
        records: page.map(recordOf),
        next: rows.length > limit ? (page.at(-1)?.seq ?? null) : null,
      };
    },

    async totals() {
      const { query } = await store();
      const row = one(
        await query<{
          pending: number;
          bytes: number;
          credits: number;
          oldest: number | null;
          sending: number;
          unresolved: number;
        }>(totals),
      );
      const { bytes, oldest, ...rest } = row;
      return { ...rest, pendingBytes: bytes, oldestPendingAt: oldest };
    },

    async account(planId, holderAddress) {
      const { query } = await store();
      const key = text(holderKeyOf(planId, holderAddress));
      return accountOf(one(await query<AccountRow>(account, [key])));
    },

    async hold(owner, asked) {
      const { query } = await store();
      const rows = await query<{ answer: HoldRow }>(hold, [
        JSON.stringify(asked.map(holdRowOf)),
        owner,
        processName,
      ]);
      const answers: HoldAnswer[] = [];
      for (const { answer } of rows) {
        const { n, is_held: isHeld, account, elsewhere, exposure } = answer;
        answers[n] = { isHeld, account: accountOf(account), elsewhere, exposure };
      }
      return answers;
    },

    async release(ids) {
      const { query } = await store();
      await query(release, [ids.map(text)]);
    },

    async balanceBefore({ redemptionId, planId, holderAddress, firstSentAt, changedAt }) {
      const { query } = await store();
      const [row] = await query<{ amount: number | string; at: number }>(balanceBefore, [
        text(holderKeyOf(planId, holderAddress)),
        firstSentAt ?? changedAt,
        text(redemptionId),
      ]);
      return row ?? null;
    },

    async beat(owner) {
      const { query } = await store();
      const others = await query<{ owner: string; beat: number; process: string }>(beat, [
        owner,
        processName,
      ]);
      return others.map(({ process, ...other }) => ({ ...other, gone: hasEnded(process) }));
    },

    async takeOver({ from, now, resendSince }) {
      const { transaction } = await store();
      return transaction(async (query) => {
        const idsOf = async (sql: string, ...values: unknown[]) =>
          (await query<{ id: string }>(sql, [from, now, ...values])).map(({ id }) => id);
        // First: it waits for a commit of that owner's that is under way, and sees what it took.
        await query(dismiss, [from]);
        await query(releaseAll, [from]);
        const unresolved = [...(await idsOf(lost, resendSince)), ...(await idsOf(unconfirmed))];
        return { unresolved, pending: await idsOf(sendAgain) };
      });
    },

    async act(act, { redemptionId, by, note, at }) {
      const { transaction } = await store();
      const id = text(redemptionId);
      const decision = { act: act.act, ...decisionOf(act) };
      return transaction(async (query) => {
        const [decided] = await query<{ seq: number }>(decide, [JSON.stringify(decision), id, at]);
        if (!decided) return undefined;
        const body = act.act === "supply" ? text(act.body) : null;
        if (decision.status === "pending") await query(keep, [decided.seq, body]);
        await query(addAct, [id, act.act, text(by), text(note), at, amountOf(act)]);
        return recordOf(one(await query<Row>(`${records} where redemption_id = $1`, [id])));
      });
    },

    async acts(redemptionId) {
      const { query } = await store();
      const rows = await query<Omit<ActRecord, "redemptionId"> & { redemption_id: string }>(
        actsOf,
        [text(redemptionId)],
      );
      return rows.map(({ redemption_id, ...rest }) => ({ redemptionId: redemption_id, ...rest }));
    },

    async prune(before, limit) {
      const { query } = await store();
      await query(pruneProofs, [before, limit]);
      return (await query(prune, [before, limit])).length;
    },

    // What was deleted is taken out of the files by PostgreSQL's own VACUUM.
    async tidy() {
      const { query } = await store();
      await query(sumUp);
      await query(sumUpSpent);
      await query(forgetSpent);
      await query(forgetHolds);
    },

    async close(owner) {
      const opened = await shut();
      if (!opened) return;
      // Where PostgreSQL is away, another takes the owner off the list.
      await opened.query(releaseAll, [owner]).catch(() => {});
      await opened.query(dismissIdle, [owner]).catch(() => {});
      await opened.end().catch(() => {});
    },
  };
}

/**
 * One statement sees a record once. So those that come again for the same id (prepared, then decided in
 * the same moment) go into statements of their own, in their order.
 */
function rounds<Item>(items: readonly Item[], idOf: (item: Item) => string): Item[][] {
  const seen = new Map<string, number>();
  const found: Item[][] = [];
  for (const item of items) {
    const id = idOf(item);
    const round = seen.get(id) ?? 0;
    seen.set(id, round + 1);
    found[round] ??= [];
    found[round].push(item);
  }
  return found;
}

/** A text as a literal of SQL, for what goes along with `begin`. */
function literal(value: string): string {
  return ` E'${text(value).replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

function rowOf(entry: Entry, { owner }: Batch) {
  const { planId, holderAddress, error } = entry;
  const body = text(entry.body);
  return {
    redemption_id: text(entry.redemptionId),
    status: entry.status,
    plan_id: text(planId),
    holder_address: text(holderAddress),
    holder_key: text(holderKeyOf(planId, holderAddress)),
    route: text(entry.route),
    environment: entry.environment,
    amount: entry.amount,
    hold: entry.hold,
    usage: text(entry.usage && JSON.stringify(entry.usage)),
    code: text(error?.code ?? null),
    reason: text(error?.reason ?? null),
    message: text(error?.message ?? null),
    bytes: Buffer.byteLength(body ?? ""),
    owner: entry.status === "prepared" ? owner : null,
    admitted_at: entry.admittedAt,
    repeatable: entry.repeatable,
    expires_at: entry.expiresAt ?? never,
    proof: text(entry.proof),
    body,
  };
}

function columnsOf({ redemptionId, attempt, answer, mayBeApplied, notBefore }: Settlement) {
  return {
    id: text(redemptionId),
    attempt,
    ...answerOf(answer),
    // A random wait may end between two milliseconds.
    not_before: Math.ceil(notBefore),
    may_be_applied: mayBeApplied,
  };
}

function answerOf(answer: Answer) {
  if (answer.status === "completed") {
    const { status, redeemedAmount: redeemed, remainingBalance: remaining, short } = answer;
    const { transaction = null, payer = null } = answer;
    return { status, redeemed, remaining, short, burn: text(transaction), payer: text(payer) };
  }
  const { status, reason } = answer;
  return { status, short: false, reason, code: text(answer.code), message: text(answer.message) };
}

interface AccountRow {
  unsettled: number;
  doubtful: number;
  spent: number;
  on_wire: number;
  broke: number | null;
  otherwise: number | null;
}

interface HoldRow {
  n: number;
  is_held: boolean;
  account: AccountRow;
  elsewhere: number;
  exposure: number | null;
}

function accountOf({ on_wire, broke, otherwise, ...sums }: AccountRow): Account {
  return { ...sums, onWire: on_wire, refused: { credits: broke, otherwise } };
}

function holdRowOf(asked: HoldAsked, n: number) {
  const { planId, holderAddress, credits, within, refused } = asked;
  return {
    n,
    redemption_id: text(asked.redemptionId),
    holder_key: text(holderKeyOf(planId, holderAddress)),
    credits,
    broke: refused.credits,
    otherwise: refused.otherwise,
    ...("total" in within
      ? within
      : {
          credit_line: within.creditLine,
          max_exposure: within.maxExposure,
          block_for_ms: within.blockForMs,
        }),
  };
}

function one<Row>(rows: readonly Row[]): Row {
  const [row] = rows;
  if (row === undefined) throw new Error("PostgreSQL answered with no row.");
  return row;
}

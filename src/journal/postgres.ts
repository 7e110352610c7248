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
import { type Connections, checkPostgres, connect, type Query, unusable } from "./postgres-pool.ts";
import { migrations } from "./postgres-schema.ts";
import { createStatements } from "./postgres-statements.ts";
import { hasEnded, thisProcess } from "./process.ts";
import {
  amountOf,
  type ClaimedRow,
  claimedOf,
  decisionOf,
  lateAnswerOf,
  never,
  type Row,
  recordOf,
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
  const sql = createStatements(s);
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
      await query(sql.append, [JSON.stringify(some.map((row, n) => ({ ...row, n }))), batch.now]);
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
    await query(sql.reserve, [JSON.stringify(rows), now]);
    const found = await query<{ digest: string; redemption_id: string }>(sql.reservedBy, [
      rows.map(({ digest }) => digest),
    ]);
    const ids = new Map(found.map((row) => [row.digest, row.redemption_id]));
    return rows.map((row) => ids.get(row.digest) === row.redemption_id);
  }

  async function settleAll(query: Query, { settle: settlements, owner, now }: Batch) {
    const rows = settlements.map((settlement, n) => ({ n, ...columnsOf(settlement) }));
    const applied = new Set<number>();
    for (const some of rounds(rows, ({ id }) => id)) {
      const found = await query<{ id: string }>(sql.settle, [JSON.stringify(some), owner, now]);
      const ids = new Set(found.map(({ id }) => id));
      for (const { n, id } of some) if (ids.has(id)) applied.add(n);
    }
    return rows.map(({ n }) => applied.has(n));
  }

  /** Of those that did not apply, which came after a person's decision or for an attempt before the last. */
  async function lateOf(query: Query, { settle, now }: Batch, settled: readonly boolean[]) {
    const rows = settle.map((settlement, n) => {
      const late = settled[n] ? undefined : lateAnswerOf(settlement);
      const { redemptionId, attempt } = settlement;
      return late && { id: text(redemptionId), attempt, ...late, note: text(late.note) };
    });
    const given = rows.filter((row) => row !== undefined);
    if (given.length === 0) return settled.map(() => false);
    const found = await query<{ id: string; note: string }>(sql.addAnswers, [
      JSON.stringify(given),
      now,
    ]);
    const written = new Set(found.map(({ id, note }) => `${id} ${note}`));
    return rows.map((row) => row !== undefined && written.has(`${row.id} ${row.note}`));
  }

  /** One of each holder in turn, round after round, until there are enough or no more. */
  async function claimSome(query: Query, claim: Claim, { owner, now }: Batch): Promise<Claimed[]> {
    const { limit, perHolder, avoid = null } = claim;
    if (limit <= 0) return [];
    await query(sql.makeReady, [now, now + longestWaitMs]);
    const claimed: Claimed[] = [];
    const missed: number[] = [];
    for (let look = 0; look < looksAgain && claimed.length < limit; look += 1) {
      const wanted = limit - claimed.length;
      const values = [owner, now, cursor, wanted, perHolder, avoid && text(avoid), missed];
      const rows = await query<ClaimedRow | { seq: number; redemption_id: null }>(sql.take, values);
      const taken = rows.filter((row): row is ClaimedRow => row.redemption_id !== null);
      claimed.push(...taken.map(claimedOf));
      cursor = taken.at(-1)?.holder_key ?? cursor;
      if (taken.length === rows.length) break;
      missed.push(...rows.filter((row) => row.redemption_id === null).map(({ seq }) => seq));
    }
    if (claimed.length > 0 || avoid === null) return claimed;
    const [due] = await query<{ seq: number; since: number }>(sql.oldestOf, [
      text(avoid),
      owner,
      perHolder,
    ]);
    if (!due) return [];
    return (await query<ClaimedRow>(sql.takeThis, [owner, now, due.seq, due.since])).map(claimedOf);
  }

  return {
    async commit(batch) {
      const { transaction, query, digestKey } = await store();
      const committed = await transaction(async (query) => {
        await appendAll(query, batch);
        const reserved = await reserveAll(query, batch.reserve ?? [], batch.now, digestKey);
        const settled = await settleAll(query, batch);
        return {
          reserved,
          settled,
          late: await lateOf(query, batch, settled),
          claimed: batch.claim ? await claimSome(query, batch.claim, batch) : [],
        };
      }, register(batch.owner));
      commits += 1;
      // Nothing waits for it, and what fails is done by the next.
      if (commits % sumUpAfter === 0) {
        for (const statement of [sql.sumUp, sql.sumUpSpent]) query(statement).catch(() => {});
      }
      return committed;
    },

    async read(ids) {
      const { query } = await store();
      const rows = await query<Row>(`${sql.records} where redemption_id = any($1)`, [
        ids.map(text),
      ]);
      return rows.map(recordOf);
    },

    async list({ status, holderAddress, after = 0, limit }) {
      const { query } = await store();
      const rows = await query<Row>(
        `${sql.records} where seq > $1 and ($2::text is null or status = $2)
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
        }>(sql.totals),
      );
      const { bytes, oldest, ...rest } = row;
      return { ...rest, pendingBytes: bytes, oldestPendingAt: oldest };
    },

    async account(planId, holderAddress) {
      const { query } = await store();
      const key = text(holderKeyOf(planId, holderAddress));
      return accountOf(one(await query<AccountRow>(sql.account, [key])));
    },

    async hold(owner, asked) {
      const { query } = await store();
      const rows = await query<{ answer: HoldRow }>(sql.hold, [
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
      await query(sql.release, [ids.map(text)]);
    },

    async balanceBefore({ redemptionId, planId, holderAddress, firstSentAt, changedAt }) {
      const { query } = await store();
      const [row] = await query<{ amount: number | string; at: number }>(sql.balanceBefore, [
        text(holderKeyOf(planId, holderAddress)),
        firstSentAt ?? changedAt,
        text(redemptionId),
      ]);
      return row ?? null;
    },

    async clock() {
      const { query } = await store();
      return one(await query<{ now: number }>(sql.clock)).now;
    },

    async beat(owner) {
      const { query } = await store();
      const others = await query<{ owner: string; beat: number; process: string }>(sql.beat, [
        owner,
        processName,
      ]);
      return others.map(({ process, ...other }) => ({ ...other, gone: hasEnded(process) }));
    },

    async takeOver({ from, now, resendSince }) {
      const { transaction } = await store();
      return transaction(async (query) => {
        const idsOf = async (statement: string, ...values: unknown[]) =>
          (await query<{ id: string }>(statement, [from, now, ...values])).map(({ id }) => id);
        // First: it waits for a commit of that owner's that is under way, and sees what it took.
        await query(sql.dismiss, [from]);
        await query(sql.releaseAll, [from]);
        const unresolved = [
          ...(await idsOf(sql.lost, resendSince)),
          ...(await idsOf(sql.unconfirmed)),
        ];
        return { unresolved, pending: await idsOf(sql.sendAgain) };
      });
    },

    async act(act, { redemptionId, by, note, at }, quietMs) {
      const { transaction } = await store();
      const id = text(redemptionId);
      const decision = { act: act.act, ...decisionOf(act) };
      return transaction(async (query) => {
        const [decided] = await query<{ seq: number }>(sql.decide, [
          JSON.stringify(decision),
          id,
          at,
          quietMs ?? null,
        ]);
        if (!decided) return undefined;
        const body = act.act === "supply" ? text(act.body) : null;
        if (decision.status === "pending") await query(sql.keep, [decided.seq, body]);
        await query(sql.addAct, [id, act.act, text(by), text(note), at, amountOf(act)]);
        return recordOf(one(await query<Row>(`${sql.records} where redemption_id = $1`, [id])));
      });
    },

    async acts(redemptionId) {
      const { query } = await store();
      const rows = await query<Omit<ActRecord, "redemptionId"> & { redemption_id: string }>(
        sql.actsOf,
        [text(redemptionId)],
      );
      return rows.map(({ redemption_id, ...rest }) => ({ redemptionId: redemption_id, ...rest }));
    },

    async prune(before, limit) {
      const { query } = await store();
      await query(sql.pruneProofs, [before, limit]);
      return (await query(sql.prune, [before, limit])).length;
    },

    // What was deleted is taken out of the files by PostgreSQL's own VACUUM.
    async tidy() {
      const { query } = await store();
      await query(sql.sumUp);
      await query(sql.sumUpSpent);
      await query(sql.forgetSpent);
      await query(sql.forgetHolds);
    },

    async close(owner) {
      const opened = await shut();
      if (!opened) return;
      // Where PostgreSQL is away, another takes the owner off the list.
      await opened.query(sql.releaseAll, [owner]).catch(() => {});
      await opened.query(sql.dismissIdle, [owner]).catch(() => {});
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

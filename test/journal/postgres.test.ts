import { execFile } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import path from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Claimed, Journal } from "../../src/journal/journal.ts";
import { checkPostgres, openPostgresJournal } from "../../src/journal/postgres.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";
import { describeJournal } from "./conformance.ts";
import {
  all,
  answers,
  claim,
  commit,
  counted,
  entry,
  everything,
  owed,
  settlement,
  statusOf,
  t0,
} from "./records.ts";

let postgres: TestPostgres;
/** Of the tests themselves. */
let admin: pg.Pool;
beforeAll(async () => {
  postgres = await startPostgres();
  admin = new pg.Pool({ connectionString: postgres.url });
  admin.on("error", () => {});
}, 60_000);
afterAll(async () => {
  // A server of our own goes with its folder.
  const kept = postgres?.restart ? [] : schemas;
  for (const schema of kept) await admin.query(`drop schema if exists ${schema} cascade`);
  await admin?.end();
  await postgres?.stop();
}, 60_000);

const schemas: string[] = [];
/** Of this test alone, also where other runs use the same database. */
function freshSchema() {
  const schema = `test_${process.pid}_${Date.now().toString(36)}_${schemas.length}`;
  schemas.push(schema);
  return schema;
}

/** One schema for one test after the other: to make one anew takes longer than most of them. */
let reused: string | undefined;
async function emptySchema() {
  if (reused !== undefined) {
    const tables = [
      "redemptions",
      "secrets",
      "debts",
      "spent",
      "holds",
      "proofs",
      "owners",
      "acts",
    ];
    await admin.query(`truncate ${tables.map((table) => `${reused}.${table}`).join(", ")}`);
    return reused;
  }
  const schema = freshSchema();
  const journal = openPostgresJournal({ postgres: postgres.url, schema });
  await journal.totals();
  await journal.close("nobody");
  reused = schema;
  return schema;
}

describeJournal("in PostgreSQL", async () => {
  const schema = await emptySchema();
  const open = async () => openPostgresJournal({ postgres: postgres.url, schema });
  return { journal: await open(), reopen: open, second: open };
});

function openSchema(schema = freshSchema(), more: object = {}) {
  const journal = openPostgresJournal({
    postgres: { connectionString: postgres.url, ...more },
    schema,
  });
  onTestFinished(() => journal.close("one"));
  return { journal, schema };
}

const unusable = (message: RegExp) =>
  expect.objectContaining({ code: "journal-unusable", message: expect.stringMatching(message) });

describe("a PostgreSQL schema", () => {
  test("is made once by all that start at the same moment", async () => {
    const { journal, schema } = openSchema();
    const others = Array.from({ length: 7 }, () => openSchema(schema).journal);
    await Promise.all(
      [journal, ...others].map((one, index) =>
        commit(one, { owner: `o${index}`, append: [entry(`id-${index}`)] }),
      ),
    );
    expect(await everything(journal)).toHaveLength(8);
    const { rows } = await admin.query(`select version from ${schema}.journal_version`);
    expect(rows).toEqual([{ version: 1 }]);
  });

  test("may be made by somebody else before", async () => {
    const schema = freshSchema();
    await admin.query(`create schema ${schema}`);
    const { journal } = openSchema(schema);
    await commit(journal, { append: [entry("a")] });
    expect(await statusOf(journal, "a")).toBe("pending");
  });

  test("of a newer version is refused", async () => {
    const { journal, schema } = openSchema();
    await journal.totals();
    await admin.query(`update ${schema}.journal_version set version = 99`);
    const again = openSchema(schema).journal;
    await expect(again.totals()).rejects.toThrow(
      unusable(/newer version.*schema 99, this one knows 1\b/),
    );
  });

  test("that holds something else is refused, and left alone", async () => {
    const schema = freshSchema();
    await admin.query(`create schema ${schema}; create table ${schema}.users (name text)`);
    await expect(openSchema(schema).journal.totals()).rejects.toThrow(unusable(/other tables/));
    const { rows } = await admin.query("select tablename from pg_tables where schemaname = $1", [
      schema,
    ]);
    expect(rows).toEqual([{ tablename: "users" }]);
  });

  test.each(["", "A", "a b", 'a"b', "a-b", "1a", "a".repeat(64)])(
    "has a plain name: %j",
    (schema) => {
      expect(() => openPostgresJournal({ postgres: postgres.url, schema })).toThrow(
        unusable(/small letters/),
      );
    },
  );

  test("is in a database whose texts are UTF-8", async () => {
    const name = freshSchema();
    await admin.query(`create database ${name} encoding 'SQL_ASCII' template template0 locale 'C'`);
    try {
      const url = new URL(postgres.url);
      url.pathname = `/${name}`;
      const journal = openPostgresJournal({ postgres: url.href });
      await expect(journal.totals()).rejects.toThrow(unusable(/SQL_ASCII, and must be UTF8/));
      await journal.close("one");
    } finally {
      await admin.query(`drop database ${name} with (force)`);
    }
  });

  test.each([
    [{ user: "nobody", password: "x" }, /PostgreSQL: .*nobody/],
    [{ database: "nowhere" }, /PostgreSQL: .*nowhere/],
  ])("that no later try reaches is unusable: %j", async (wrong, message) => {
    const { hostname: host, port, username: user, password } = new URL(postgres.url);
    const place = { host, port: Number(port), user, password, database: "postgres", ...wrong };
    const journal = openPostgresJournal({ postgres: place });
    const failed = await journal.totals().catch((error) => error);
    expect(failed).toEqual(unusable(message));
    expect(failed.message).not.toContain(password);
    await journal.close("one");
  });

  test("keeps no proof of what is over, and as few rows of differences as holders", async () => {
    const { journal, schema } = openSchema();
    const count = async (table: string) =>
      Number((await admin.query(`select count(*) from ${schema}.${table}`)).rows[0].count);
    for (let round = 0; round < 5; round += 1) {
      const ids = [0, 1, 2].map((number) => `id-${round}-${number}`);
      await commit(journal, {
        append: ids.map((id, number) => entry(id, { holderAddress: `0x${number}` })),
      });
    }
    const taken = await claim(journal, { claim: { limit: 6, perHolder: 9 } });
    await commit(journal, { settle: taken.map((one) => settlement(one, answers.completed)) });
    expect(await count("secrets")).toBe(9);
    expect(await count("debts")).toBeGreaterThan(9);
    await journal.tidy();
    expect(await count("debts")).toBe(3);
    expect(await journal.totals()).toEqual(await counted(journal));
    const rest = await claim(journal);
    await commit(journal, { settle: rest.map((one) => settlement(one, answers.failed)) });
    await journal.tidy();
    expect([await count("secrets"), await count("debts")]).toEqual([0, 0]);
  });

  test("is durable whatever the default is", async () => {
    const { journal, schema } = openSchema(undefined, { options: "-c synchronous_commit=off" });
    await journal.totals();
    await admin.query(`
      create table ${schema}.seen (setting text);
      create function ${schema}.see() returns trigger language plpgsql as $$ begin
        insert into ${schema}.seen values (current_setting('synchronous_commit')); return null;
      end $$;
      create trigger see after insert or update on ${schema}.redemptions
        execute function ${schema}.see()`);
    await commit(journal, { append: [entry("a")], claim: all });
    await journal.takeOver({ from: "one", now: t0, resendSince: null });
    await journal.act({ act: "fail" }, { redemptionId: "a", by: "ann", note: null, at: t0 });
    const { rows } = await admin.query(`select distinct setting from ${schema}.seen`);
    expect(rows).toEqual([{ setting: "on" }]);
  });

  test("is read the same, whatever an application tells pg to make of types", async () => {
    const { journal } = openSchema();
    const usual = pg.types.getTypeParser(20);
    pg.types.setTypeParser(20, BigInt);
    onTestFinished(() => pg.types.setTypeParser(20, usual));
    await commit(journal, { append: [entry("a", { amount: 2 ** 53 - 1 })] });
    expect(await journal.totals()).toMatchObject({ pending: 1, credits: 2 ** 53 - 1 });
  });
});

describe("several connections to one PostgreSQL", () => {
  /** Appends, takes and settles until nothing is left; returns what it took. */
  async function work(journal: Journal, owner: string, records: number) {
    const taken: string[] = [];
    let sending: Claimed[] = [];
    for (let appended = 0; appended < records || sending.length > 0; appended += 10) {
      const ten = Array.from({ length: appended < records ? 10 : 0 }, (_, index) =>
        entry(`${owner}-${appended + index}`, { holderAddress: `0x${(appended + index) % 7}` }),
      );
      sending = await claim(journal, {
        owner,
        append: ten,
        settle: sending.map((one) => settlement(one, answers.completed)),
        claim: { limit: 8, perHolder: 3 },
      });
      taken.push(...sending.map(({ redemptionId }) => redemptionId));
    }
    return taken;
  }

  test("lose nothing, take nothing twice, and keep the sums", async () => {
    const { journal, schema } = openSchema();
    const owners = ["a", "b", "c", "d"];
    const workers = owners.map((owner) => work(openSchema(schema).journal, owner, 300));
    let working = true;
    const sums = (async () => {
      while (working) await journal.tidy();
    })();
    const taken = await Promise.all(workers);
    working = false;
    await sums;
    // What one had locked while the others looked for the last time.
    taken.push(await work(journal, "one", 0));
    const expected = owners.flatMap((owner) =>
      Array.from({ length: 300 }, (_, index) => `${owner}-${index}`),
    );
    expect(taken.flat().sort()).toEqual(expected.sort());
    const states = new Set((await everything(journal)).map(({ status }) => status));
    expect([...states]).toEqual(["completed"]);
    expect(await journal.totals()).toEqual(await counted(journal));
    expect(await journal.account("1059", "0x1")).toMatchObject({ unsettled: 0, doubtful: 0 });
  });

  test("let go of holds whose owner nobody knows", async () => {
    const { journal, schema } = openSchema();
    await journal.totals();
    await admin.query(
      `insert into ${schema}.holds values ('id', '1059 0xa11ce', 'nobody', 10, false)`,
    );
    const within = { total: 10 };
    const refused = { credits: null, otherwise: null };
    const holder = { planId: "1059", holderAddress: "0xA11ce" };
    const asked = { redemptionId: "next", ...holder, credits: 1, within, refused };
    expect(await journal.hold("one", [asked])).toMatchObject([{ isHeld: false, elsewhere: 10 }]);
    await journal.tidy();
    expect(await journal.hold("one", [asked])).toMatchObject([{ isHeld: true, elsewhere: 0 }]);
  });

  test("decide together about holds, however many ask at once", async () => {
    const { journal, schema } = openSchema();
    const journals = [journal, ...Array.from({ length: 3 }, () => openSchema(schema).journal)];
    const refused = { credits: null, otherwise: null };
    const asks = Array.from({ length: 80 }, (_, index) => ({
      redemptionId: `${index}`,
      planId: "1059",
      holderAddress: `0x${index % 3}`,
      credits: 1,
      // Of two holders the balance is known.
      within:
        index % 3 === 0 ? { creditLine: 100, maxExposure: 6, blockForMs: 1_000 } : { total: 5 },
      refused,
    }));
    const answers = await Promise.all(
      asks.map((asked, index) => journals[index % 4]?.hold(`${index % 4}`, [asked])),
    );
    const held = (which: number) =>
      answers.filter((one, index) => index % 3 === which && one?.[0]?.isHeld).length;
    expect([held(0), held(1), held(2)]).toEqual([6, 5, 5]);
  });

  test("see a hold or its charge at every moment, while the one becomes the other", async () => {
    const { journal, schema } = openSchema();
    const journals = [journal, ...Array.from({ length: 3 }, () => openSchema(schema).journal)];
    const refused = { credits: null, otherwise: null };
    const holder = { planId: "1059", holderAddress: "0xA11ce" };
    const total = 100;
    let held = 0;
    const missed: number[] = [];
    await Promise.all(
      Array.from({ length: 12 }, async (_, worker) => {
        const mine = journals[worker % 4] ?? journal;
        for (let turn = 0; turn < 25; turn += 1) {
          const redemptionId = `${worker} ${turn}`;
          const asked = { redemptionId, ...holder, credits: 1, within: { total }, refused };
          const before = held;
          const [answer] = await mine.hold(`o${worker}`, [asked]);
          if (!answer) throw new Error("no answer");
          // Whoever asks has nothing on hold themselves.
          const seen = answer.account.unsettled + answer.elsewhere;
          if (seen < before) missed.push(before - seen);
          if (!answer.isHeld) continue;
          held += 1;
          await commit(mine, { owner: `o${worker}`, append: [entry(redemptionId, { amount: 1 })] });
        }
      }),
    );
    expect(missed).toEqual([]);
    expect(held).toBe(total);
  });

  test("take what another is not just taking", async () => {
    const { journal, schema } = openSchema();
    await commit(journal, { append: ["a", "b", "c"].map((id) => entry(id)) });
    const client = await admin.connect();
    try {
      await client.query("begin");
      await client.query(
        `select 1 from ${schema}.redemptions where redemption_id in ('a', 'b') for update`,
      );
      expect(await claim(journal, { claim: { limit: 1, perHolder: 9 } })).toMatchObject([
        { redemptionId: "c" },
      ]);
      expect(await claim(journal)).toEqual([]);
    } finally {
      await client.query("rollback");
      client.release();
    }
    expect(await claim(journal)).toHaveLength(2);
  });

  test("meet crosswise, and both go on", async () => {
    const { journal, schema } = openSchema();
    const proofs = Array.from({ length: 20 }, (_, index) => `p${index}`);
    const give = (one: Journal, owner: string, round: number) =>
      commit(one, {
        owner,
        append: proofs.map((_, index) =>
          entry(`${owner}-${round - 1}-${index}`, { status: "skipped" }),
        ),
        reserve: proofs.map((proof, index) => ({
          redemptionId: `${owner}-${round}-${index}`,
          proof,
        })),
      });
    const other = openSchema(schema).journal;
    const run = async (one: Journal, owner: string) => {
      for (let round = 1; round <= 15; round += 1) await give(one, owner, round);
    };
    await Promise.all([run(journal, "one"), run(other, "two")]);
  });

  test("settle and take over at once: each record has one end", async () => {
    const { journal, schema } = openSchema();
    const other = openSchema(schema).journal;
    for (let round = 0; round < 10; round += 1) {
      const ids = Array.from({ length: 30 }, (_, index) => `id-${round}-${index}`);
      const sending = await claim(journal, { append: ids.map((id) => entry(id)) });
      const settle = sending.map((one) => settlement(one, answers.pending));
      const [{ settled }, became] = await Promise.all([
        commit(journal, { settle }),
        other.takeOver({ from: "one", now: t0, resendSince: null }),
      ]);
      const lost = new Set(became.unresolved);
      expect(settled).toEqual(sending.map(({ redemptionId }) => !lost.has(redemptionId)));
      expect(await journal.totals()).toEqual(await counted(journal));
      await claim(journal);
      await journal.takeOver({ from: "one", now: t0, resendSince: null });
    }
    expect(await journal.account("1059", "0xa11ce")).toMatchObject(
      await owed(journal, "1059", "0xa11ce"),
    );
  });
});

/** Passes everything on to PostgreSQL, until a COMMIT after it was told to hold: as of a process that stands still. */
async function lineThatHoldsCommits() {
  const { hostname, port } = new URL(postgres.url);
  let held: (() => void) | undefined;
  const sockets = new Set<Socket>();
  const line = createServer((client) => {
    const server = connect({ host: hostname, port: Number(port) });
    let still = false;
    for (const socket of [client, server]) sockets.add(socket.on("error", () => {}));
    client.on("data", (chunk) => {
      still ||= held !== undefined && chunk.toString("latin1").endsWith("commit\0");
      if (still) held?.();
      else server.write(chunk);
    });
    server.pipe(client);
    client.on("close", () => server.destroy());
  }).listen(0, "127.0.0.1");
  await once(line, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    line.close();
  });
  const hold = () =>
    new Promise<void>((resolve) => {
      held = resolve;
    });
  return { port: (line.address() as AddressInfo).port, hold };
}

test("a process that stands still in mid-commit does not hold up who takes over from it", async () => {
  const { journal, schema } = openSchema();
  await commit(journal, { append: [entry("a")] });
  const { port, hold } = await lineThatHoldsCommits();
  const url = new URL(postgres.url);
  url.port = String(port);
  const still = openPostgresJournal({ postgres: { connectionString: url.href, max: 1 }, schema });
  onTestFinished(() => still.close("two"));
  await still.beat("two");
  const holds = hold();
  const stuck = commit(still, { owner: "two", claim: all }).catch((error) => error);
  await holds;
  const began = performance.now();
  await journal.takeOver({ from: "two", now: t0, resendSince: null });
  expect(performance.now() - began).toBeLessThan(10_000);
  // It learns that nothing came of it, and the charge is anybody's.
  expect(await stuck).toBeInstanceOf(Error);
  expect(await claim(journal)).toMatchObject([{ redemptionId: "a", attempt: 1 }]);
}, 60_000);

describe("a PostgreSQL that goes away", () => {
  test("cuts connections in the midst of commits: none that was acknowledged is lost", async () => {
    const name = `cut-${process.pid}`;
    const { journal } = openSchema(undefined, { application_name: name });
    await journal.totals();
    let cutting = true;
    const cuts = (async () => {
      while (cutting) {
        await admin.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1",
          [name],
        );
        await new Promise((resolve) => setTimeout(resolve, 40));
      }
    })();
    let failures = 0;
    const taken: string[] = [];
    let sending: Claimed[] = [];
    for (let batch = 0; batch < 60 && failures < 1_000; ) {
      const append = [0, 1, 2].map((index) => entry(`${batch}-${index}`));
      const settle = sending.map((one) => settlement(one, answers.completed));
      try {
        await commit(journal, { append, settle });
        sending = [];
        batch += 1;
        sending = await claim(journal, { claim: { limit: 3, perHolder: 9 } });
        taken.push(...sending.map(({ redemptionId }) => redemptionId));
      } catch {
        failures += 1;
      }
    }
    cutting = false;
    await cuts;
    expect(failures).toBeGreaterThan(0);
    expect(new Set(taken).size).toBe(taken.length);
    const records = await everything(journal);
    expect(records).toHaveLength(180);
    expect(records.every(({ attempt }) => attempt <= 1)).toBe(true);
    expect(await journal.totals()).toEqual(await counted(journal));
  });

  test("a commit that is repeated waits for the first, whose end was not seen", async () => {
    const { journal, schema } = openSchema();
    await journal.totals();
    const client = await admin.connect();
    await client.query("begin");
    await client.query(`lock table ${schema}.redemptions in exclusive mode`);
    const first = commit(journal, { append: [entry("a")], claim: all });
    await expect
      .poll(async () =>
        Number(
          (
            await admin.query(
              "select count(*) from pg_locks where not granted and relation = $1::regclass",
              [`${schema}.redemptions`],
            )
          ).rows[0].count,
        ),
      )
      .toBe(1);
    let repeated = false;
    const second = commit(journal, { append: [entry("a")] }).then(() => {
      repeated = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(repeated).toBe(false);
    await client.query("commit");
    client.release();
    expect((await first).claimed).toHaveLength(1);
    await second;
    expect(await statusOf(journal, "a")).toBe("sending");
  });

  test("and comes back", async ({ skip }) => {
    if (!postgres.restart) return skip("The server is not ours to stop.");
    const { journal, schema } = openSchema();
    await commit(journal, { append: [entry("a")] });
    const restarted = postgres.restart();
    const early = openSchema(schema).journal;
    let failures = 0;
    const tryOn = async () => {
      while (failures < 500) {
        try {
          await commit(early, { owner: "two", append: [entry("b")] });
          await commit(journal, { append: [entry("c")] });
          return;
        } catch {
          failures += 1;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    };
    await Promise.all([restarted, tryOn()]);
    expect(failures).toBeGreaterThan(0);
    const ids = (await everything(journal)).map(({ redemptionId }) => redemptionId);
    expect(ids.sort()).toEqual(["a", "b", "c"]);
  });

  test("is not waited for by close", async () => {
    const away = { host: "127.0.0.1", port: 1, user: "x", database: "x" };
    const journal = openPostgresJournal({ postgres: away });
    await expect(journal.totals()).rejects.toThrow(/ECONNREFUSED/);
    await journal.close("one");
    await journal.close("one");
    await expect(journal.totals()).rejects.toThrow(/closed/);
  });
});

test("without the package pg, the message says how to get it", async () => {
  expect(() => checkPostgres()).not.toThrow();
  const source = path.resolve(import.meta.dirname, "../../src/journal/postgres.ts");
  const script = `
    const Module = require("node:module");
    const resolve = Module._resolveFilename;
    Module._resolveFilename = function (name, ...rest) {
      if (name === "pg") throw Object.assign(new Error("no pg"), { code: "MODULE_NOT_FOUND" });
      return resolve.call(this, name, ...rest);
    };
    import(${JSON.stringify(source)}).then(({ openPostgresJournal, checkPostgres }) => {
      try { checkPostgres(); } catch (error) { console.log(error.code, error.message); }
      const journal = openPostgresJournal({ postgres: "postgres://127.0.0.1:1/x" });
      return journal.totals().catch((error) => console.log(error.code, error.message));
    });`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", "-e", script]);
  expect(stdout.match(/journal-unusable .*npm install pg/g)).toHaveLength(2);
});

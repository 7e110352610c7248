import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterAll, expect, test } from "vitest";
import { createLedger } from "../../src/ledger/index.ts";
import { funded, holder, key, plan, redeem } from "./wire.ts";

const folder = mkdtempSync(join(tmpdir(), "ledger-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
function file(): string {
  files += 1;
  return join(folder, `${files}.db`);
}

test("a file keeps accounts and remembered answers over a restart", async () => {
  const path = file();
  const before = await funded(10, { path });
  const id = key();
  const first = await redeem(before, { amount: 4 }, id);
  const burns = before.burns();
  await before.close();

  const after = await funded(0, { path });
  expect(after.burns()).toEqual(burns);
  expect((await redeem(after, { amount: 4 }, id)).text).toBe(first.text);
  expect((await redeem(after, { amount: 5 }, id)).status).toBe(422);
  expect(after.balance(plan, holder)).toBe(6);
  expect(after.audit()).toMatchObject({ minted: 10n, burned: 4n, outstanding: 6n, transfers: 2 });
});

test("no proof and no key is in the file", async () => {
  const path = file();
  const ledger = await funded(10, { path, keys: ["nvm:very-secret-key"] });
  await redeem(ledger, { proof: "very-secret-proof" }, key());
  await ledger.close();
  const db = new Database(path);
  const rows = [
    ...db.prepare("SELECT * FROM answer").all(),
    ...db.prepare("SELECT * FROM transfer").all(),
    ...db.prepare("SELECT * FROM account").all(),
  ];
  db.close();
  expect(rows).toHaveLength(5);
  expect(JSON.stringify(rows)).not.toContain("very-secret");
});

test("two ledgers on one file burn a key once", async () => {
  const path = file();
  const one = await funded(10, { path });
  const two = await funded(0, { path });
  const id = key();
  const first = await redeem(one, {}, id);
  expect((await redeem(two, {}, id)).text).toBe(first.text);

  // Both have looked for the key before either has applied it.
  const race = key();
  one.failNext("hang-before-applying");
  two.failNext("hang-before-applying");
  const both = [redeem(one, {}, race), redeem(two, {}, race)];
  await Promise.all([one.hanging(), two.hanging()]);
  await Promise.all([one.release(), two.release()]);
  expect((await Promise.all(both)).map(({ status }) => status).sort()).toEqual([200, 500]);
  expect(two.countBurns()).toBe(2);
  expect((await redeem(one, {}, race)).status).toBe(200);
  expect(one.audit()).toMatchObject({ burned: 2n });
});

test("a file that cannot be opened is refused", async () => {
  await expect(createLedger({ path: join(folder, "no", "such.db") })).rejects.toThrow(
    /cannot open.*such\.db/i,
  );
});

test("a database of something else is left alone", async () => {
  const path = file();
  const db = new Database(path);
  db.exec("CREATE TABLE precious (id INTEGER)");
  db.close();
  await expect(createLedger({ path })).rejects.toThrow(/database of something else/);
  const after = new Database(path);
  expect(after.pragma("journal_mode")).toEqual([{ journal_mode: "delete" }]);
  after.close();
});

test.each([
  [
    "a balance that no transfer explains",
    "UPDATE account SET balance = 9 WHERE holder <> ''",
    /account 2 has 9/,
  ],
  ["a transfer without its sides", "DELETE FROM transfer WHERE kind = 'burn'", /account 1 has -6/],
  [
    "a transfer between plans",
    "INSERT INTO account (id, plan_id, holder) VALUES (9, 'other', '0x'); UPDATE transfer SET credit = 9",
    /not between a plan and its own holder/,
  ],
  [
    "a balance below zero",
    "PRAGMA ignore_check_constraints = ON; INSERT INTO transfer (kind, debit, credit, amount, at) VALUES ('burn', 2, 1, 7, 0)",
    /account 2 is below zero: -1/,
  ],
])("an audit finds %s", async (_name, harm, found) => {
  const path = file();
  const ledger = await funded(10, { path });
  await redeem(ledger, { amount: 4 });
  expect(ledger.audit()).toMatchObject({ burned: 4n });
  await ledger.close();
  const db = new Database(path);
  db.exec(harm);
  db.close();
  const harmed = await funded(0, { path });
  expect(() => harmed.audit()).toThrow(found);
});

test("the schema itself refuses a balance below zero", async () => {
  const path = file();
  await (await funded(10, { path })).close();
  const db = new Database(path);
  const burn =
    "INSERT INTO transfer (kind, debit, credit, amount, at) VALUES ('burn', 2, 1, 11, 0)";
  expect(() => db.exec(burn)).toThrow(/CHECK/);
  expect(() => db.exec("UPDATE account SET balance = -1 WHERE holder <> ''")).toThrow(/CHECK/);
  expect(db.prepare("SELECT balance FROM account ORDER BY id").all()).toEqual([
    { balance: -10 },
    { balance: 10 },
  ]);
  db.close();
});

test("close ends idle and busy connections, and may be called again", async () => {
  const ledger = await funded(1);
  const idle = connect(ledger.port, "127.0.0.1");
  await once(idle, "connect");
  const ended = once(idle, "close");
  idle.resume();
  await Promise.all([ledger.close(), ledger.close()]);
  await ended;
  const refused = connect(ledger.port, "127.0.0.1");
  const [error] = await once(refused, "error");
  expect(error).toMatchObject({ code: "ECONNREFUSED" });
  expect(() => ledger.burns()).toThrow(/closed/);
  await expect(ledger.comeBack()).rejects.toThrow(/closed/);
});

test("an idle connection is closed after keepAliveMs", async () => {
  const ledger = await funded(1, { keepAliveMs: 1 });
  const socket = connect(ledger.port, "127.0.0.1");
  const ended = once(socket, "close");
  let said = "";
  socket.on("data", (chunk) => {
    said += chunk;
  });
  socket.write("GET /api/v1/nothing HTTP/1.1\r\nHost: ledger\r\n\r\n");
  await ended;
  expect(said).toMatch(/^HTTP\/1\.1 404 [\s\S]*keep-alive/i);
});

test("a closed ledger drops what was waiting, and does not apply it", async () => {
  const path = file();
  const ledger = await funded(10, { path });
  ledger.failNext("delay-before-applying", { ms: 600_000 });
  ledger.failNext("hang-before-applying");
  const cut = [redeem(ledger), redeem(ledger)].map((answer) =>
    answer.then(
      () => "answered",
      () => "cut",
    ),
  );
  await ledger.hanging();
  await ledger.close();
  expect(await Promise.all(cut)).toEqual(["cut", "cut"]);
  expect(await ledger.release()).toBe(0);
  expect(ledger.requests().redeem).toEqual({ dropped: 1 });
  expect((await funded(0, { path })).countBurns()).toBe(0);
});

test("it is disposed of by closing", async () => {
  const ledger = await funded(1);
  await ledger[Symbol.asyncDispose]();
  expect(() => ledger.audit()).toThrow(/closed/);
});

test("a port that is in use is refused with a sentence", async () => {
  const { port } = await funded(1);
  await expect(createLedger({ port })).rejects.toMatchObject({
    code: "EADDRINUSE",
    message: `Port ${port} on 127.0.0.1 is in use: choose another, or 0 for any free one.`,
  });
});

test("burns can be filtered and limited", async () => {
  const ledger = await funded(10);
  ledger.mint({ planId: "other", holderAddress: "0x2", amount: 5 });
  await redeem(ledger, { amount: 1 });
  await redeem(ledger, { planId: "other", holderAddress: "0x2", amount: 2 });
  await redeem(ledger, { amount: 3 });
  expect(ledger.burns().map(({ amount }) => amount)).toEqual([1, 2, 3]);
  expect(ledger.burns({ limit: 2 }).map(({ amount }) => amount)).toEqual([1, 2]);
  expect(ledger.burns({ planId: plan }).map(({ amount }) => amount)).toEqual([1, 3]);
  expect(ledger.countBurns({ holderAddress: "0X2" })).toBe(1);
});

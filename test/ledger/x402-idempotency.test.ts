import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterAll, describe, expect, test } from "vitest";
import type { RequestIds } from "../../src/ledger/index.ts";
import { funded, holder, plan, redeem } from "./wire.ts";
import { buying, settle, tokenOf, verify } from "./x402-wire.ts";

const folder = mkdtempSync(join(tmpdir(), "ledger-x402-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("an agentRequestId that is honoured", () => {
  test("is answered with the same bytes and burns once", async () => {
    const { ledger, token } = await buying(10);
    const { agentRequestId } = (await verify(ledger, token)).body;
    const first = await settle(ledger, token, { maxAmount: "3", agentRequestId });
    await settle(ledger, token);
    const again = await settle(
      ledger,
      token,
      { maxAmount: "3", agentRequestId },
      { "x-correlation-id": "later" },
    );
    expect([again.status, again.text]).toEqual([first.status, first.text]);
    expect(again.headers["x-correlation-id"]).toBe("later");
    expect(ledger.burns({ agentRequestId })).toHaveLength(1);
    expect(ledger.balance(plan, holder)).toBe(6);
  });

  test("need not come from verify", async () => {
    const { ledger, token } = await buying(10);
    const fields = { agentRequestId: "0c2bcb03-00b6-409b-af0b-b186670f0502" };
    const first = await settle(ledger, token, fields);
    expect((await settle(ledger, token, fields)).text).toBe(first.text);
    expect(ledger.countBurns(fields)).toBe(1);
  });

  test("makes a hundred settlements at once one", async () => {
    const { ledger, token } = await buying(10);
    const all = await Promise.all(
      Array.from({ length: 100 }, () => settle(ledger, token, { agentRequestId: "a" })),
    );
    expect(new Set(all.map(({ text }) => text)).size).toBe(1);
    expect(ledger.countBurns()).toBe(1);
  });

  test("with another amount or token is 422", async () => {
    const { ledger, token } = await buying(10);
    await settle(ledger, token, { agentRequestId: "a" });
    for (const said of [
      await settle(ledger, token, { agentRequestId: "a", maxAmount: "2" }),
      await settle(ledger, await tokenOf(ledger), { agentRequestId: "a" }),
    ]) {
      expect([said.status, said.body.code]).toEqual([422, "BCK.HTTP.422"]);
      expect(said.body.message).toMatch(/agentRequestId was used with another body/);
    }
    expect(ledger.countBurns()).toBe(1);
  });

  test("that is still running is 409, and with another amount 422", async () => {
    const { ledger, token } = await buying(10);
    const fields = { agentRequestId: "a" };
    ledger.failNext("hang-before-applying");
    const first = settle(ledger, token, fields);
    await ledger.hanging();
    const second = await settle(ledger, token, fields);
    expect([second.status, second.body.code]).toEqual([409, "BCK.HTTP.409"]);
    expect(second.body.message).toMatch(/agentRequestId is still being processed/);
    expect((await settle(ledger, token, { ...fields, maxAmount: "2" })).status).toBe(422);
    await ledger.release();
    expect((await settle(ledger, token, fields)).text).toBe((await first).text);
    expect(ledger.countBurns()).toBe(1);
  });

  test("is no Idempotency-Key, which a settlement has not", async () => {
    const { ledger, token } = await buying(10);
    const header = { "idempotency-key": "a" };
    await redeem(ledger, {}, header);
    await settle(ledger, token, { agentRequestId: "a" }, header);
    await settle(ledger, token, {}, header);
    await settle(ledger, token, {}, header);
    expect(ledger.countBurns({ idempotencyKey: "a" })).toBe(4);
    expect(ledger.countBurns({ agentRequestId: "a" })).toBe(1);
  });

  test("does not bind a refusal, which has no transaction", async () => {
    const { ledger, token } = await buying(1);
    const fields = { agentRequestId: "a", maxAmount: "2" };
    expect((await settle(ledger, token, fields)).body.success).toBe(false);
    ledger.mint({ planId: plan, holderAddress: holder, amount: 1 });
    expect((await settle(ledger, token, fields)).body.success).toBe(true);
  });

  test("is answered again after its token has expired or been spent", async () => {
    const now = { ms: 0 };
    const { ledger } = await buying(10, { now: () => now.ms });
    const token = await tokenOf(ledger, { tokenVersion: 3 });
    const first = await settle(ledger, token, { agentRequestId: "a" });
    expect(first.body.success).toBe(true);
    expect((await settle(ledger, token, { agentRequestId: "a" })).text).toBe(first.text);
    now.ms = 1e12;
    expect((await settle(ledger, token, { agentRequestId: "a" })).text).toBe(first.text);
    expect((await settle(ledger, token, { agentRequestId: "b" })).body.success).toBe(false);
    expect(ledger.countBurns()).toBe(1);
  });
});

test("a single-use token is spent by one of a hundred at once", async () => {
  const { ledger } = await buying(100);
  const token = await tokenOf(ledger, { tokenVersion: 3 });
  const all = await Promise.all(
    Array.from({ length: 100 }, (_, each) =>
      settle(ledger, token, { agentRequestId: String(each) }),
    ),
  );
  expect(all.filter(({ body }) => body.success)).toHaveLength(1);
  expect(ledger.countBurns()).toBe(1);
});

test("a hundred settlements at once on a balance of five: five are applied", async () => {
  const { ledger, token } = await buying(5);
  const all = await Promise.all(Array.from({ length: 100 }, () => settle(ledger, token)));
  expect(all.filter(({ body }) => body.success)).toHaveLength(5);
  expect(ledger.audit()).toMatchObject({ burned: 5n, outstanding: 0n });
});

test.each<[RequestIds, ids: number, burns: number]>([
  ["honour", 2, 2],
  ["ignore", 2, 4],
  ["repeat", 1, 1],
  ["none", 0, 4],
])("%s: two questions give %i ids, each settled twice burns %i", async (requestIds, ids, burns) => {
  const { ledger, token } = await buying(10, { requestIds });
  const given = [await verify(ledger, token), await verify(ledger, token)].map(
    ({ body }) => body.agentRequestId,
  );
  expect(new Set(given.filter((id) => id !== undefined)).size).toBe(ids);
  for (const agentRequestId of [...given, ...given]) {
    expect((await settle(ledger, token, { agentRequestId })).body.success).toBe(true);
  }
  expect(ledger.countBurns()).toBe(burns);
});

test("an id that is repeated is given to everyone, and settles for one of them", async () => {
  const { ledger, token } = await buying(10, { requestIds: "repeat" });
  ledger.mint({ planId: plan, holderAddress: "0x2", amount: 10 });
  const other = await tokenOf(ledger, {}, "0x2");
  const { agentRequestId } = (await verify(ledger, token)).body;
  expect((await verify(ledger, other)).body.agentRequestId).toBe(agentRequestId);
  expect((await settle(ledger, token, { agentRequestId })).status).toBe(201);
  expect((await settle(ledger, other, { agentRequestId })).status).toBe(422);
});

test("the switch works while it runs", async () => {
  const { ledger, token } = await buying(10, { requestIds: "ignore" });
  const { agentRequestId } = (await verify(ledger, token)).body;
  const again = () => settle(ledger, token, { agentRequestId });
  await again();
  await again();
  expect(ledger.countBurns({ agentRequestId })).toBe(2);
  ledger.requestIds = "repeat";
  expect((await verify(ledger, token)).body.agentRequestId).toBe(agentRequestId);
  await again();
  await again();
  expect(ledger.countBurns({ agentRequestId })).toBe(3);
  ledger.requestIds = "honour";
  expect((await verify(ledger, token)).body.agentRequestId).not.toBe(agentRequestId);
  expect(() => {
    ledger.requestIds = "perhaps" as "ignore";
  }).toThrow(/repeat/);
  expect(() => {
    ledger.refusals = "perhaps" as "flags";
  }).toThrow(/flags/);
  expect([ledger.requestIds, ledger.refusals]).toEqual(["honour", "flags"]);
});

test("a file keeps tokens and settlements over a restart, and no token", async () => {
  const path = join(folder, "1.db");
  const before = await buying(10, { path });
  const once = await tokenOf(before.ledger, { tokenVersion: 3 });
  const first = await settle(before.ledger, before.token, { agentRequestId: "a" });
  await settle(before.ledger, once);
  const burns = before.ledger.burns();
  await before.ledger.close();

  const after = await funded(0, { path });
  expect(after.burns()).toEqual(burns);
  expect((await settle(after, before.token, { agentRequestId: "a" })).text).toBe(first.text);
  expect((await verify(after, before.token, { maxAmount: "8" })).body.isValid).toBe(true);
  expect((await verify(after, before.token, { maxAmount: "9" })).body.isValid).toBe(false);
  expect((await settle(after, once)).body.errorReason).toMatch(/already been used/);
  await after.close();

  const db = new Database(path);
  const rows = ["permission", "answer", "transfer", "account"].flatMap((table) =>
    db.prepare(`SELECT * FROM ${table}`).all(),
  );
  db.close();
  expect(rows.length).toBeGreaterThan(6);
  const { signature } = JSON.parse(Buffer.from(before.token, "base64").toString()).payload;
  for (const secret of [before.token, signature]) {
    expect(JSON.stringify(rows)).not.toContain(secret);
  }
});

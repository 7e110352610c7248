import { describe, expect, test } from "vitest";
import { createLedger, devKey } from "../../src/ledger/index.ts";
import { judgeAnswer } from "../contract/contract.ts";
import { balance, funded, holder, mint, plan, redeem, send } from "./wire.ts";

const path = "/protocol/plans/redeem";
const body = { planId: plan, holderAddress: holder, amount: 1, proof: "0x1" };

describe("a request that is refused", () => {
  test.each<
    [string, Record<string, unknown> | string, Record<string, string | undefined>, number, string]
  >([
    ["no key", body, { authorization: undefined }, 401, "BCK.AUTH.0002"],
    ["a key without Bearer", body, { authorization: devKey }, 401, "BCK.APIKEY.0006"],
    ["Bearer without a key", body, { authorization: "Bearer " }, 401, "BCK.APIKEY.0006"],
    ["an unknown key", body, { authorization: "Bearer nvm:other" }, 401, "BCK.APIKEY.0004"],
    [
      "a key from Object.prototype",
      body,
      { authorization: "Bearer toString" },
      401,
      "BCK.APIKEY.0004",
    ],
    ["not JSON", "{", {}, 400, "BCK.HTTP.400"],
    ["no body", "", {}, 400, "BCK.HTTP.400"],
    ["JSON of another kind", "[1]", {}, 400, "BCK.HTTP.400"],
    ["no plan", { ...body, planId: undefined }, {}, 400, "BCK.HTTP.400"],
    ["a plan that is a number", { ...body, planId: 1 }, {}, 400, "BCK.HTTP.400"],
    ["no holder", { ...body, holderAddress: "" }, {}, 400, "BCK.HTTP.400"],
    ["no amount", { ...body, amount: undefined }, {}, 400, "BCK.HTTP.400"],
    ["an amount as text", { ...body, amount: "1" }, {}, 400, "BCK.HTTP.400"],
    ["a fraction", { ...body, amount: 1.5 }, {}, 400, "BCK.HTTP.400"],
    ["more than a safe integer", { ...body, amount: 2 ** 53 }, {}, 400, "BCK.HTTP.400"],
    ["no proof at all", { ...body, proof: undefined }, {}, 400, "BCK.HTTP.400"],
    ["nothing to burn", { ...body, amount: 0 }, {}, 400, "BCK.CREDITS.0002"],
    ["less than nothing", { ...body, amount: -1 }, {}, 400, "BCK.CREDITS.0002"],
    ["an empty proof", { ...body, proof: "" }, {}, 403, "BCK.PROTOCOL.0029"],
    ["too few credits", { ...body, amount: 11 }, {}, 402, "BCK.CREDITS.0003"],
    ["a holder of nothing", { ...body, holderAddress: "0x2" }, {}, 402, "BCK.CREDITS.0003"],
    ["a plan of nobody", { ...body, planId: "other" }, {}, 402, "BCK.CREDITS.0003"],
    ["a body of 65 KiB", { ...body, proof: "x".repeat(65 * 1024) }, {}, 413, "BCK.HTTP.413"],
  ])("for %s", async (_name, given, headers, status, code) => {
    const ledger = await funded(10);
    const said = await send(ledger, "POST", path, given, headers);
    judgeAnswer("redeem", said.status, said.text);
    expect([said.status, said.body.code]).toEqual([status, code]);
    expect(said.headers["x-correlation-id"]).toBe(said.body.correlationId);
    expect(ledger.burns()).toEqual([]);
    expect(ledger.balance(plan, holder)).toBe(10);
  });

  test("for a path that is not there", async () => {
    const ledger = await funded(0);
    const said = await send(ledger, "POST", "/protocol/plans/redeeem", body);
    expect(said.status).toBe(404);
    expect(said.body).toMatchObject({
      code: "BCK.HTTP.404",
      message: "Cannot POST /api/v1/protocol/plans/redeeem",
    });
  });

  test("does not repeat its body, which holds a proof", async () => {
    const ledger = await funded(0);
    const said = await send(ledger, "POST", path, '{"proof":"secret');
    expect(said.status).toBe(400);
    expect(said.text).not.toContain("secret");
    expect(said.body.message).toBe("The body is not JSON.");
  });
});

test("a redemption burns and says what is left", async () => {
  const ledger = await funded(10);
  const said = await redeem(
    ledger,
    { amount: 4 },
    { "x-correlation-id": "c-1", "Nevermined-Version": "1.1" },
  );
  expect(said.status).toBe(200);
  expect(said.body).toEqual({ success: true, creditsRedeemed: 4, remainingBalance: 6 });
  expect(said.headers["x-correlation-id"]).toBe("c-1");
  expect(ledger.burns()).toEqual([
    {
      burnId: 2,
      planId: plan,
      holderAddress: holder.toLowerCase(),
      amount: 4,
      idempotencyKey: null,
      agentRequestId: null,
      correlationId: "c-1",
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    },
  ]);
});

test("the last credit can be burned, and no more", async () => {
  const ledger = await funded(1);
  expect((await redeem(ledger)).body.remainingBalance).toBe(0);
  expect((await redeem(ledger)).status).toBe(402);
});

test("a hundred at once on a balance of five: five are applied", async () => {
  const ledger = await funded(5);
  const statuses = (await Promise.all(Array.from({ length: 100 }, () => redeem(ledger)))).map(
    ({ status }) => status,
  );
  expect(statuses.filter((status) => status === 200)).toHaveLength(5);
  expect(statuses.filter((status) => status === 402)).toHaveLength(95);
  expect(ledger.balance(plan, holder)).toBe(0);
  expect(ledger.audit()).toMatchObject({ minted: 5n, burned: 5n, outstanding: 0n });
  expect(ledger.requests().redeem).toEqual({ 200: 5, 402: 95 });
});

test("a mint over HTTP funds the holder", async () => {
  const ledger = await funded(0);
  const said = await mint(ledger, { amount: 7 });
  expect(said.status).toBe(200);
  expect(said.body).toMatchObject({ amount: 7, balance: 7 });
  expect(ledger.balance(plan, holder)).toBe(7);
});

test.each([0, -1, 1.5, "1", 2 ** 53])("a mint of %s is refused", async (amount) => {
  const ledger = await funded(0);
  expect((await mint(ledger, { amount })).status).toBe(400);
  expect(() =>
    ledger.mint({ planId: plan, holderAddress: holder, amount: amount as number }),
  ).toThrow(/amount/);
  expect(ledger.audit().minted).toBe(0n);
});

test("no balance passes the largest safe integer", async () => {
  const ledger = await funded(Number.MAX_SAFE_INTEGER);
  const said = await mint(ledger);
  expect([said.status, said.body.code]).toEqual([400, "BCK.HTTP.400"]);
  expect(() => ledger.mint({ planId: plan, holderAddress: holder, amount: 1 })).toThrow(RangeError);
  expect(ledger.balance(plan, holder)).toBe(Number.MAX_SAFE_INTEGER);
});

test("a plan has room for a thousand full holders, and refuses the rest whole", async () => {
  const ledger = await funded(0);
  const fill = (holderAddress: string) =>
    ledger.mint({ planId: plan, holderAddress, amount: Number.MAX_SAFE_INTEGER });
  for (let each = 0; each < 1024; each += 1) fill(`0x${each}`);
  expect(() => fill("0xlast")).toThrow(RangeError);
  expect((await balance(ledger, plan, "0xlast")).status).toBe(404);
  expect(ledger.audit()).toMatchObject({ holders: 1024, outstanding: 1024n * (2n ** 53n - 1n) });
});

test("a balance has the documented shape and needs no key", async () => {
  const ledger = await funded(3, { plans: { [plan]: { name: "Basic" } } });
  const said = await balance(ledger);
  expect(said.status).toBe(200);
  expect(said.body).toEqual({
    planId: plan,
    planName: "Basic",
    planType: "credits",
    holderAddress: holder,
    balance: 3,
    isSubscriber: true,
    pricePerCredit: 0,
  });
});

test("a balance of an unknown plan or holder is 404, in the program 0", async () => {
  const ledger = await funded(3);
  expect((await balance(ledger, "other")).body.code).toBe("BCK.PROTOCOL.0003");
  const said = await balance(ledger, plan, "0x2");
  expect([said.status, said.body.code]).toEqual([404, "BCK.USER_PROFILE.0002"]);
  expect(ledger.balance("other", holder)).toBe(0);
});

test("an address that cannot be decoded is 400", async () => {
  const ledger = await funded(0);
  const said = await send(ledger, "GET", "/protocol/plans/%zz/balance/0x1");
  expect([said.status, said.body.code]).toEqual([400, "BCK.HTTP.400"]);
});

test("holders are compared without case", async () => {
  const ledger = await funded(2);
  expect((await redeem(ledger, { holderAddress: holder.toUpperCase() })).status).toBe(200);
  expect((await balance(ledger, plan, holder.toLowerCase())).body.balance).toBe(1);
  expect(ledger.countBurns({ holderAddress: holder })).toBe(1);
});

test.each([
  plan,
  plan.replace(/2$/, "3"),
  "did:nv:abc",
  "__proto__",
  "constructor",
  "a/b?c#d %41",
  "7",
  "07",
])("plan id %s is taken as it is", async (planId) => {
  const ledger = await funded(0, { plans: JSON.parse('{"__proto__":{"maxPerRedeem":2}}') });
  ledger.mint({ planId, holderAddress: holder, amount: 9 });
  const said = await redeem(ledger, { planId, amount: 3 });
  expect(said.body.creditsRedeemed).toBe(planId === "__proto__" ? 2 : 3);
  expect((await balance(ledger, planId)).body.planId).toBe(planId);
  expect(ledger.burns({ planId: `${planId} ` })).toEqual([]);
  expect(ledger.burns({ planId })).toHaveLength(1);
});

describe("keys", () => {
  const keys = [
    "nvm:all",
    { key: "nvm:one", plans: [plan] },
    { key: "nvm:gone", registered: false },
  ];
  test.each([
    ["nvm:all", plan, 200, undefined],
    ["nvm:all", "other", 402, "BCK.CREDITS.0003"],
    ["nvm:one", plan, 200, undefined],
    ["nvm:one", "other", 403, "BCK.AUTH.0003"],
    ["nvm:gone", plan, 403, "BCK.APIKEY.0001"],
  ])("%s for plan %s is %i", async (apiKey, planId, status, code) => {
    const ledger = await funded(1, { keys });
    expect(ledger.key).toBe("nvm:all");
    const said = await redeem(ledger, { planId }, { authorization: `Bearer ${apiKey}` });
    expect([said.status, said.body.code]).toEqual([status, code]);
  });

  test("limit a mint too", async () => {
    const ledger = await funded(0, { keys });
    const said = await mint(ledger, { planId: "other" }, { authorization: "Bearer nvm:one" });
    expect([said.status, said.body.code]).toEqual([403, "BCK.AUTH.0003"]);
    expect(ledger.audit().minted).toBe(0n);
  });
});

describe("a proof", () => {
  test("is judged by acceptProof", async () => {
    const asked: unknown[] = [];
    const ledger = await funded(5, {
      acceptProof: (request) => {
        asked.push(request);
        return request.proof === "good";
      },
    });
    const refused = await redeem(ledger, { proof: "bad" });
    expect([refused.status, refused.body.code]).toEqual([403, "BCK.PROTOCOL.0030"]);
    expect((await redeem(ledger, { proof: "good" })).status).toBe(200);
    expect(asked[0]).toEqual({ planId: plan, holderAddress: holder, amount: 1, proof: "bad" });
    expect(ledger.countBurns()).toBe(1);
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("bad proof s3cret");
      },
    ],
    ["answers later", async () => true],
  ])("is not applied when acceptProof %s", async (_name, acceptProof) => {
    const ledger = await funded(5, { acceptProof: acceptProof as unknown as () => boolean });
    const said = await redeem(ledger, { proof: "s3cret" });
    expect([said.status, said.body.code]).toEqual([500, "BCK.PROTOCOL.0020"]);
    expect(said.text).toMatch(/acceptProof/);
    expect(said.text).not.toContain("s3cret");
    expect(ledger.balance(plan, holder)).toBe(5);
  });
});

test.each([
  [{ maxPerRedeem: 3 }, 5, 3],
  [{ maxPerRedeem: 3 }, 2, 2],
  [{ fixedAmount: 2 }, 5, 2],
  [{ fixedAmount: 2 }, 1, 2],
  [{ fixedAmount: 4, maxPerRedeem: 3 }, 1, 4],
])("a plan of %o asked for %i burns %i", async (planOptions, asked, burned) => {
  const ledger = await funded(10, { plans: { [plan]: planOptions } });
  const said = await redeem(ledger, { amount: asked });
  expect(said.body).toEqual({
    success: true,
    creditsRedeemed: burned,
    remainingBalance: 10 - burned,
  });
  expect(ledger.burns()[0]?.amount).toBe(burned);
});

test("answers may be strings or empty", async () => {
  const ledger = await funded(10, { answers: "strings" });
  expect((await redeem(ledger)).body).toEqual({
    success: true,
    creditsRedeemed: "1",
    remainingBalance: "9",
  });
  expect((await balance(ledger)).body.balance).toBe("9");
  ledger.answers = "empty";
  expect((await redeem(ledger)).body).toEqual({});
  ledger.answers = "numbers";
  expect((await redeem(ledger)).body.remainingBalance).toBe(7);
});

test.each([
  [{ port: 70_000 }, /port/],
  [{ prot: 1 }, /prot/],
  [{ path: "postgres://db/credits" }, /path/],
  [{ keys: [] }, /keys/],
  [{ keys: [{ key: "k", plan: "p" }] }, /plan/],
  [{ plans: { p: { maxPerRedeem: 1.5 } } }, /plan "p".*maxPerRedeem/],
  [{ plans: "p" }, /plans/],
  [{ idempotency: "honor" }, /idempotency/],
  [{ acceptProof: true }, /acceptProof/],
  [{ faults: { "drop-afterwards": 1 } }, /no fault "drop-afterwards".*drop-after-applying/],
  [{ faults: { "drop-after-applying": 2 } }, /drop-after-applying.*rate/],
  [{ faults: { "error-after-applying": { rate: 1, status: 404 } } }, /status/],
])("options %o are refused", async (options, mistake) => {
  await expect(createLedger(options as object)).rejects.toThrow(mistake);
});

import { describe, expect, test } from "vitest";
import type { Endpoint, FaultName, Ledger } from "../../src/ledger/index.ts";
import { balance, holder, mint, plan, redeem, send } from "./wire.ts";
import { buying, permissions, required, settle, verify } from "./x402-wire.ts";

/** What a client saw of a settlement: a status, or that the connection was cut. */
async function outcome(ledger: Ledger, token: string, fields = {}): Promise<number | "cut"> {
  const body = { paymentRequired: required(), x402AccessToken: token, maxAmount: "1", ...fields };
  return send(ledger, "POST", "/x402/settle", body).then(
    ({ status }) => status,
    () => "cut",
  );
}

test.each<[FaultName, object, number | "cut", number]>([
  ["reject-connection-before-applying", {}, "cut", 0],
  ["delay-before-applying", { ms: 1 }, 201, 1],
  ["error-before-applying", { status: 503 }, 503, 0],
  ["throttle-before-applying", {}, 429, 0],
  ["refuse-before-applying", {}, 402, 0],
  ["refuse-before-applying", { status: 200 }, 200, 0],
  ["garbage-before-applying", {}, 200, 0],
  ["drop-before-applying", {}, "cut", 0],
  ["delay-after-applying", { ms: [0, 1] }, 201, 1],
  ["error-after-applying", { status: 502 }, 502, 1],
  ["garbage-after-applying", {}, 200, 1],
  ["drop-after-applying", {}, "cut", 1],
  ["close-after-applying", {}, 201, 1],
])("settle: %s %o: %s, and %i burned", async (name, details, seen, burned) => {
  const { ledger, token } = await buying(10);
  ledger.failNext(name, details);
  expect(await outcome(ledger, token)).toBe(seen);
  expect(ledger.countBurns()).toBe(burned);
  ledger.setFaults({ [name]: { rate: 1, ...details } });
  expect(await outcome(ledger, token)).toBe(seen);
  expect(ledger.countBurns()).toBe(2 * burned);
  ledger.setFaults({});
  expect(await outcome(ledger, token)).toBe(201);
});

test("a lost answer can be had again under its id, and burned once", async () => {
  const { ledger, token } = await buying(10);
  const fields = { agentRequestId: "a" };
  ledger.failNext("drop-after-applying", { times: 2 });
  ledger.failNext("error-after-applying");
  expect(await outcome(ledger, token, fields)).toBe("cut");
  expect(await outcome(ledger, token, fields)).toBe("cut");
  expect(await outcome(ledger, token, fields)).toBe(500);
  expect((await settle(ledger, token, fields)).body.remainingBalance).toBe("9");
  expect(ledger.burns().map(({ agentRequestId }) => agentRequestId)).toEqual(["a"]);
});

test("a fault before applying is not bound to the id", async () => {
  const { ledger, token } = await buying(10);
  const fields = { agentRequestId: "a" };
  ledger.failNext("refuse-before-applying");
  ledger.failNext("error-before-applying");
  expect(await outcome(ledger, token, fields)).toBe(402);
  expect(await outcome(ledger, token, fields)).toBe(500);
  expect(await outcome(ledger, token, fields)).toBe(201);
});

test("a hang before applying applies on release, even when the client has gone", async () => {
  const { ledger, token } = await buying(10);
  ledger.failNext("hang-before-applying");
  const gone = outcome(ledger, token, { agentRequestId: "a" });
  await ledger.hanging();
  await ledger.goAway();
  expect(await gone).toBe("cut");
  expect(ledger.countBurns()).toBe(0);
  await ledger.release();
  expect(ledger.countBurns({ agentRequestId: "a" })).toBe(1);
});

describe("faults befall", () => {
  const asks: Record<Endpoint, (ledger: Ledger, token: string) => Promise<{ status: number }>> = {
    redeem: (ledger) => redeem(ledger),
    mint: (ledger) => mint(ledger),
    balance: (ledger) => balance(ledger),
    permissions: (ledger) => permissions(ledger),
    verify,
    settle,
  };
  const all = Object.keys(asks) as Endpoint[];

  test.each<[Endpoint | readonly Endpoint[] | "any" | undefined, readonly Endpoint[]]>([
    [undefined, ["redeem", "settle"]],
    ["redeem", ["redeem"]],
    ["settle", ["settle"]],
    ["verify", ["verify"]],
    ["permissions", ["permissions"]],
    [
      ["verify", "balance"],
      ["balance", "verify"],
    ],
    ["any", all],
  ])("on %o: %o", async (on, befallen) => {
    const { ledger, token } = await buying(10);
    const target = on === undefined ? {} : { on };
    ledger.setFaults({ "error-after-applying": { rate: 1, status: 504, ...target } });
    const seen = [];
    for (const endpoint of all) {
      if ((await asks[endpoint](ledger, token)).status === 504) seen.push(endpoint);
    }
    expect(seen).toEqual(befallen);
    expect(ledger.balance(plan, holder)).toBe(9);
    for (const endpoint of befallen) expect(ledger.requests()[endpoint][504]).toBe(1);
  });

  test("nothing else by mistake", async () => {
    const { ledger } = await buying(0);
    expect(() => ledger.failNext("drop-after-applying", { on: [] })).toThrow(/on/);
    expect(() => ledger.failNext("drop-after-applying", { on: "settel" as "settle" })).toThrow(
      /on/,
    );
  });
});

test.each<[Endpoint, number, string]>([
  ["permissions", 402, "BCK.X402.0005"],
  ["verify", 402, "BCK.X402.0005"],
  ["settle", 403, "BCK.X402.0060"],
  ["settle", 401, "BCK.APIKEY.0004"],
  ["settle", 404, "BCK.HTTP.404"],
])("a refusal of %s with %i says %s", async (on, status, code) => {
  const { ledger, token } = await buying(10);
  ledger.failNext("refuse-before-applying", { on, status });
  const ask = { permissions, verify, settle }[on as "verify"];
  const said = on === "permissions" ? await permissions(ledger) : await ask(ledger, token);
  expect([said.status, said.body.code]).toEqual([status, code]);
});

test("a refusal of verify with 200 says that the token is not valid", async () => {
  const { ledger, token } = await buying(10);
  ledger.failNext("refuse-before-applying", { on: "verify", status: 200 });
  expect((await verify(ledger, token)).body).toEqual({ isValid: false });
});

test("an outage takes all of them along, and away is away", async () => {
  const { ledger, token } = await buying(10);
  await ledger.goAway();
  await expect(verify(ledger, token)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  await ledger.comeBack();
  expect((await verify(ledger, token)).status).toBe(201);
});

import { Agent, request } from "undici";
import { expect, test } from "vitest";
import type { FaultName, FaultRates, GarbageForm, Ledger } from "../../src/ledger/index.ts";
import { balance, funded, holder, key, mint, plan, redeem, send } from "./wire.ts";

const path = "/protocol/plans/redeem";
const body = { planId: plan, holderAddress: holder, amount: 1, proof: "0x1" };

/** What a client saw: a status, or that the connection was cut. */
async function outcome(ledger: Ledger, headers = {}): Promise<number | "cut"> {
  return send(ledger, "POST", path, body, headers).then(
    ({ status }) => status,
    () => "cut",
  );
}

test.each<[FaultName, object, number | "cut", number]>([
  ["reject-connection-before-applying", {}, "cut", 0],
  ["delay-before-applying", { ms: 1 }, 200, 1],
  ["error-before-applying", {}, 500, 0],
  ["error-before-applying", { status: 503 }, 503, 0],
  ["throttle-before-applying", {}, 429, 0],
  ["refuse-before-applying", {}, 402, 0],
  ["refuse-before-applying", { status: 403 }, 403, 0],
  ["refuse-before-applying", { status: 200 }, 200, 0],
  ["garbage-before-applying", {}, 200, 0],
  ["drop-before-applying", {}, "cut", 0],
  ["delay-after-applying", { ms: [0, 1] }, 200, 1],
  ["error-after-applying", { status: 502 }, 502, 1],
  ["garbage-after-applying", {}, 200, 1],
  ["drop-after-applying", {}, "cut", 1],
  ["close-after-applying", {}, 200, 1],
])("%s %o: %s, and %i burned", async (name, details, seen, burned) => {
  const scripted = await funded(10);
  scripted.failNext(name, details);
  expect(await outcome(scripted)).toBe(seen);
  expect(scripted.countBurns()).toBe(burned);
  expect(await outcome(scripted)).toBe(200);
  expect(scripted.countBurns()).toBe(burned + 1);

  const always = await funded(10, { faults: { [name]: { rate: 1, ...details } } });
  expect(await outcome(always)).toBe(seen);
  expect(await outcome(always)).toBe(seen);
  expect(always.countBurns()).toBe(2 * burned);
  always.setFaults({});
  expect(await outcome(always)).toBe(200);
});

test.each<[FaultName, object, string, object]>([
  [
    "error-before-applying",
    { status: 503, code: "BCK.AUTH.0014" },
    "BCK.AUTH.0014",
    { retryable: true },
  ],
  ["error-after-applying", {}, "BCK.HTTP.500", { retryable: false }],
  ["throttle-before-applying", { retryAfter: 7 }, "BCK.HTTP.429", { retryable: true }],
  ["refuse-before-applying", {}, "BCK.CREDITS.0003", {}],
  ["refuse-before-applying", { status: 401 }, "BCK.APIKEY.0004", {}],
  [
    "refuse-before-applying",
    { status: 404 },
    "BCK.HTTP.404",
    { message: `Cannot POST /api/v1${path}` },
  ],
])("%s %o says %s", async (name, details, code, more) => {
  const ledger = await funded(10);
  ledger.failNext(name, details);
  const said = await redeem(ledger);
  expect(said.body).toMatchObject({ code, ...more });
  expect(said.headers["retry-after"]).toBe("retryAfter" in details ? "7" : undefined);
});

test("a refusal of 200 says success: false", async () => {
  const ledger = await funded(10);
  ledger.failNext("refuse-before-applying", { status: 200 });
  expect((await redeem(ledger)).body).toEqual({ success: false });
});

test.each<[GarbageForm, RegExp]>([
  ["html", /^<!doctype html>/],
  ["truncated", /^\{"success":true,"creditsRed$/],
  ["types", /"success":"yes"/],
  ["empty", /^$/],
])("garbage of form %s", async (form, text) => {
  const ledger = await funded(10);
  ledger.failNext("garbage-after-applying", { form });
  const said = await send(ledger, "POST", path, body);
  expect(said.status).toBe(200);
  expect(said.text).toMatch(text);
  expect(String(said.headers["content-type"]).startsWith("text/html")).toBe(form === "html");
});

test("a hang before applying applies on release, even when the client has gone", async () => {
  const ledger = await funded(10);
  ledger.failNext("hang-before-applying");
  const leave = new AbortController();
  const gone = request(`${ledger.baseUrl}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${ledger.key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: leave.signal,
  });
  await ledger.hanging();
  leave.abort();
  await expect(gone).rejects.toThrow();
  expect(ledger.countBurns()).toBe(0);
  expect(await ledger.release()).toBe(1);
  expect(ledger.countBurns()).toBe(1);
});

test("a hang after applying has applied before it is released", async () => {
  const ledger = await funded(10);
  ledger.failNext("hang-after-applying", { times: 2 });
  const answers = [redeem(ledger), redeem(ledger)];
  await ledger.hanging(2);
  expect(ledger.countBurns()).toBe(2);
  await ledger.release();
  expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200]);
});

test("what still hangs when the ledger closes is not applied, and waiting for more fails", async () => {
  const ledger = await funded(10);
  ledger.failNext("hang-before-applying");
  const first = outcome(ledger);
  await ledger.hanging();
  const more = ledger.hanging(2);
  await Promise.all([expect(more).rejects.toThrow(/closed before 2/), ledger.close()]);
  expect(await first).toBe("cut");
});

test("the script is followed in order, and chance rests meanwhile", async () => {
  const ledger = await funded(10, { faults: { "error-before-applying": 1 } });
  ledger.failNext("drop-after-applying", { times: 2, after: 1 });
  ledger.failNext("throttle-before-applying");
  const seen = [];
  for (let each = 0; each < 5; each += 1) seen.push(await outcome(ledger));
  expect(seen).toEqual([200, "cut", "cut", 429, 500]);
  expect(ledger.countBurns()).toBe(3);
  expect(ledger.requests().redeem).toEqual({ 200: 1, dropped: 2, 429: 1, 500: 1 });
});

test("faults befall redemptions, or what they are told to", async () => {
  const ledger = await funded(10, { faults: { "error-before-applying": 1 } });
  expect((await mint(ledger)).status).toBe(200);
  expect((await balance(ledger)).status).toBe(200);
  ledger.setFaults({ "error-after-applying": { rate: 1, on: "any", status: 504 } });
  expect((await mint(ledger)).status).toBe(504);
  expect((await balance(ledger)).status).toBe(504);
  expect(ledger.balance(plan, holder)).toBe(12);
  ledger.setFaults({});
  ledger.failNext("throttle-before-applying", { on: "balance" });
  expect((await redeem(ledger)).status).toBe(200);
  expect((await balance(ledger)).status).toBe(429);
});

test("a lost answer can be had again under its key", async () => {
  const ledger = await funded(10);
  const id = key();
  ledger.failNext("drop-after-applying", { times: 2 });
  expect(await outcome(ledger, id)).toBe("cut");
  expect(await outcome(ledger, id)).toBe("cut");
  expect((await redeem(ledger, {}, id)).body.remainingBalance).toBe(9);
  expect(ledger.countBurns()).toBe(1);
});

test("the same seed draws the same faults, another draws others", async () => {
  const faults: FaultRates = {
    "drop-after-applying": 0.3,
    "error-before-applying": 0.3,
    "garbage-after-applying": 0.3,
  };
  const run = async (seed: number) => {
    const ledger = await funded(100, { seed, faults });
    const seen = [];
    for (let each = 0; each < 40; each += 1) {
      seen.push(
        await send(ledger, "POST", path, body).then(
          ({ status, text }) => `${status} ${status === 200 ? text : ""}`,
          () => "cut",
        ),
      );
    }
    return seen;
  };
  const first = await run(7);
  expect(await run(7)).toEqual(first);
  expect(await run(8)).not.toEqual(first);
  expect(new Set(first).size).toBeGreaterThan(4);
});

test("a rate is about how often it happens", async () => {
  const ledger = await funded(1000, { seed: 3, faults: { "error-before-applying": 0.25 } });
  const seen = await Promise.all(Array.from({ length: 400 }, () => outcome(ledger)));
  const share = seen.filter((status) => status === 500).length / seen.length;
  expect(share).toBeGreaterThan(0.15);
  expect(share).toBeLessThan(0.35);
  expect(ledger.countBurns()).toBe(seen.filter((status) => status === 200).length);
});

test("away: nothing listens, then the same port is back", async () => {
  const ledger = await funded(10);
  await ledger.goAway();
  await expect(redeem(ledger)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  await ledger.goAway();
  await ledger.comeBack();
  await ledger.comeBack();
  expect((await redeem(ledger)).status).toBe(200);
});

test("going away cuts those that are connected", async () => {
  const ledger = await funded(10);
  ledger.failNext("hang-after-applying");
  const first = outcome(ledger);
  await ledger.hanging();
  await ledger.goAway();
  expect(await first).toBe("cut");
  expect(ledger.countBurns()).toBe(1);
});

test("close-after-applying destroys a connection that was to be kept", async () => {
  const ledger = await funded(10);
  ledger.failNext("close-after-applying");
  const agent = new Agent({ connections: 1 });
  const closed = new Promise((resolve) => agent.once("disconnect", resolve));
  const answer = await request(`${ledger.baseUrl}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${ledger.key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
    dispatcher: agent,
  });
  expect(answer.headers.connection).toBe("keep-alive");
  await answer.body.dump();
  await closed;
  await agent.close();
});

test("a fault that is not there is refused with those that are", async () => {
  const ledger = await funded(0);
  expect(() => ledger.failNext("drop" as FaultName)).toThrow(/drop-before-applying/);
  expect(() => ledger.failNext("drop-after-applying", { times: 0 })).toThrow(/times/);
  expect(() => ledger.setFaults({ "delay-after-applying": { rate: 1, ms: [5, 1] } })).toThrow(/ms/);
});

import { expect, test } from "vitest";
import { funded, holder, key, mint, plan, redeem } from "./wire.ts";

test("a repeated key is answered with the same bytes and burns once", async () => {
  const ledger = await funded(10);
  const id = key();
  const first = await redeem(ledger, { amount: 3 }, id);
  await redeem(ledger);
  const again = await redeem(ledger, { amount: 3 }, { ...id, "x-correlation-id": "later" });
  expect([again.status, again.text]).toEqual([first.status, first.text]);
  expect(again.headers["x-correlation-id"]).toBe("later");
  expect(ledger.burns({ idempotencyKey: id["idempotency-key"] })).toHaveLength(1);
  expect(ledger.balance(plan, holder)).toBe(6);
});

test("an answer of {} is replayed as it was", async () => {
  const ledger = await funded(10, { answers: "empty" });
  const id = key();
  await redeem(ledger, {}, id);
  ledger.answers = "numbers";
  expect((await redeem(ledger, {}, id)).text).toBe("{}");
});

test.each([{ amount: 2 }, { proof: "0x2" }, { planId: "other" }, { holderAddress: "0x2" }])(
  "a key used with another body, %o, is 422",
  async (other) => {
    const ledger = await funded(10);
    const id = key();
    await redeem(ledger, {}, id);
    const said = await redeem(ledger, other, id);
    expect([said.status, said.body.code]).toEqual([422, "BCK.HTTP.422"]);
    expect(said.body.message).toMatch(/Idempotency-Key was used with another body/);
    expect(ledger.countBurns()).toBe(1);
  },
);

test("a key used at another endpoint is 422", async () => {
  const ledger = await funded(10);
  const id = key();
  expect((await mint(ledger, {}, id)).status).toBe(200);
  expect((await mint(ledger, {}, id)).status).toBe(200);
  expect(ledger.balance(plan, holder)).toBe(11);
  expect((await redeem(ledger, {}, id)).status).toBe(422);
});

test("a key whose request is still running is 409, and with another body 422", async () => {
  const ledger = await funded(10);
  const id = key();
  ledger.failNext("hang-before-applying");
  const first = redeem(ledger, {}, id);
  await ledger.hanging();
  const second = await redeem(ledger, {}, id);
  expect([second.status, second.body.code]).toEqual([409, "BCK.HTTP.409"]);
  expect(second.body.message).toMatch(/Idempotency-Key is still being processed/);
  expect((await redeem(ledger, { amount: 2 }, id)).status).toBe(422);
  expect(await ledger.release()).toBe(1);
  const third = await redeem(ledger, {}, id);
  expect(third.text).toBe((await first).text);
  expect(ledger.countBurns()).toBe(1);
});

test("a hundred requests with one key burn once", async () => {
  const ledger = await funded(10);
  const id = key();
  const all = await Promise.all(Array.from({ length: 100 }, () => redeem(ledger, {}, id)));
  expect(new Set(all.map(({ text }) => text)).size).toBe(1);
  expect(ledger.countBurns()).toBe(1);
});

test("refusals for credits and proof are remembered", async () => {
  const ledger = await funded(1);
  const [poor, proofless] = [key(), key()];
  const first = await redeem(ledger, { amount: 2 }, poor);
  expect(first.status).toBe(402);
  expect((await redeem(ledger, { proof: "" }, proofless)).status).toBe(403);
  ledger.mint({ planId: plan, holderAddress: holder, amount: 5 });
  expect((await redeem(ledger, { amount: 2 }, poor)).text).toBe(first.text);
  expect((await redeem(ledger, { proof: "" }, proofless)).status).toBe(403);
  expect((await redeem(ledger, { amount: 2 }, key())).status).toBe(200);
});

test("what decided nothing is not remembered", async () => {
  const ledger = await funded(10);
  const id = key();
  expect((await redeem(ledger, {}, { ...id, authorization: "Bearer no" })).status).toBe(401);
  expect((await redeem(ledger, { amount: 0 }, id)).status).toBe(400);
  ledger.failNext("throttle-before-applying");
  ledger.failNext("error-before-applying");
  ledger.failNext("refuse-before-applying");
  expect((await redeem(ledger, {}, id)).status).toBe(429);
  expect((await redeem(ledger, {}, id)).status).toBe(500);
  expect((await redeem(ledger, {}, id)).status).toBe(402);
  expect((await redeem(ledger, {}, id)).status).toBe(200);
  expect(ledger.countBurns()).toBe(1);
});

test("a mint that was too much is not remembered", async () => {
  const ledger = await funded(10);
  const id = key();
  const most = { amount: Number.MAX_SAFE_INTEGER };
  expect((await mint(ledger, most, id)).status).toBe(400);
  await redeem(ledger, { amount: 10 });
  expect((await mint(ledger, most, id)).status).toBe(200);
});

test("an error while applying gives the key back", async () => {
  let broken = true;
  const acceptProof = () => {
    if (broken) throw new Error("broken");
    return true;
  };
  const ledger = await funded(10, { acceptProof });
  const id = key();
  expect((await redeem(ledger, {}, id)).status).toBe(500);
  broken = false;
  expect((await redeem(ledger, {}, id)).status).toBe(200);
});

test("when keys are ignored a repeated one burns again; the switch works while it runs", async () => {
  const ledger = await funded(10, { idempotency: "ignore" });
  const id = key();
  await redeem(ledger, {}, id);
  await redeem(ledger, {}, id);
  expect(ledger.countBurns({ idempotencyKey: id["idempotency-key"] })).toBe(2);
  ledger.idempotency = "honour";
  await redeem(ledger, {}, id);
  await redeem(ledger, {}, id);
  expect(ledger.countBurns()).toBe(3);
  expect(() => {
    ledger.idempotency = "perhaps" as "ignore";
  }).toThrow(/honour/);
});

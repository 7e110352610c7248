import { describe, expect, test } from "vitest";
import { judgeAnswer, judgeRequest, type Operation } from "./contract.ts";

const headers = { Authorization: "Bearer nvm:key", "Content-Type": "application/json" };
const body = { planId: "did:nv:abc", holderAddress: "0xab", amount: 5, proof: "0x1" };

describe("requests", () => {
  test.each<[string, Operation, object, unknown, RegExp | null]>([
    ["a redemption", "redeem", headers, body, null],
    ["as text", "redeem", headers, JSON.stringify(body), null],
    [
      "with ids",
      "redeem",
      { ...headers, "idempotency-key": "k", "x-correlation-id": "c" },
      body,
      null,
    ],
    ["with a version", "redeem", { ...headers, "Nevermined-Version": "1.1" }, body, null],
    [
      "a bad version",
      "redeem",
      { ...headers, "Nevermined-Version": "one" },
      body,
      /nevermined-version/,
    ],
    ["an empty id", "redeem", { ...headers, "Idempotency-Key": "" }, body, /idempotency-key/],
    ["no key", "redeem", { ...headers, Authorization: undefined }, body, /authorization/],
    ["a bare key", "redeem", { ...headers, Authorization: "nvm:key" }, body, /authorization/],
    ["a form", "redeem", { ...headers, "Content-Type": "text/plain" }, body, /content-type/],
    ["a string amount", "redeem", headers, { ...body, amount: "5" }, /amount must be integer/],
    ["a fraction", "redeem", headers, { ...body, amount: 1.5 }, /amount must be integer/],
    ["a zero", "redeem", headers, { ...body, amount: 0 }, /amount must be >= 1/],
    ["too much", "redeem", headers, { ...body, amount: 2 ** 53 }, /amount must be <=/],
    ["no proof", "redeem", headers, { ...body, proof: undefined }, /proof/],
    ["a stray field", "redeem", headers, { ...body, memo: "x" }, /memo/],
    ["not JSON", "redeem", headers, "{", /body must be object/],
    ["a mint", "mint", headers, { planId: "1", holderAddress: "0xab", amount: 5 }, null],
    ["a mint with a proof", "mint", headers, body, /proof/],
    ["a balance without a key", "balance", {}, undefined, null],
    ["a balance with a body", "balance", {}, body, /body/],
  ])("%s", (_name, operation, given, sent, mistake) => {
    const judge = () => judgeRequest(operation, { headers: given as typeof headers, body: sent });
    if (mistake) expect(judge).toThrow(mistake);
    else judge();
  });

  test("an error never quotes the key", () => {
    const bad = { ...headers, Authorization: "Basic c2VjcmV0" };
    expect(() => judgeRequest("redeem", { headers: bad, body })).toThrow(/^(?!.*c2VjcmV0)/);
  });
});

describe("answers", () => {
  const problem = { code: "BCK.CREDITS.0003", message: "Insufficient" };
  test.each<[string, Operation, number, unknown, RegExp | null]>([
    ["numbers", "redeem", 200, { success: true, creditsRedeemed: 5, remainingBalance: 0 }, null],
    ["strings", "redeem", 200, { creditsRedeemed: "5", remainingBalance: "95" }, null],
    ["nothing", "redeem", 200, {}, null],
    ["a refusal in a 200", "redeem", 200, { success: false }, null],
    ["words", "redeem", 200, { creditsRedeemed: "five" }, /creditsRedeemed/],
    ["below zero", "redeem", 200, { remainingBalance: -1 }, /remainingBalance/],
    ["success as text", "redeem", 200, { success: "yes" }, /success/],
    ["HTML", "redeem", 200, "<html>", /object/],
    ["an error", "redeem", 402, problem, null],
    ["a generic error", "redeem", 500, { success: false, error: "x", statusCode: 500 }, null],
    ["an error without a code", "redeem", 402, { message: "no" }, /code/],
    ["a code of another house", "redeem", 402, { ...problem, code: "E_NO" }, /code/],
    ["a mint", "mint", 200, {}, null],
    [
      "a balance of a plan",
      "balance",
      200,
      { planId: "1", holderAddress: "0x", balance: 1, isSubscriber: true },
      null,
    ],
    [
      "a balance of a subscriber",
      "balance",
      200,
      { isSubscriber: true, total: "9", used: "1", remaining: "8", expiresAt: null },
      null,
    ],
    ["a balance of neither", "balance", 200, { isSubscriber: true }, /balance/],
    [
      "no such plan",
      "balance",
      404,
      { code: "BCK.PROTOCOL.0003", message: "Plan not found" },
      null,
    ],
  ])("%s", (_name, operation, status, said, mistake) => {
    const judge = () => judgeAnswer(operation, status, said);
    if (mistake) expect(judge).toThrow(mistake);
    else judge();
  });
});

import { describe, expect, test } from "vitest";
import { type Exchange, readOutcome } from "../../src/client/outcome.ts";
import { readSettlement } from "../../src/client/settlement.ts";

/** The table of DESIGN, "First match wins", for both endpoints that burn credits. */

const now = Date.parse("2026-03-01T12:00:00Z");
const judges = { plans: readOutcome, x402: readSettlement };

function verdicts(exchange: Exchange): string[] {
  return Object.values(judges).map((judge) => {
    const answer = judge(exchange, 10, now);
    return "reason" in answer ? `${answer.status} ${answer.reason}` : answer.status;
  });
}

function came(status: number, body: unknown): Exchange {
  const text = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
  return { written: true, answer: { status, headers: {}, body: text } };
}

const transaction = `0x${"ab".repeat(32)}`;
const sale = { success: true, billingModel: "pay-as-you-go", orderTx: "pi_3Q8" };
const html = "<html><body><h1>Sorry</h1></body></html>";

type Row = readonly [what: string, status: number, body: unknown];

const mayHaveCharged: Row[] = [
  ["a burn that broke off", 500, { code: "BCK.X402.0009" }],
  ["credits that were not issued after a card was charged", 500, { code: "BCK.X402.0017" }],
  ["a charge of a card whose end is not known", 502, { code: "BCK.X402.0048" }],
  ["such a code with another status", 400, { code: "BCK.X402.0048" }],
  ["such a code with a 200", 200, { success: false, code: "BCK.X402.0017" }],
  ["such a code as the reason", 201, { success: false, errorReason: "BCK.X402.0048" }],
  ["a refusal that names a transaction", 200, { success: false, transaction }],
  ["a refusal that names an order", 200, { success: false, orderTx: "pi_3Q8" }],
  ["a refusal that names credits", 200, { success: false, creditsRedeemed: "10" }],
  ["a refusal by status that names a transaction", 402, { success: false, transaction }],
  ["an error that names a transaction", 500, { code: "BCK.PROTOCOL.0020", transaction }],
  ["success with a 202", 202, { success: true }],
  ["success with a 500", 500, { success: true }],
  ["success with a 429", 429, { success: true }],
  ["success with a 401", 401, { success: true }],
];

const completed: Row[] = [
  ["everything", 200, { success: true, creditsRedeemed: 10, remainingBalance: 5 }],
  ["a 201", 201, { success: true, creditsRedeemed: "10" }],
  ["success alone", 200, { success: true }],
  ["success as text", 200, { success: "true", creditsRedeemed: 10 }],
  ["success and an amount that cannot be read", 200, { success: true, creditsRedeemed: "n/a" }],
  ["a sale by card", 201, sale],
  ["a sale by card with zeros", 201, { ...sale, creditsRedeemed: "0", remainingBalance: "0" }],
  ["a sale without a reference", 201, { success: true, billingModel: "pay-as-you-go" }],
  ["a sale of a kind that is not known", 201, { ...sale, billingModel: "barter" }],
  ["an amount alone", 200, { creditsRedeemed: 10 }],
  ["nothing at all", 200, {}],
];

const configuration: Row[] = [
  ["401", 401, undefined],
  ["401 of a proxy", 401, html],
  ["401 that refuses", 401, { success: false }],
  ["403 about the key", 403, { code: "BCK.APIKEY.0001" }],
  ["403 about its owner", 403, { code: "BCK.AUTH.0003" }],
  ["404 about the key", 404, { code: "BCK.APIKEY.0002" }],
  ["409 about the key", 409, { code: "BCK.APIKEY.0017" }],
  ["402 about the key", 402, { code: "BCK.AUTH.0006" }],
  ["a refusal about the key", 200, { success: false, code: "BCK.AUTH.0002" }],
  ["404 of NestJS", 404, { code: "BCK.HTTP.404", message: "Cannot POST /x402/settle" }],
  ["404 of Express", 404, "<pre>Cannot POST /x402/settle</pre>"],
];

const failed: Row[] = [
  ["a refusal", 200, { success: false }],
  ["a refusal with a 201", 201, { success: false, transaction: "", creditsRedeemed: "0" }],
  ["402", 402, undefined],
  ["402 of a proxy", 402, html],
  ["400 with a domain code", 400, { code: "BCK.CREDITS.0002" }],
  ["403 with a domain code", 403, { code: "BCK.PROTOCOL.0030" }],
  ["404 with a domain code", 404, { code: "BCK.PROTOCOL.0003" }],
];

const throttled: Row[] = [
  ["429", 429, undefined],
  ["429 that refuses", 429, { success: false, code: "BCK.HTTP.429" }],
  ["503 of the identity provider", 503, { code: "BCK.AUTH.0014" }],
  ["503 before a permission is checked", 503, { code: "BCK.X402.0051" }],
  ["503 before an account can burn", 503, { code: "BCK.X402.0052" }],
];

const lost: Row[] = [
  ["200 of a proxy", 200, html],
  ["200 without a body", 200, undefined],
  ["200 that is a list", 200, []],
  ["200 that is cut", 200, '{"success": true, "creditsRede'],
  ["200 with another word for success", 200, { success: "perhaps" }],
  ["200 with an amount that cannot be read", 200, { creditsRedeemed: "1.5" }],
  ["500", 500, { success: false, error: "Internal server error", statusCode: 500 }],
  ["503 with another code", 503, { code: "BCK.PROTOCOL.0051", retryable: true }],
  ["408", 408, undefined],
];

const unexpected: Row[] = [
  ["202", 202, {}],
  ["302", 302, html],
  ["400 of a proxy", 400, html],
  ["400 of the framework", 400, { code: "BCK.HTTP.400" }],
  ["400 that refuses without a code", 400, { success: false, error: "no" }],
  ["404 of a proxy", 404, html],
];

const table: [expected: string, rows: Row[]][] = [
  ["unresolved maybe-charged", mayHaveCharged],
  ["completed", completed],
  ["pending configuration-fault", configuration],
  ["failed", failed],
  ["pending ledger-throttled", throttled],
  ["unresolved answer-lost", lost],
  ["unresolved unexpected-answer", unexpected],
];

for (const [expected, rows] of table) {
  describe(expected, () => {
    test.each(rows)("%s", (_what, status, body) => {
      for (const verdict of verdicts(came(status, body))) expect(verdict).toContain(expected);
    });
  });
}

test("nothing was written, or it was and no answer came", () => {
  const fault = { code: "ECONNRESET", message: "reset" };
  const both = (verdict: string) => [verdict, verdict];
  expect(verdicts({ written: false, fault })).toEqual(both("pending ledger-unreachable"));
  expect(verdicts({ written: true, fault })).toEqual(both("unresolved answer-lost"));
});

test("a sale by card names its order as the transaction, and no credits", () => {
  const reply = came(201, { ...sale, creditsRedeemed: "0", remainingBalance: "0" });
  expect(readSettlement(reply, 10, now)).toEqual({
    status: "completed",
    redeemedAmount: null,
    remainingBalance: null,
    short: false,
    transaction: "pi_3Q8",
  });
});

test("the words of the ledger stay where the buyer may have been charged", () => {
  const said = { code: "BCK.X402.0048", message: "Charge failed ambiguously" };
  expect(readSettlement(came(502, said), 10, now)).toMatchObject({
    code: "BCK.X402.0048",
    message: expect.stringContaining("Charge failed ambiguously"),
  });
});

test("a redemption endpoint that is not there names the one that is (E11)", () => {
  const gone = came(404, { message: "Cannot POST /api/v1/protocol/plans/redeem" });
  expect(readOutcome(gone, 10, now)).toMatchObject({
    reason: "configuration-fault",
    message: expect.stringContaining('protocol: "x402"'),
  });
  expect(readSettlement(gone, 10, now)).not.toMatchObject({
    message: expect.stringContaining('protocol: "x402"'),
  });
});

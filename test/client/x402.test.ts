import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { encodeSettle, encodeVerify, secretsOfToken } from "../../src/client/x402-wire.ts";
import type { FaultName, Ledger } from "../../src/ledger/index.ts";
import type { Charge } from "../../src/redemption.ts";
import { judgeRequest } from "../contract/contract.ts";
import { holder, plan } from "../ledger/wire.ts";
import { buying, changed, required, tokenOf } from "../ledger/x402-wire.ts";
import { aCharge, aClient, apiKey, closeClients } from "./support.ts";

afterEach(closeClients);

const agentRequestId = "arId-3f0c9c4e-0c1f-4b8e-9a3e-1f2d3c4b5a69";

/** A charge whose proof is the terms of a settlement. */
function aSettlement(token: string, fields: Partial<Charge> = {}, terms: object = {}): Charge {
  const proof = { paymentRequired: required(), x402AccessToken: token, agentRequestId, ...terms };
  return aCharge({ planId: plan, holderAddress: holder, proof: JSON.stringify(proof), ...fields });
}

function clientOf(ledger: Ledger, options = {}) {
  return aClient({ baseUrl: ledger.baseUrl, apiKey: ledger.key, ...options });
}

const question = (x402AccessToken: string, maxAmount = 1) => ({
  paymentRequired: required(),
  x402AccessToken,
  maxAmount,
});

describe("the bytes of a settlement", () => {
  test("are the terms and the amount as a decimal string", () => {
    const charge = aSettlement("dG9rZW4=", { amount: 7 });
    expect(encodeSettle(charge)).toBe(
      `{"paymentRequired":${JSON.stringify(required())},"x402AccessToken":"dG9rZW4=","maxAmount":"7","agentRequestId":"${agentRequestId}"}`,
    );
    const { agentRequestId: _, ...rest } = JSON.parse(charge.proof);
    const bare = encodeSettle({ ...charge, proof: JSON.stringify(rest) });
    expect(JSON.parse(bare)).toEqual({ ...rest, maxAmount: "7" });
  });

  test("keep a scheme as it came, whatever it holds and in whatever order", () => {
    const scheme =
      '{"x-first":[1.5,null],"network":"stripe","extra":{"__proto__":{"a":1},"ä":"\\u0000"},"scheme":"nvm:card-delegation"}';
    const paymentRequired = `{"x402Version":2,"error":"e","resource":{"url":"/"},"accepts":[${scheme}],"extensions":{}}`;
    const proof = `{"paymentRequired":${paymentRequired},"x402AccessToken":"t"}`;
    expect(encodeSettle(aCharge({ proof }))).toContain(`"paymentRequired":${paymentRequired}`);
  });

  test("keep the contract, and hold any amount that is a whole number", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (amount) => {
        const body = encodeSettle(aSettlement("dG9rZW4=", { amount }));
        const headers = { authorization: "Bearer k", "content-type": "application/json" };
        judgeRequest("settle", { headers, body });
        expect(JSON.parse(body).maxAmount).toBe(`${amount}`);
        judgeRequest("verify", { headers, body: encodeVerify(question("dG9rZW4=", amount)) });
      }),
    );
  });

  const but = (fields: object) => ({ paymentRequired: { ...required(), ...fields } });
  test.each<[what: string, fields: Partial<Charge>, terms: object, mistake: RegExp]>([
    ["a fraction", { amount: 1.5 }, {}, /amount/],
    ["zero", { amount: 0 }, {}, /amount/],
    ["past the safe integers", { amount: 2 ** 53 }, {}, /amount/],
    ["a proof that is a signature", { proof: "0x1" }, {}, /proof/],
    ["a proof that is a list", { proof: "[]" }, {}, /proof/],
    ["no token", {}, { x402AccessToken: undefined }, /proof.x402AccessToken/],
    ["an empty token", {}, { x402AccessToken: "" }, /proof.x402AccessToken/],
    ["no paymentRequired", {}, { paymentRequired: undefined }, /proof.paymentRequired/],
    ["version 1", {}, but({ x402Version: 1 }), /x402Version/],
    ["nothing that is accepted", {}, but({ accepts: [] }), /accepts/],
    ["a scheme without a name", {}, but({ accepts: [{ network: "n" }] }), /accepts.0.scheme/],
    ["no resource", {}, but({ resource: undefined }), /resource/],
    ["no extensions", {}, but({ extensions: undefined }), /extensions/],
    ["an empty id", {}, { agentRequestId: "" }, /agentRequestId/],
    ["an id that is null", {}, { agentRequestId: null }, /agentRequestId/],
    ["an amount of its own", {}, { maxAmount: "9" }, /proof/],
  ])("are refused before they are sent: %s", (_what, fields, terms, mistake) => {
    const encode = () =>
      encodeSettle(aSettlement("c2VjcmV0LXRva2VuLW9mLWEtYnV5ZXI=", fields, terms));
    expect(encode).toThrow(/breaks the ledger's contract/);
    expect(encode).toThrow(mistake);
    expect(encode).not.toThrow(/c2VjcmV0/);
  });
});

describe("against the embedded ledger", () => {
  test("a token is verified, settled once for its id, and told about", async () => {
    const { ledger, token } = await buying(10);
    const client = clientOf(ledger);
    const verification = await client.verify(question(token, 4));
    expect(verification).toEqual({
      status: "valid",
      agentRequestId: expect.stringMatching(/^arId-/),
      payer: holder,
    });
    if (verification.status !== "valid") throw new Error("not valid");
    const terms = { agentRequestId: verification.agentRequestId };
    const charge = aSettlement(token, { amount: 4 }, terms);
    const settled = {
      status: "completed",
      redeemedAmount: 4,
      remainingBalance: 6,
      short: false,
      transaction: expect.stringMatching(/^0x[0-9a-f]{64}$/),
      payer: holder,
    };
    const first = await client.settle(charge);
    expect(first).toEqual(settled);
    expect(await client.settle(charge)).toEqual(first);
    const { redemptionId } = charge;
    const origin = { idempotencyKey: redemptionId, correlationId: redemptionId };
    expect(ledger.burns()).toMatchObject([{ ...terms, ...origin, amount: 4 }]);
  });

  test("an answer with what must be there is completed", async () => {
    const { ledger, token } = await buying(10);
    ledger.answers = "empty";
    expect(await clientOf(ledger).settle(aSettlement(token, { amount: 4 }))).toEqual({
      status: "completed",
      redeemedAmount: null,
      remainingBalance: null,
      short: false,
      transaction: expect.any(String),
    });
  });

  test("a plan that burns less is short", async () => {
    const { ledger, token } = await buying(10, { plans: { [plan]: { maxPerRedeem: 3 } } });
    expect(await clientOf(ledger).settle(aSettlement(token, { amount: 4 }))).toMatchObject({
      status: "completed",
      redeemedAmount: 3,
      short: true,
    });
  });

  type World = { ledger: Ledger; token: string; now: { ms: number } };
  test.each<
    [
      what: string,
      prepare: (world: World) => Promise<string> | string,
      amount: number,
      string,
      string,
    ]
  >([
    ["too few credits", ({ token }) => token, 6, "insufficient-credits", "BCK.CREDITS.0003"],
    ["no token", () => "AAAA", 1, "proof-refused", "BCK.X402.0010"],
    [
      "a changed token",
      ({ token }) => changed(token, (it) => (it.payload.signature = "0x")),
      1,
      "proof-refused",
      "BCK.X402.0005",
    ],
    [
      "an expired token",
      ({ token, now }) => {
        now.ms += 3_600_000;
        return token;
      },
      1,
      "payment-expired",
      "BCK.X402.0005",
    ],
    [
      "a token for another resource",
      ({ ledger }) => tokenOf(ledger, { resource: { url: "https://a.test/x" } }),
      1,
      "proof-refused",
      "BCK.X402.0013",
    ],
    [
      "a token that is used already",
      async ({ ledger }) => {
        const token = await tokenOf(ledger, { tokenVersion: 3 });
        const charge = aSettlement(token, { amount: 1 }, { agentRequestId: "first" });
        expect((await clientOf(ledger).settle(charge)).status).toBe("completed");
        return token;
      },
      1,
      "proof-refused",
      "BCK.X402.0059",
    ],
  ])("%s is refused, in either style", async (_what, prepare, amount, reason, code) => {
    const now = { ms: 1_000_000 };
    const { ledger, token } = await buying(5, { now: () => now.ms });
    const sent = await prepare({ ledger, token, now });
    const client = clientOf(ledger);
    const before = ledger.countBurns();
    for (const style of ["flags", "problems"] as const) {
      ledger.refusals = style;
      const verification = await client.verify(question(sent, amount));
      expect(verification).toMatchObject({ status: "invalid", reason });
      const answer = await client.settle(aSettlement(sent, { amount }));
      expect(answer).toMatchObject({ status: "failed", reason });
      expect(answer).toMatchObject({ code: style === "problems" ? code : "HTTP_201" });
    }
    expect(ledger.countBurns()).toBe(before);
  });

  test.each<[FaultName, object, status: string, applied: number]>([
    ["reject-connection-before-applying", {}, "unresolved answer-lost", 0],
    ["drop-before-applying", {}, "unresolved answer-lost", 0],
    [
      "error-before-applying",
      { status: 503, code: "BCK.X402.0051" },
      "pending ledger-throttled",
      0,
    ],
    ["error-before-applying", { status: 503 }, "unresolved answer-lost", 0],
    ["error-before-applying", { status: 500, code: "BCK.X402.0006" }, "unresolved answer-lost", 0],
    ["error-after-applying", { status: 500, code: "BCK.X402.0009" }, "unresolved maybe-charged", 1],
    ["throttle-before-applying", {}, "pending ledger-throttled", 0],
    ["refuse-before-applying", { code: "BCK.X402.0059" }, "failed proof-refused", 0],
    [
      "refuse-before-applying",
      { status: 401, code: "BCK.AUTH.0002" },
      "pending configuration-fault",
      0,
    ],
    ["garbage-before-applying", { form: "html" }, "unresolved answer-lost", 0],
    ["garbage-after-applying", { form: "truncated" }, "unresolved answer-lost", 1],
    ["garbage-after-applying", { form: "types" }, "unresolved answer-lost", 1],
    ["garbage-after-applying", { form: "empty" }, "unresolved answer-lost", 1],
    ["error-after-applying", { status: 502 }, "unresolved answer-lost", 1],
    ["drop-after-applying", {}, "unresolved answer-lost", 1],
    ["close-after-applying", {}, "completed", 1],
  ])("%s %j: %s", async (fault, details, expected, applied) => {
    const { ledger, token } = await buying(9);
    const client = clientOf(ledger);
    const charge = aSettlement(token);
    const rest = fault === "reject-connection-before-applying" ? {} : { on: "settle" };
    ledger.failNext(fault, { ...details, ...rest } as object);
    const answer = await client.settle({ ...charge, amount: 3 });
    const is = "reason" in answer ? `${answer.status} ${answer.reason}` : answer.status;
    // A refused connection may be seen before or after the first byte.
    const isEither = fault === "reject-connection-before-applying";
    expect(isEither ? [expected, "pending ledger-unreachable"] : [expected]).toContain(is);
    expect(ledger.countBurns()).toBe(applied);
    // Sent again under its id it is burned once, whatever happened before.
    expect(await client.settle({ ...charge, amount: 3 })).toMatchObject({
      status: "completed",
      remainingBalance: 6,
    });
    expect(ledger.countBurns()).toBe(1);
  });

  test("what is running is pending, and another amount under the id is a mismatch", async () => {
    const { ledger, token } = await buying(9);
    const client = clientOf(ledger);
    ledger.failNext("hang-before-applying", { on: "settle" });
    const charge = aSettlement(token, { amount: 2 });
    const first = client.settle(charge);
    await ledger.hanging();
    expect(await client.settle(charge)).toMatchObject({ reason: "still-running" });
    expect(await client.settle({ ...charge, amount: 3 })).toMatchObject({
      status: "unresolved",
      reason: "idempotency-mismatch",
      message: expect.stringContaining("agentRequestId"),
    });
    await ledger.release();
    expect(await first).toMatchObject({ status: "completed", redeemedAmount: 2 });
  });

  test("a verification has a time limit of its own, and burns nothing", async () => {
    const { ledger, token } = await buying(9);
    const client = clientOf(ledger, { timeoutMs: 50 });
    ledger.failNext("hang-before-applying", { on: "verify" });
    expect(await client.verify(question(token))).toEqual({
      status: "away",
      message: "The ledger did not answer (no answer within 50 ms).",
    });
    await ledger.release();
    expect(ledger.countBurns()).toBe(0);
  });

  test("a key that is not known is away, and pending with what to mend", async () => {
    const { ledger, token } = await buying(9);
    const client = clientOf(ledger, { apiKey });
    expect(await client.verify(question(token))).toMatchObject({
      status: "away",
      message: expect.stringMatching(/does not accept the API key; check/),
    });
    expect(await client.settle(aSettlement(token))).toMatchObject({
      status: "pending",
      reason: "configuration-fault",
    });
  });

  test("a base URL that is wrong is away, and pending with what to mend", async () => {
    const { ledger, token } = await buying(9);
    const client = clientOf(ledger, { baseUrl: `${ledger.baseUrl}/nowhere` });
    expect(await client.verify(question(token))).toMatchObject({
      status: "away",
      message: expect.stringMatching(/no such endpoint; check the base URL/),
    });
    expect(await client.settle(aSettlement(token))).toMatchObject({
      reason: "configuration-fault",
      message: expect.stringMatching(/no such endpoint; check the base URL/),
    });
  });

  test("nobody is there: nothing was sent", async () => {
    const { ledger, token } = await buying(9);
    await ledger.goAway();
    const client = clientOf(ledger);
    expect(await client.verify(question(token))).toMatchObject({ status: "away" });
    expect(await client.settle(aSettlement(token))).toMatchObject({ reason: "ledger-unreachable" });
    await client.close();
    expect(await client.verify(question(token))).toMatchObject({ status: "away" });
  });
});

describe("no secret is told", () => {
  /** A ledger that says whatever it is told to. */
  async function parrot(status: number, body: object) {
    const server = createServer((req, res) => {
      req.resume().on("end", () => res.writeHead(status).end(JSON.stringify(body)));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    return aClient({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  }

  const signature = `0x${Array.from({ length: 65 }, (_, i) => ((i * 37 + 11) % 256).toString(16).padStart(2, "0")).join("")}`;
  const payload = {
    x402Version: 2,
    accepted: { scheme: "nvm:erc4337", network: "eip155:84532", planId: plan },
    payload: {
      signature,
      token: "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE3ODAwMDAwMDB9.c2lnbmF0dXJlLW9mLWEtY2FyZA",
      authorization: {
        from: holder,
        sessionKeys: [{ id: "redeem", data: `0x${"5e1f0a9b".repeat(8)}` }],
        nonce: `0x${"c0ffee42".repeat(8)}`,
        resourceUrl: "https://api.example.com/v1/chat",
      },
    },
  };
  const token = Buffer.from(JSON.stringify(payload)).toString("base64");
  const secrets = [
    apiKey,
    token,
    signature,
    payload.payload.token,
    payload.payload.authorization.nonce,
    payload.payload.authorization.sessionKeys[0]?.data ?? "",
  ];

  test.each([201, 400, 401, 402, 404, 422, 500])("with %i", async (status) => {
    for (const secret of secrets) {
      const said = `Refused ${secret} and ${secret.slice(3, 60)}, of ${holder}`;
      const fields = { errorReason: said, invalidReason: said, message: said };
      const client = await parrot(status, { success: false, isValid: false, ...fields });
      const answer = await client.settle(aSettlement(token));
      const shown = JSON.stringify([answer, await client.verify(question(token))]);
      for (let at = 0; at + 16 <= secret.length; at += 1) {
        expect(shown).not.toContain(secret.slice(at, at + 16));
      }
    }
  });

  test("as a code or as a transaction", async () => {
    const code = payload.payload.authorization.nonce.slice(2, 62);
    const refused = await parrot(402, { code, message: "no" });
    expect(JSON.stringify(await refused.settle(aSettlement(token)))).not.toContain("c0ffee42c0");
    const body = { success: true, transaction: payload.payload.authorization.nonce };
    const paid = await parrot(201, body);
    expect(await paid.settle(aSettlement(token))).toEqual({
      status: "completed",
      redeemedAmount: null,
      remainingBalance: null,
      short: false,
    });
  });

  test("and what anyone may know stays readable", async () => {
    const said = `The permission to redeem of ${holder} at https://api.example.com/v1/chat is unknown`;
    const client = await parrot(402, { code: "BCK.X402.0015", message: said });
    expect(await client.settle(aSettlement(token))).toMatchObject({ message: said });
    expect(await client.verify(question(token))).toMatchObject({ message: said });
  });

  test("and a token of any kind gives a list that ends", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.jsonValue()), (value) => {
        const any = typeof value === "string" ? value : JSON.stringify({ payload: value });
        const made = Buffer.from(any).toString("base64");
        expect(secretsOfToken(made)[0]).toBe(made);
        expect(secretsOfToken(made).length).toBeLessThanOrEqual(32);
      }),
    );
    const many = JSON.stringify({ payload: Array.from({ length: 500 }, () => "x".repeat(16)) });
    expect(secretsOfToken(Buffer.from(many).toString("base64"))).toHaveLength(32);
  });
});

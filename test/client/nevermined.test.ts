import fc from "fast-check";
import nock from "nock";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { presentable } from "../../src/client/presentable.ts";
import { encodeRedeem } from "../../src/client/wire.ts";
import type { Answer, Charge } from "../../src/redemption.ts";
import { aCharge, aClient, apiKey, closeClients } from "./support.ts";

const origin = "https://api.sandbox.nevermined.app";
const path = "/api/v1/protocol/plans/redeem";
const baseUrl = `${origin}/api/v1`;

beforeAll(() => nock.disableNetConnect());
afterAll(() => {
  nock.enableNetConnect();
  nock.restore();
});
beforeEach(() => {
  if (!nock.isActive()) nock.activate();
});
afterEach(async () => {
  await closeClients();
  const pending = nock.pendingMocks();
  nock.cleanAll();
  expect(pending).toEqual([]);
});

describe("the request", () => {
  test("is one POST with exactly these headers and bytes", async () => {
    const seen: unknown[] = [];
    nock(origin)
      .post(path)
      .reply(200, async (request: Request) => {
        const headers = Object.fromEntries(request.headers);
        seen.push({ method: request.method, headers, body: await request.text() });
        return { success: true, creditsRedeemed: 10, remainingBalance: 90 };
      });
    const charge = aCharge();
    const body = `{"planId":"${charge.planId}","holderAddress":"${charge.holderAddress}","amount":10,"proof":"${charge.proof}"}`;

    expect(await aClient({ baseUrl }).redeem(charge)).toEqual({
      status: "completed",
      redeemedAmount: 10,
      remainingBalance: 90,
      short: false,
    });
    expect(seen).toEqual([
      {
        method: "POST",
        headers: {
          host: "api.sandbox.nevermined.app",
          connection: "keep-alive",
          accept: "application/json",
          "accept-encoding": "identity",
          authorization: `Bearer ${apiKey}`,
          "content-type": "application/json",
          "content-length": String(Buffer.byteLength(body)),
          "idempotency-key": charge.redemptionId,
          "x-correlation-id": charge.redemptionId,
          "nevermined-version": "1.1",
        },
        body,
      },
    ]);
  });

  const redeem = "/protocol/plans/redeem";
  const places: [what: string, baseUrl: string, redeemPath: string, path: string][] = [
    ["sandbox", "https://api.sandbox.nevermined.app/api/v1", redeem, path],
    ["live", "https://api.live.nevermined.app/api/v1", redeem, path],
    ["staging_sandbox", "https://api.sandbox.nevermined.dev/api/v1", redeem, path],
    ["staging_live", "https://api.live.nevermined.dev/api/v1", redeem, path],
    ["a custom base URL", "http://127.0.0.1:8787/api/v1", redeem, path],
    ["a base URL without a path", "https://ledger.test", redeem, redeem],
    ["another endpoint", "https://ledger.test/v2", "/x402/settle", "/v2/x402/settle"],
    ["an endpoint with a query", "https://ledger.test/v2", "/burn?dry=0", "/v2/burn?dry=0"],
  ];
  test.each(places)("goes to the right place: %s", async (_what, base, redeemPath, full) => {
    const scope = nock(new URL(base).origin).post(full).reply(201, {});
    const answer = await aClient({ baseUrl: base, redeemPath }).redeem(aCharge());
    expect(answer.status).toBe("completed");
    expect(scope.isDone()).toBe(true);
  });

  test("keeps the id of a charge through every attempt, and the bytes", async () => {
    const seen: unknown[] = [];
    nock(origin)
      .post(path)
      .times(2)
      .reply(429, async (request: Request) => {
        seen.push([request.headers.get("idempotency-key"), await request.text()]);
        return "";
      });
    const client = aClient({ baseUrl });
    const charge = aCharge();
    await client.redeem(charge);
    await client.redeem(charge);
    expect(seen).toEqual([
      [charge.redemptionId, encodeRedeem(charge)],
      [charge.redemptionId, encodeRedeem(charge)],
    ]);
  });

  test("carries a proof in any alphabet byte for byte", async () => {
    const proof = '{"who":"Jürgen 🦜","note":"a\\nb\\u0000"}';
    let sent: unknown;
    nock(origin)
      .post(path)
      .reply(200, async (request: Request) => {
        sent = await request.json();
        return {};
      });
    await aClient({ baseUrl }).redeem(aCharge({ proof }));
    expect(sent).toMatchObject({ proof });
  });

  test("is sent once: nothing is tried again, no redirect is followed", async () => {
    nock(origin)
      .post(path)
      .reply(307, "", { location: `${origin}/elsewhere` });
    const elsewhere = nock(origin).post("/elsewhere").reply(200, {});
    expect(await aClient({ baseUrl }).redeem(aCharge())).toMatchObject({
      status: "unresolved",
      reason: "unexpected-answer",
      code: "HTTP_307",
    });
    expect(elsewhere.isDone()).toBe(false);
    nock.cleanAll();
  });

  const broken: [what: string, fields: Partial<Charge>][] = [
    ["a fraction", { amount: 1.5 }],
    ["zero", { amount: 0 }],
    ["a negative", { amount: -1 }],
    ["NaN", { amount: Number.NaN }],
    ["infinity", { amount: Number.POSITIVE_INFINITY }],
    ["past the safe integers", { amount: 2 ** 53 }],
    ["an amount as a string", { amount: "5" as unknown as number }],
    ["an empty plan id", { planId: "" }],
    ["a plan id as a number", { planId: 5 as unknown as string }],
    ["an empty proof", { proof: "" }],
    ["an address without 0x", { holderAddress: "AbCdEf0123456789aBcDeF0123456789AbCdEf01" }],
    ["an address that is short", { holderAddress: "0xAbCdEf" }],
    ["an address that is long", { holderAddress: `0x${"a".repeat(41)}` }],
    ["an address with other letters", { holderAddress: `0x${"g".repeat(40)}` }],
    ["an address with a line break", { holderAddress: `0x${"a".repeat(40)}\n` }],
  ];
  test.each(broken)("is refused before it is sent: %s", (_what, fields) => {
    expect(() => encodeRedeem(aCharge(fields))).toThrow(
      new RegExp(`breaks the ledger's contract: ${Object.keys(fields)[0]}`),
    );
  });

  test("holds any amount that is a whole number", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (amount) => {
        expect(JSON.parse(encodeRedeem(aCharge({ amount }))).amount).toBe(amount);
        expect(encodeRedeem(aCharge({ amount }))).toContain(`"amount":${amount},`);
      }),
    );
  });
});

/** What one reply of the ledger comes to. */
async function answerTo(status: number, body: nock.Body, charge = aCharge()): Promise<Answer> {
  nock(origin).post(path).reply(status, body);
  return aClient({ baseUrl }).redeem(charge);
}

describe("the n8n node's troubleshooting list", () => {
  test("Insufficient Credits: the charge fails and says so in the ledger's words", async () => {
    const message = "Plan 1059 has 3 credits left for this holder, 10 are needed";
    expect(await answerTo(402, { code: "BCK.CREDITS.0003", message })).toEqual({
      status: "failed",
      reason: "insufficient-credits",
      code: "BCK.CREDITS.0003",
      message,
    });
  });

  test("API Errors: every status but 200 and 201 is an error with the ledger's message", async () => {
    for (const status of [202, 204, 302, 400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503]) {
      const said = `It went wrong with ${status}`;
      const answer = await answerTo(status, { code: "BCK.PLANS.0007", message: said });
      expect(answer.status).not.toBe("completed");
      // A 204 has no body to say anything in.
      if (status !== 204) expect(answer).toMatchObject({ message: expect.stringContaining(said) });
      await closeClients();
    }
  });

  test("API Errors: an unexpected answer is an error, whatever its status promises", async () => {
    const html = "<!doctype html><title>Just a moment...</title>";
    expect(await answerTo(200, html)).toMatchObject({
      status: "unresolved",
      reason: "answer-lost",
      message: expect.stringContaining("cannot be read"),
    });
    expect(await answerTo(502, html)).toMatchObject({
      status: "unresolved",
      code: "HTTP_502",
      message: expect.stringContaining("502"),
    });
    expect(await answerTo(200, { success: false, error: "Not today" })).toMatchObject({
      status: "failed",
      reason: "ledger-refused",
      message: "Not today",
    });
  });
});

describe("secrets", () => {
  const hex = `0x${Array.from({ length: 65 }, (_, i) => (i * 37 + 11).toString(16).padStart(2, "0").slice(-2)).join("")}`;
  const json = JSON.stringify({ type: "eip712", signature: hex, nonce: "8c1f5b0e-77aa-4b0c" });

  /** No run of the secret that is worth anything to whoever reads the log. */
  function expectNothingOf(secret: string, shown: string) {
    expect(shown).not.toContain(secret.slice(0, 8));
    for (let at = 0; at + 16 <= secret.length; at += 1) {
      expect(shown).not.toContain(secret.slice(at, at + 16));
    }
  }

  const echoes: [what: string, body: (secret: string) => nock.Body][] = [
    ["whole", (secret) => ({ message: `Refused ${secret} today` })],
    ["more than once", (secret) => ({ message: `${secret} is not ${secret}, nor ${secret}` })],
    ["its beginning", (secret) => ({ message: `Refused ${secret.slice(0, 12)}…` })],
    ["its end", (secret) => ({ message: `Refused …${secret.slice(-24)}` })],
    ["a piece of it", (secret) => ({ message: `Refused …${secret.slice(9, 33)}…` })],
    ["cut off by the end", (secret) => ({ message: `Refused ${secret.slice(0, -5)}` })],
    ["as JSON in the message", (secret) => ({ message: `Bad body ${JSON.stringify({ secret })}` })],
    [
      "as JSON in JSON in the message",
      (secret) => ({ message: JSON.stringify({ body: JSON.stringify({ secret }) }) }),
    ],
    ["spread out", (secret) => ({ message: secret.replace(/,/g, " ,\n  ") })],
    ["in the generic error", (secret) => ({ success: false, error: secret, statusCode: 400 })],
    ["in a list", (secret) => ({ message: ["no", secret] })],
    ["as the code", (secret) => ({ code: secret.slice(0, 64), message: "no" })],
    ["as a piece of the code", (secret) => ({ code: secret.slice(10, 50), message: "no" })],
    ["after a long preface", (secret) => ({ message: `${"so ".repeat(95)}${secret}` })],
    ["at the very edge of the message", (secret) => ({ message: `${"x".repeat(290)}${secret}` })],
  ];
  const statuses = [200, 400, 401, 402, 422, 429, 500];

  test.each(echoes)("stay out of what an echo leaves: %s", async (_what, body) => {
    for (const [secret, proof] of [
      [apiKey, hex],
      [hex, hex],
      [json, json],
    ] as const) {
      for (const status of statuses) {
        const answer = await answerTo(status, body(secret), aCharge({ proof }));
        expectNothingOf(secret, JSON.stringify(answer));
        expectNothingOf(hex, JSON.stringify(answer));
        await closeClients();
      }
    }
  });

  test("leave the rest of the message readable", async () => {
    const charge = aCharge({ proof: json });
    const message = `Invalid signature in the proof ${json} of the holder`;
    expect(await answerTo(403, { code: "BCK.PROTOCOL.0030", message }, charge)).toEqual({
      status: "failed",
      reason: "proof-refused",
      code: "BCK.PROTOCOL.0030",
      message: "Invalid signature in the proof [hidden] of the holder",
    });
  });

  test("stay out of any text, wherever they stand in it", () => {
    const text = fc.string({ unit: fc.constantFrom("a", " ", "\n", "{", '"', "0x") });
    fc.assert(
      fc.property(fc.array(fc.oneof(text, fc.constant(hex), fc.nat({ max: 100 }))), (parts) => {
        const said = parts
          .map((part) => (typeof part === "number" ? hex.slice(part, part + 20) : part))
          .join(" ");
        const shown = presentable(said, [apiKey, hex]);
        expectNothingOf(hex, shown);
        expect(shown.length).toBeLessThanOrEqual(300);
        expect(shown).not.toMatch(/[\r\n]/);
      }),
    );
  });

  test("text without a secret in it stays as it is, but for its length and its lines", () => {
    expect(presentable("Not enough\r\n\tcredits\u001b[31m", [apiKey, hex])).toBe(
      "Not enough credits [31m",
    );
    expect(presentable("long ".repeat(1_000), [])).toHaveLength(300);
    expect(presentable("nothing to hide", ["", ""])).toBe("nothing to hide");
  });
});

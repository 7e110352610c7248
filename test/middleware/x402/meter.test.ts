/** A meter that is paid with x402, over real sockets and with a real ledger. */

import type { Request, Response } from "express";
import request from "supertest";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { type CreditMeterOptions, creditMeter } from "../../../src/index.ts";
import type { LedgerOptions } from "../../../src/ledger/index.ts";
import { changed, permissions } from "../../ledger/x402-wire.ts";
import { holder, meteredApi, meterOptions, plan } from "../../support/api.ts";
import { listenTo } from "./world.ts";

const publicUrl = "https://api.example.com/";
const x402: Partial<CreditMeterOptions> = { protocol: "x402", x402: { publicUrl } };
const decode = (header = "") => JSON.parse(Buffer.from(header, "base64").toString());

async function api(
  options: Partial<CreditMeterOptions> = {},
  given: { credits?: number; ledger?: LedgerOptions } = {},
) {
  const ran = { count: 0 };
  const routes = {
    "POST /": 2,
    "POST /tokens": { hold: 9, price: (_req: Request, res: Response) => res.locals.used },
  };
  const built = await meteredApi(
    { ...x402, routes, ...options },
    (app, meter) => {
      app.use("/redemptions", meter.receipts());
      app.use(meter);
      app.post(["/", "/tokens"], (_req, res) => {
        ran.count += 1;
        res.locals.used = 5;
        res.json({});
      });
    },
    given,
  );
  const { ledger, url } = built;
  const token = async (accepted: object = {}, more: object = {}) => {
    const { network, planId, extra } = decode(
      (await request(url).post("/")).headers["payment-required"],
    ).accepts[0];
    const wanted = {
      accepted: { scheme: "nvm:erc4337", network, planId, extra, ...accepted },
      ...more,
    };
    return (await permissions(ledger, wanted, ledger.addBuyer(holder))).body.accessToken as string;
  };
  const post = (signature?: string, path = "/") =>
    request(url)
      .post(path)
      .set(signature === undefined ? {} : { "Payment-Signature": signature });
  return { ...built, ran, token, post };
}

describe("a request without a payment", () => {
  test("is told with what it can be paid: never by the host that it names", async () => {
    const { url, ran } = await api();
    const { status, headers, body } = await request(url)
      .post("/?secret=1")
      .set("Host", "evil.example");
    expect(status).toBe(402);
    expect(body).toMatchObject({ code: "payment-required", price: 2, plans: [plan] });
    expect(decode(headers["payment-required"])).toEqual({
      x402Version: 2,
      error: body.detail,
      resource: { url: "https://api.example.com/" },
      accepts: [
        { scheme: "nvm:erc4337", network: "eip155:84532", planId: plan, extra: { version: "1" } },
      ],
      extensions: {},
    });
    expect(ran.count).toBe(0);
  });

  test("hears of agent, verb and description where they are set", async () => {
    const options = { publicUrl, agentId: "agent-7", description: "Images", mimeType: "image/png" };
    const { post } = await api({ x402: options });
    const required = decode((await post()).headers["payment-required"]);
    expect(required.resource).toMatchObject({ description: "Images", mimeType: "image/png" });
    expect(required.accepts[0].extra).toEqual({
      version: "1",
      agentId: "agent-7",
      httpVerb: "POST",
    });
  });
});

describe("a request with an access token", () => {
  test("is verified, answered, and settled under the id that verify gave", async () => {
    const { post, token, meter, ledger, settled, url } = await api();
    const { status, headers } = await post(await token(), "/tokens");
    expect(status).toBe(200);
    await meter.flush();
    expect(settled).toMatchObject([
      {
        status: "completed",
        holderAddress: expect.stringMatching(new RegExp(holder, "i")),
        payer: expect.stringMatching(new RegExp(holder, "i")),
        transaction: expect.stringMatching(/^0x[0-9a-f]{64}$/),
        redemption: { requestedAmount: 5, redeemedAmount: 5, remainingBalance: 95 },
      },
    ]);
    expect(ledger.burns()).toMatchObject([
      { amount: 5, agentRequestId: expect.stringMatching(/^arId-/) },
    ]);
    const receipt = await request(url).get(`/redemptions/${headers["redemption-id"]}`);
    expect(receipt.body.transaction).toBe(settled[0]?.transaction);
    const { redemptions } = await meter.redemptions.list({ limit: 1 });
    expect(redemptions[0]).toMatchObject({ transaction: settled[0]?.transaction });
    expect(JSON.stringify([redemptions, settled, receipt.body])).not.toContain(await token());
  });

  test("is verified each time, and the holds bound what goes on at once", async () => {
    const { post, token, meter, ledger } = await api({}, { credits: 5 });
    const signature = await token();
    const all = await Promise.all(Array.from({ length: 12 }, () => post(signature)));
    const passed = all.filter(({ status }) => status === 200);
    expect(passed).toHaveLength(2);
    expect(ledger.requests().verify?.[201]).toBeGreaterThanOrEqual(2);
    await meter.flush();
    expect(ledger.countBurns()).toBe(2);
  });

  test.each([
    ["no base64", "{}", 400, "payment-malformed"],
    ["no token", Buffer.from("{}").toString("base64"), 400, "payment-malformed"],
  ])("that is %s is refused: nothing is asked", async (_what, signature, status, code) => {
    const { post, ran } = await api();
    const answer = await post(signature);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
    expect(ran.count).toBe(0);
  });

  test("that comes twice is refused", async () => {
    const { url, token } = await api();
    const signature = await token();
    const answer = await fetch(url, {
      method: "POST",
      headers: [
        ["payment-signature", signature],
        ["Payment-Signature", signature],
      ],
    });
    expect([400, 402]).toContain(answer.status);
  });

  test("that the ledger did not issue holds nothing of whom it names", async () => {
    const { post, token, ledger } = await api({ guard: { balance: "never", creditLine: 2 } });
    const signature = await token();
    const forged = changed(signature, (payload) => {
      payload.payload.signature = `0x${"00".repeat(65)}`;
    });
    ledger.failNext("hang-before-applying", { on: "verify" });
    const forging = post(forged).then(({ body }) => body.code);
    await ledger.hanging();
    expect((await post(signature)).status).toBe(200);
    await ledger.release();
    expect(await forging).toBe("proof-invalid");
  });

  test("that the ledger did not issue is refused, and may be paid otherwise", async () => {
    const { post, token, ran, ledger } = await api();
    const forged = changed(await token(), (payload) => {
      payload.payload.signature = `0x${"00".repeat(65)}`;
    });
    const { status, body, headers } = await post(forged);
    expect([status, body.code]).toEqual([402, "proof-invalid"]);
    expect(decode(headers["payment-required"]).error).toBe(body.detail);
    expect([ran.count, ledger.countBurns()]).toEqual([0, 0]);
  });

  test("for a plan that is not sold is refused", async () => {
    const { post, token, ledger } = await api();
    ledger.mint({ planId: "999", holderAddress: holder, amount: 10 });
    const { status, body } = await post(await token({ planId: "999" }));
    expect([status, body.code]).toEqual([402, "plan-not-sold"]);
  });

  test("whose holder has too little is refused before the handler, whoever finds out", async () => {
    for (const guard of [{}, { balance: "never" } as const]) {
      const { post, token, ran } = await api({ guard }, { credits: 1 });
      const { status, body } = await post(await token());
      expect([status, body.code]).toEqual([402, "insufficient-credits"]);
      expect(ran.count).toBe(0);
    }
  });

  test("of another scheme goes to the ledger as it came", async () => {
    const ledger = await listenTo({
      "/x402/verify": { isValid: true, agentRequestId: "id-1" },
      "/x402/settle": { success: true, transaction: "ch_1", creditsRedeemed: "2" },
    });
    const { post, settled, meter } = await api({
      environment: { name: "other", baseUrl: ledger.baseUrl },
      guard: { balance: "never" },
    });
    const accepted = {
      ...{ scheme: "nvm:card-delegation", network: "stripe", planId: plan },
      extra: { version: "1", odd: [1, { b: 2, a: 1 }] },
    };
    const payload = { authorization: { from: holder }, signature: "0x" };
    const signature = Buffer.from(
      JSON.stringify({ x402Version: 2, accepted, payload, extensions: {} }),
    ).toString("base64");
    expect((await post(signature)).status).toBe(200);
    await meter.flush();
    const [verified, sent] = ["/x402/verify", "/x402/settle"].map((path) => ledger.heard(path));
    expect(verified).toMatchObject([{ maxAmount: "2", x402AccessToken: signature }]);
    expect(sent).toMatchObject([
      { maxAmount: "2", x402AccessToken: signature, agentRequestId: "id-1" },
    ]);
    for (const body of [...(verified ?? []), ...(sent ?? [])]) {
      expect(JSON.stringify(body.paymentRequired)).toContain(JSON.stringify(accepted));
    }
    expect(settled).toMatchObject([{ status: "completed", transaction: "ch_1" }]);
  });

  test("that sells by card is charged once: a success is never sent again (A5)", async () => {
    const ledger = await listenTo({
      "/x402/verify": { isValid: true, agentRequestId: "id-1" },
      "/x402/settle": { success: true, billingModel: "pay-as-you-go", orderTx: "pi_3Q8" },
    });
    const { post, token, settled } = await api({
      environment: { name: "other", baseUrl: ledger.baseUrl },
      guard: { balance: "never" },
      backoff: { baseMs: 1, maxMs: 1 },
    });
    expect((await post(await token())).status).toBe(200);
    await vi.waitFor(() => {
      expect(settled.length + ledger.heard("/x402/settle").length - 1).toBeGreaterThan(0);
    });
    expect(ledger.heard("/x402/settle")).toHaveLength(1);
    expect(settled).toMatchObject([
      { status: "completed", transaction: "pi_3Q8", redemption: { redeemedAmount: null } },
    ]);
  });

  test("that may have been charged in money waits for a person, and stops nobody's (A5)", async () => {
    const ledger = await listenTo({
      "/x402/verify": { isValid: true },
      "/x402/settle": { success: false, orderTx: "pi_3Q8", errorReason: "No credits issued" },
    });
    const { post, token, meter, settled } = await api({
      environment: { name: "other", baseUrl: ledger.baseUrl },
      guard: { balance: "never" },
      circuit: 2,
    });
    const signature = await token();
    for (let nth = 0; nth < 3; nth += 1) expect((await post(signature)).status).toBe(200);
    await meter.flush();
    expect(ledger.heard("/x402/settle")).toHaveLength(3);
    expect(settled.map(({ error }) => error?.reason)).toEqual(Array(3).fill("maybe-charged"));
    expect(meter.health()).toMatchObject({ paused: null, unresolved: 3 });
  });

  test("whose holder the ledger knows by another name is refused", async () => {
    const ledger = await listenTo({
      "/x402/verify": { isValid: true, payer: `0x${"ee".repeat(20)}`, agentRequestId: "id-1" },
    });
    const one = await api();
    const signature = await one.token();
    const { post, ran } = await api({
      environment: { name: "other", baseUrl: ledger.baseUrl },
      guard: { balance: "never" },
    });
    const { status, body } = await post(signature);
    expect([status, body.code, ran.count]).toEqual([402, "proof-invalid", 0]);
  });
});

describe("the ledger's id of a request", () => {
  test("that it gave before is refused: two charges under it would be one", async () => {
    const { post, token, ledger, meter, ran } = await api();
    const signature = await token();
    ledger.requestIds = "repeat";
    expect((await post(signature)).status).toBe(200);
    const { status, body } = await post(signature);
    expect([status, body.code]).toEqual([409, "request-id-repeated"]);
    ledger.requestIds = "honour";
    expect((await post(signature)).status).toBe(200);
    await meter.flush();
    expect([ran.count, ledger.countBurns()]).toEqual([2, 2]);
  });

  test.each([
    ["honour", "completed"],
    ["none", "unresolved"],
  ] as const)(
    "%s: a lost answer leaves one burn, and the charge %s",
    async (requestIds, status) => {
      const { post, token, ledger, meter, settled } = await api();
      const signature = await token();
      ledger.requestIds = requestIds;
      ledger.failNext("drop-after-applying", { on: "settle" });
      expect((await post(signature)).status).toBe(200);
      await meter.flush();
      expect(settled.map((one) => one.status)).toEqual([status]);
      expect(ledger.countBurns()).toBe(1);
    },
  );

  test("is not trusted where the operator says so", async () => {
    const { post, token, ledger, meter, settled } = await api({ idempotent: false });
    const signature = await token();
    ledger.requestIds = "ignore";
    ledger.failNext("drop-after-applying", { on: "settle" });
    expect((await post(signature)).status).toBe(200);
    await meter.flush();
    expect(settled.map(({ status }) => status)).toEqual(["unresolved"]);
    expect(ledger.countBurns()).toBe(1);
  });

  test("does not make a refusal of a token that was spent meanwhile a failure", async () => {
    const { post, token, ledger, meter, settled } = await api();
    const signature = await token({}, { tokenVersion: 3 });
    ledger.refusals = "problems";
    ledger.requestIds = "ignore";
    ledger.failNext("drop-after-applying", { on: "settle" });
    expect((await post(signature)).status).toBe(200);
    await meter.flush();
    expect(settled).toMatchObject([{ status: "unresolved", error: { code: "BCK.X402.0059" } }]);
    expect(ledger.countBurns()).toBe(1);
  });
});

describe("a ledger that does not verify", () => {
  test("is 503 for the buyer, unless the operator lets them pass on credit", async () => {
    const { post, token, ledger, ran } = await api();
    const signature = await token();
    ledger.failNext("error-before-applying", { on: "verify" });
    const { status, body } = await post(signature);
    expect([status, body.code, ran.count]).toEqual([503, "ledger-away", 0]);
    const guard = { onLedgerDown: "credit-line" } as const;
    const lenient = await api({ guard });
    const other = await lenient.token();
    lenient.ledger.failNext("error-before-applying", { on: "verify" });
    expect((await lenient.post(other)).status).toBe(200);
    await lenient.meter.flush();
    expect(lenient.ledger.burns()).toMatchObject([{ agentRequestId: null }]);
  });

  test('is not asked with verify: "never"', async () => {
    const options = { publicUrl, verify: "never" } as const;
    const { post, token, ledger, meter } = await api({ x402: options });
    expect((await post(await token())).status).toBe(200);
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ agentRequestId: null, amount: 2 }]);
    expect(ledger.requests().verify).toEqual({});
  });
});

describe("the options of x402", () => {
  const refused = (options: object) => () => {
    const all = { ...meterOptions({ baseUrl: "http://127.0.0.1:1" }), ...options };
    const meter = creditMeter(all as CreditMeterOptions);
    onTestFinished(() => meter.close().then(() => {}));
  };
  const cases: [string, object, RegExp][] = [
    ["no publicUrl", { protocol: "x402" }, /publicUrl/],
    ["x402 without the protocol", { x402: { publicUrl } }, /protocol/],
    ["another protocol", { protocol: "x401" }, /"plans" or "x402"/],
    ["no URL", { protocol: "x402", x402: { publicUrl: "api" } }, /publicUrl/],
    ["any plan", { ...x402, plans: "any" }, /plans must be a list/],
    ["headers of its own", { ...x402, payment: { proof: "x" } }, /payment-signature/],
    ["an unknown one", { ...x402, x402: { publicUrl, verifyy: 1 } }, /verifyy/],
  ];
  test.each(cases)("%s", (_what, options, message) => {
    expect(refused(options)).toThrow(message);
  });
});

test("a token that expires while its charge waits here is listed, and does not block its holder", async () => {
  const { ledger, meter, settled, token, post } = await api({}, { ledger: { tokenTtlMs: 2_000 } });
  // By then it has expired.
  ledger.failNext("throttle-before-applying", { on: "settle", retryAfter: 3 });
  expect((await post(await token())).status).toBe(200);
  await meter.flush();
  expect(settled).toMatchObject([{ status: "failed", error: { reason: "payment-expired" } }]);
  expect(ledger.countBurns()).toBe(0);
  const { redemptions } = await meter.redemptions.list({ status: "failed" });
  expect(redemptions).toMatchObject([{ error: { code: "payment-expired" } }]);
  expect((await post(await token())).status).toBe(200);
  await meter.flush();
  expect(ledger.countBurns()).toBe(1);
});

/** Meters before a ledger of which the test says how it answers, over real sockets. */

import express from "express";
import request from "supertest";
import { describe, expect, onTestFinished, test } from "vitest";
import { type CreditMeterOptions, creditMeter } from "../../src/index.ts";
import { keepLines, meterOptions, payment } from "../support/api.ts";
import { listen } from "../support/server.ts";

interface Reply {
  readonly status: number;
  readonly body: object;
}

const charged: Reply = { status: 200, body: { success: true, creditsRedeemed: 1 } };
const noRoute: Reply = {
  status: 404,
  body: { statusCode: 404, message: "Cannot POST /protocol/plans/redeem", error: "Not Found" },
};
const notOurPlan: Reply = {
  status: 403,
  body: { code: "BCK.AUTH.0003", message: "You are not the owner of this plan" },
};

const holderOf = (digit: string) => `0x${digit.repeat(40)}`;

/** What a ledger answers to a redemption, and to a question about a balance. */
interface Script {
  redeem: (charge: { holderAddress: string; amount: number }) => Reply | undefined;
  balance: () => Reply | undefined;
}

/** An API whose ledger answers as the script says; undefined: it cuts the connection. */
async function api(given: Partial<Script>, options: Partial<CreditMeterOptions> = {}) {
  const script: Script = {
    redeem: () => charged,
    balance: () => ({ status: 200, body: { balance: 1_000 } }),
    ...given,
  };
  const redeemed: string[] = [];
  const { port } = await listen((req, res) => {
    const chunks: Buffer[] = [];
    req.on("data", (chunk) => chunks.push(chunk));
    req.on("end", () => {
      const charge = req.method === "POST" ? JSON.parse(String(Buffer.concat(chunks))) : undefined;
      if (charge) redeemed.push(charge.holderAddress);
      const reply = charge ? script.redeem(charge) : script.balance();
      if (!reply) return res.destroy();
      res.writeHead(reply.status, { "content-type": "application/json" });
      return res.end(JSON.stringify(reply.body));
    });
  });
  const { lines, logger } = keepLines();
  const meter = creditMeter({
    ...meterOptions({ baseUrl: `http://127.0.0.1:${port}` }),
    routes: { "POST /": 1 },
    logger,
    ...options,
  });
  onTestFinished(async () => {
    await meter.close({ deadlineMs: 0 });
  });
  const app = express();
  app.use(meter);
  app.post("/", (_req, res) => void res.json({}));
  const { url } = await listen(app);
  /** A request of the holder whose address is that digit, repeated. */
  const buy = (digit: string) =>
    request(url)
      .post("/")
      .set({ ...payment, "Nevermined-Holder-Address": holderOf(digit) });
  return { meter, lines, script, redeemed, buy };
}

describe("a fault of the configuration", () => {
  test("that two holders meet is one alarm, and new requests are refused until it is mended", async () => {
    const { meter, lines, script, buy } = await api({ redeem: () => noRoute });
    await buy("a").expect(200);
    await buy("b").expect(200);
    await expect.poll(() => meter.health().paused).toBe("configuration-fault");
    const { body } = await buy("c").expect(503);
    expect(body.code).toBe("ledger-misconfigured");
    expect(meter.health()).toMatchObject({
      accepting: false,
      refusing: "ledger-misconfigured",
      problem: expect.stringContaining("The ledger has no such endpoint"),
    });
    const alarms = lines.filter(({ level }) => level === "error");
    expect(alarms.map(({ message }) => message)).toEqual([
      expect.stringContaining("The ledger has no such endpoint"),
    ]);
    script.redeem = () => charged;
    await meter.flush();
    await expect.poll(() => meter.health().accepting).toBe(true);
    expect(meter.health().problem).toBeNull();
    await buy("c").expect(200);
  });

  test("refuses nobody where this process has charged before", async () => {
    const { meter, script, buy } = await api({});
    await buy("a").expect(200);
    await meter.flush();
    script.redeem = () => noRoute;
    await buy("a").expect(200);
    await buy("b").expect(200);
    await expect.poll(() => meter.health().paused).toBe("configuration-fault");
    await buy("c").expect(200);
    script.redeem = () => charged;
    await meter.flush();
  });
});

describe("a charge that can never be sent", () => {
  const unsendable = {
    redeem: ({ holderAddress }: { holderAddress: string }) =>
      holderAddress === holderOf("a") ? notOurPlan : charged,
  };

  test("makes nobody else wait, however old it is, and an operator can end it", async () => {
    const { meter, buy } = await api(unsendable, {
      backlog: { ageMs: 1 },
      backoff: { baseMs: 2_000, maxMs: 60_000 },
    });
    const { headers } = await buy("a").expect(200);
    // Told with the journal's next count, when it is older than that.
    const isOld = () => {
      const { pending, oldestPendingAt } = meter.health();
      return pending === 1 && Date.parse(String(oldestPendingAt)) < Date.now() - 1_000;
    };
    await expect.poll(isOld, { timeout: 10_000 }).toBe(true);
    await buy("b").expect(200);
    await buy("c").expect(200);
    const { redemptions } = meter;
    const id = String(headers["redemption-id"]);
    expect(await redemptions.cancel(id, { by: "ada" })).toMatchObject({
      status: "failed",
      error: { code: "operator" },
    });
    await meter.flush();
    await expect.poll(() => meter.health()).toMatchObject({ pending: 0, accepting: true });
    expect((await redemptions.show(id))?.acts).toMatchObject([{ act: "cancel", by: "ada" }]);
  });
});

import express from "express";
import request from "supertest";
import { describe, expect, test, vi } from "vitest";
import { createReceipts } from "../../src/middleware/receipts.ts";
import { openRedemption } from "../../src/redemption.ts";
import { holder, meteredApi, payment, plan, secretProof } from "../support/api.ts";
import { connect, deferred, listen } from "../support/server.ts";

const api = (options = {}) =>
  meteredApi({ routes: { "POST /": 2 }, ...options }, (app, meter) => {
    app.use("/redemptions", meter.receipts());
    app.use(meter);
    app.post("/", (_req, res) => void res.json({}));
  });

async function api4or5() {
  // A wildcard is written another way in Express 5.
  return api({ routes: { "POST /": 2 } });
}

describe("receipts", () => {
  test("tell whoever holds the id what became of it, and nothing about the holder", async () => {
    const { url, meter } = await api4or5();
    const { headers } = await request(url).post("/").set(payment).expect(200);
    await meter.flush();
    const id = headers["redemption-id"];
    const receipt = await request(url).get(`/redemptions/${id}`).expect(200);
    expect(receipt.headers["cache-control"]).toBe("no-store");
    expect(receipt.body).toEqual({
      redemptionId: id,
      status: "completed",
      timestamp: expect.any(String),
      redemption: { requestedAmount: 2, redeemedAmount: 2, remainingBalance: 98 },
      success: { message: "Redeemed 2 credits; 98 remaining." },
      message: "Redeemed 2 credits; 98 remaining.",
    });
    for (const secret of [secretProof, holder, holder.toLowerCase(), plan]) {
      expect(receipt.text).not.toContain(secret);
    }
  });

  test("wait for the outcome, and no longer than asked", async () => {
    const { url, ledger } = await api4or5();
    ledger.failNext("hang-before-applying");
    const { headers } = await request(url).post("/").set(payment).expect(200);
    await ledger.hanging();
    const path = `/redemptions/${headers["redemption-id"]}`;
    const now = await request(url).get(path).expect(200);
    expect(now.body).toMatchObject({ status: "sending", redemption: { remainingBalance: null } });
    const short = await request(url).get(`${path}?wait=0.01`).expect(200);
    expect(short.body.status).toBe("sending");
    const waiting = request(url)
      .get(`${path}?wait=30`)
      .then(({ body }) => body.status);
    await ledger.release();
    expect(await waiting).toBe("completed");
  });

  test("of a failed one tell why, and no balance", async () => {
    const { url, ledger, meter } = await api4or5();
    ledger.failNext("refuse-before-applying", { status: 402 });
    const { headers } = await request(url).post("/").set(payment).expect(200);
    await meter.flush();
    const { body } = await request(url).get(`/redemptions/${headers["redemption-id"]}`);
    expect(body).toMatchObject({
      status: "failed",
      redemption: { remainingBalance: null },
      error: { reason: "insufficient-credits" },
    });
  });

  test.each(["not-an-id", "00000000-0000-4000-8000-000000000000", "__proto__", "%00"])(
    "of %s there are none",
    async (id) => {
      const { url } = await api4or5();
      const { body } = await request(url).get(`/redemptions/${id}`).expect(404);
      expect(body).toMatchObject({ code: "receipt-not-found", status: 404 });
    },
  );

  test.each(["-1", "x", "1e9", "NaN", "", "1&wait=2"])("survive wait=%s", async (wait) => {
    const { url, meter } = await api4or5();
    const { headers } = await request(url).post("/").set(payment).expect(200);
    await meter.flush();
    await request(url).get(`/redemptions/${headers["redemption-id"]}?wait=${wait}`).expect(200);
  });
});

describe("strict durability", () => {
  test("makes the redemption durable before the handler runs", async () => {
    const seen: unknown[] = [];
    const gate = deferred();
    const { url, meter, settled } = await meteredApi(
      { routes: { "POST /": 2 }, durability: "strict" },
      (app, meter) => {
        app.use(meter);
        app.post("/", async (_req, res) => {
          const { redemptions } = await meter.redemptions.list();
          seen.push(redemptions.map(({ status, redemptionId }) => [status, redemptionId]));
          await gate.promise;
          res.json({});
        });
      },
    );
    gate.resolve();
    const { headers } = await request(url).post("/").set(payment).expect(200);
    await meter.flush();
    expect(seen).toEqual([[["prepared", headers["redemption-id"]]]]);
    expect(settled).toMatchObject([{ status: "completed" }]);
    const { redemptions } = await meter.redemptions.list();
    expect(redemptions).toMatchObject([{ status: "completed", attempts: 1 }]);
  });

  test("remembers what was skipped as such", async () => {
    const { url, meter } = await meteredApi(
      { routes: { "POST /": 2 }, durability: "strict" },
      (app, meter) => {
        app.use(meter);
        app.post("/", (_req, res) => void res.status(500).end());
      },
    );
    await request(url).post("/").set(payment).expect(500);
    await meter.flush();
    await vi.waitUntil(async () => {
      const { redemptions } = await meter.redemptions.list({ status: "skipped" });
      return redemptions.length === 1;
    });
  });
});

describe("what an operator decides", () => {
  /** It was sent just now, and an answer might still come. */
  const by = { by: "ada", note: "looked at the ledger", force: true };

  async function lost() {
    const built = await api4or5();
    await request(built.url).post("/").set(payment).expect(200);
    await built.meter.flush();
    built.ledger.failNext("drop-after-applying");
    const { headers } = await request(built.url).post("/").set(payment).expect(200);
    await built.meter.flush();
    return { ...built, id: String(headers["redemption-id"]) };
  }

  test("is helped by the balances before and after", async () => {
    const { meter, id } = await lost();
    const shown = await meter.redemptions.show(id);
    expect(shown).toMatchObject({
      redemption: { status: "unresolved", error: { reason: "answer-lost" }, attempts: 1 },
      acts: [],
      balanceBefore: { amount: 98 },
      balanceNow: { amount: 96 },
    });
    expect(JSON.stringify(shown)).not.toContain(secretProof);
    expect(await meter.redemptions.show("unknown")).toBeUndefined();
  });

  test("completed: recorded with who and when, and told", async () => {
    const { meter, id, settled } = await lost();
    const decided = await meter.redemptions.complete(id, { ...by, redeemedAmount: 2 });
    expect(decided).toMatchObject({ status: "completed", redemption: { redeemedAmount: 2 } });
    expect(settled.at(-1)).toMatchObject({ redemptionId: id, status: "completed" });
    const shown = await meter.redemptions.show(id);
    expect(shown?.acts).toMatchObject([{ act: "complete", by: by.by, note: by.note, amount: 2 }]);
    await expect(meter.redemptions.fail(id, by)).rejects.toThrow("[act-refused]");
  });

  test("failed", async () => {
    const { meter, id } = await lost();
    expect(await meter.redemptions.fail(id, by)).toMatchObject({ status: "failed" });
  });

  test("sent again: the same bytes under the same id, which this ledger honours", async () => {
    const { meter, id, settled, ledger } = await lost();
    await meter.redemptions.resend(id, by);
    await vi.waitUntil(() => settled.at(-1)?.status === "completed");
    expect(ledger.countBurns({ idempotencyKey: id })).toBe(1);
    expect(ledger.requests().redeem).toMatchObject({ 200: 2, dropped: 1 });
  });

  test("supplied with the amount of a price that could not be computed", async () => {
    const { url, meter, ledger, settled } = await api({
      routes: { "POST /": { hold: 1, price: () => Number.NaN } },
    });
    const { headers } = await request(url).post("/").set(payment).expect(200);
    const id = String(headers["redemption-id"]);
    await vi.waitUntil(async () => (await meter.redemptions.show(id)) !== undefined);
    await expect(meter.redemptions.resend(id, by)).rejects.toThrow("[act-refused]");
    await expect(meter.redemptions.supply(id, 1.5, by)).rejects.toThrow("[act-refused]");
    await meter.redemptions.supply(id, 7, by);
    await vi.waitUntil(() => settled.at(-1)?.status === "completed");
    expect(ledger.burns()).toMatchObject([{ amount: 7, idempotencyKey: id }]);
    expect((await meter.redemptions.show(id))?.acts).toMatchObject([{ act: "supply", amount: 7 }]);
  });

  test("must say who decides", async () => {
    const { meter, id } = await lost();
    await expect(meter.redemptions.fail(id, { by: " " })).rejects.toThrow("[act-refused]");
    const atOnce = meter.redemptions.fail(id, { by: "ada" });
    await expect(atOnce).rejects.toThrow("answer may still come");
  });

  test("is listed page by page", async () => {
    const { meter, url } = await api4or5();
    for (let count = 0; count < 5; count += 1) {
      await request(url).post("/").set(payment).expect(200);
    }
    await meter.flush();
    const first = await meter.redemptions.list({ limit: 3 });
    const second = await meter.redemptions.list({ limit: 3, after: first.next ?? 0 });
    expect([first.redemptions.length, second.redemptions.length, second.next]).toEqual([
      3,
      2,
      null,
    ]);
    const ids = [...first.redemptions, ...second.redemptions].map((one) => one.redemptionId);
    expect(new Set(ids).size).toBe(5);
    const none = await meter.redemptions.list({ holderAddress: `0x${"0".repeat(40)}` });
    expect(none.redemptions).toEqual([]);
  });
});

describe("receipts that wait, whatever has happened before (A3)", () => {
  /** Receipts alone behind a body parser, that count how often they look. */
  async function counting(status: "pending" | "sending", live: boolean) {
    const looks = { count: 0 };
    const opening = { redemptionId: "id", planId: plan, holderAddress: holder, route: "POST /" };
    const { redemption, settle } = openRedemption({ ...opening, environment: "test" }, 0);
    // It was settled once, and a person has sent it again.
    settle();
    redemption.status = status;
    const wakes = new Set<() => void>();
    const app = express();
    app.use(express.json());
    app.use(
      createReceipts({
        live: () => {
          looks.count += 1;
          return live ? redemption : undefined;
        },
        read: async () => redemption,
        onSettled(_id, wake) {
          wakes.add(wake);
          return () => void wakes.delete(wake);
        },
      }),
    );
    return { ...(await listen(app)), looks, redemption, wakes };
  }

  const kinds: [string, "pending" | "sending", boolean][] = [
    ["of this process", "sending", true],
    ["of another process", "sending", false],
    ["that waits again after it was settled once", "pending", true],
  ];
  test.each(kinds)("look now and then for one %s", async (_name, status, live) => {
    const { url, looks, wakes } = await counting(status, live);
    const { body } = await request(url).get("/id?wait=0.2").send({ a: 1 }).expect(200);
    expect(body.status).toBe(status);
    expect(looks.count).toBeLessThan(5);
    expect(wakes.size).toBe(0);
  });

  test("answer at once when it is settled again", async () => {
    const { url, redemption, wakes } = await counting("pending", true);
    const answer = request(url).get("/id?wait=30").send({ a: 1 });
    const told = answer.then(({ body }) => body.status);
    await vi.waitFor(() => expect(wakes.size).toBe(1));
    redemption.status = "completed";
    for (const wake of wakes) wake();
    expect(await told).toBe("completed");
    expect(wakes.size).toBe(0);
  });

  test("stop when the client has gone", async () => {
    const { port, wakes } = await counting("pending", true);
    const client = await connect(port, {
      "Content-Type": "application/json",
      "Content-Length": "2",
    });
    client.send("GET /id?wait=30");
    client.socket.write("{}");
    await vi.waitFor(() => expect(wakes.size).toBe(1));
    client.socket.destroy();
    await vi.waitFor(() => expect(wakes.size).toBe(0));
  });
});

import { setTimeout as sleep } from "node:timers/promises";
import express, { type NextFunction, type Request, type Response } from "express";
import request from "supertest";
import { describe, expect, test, vi } from "vitest";
import type { CreditMeterOptions } from "../../src/index.ts";
import { holder, type MeteredApi, meteredApi, payment, plan } from "../support/api.ts";
import { connect, deferred } from "../support/server.ts";

/** An API that counts how often its handler ran. */
async function guarded(options: Partial<CreditMeterOptions> = {}) {
  const ran = { count: 0 };
  const api: MeteredApi = await meteredApi(
    { routes: { "POST /": 2, "POST /computed": { hold: 9, price: () => 1 } }, ...options },
    (app, meter) => {
      app.use(express.json());
      app.use(meter);
      app.post(["/", "/computed"], (_req, res) => {
        ran.count += 1;
        res.json({});
      });
      app.use((error: Error, _req: Request, res: Response, _next: NextFunction) => {
        res.status(500).json({ error: error.message });
      });
    },
  );
  return { ...api, ran };
}

function without(...names: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(payment).filter(([name]) => !names.includes(name)));
}

describe("a missing payment", () => {
  test.each([
    ["everything", Object.keys(payment)],
    ["the plan", ["Nevermined-Plan-Id"]],
    ["the holder", ["Nevermined-Holder-Address"]],
    ["the proof", ["Nevermined-Proof"]],
  ])("without %s is 402, names what to add, and runs no handler", async (_name, names) => {
    const api = await guarded();
    const response = await request(api.url)
      .post("/")
      .set(without(...names))
      .expect(402);
    expect(response.headers["content-type"]).toBe("application/problem+json");
    expect(response.headers["cache-control"]).toBe("no-store");
    expect(response.body).toEqual({
      type: "urn:problem-type:express-credit-meter:payment-required",
      title: "Payment Required",
      status: 402,
      detail: expect.stringMatching(/^This request must be paid with credits\. Add /),
      code: "payment-required",
      price: 2,
      plans: [plan],
      error: {
        type: response.body.type,
        message: response.body.detail,
        code: "payment-required",
        param: null,
      },
    });
    for (const name of Object.keys(payment)) {
      expect(response.body.detail.includes(name)).toBe(names.includes(name));
    }
    expect(api.ran.count).toBe(0);
    for (const answers of Object.values(api.ledger.requests())) expect(answers).toEqual({});
  });

  test("of a computed price tells the hold instead of the price", async () => {
    const api = await guarded();
    const { body } = await request(api.url).post("/computed").expect(402);
    expect(body).toMatchObject({ hold: 9 });
    expect(body).not.toHaveProperty("price");
  });
});

describe("a malformed payment is 400 and runs no handler", () => {
  const address = "Nevermined-Holder-Address";
  const cases: [string, Record<string, string | string[]>, string][] = [
    ["n8n's troubleshooting: Ethereum Address Format", { [address]: "not-an-address" }, "0x"],
    ["an address without 0x", { [address]: "ab".repeat(20) }, "0x"],
    ["an address that is too short", { [address]: `0x${"a".repeat(39)}` }, "40 hexadecimal"],
    ["an address with a letter that is no digit", { [address]: `0x${"g".repeat(40)}` }, "40 hex"],
    ["an address of full-width digits", { [address]: `0x${"\u00b2".repeat(40)}` }, "40 hex"],
    ["n8n's troubleshooting: Invalid Plan ID (empty)", { "Nevermined-Plan-Id": " " }, "empty"],
    ["a plan id with a space", { "Nevermined-Plan-Id": "a b" }, "visible ASCII"],
    ["an empty proof", { "Nevermined-Proof": "" }, "empty"],
    ["n8n's troubleshooting: Invalid Proof JSON", { "Nevermined-Proof": '{"tx": ' }, "JSON"],
    ["a proof that looks like a JSON list", { "Nevermined-Proof": "[1," }, "JSON"],
    ["a plan id over 256 bytes", { "Nevermined-Plan-Id": "1".repeat(257) }, "256 bytes"],
    ["a proof over 8 KiB", { "Nevermined-Proof": "x".repeat(8 * 1024 + 1) }, "8192 bytes"],
    ["a header sent twice", { "Nevermined-Proof": ["one", "two"] }, "only once"],
    ["the same value twice", { "Nevermined-Plan-Id": [plan, plan] }, "only once"],
  ];
  test.each(cases)("%s", async (_name, headers, says) => {
    const api = await guarded();
    const all = { ...payment, ...headers };
    const sent = Object.entries(all).flatMap(([name, value]) =>
      [value].flat().map((one) => `${name}: ${one}\r\n`),
    );
    const client = await connect(api.port, { Connection: "close" });
    client.socket.write(
      `POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n${sent.join("")}\r\n`,
      "latin1",
    );
    const answer = await client.received("}");
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    const body = JSON.parse(answer.slice(answer.indexOf("\r\n\r\n")));
    expect(body).toMatchObject({ status: 400, code: "payment-malformed" });
    expect(body.detail).toContain(says);
    expect(api.ran.count).toBe(0);
  });

  test.each([
    ["a JSON object", '{"tx":"0x1"}'],
    ["a signature", `0x${"1b".repeat(65)}`],
    ["exactly 8 KiB", "x".repeat(8 * 1024)],
  ])("while %s is a proof, passed on as it is", async (_name, proof) => {
    const seen: string[] = [];
    const ledger = { acceptProof: (asked: { proof: string }) => seen.push(asked.proof) > 0 };
    const api = await meteredApi(
      { routes: { "POST /": 1 } },
      (app, meter) => {
        app.use(meter);
        app.post("/", (_req, res) => void res.json({}));
      },
      { ledger },
    );
    await request(api.url)
      .post("/")
      .set({ ...payment, "Nevermined-Proof": proof })
      .expect(200);
    await api.meter.flush();
    expect(seen).toEqual([proof]);
  });
});

describe("where the payment is", () => {
  test("headers can be renamed, one or all", async () => {
    const api = await guarded({ payment: { proof: "X-Proof" } });
    const { "Nevermined-Proof": proof, ...rest } = payment;
    const refused = await request(api.url).post("/").set(payment).expect(402);
    expect(refused.body.detail).toContain("X-Proof");
    await request(api.url)
      .post("/")
      .set({ ...rest, "X-Proof": String(proof) })
      .expect(200);
  });

  test.each([
    ["at once", (req: Request) => req.body?.payment],
    ["later", async (req: Request) => sleep(1, req.body?.payment)],
  ])("a reader finds it %s", async (_name, reader) => {
    const api = await guarded({ payment: reader });
    const found = { planId: plan, holderAddress: holder, proof: "p" };
    await request(api.url).post("/").send({ payment: found }).expect(200);
    await request(api.url).post("/").send({}).expect(402);
    await api.meter.flush();
    expect(api.ledger.countBurns()).toBe(1);
  });

  test.each([
    ["an array", { planId: [plan] }],
    ["an object", { proof: { tx: "0x1" } }],
    ["a number", { planId: 1e21 }],
    ["a boolean", { proof: true }],
    ["unicode look-alikes", { planId: "рlan" }],
    ["a line break", { planId: `${plan}\n` }],
    ["half a character", { proof: "sig\ud83e" }],
    ["a zero byte", { proof: "sig\0" }],
  ])("what a reader returns is checked: %s", async (_name, wrong) => {
    const found = { planId: plan, holderAddress: holder, proof: "p", ...wrong };
    const api = await guarded({ payment: () => found as never });
    const { body } = await request(api.url).post("/").expect(400);
    expect(body.code).toBe("payment-malformed");
    expect(api.ran.count).toBe(0);
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("database is away");
      },
    ],
    ["rejects", () => Promise.reject(new Error("database is away"))],
  ])("a reader that %s goes to the application's error handler", async (_name, reader) => {
    const api = await guarded({ payment: reader });
    const { body } = await request(api.url).post("/").expect(500);
    expect(body).toEqual({ error: "database is away" });
    expect(api.ran.count).toBe(0);
  });

  test("a client that leaves while the reader runs is not admitted", async () => {
    const asked = deferred();
    const gate = deferred<{ planId: string; holderAddress: string; proof: string }>();
    const api = await guarded({
      maxUnderWay: 1,
      payment: (req) => {
        if (req.headers["x-slow"] === undefined)
          return { planId: plan, holderAddress: holder, proof: "p" };
        req.once("close", () => gate.resolve({ planId: plan, holderAddress: holder, proof: "p" }));
        asked.resolve();
        return gate.promise;
      },
    });
    const client = await connect(api.port, { "x-slow": "1" });
    client.send("POST /");
    await asked.promise;
    client.socket.destroy();
    await gate.promise;
    // Its place is free: there is only one.
    await request(api.url).post("/").expect(200);
    expect(api.ran.count).toBe(1);
  });
});

describe("plans", () => {
  const other = { ...payment, "Nevermined-Plan-Id": "a-plan-of-my-own" };

  test.each([
    ["a list", [plan]],
    ["a function", () => [plan]],
    ["an async function", async () => [plan]],
  ])("%s: another plan is 402 and told what is sold", async (_name, plans) => {
    const api = await guarded({ plans });
    const { body } = await request(api.url).post("/").set(other).expect(402);
    expect(body).toMatchObject({ code: "plan-not-sold", price: 2, plans: [plan] });
    await request(api.url).post("/").set(payment).expect(200);
    expect(api.ran.count).toBe(1);
  });

  test.each(["__proto__", "constructor", "toString"])("%s is no plan", async (planId) => {
    const api = await guarded();
    await request(api.url)
      .post("/")
      .set({ ...payment, "Nevermined-Plan-Id": planId })
      .expect(402);
  });

  test('"any" must be said, and is warned of', async () => {
    // The ledger knows no balance of such a plan: whoever accepts it gives credit.
    const api = await guarded({ plans: "any", guard: { balance: "never" } });
    expect(api.lines).toMatchObject([{ level: "warn" }]);
    expect(api.lines[0]?.message).toContain("a plan of their own making");
    await request(api.url).post("/").set(other).expect(200);
    const { body } = await request(api.url).post("/").expect(402);
    expect(body).not.toHaveProperty("plans");
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("no cache");
      },
    ],
    ["rejects", () => Promise.reject(new Error("no cache"))],
  ])("a function that %s is the application's error", async (_name, plans) => {
    const api = await guarded({ plans: plans as never });
    const { body } = await request(api.url).post("/").set(payment).expect(500);
    expect(body.error).toContain("[plans-failed]");
    expect(api.ran.count).toBe(0);
  });
});

describe("refuse", () => {
  test("answers in the API's own format", async () => {
    const api = await guarded({
      refuse: (problem, _req, res) =>
        res.status(problem.status).json({ error: { code: problem.code, message: problem.detail } }),
    });
    const response = await request(api.url).post("/").expect(402);
    expect(response.body.error.code).toBe("payment-required");
    expect(response.headers["cache-control"]).toBe("no-store");
    expect(api.ran.count).toBe(0);
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("own mistake");
      },
    ],
    ["rejects", () => Promise.reject(new Error("own mistake"))],
    [
      "calls next",
      (_p: unknown, _q: unknown, _s: unknown, next: NextFunction) => next(new Error("own mistake")),
    ],
  ])("one that %s ends in the application's error handler", async (_name, refuse) => {
    const api = await guarded({ refuse });
    const { body } = await request(api.url).post("/").expect(500);
    expect(body).toEqual({ error: "own mistake" });
    expect(api.ran.count).toBe(0);
  });
});

describe("full", () => {
  const small = { planId: plan, holderAddress: holder, proof: "p" };

  /** An API whose first answers wait until they are let go. */
  async function slow(options: Partial<CreditMeterOptions>) {
    const gate = deferred();
    const waiting: (() => void)[] = [];
    let running = 0;
    const api = await meteredApi(
      { routes: { "POST /": 1 }, payment: (req) => req.body, ...options },
      (app, meter) => {
        app.use(express.json());
        app.use(meter);
        app.post("/", (_req, res) => {
          running += 1;
          for (const check of waiting) check();
          void gate.promise.then(() => res.json({}));
        });
      },
    );
    const started = (count = 1) =>
      new Promise<void>((resolve) => {
        const check = () => {
          if (running >= count) resolve();
        };
        waiting.push(check);
        check();
      });
    return { ...api, started, answer: gate.resolve };
  }

  const post = (url: string, body: object) => request(url).post("/").send(body);

  test("refuses with 503 and Retry-After before the handler, and admits again when there is room", async () => {
    const api = await slow({ maxUnderWay: 1 });
    const first = post(api.url, small).then((response) => response.status);
    await api.started();
    const refused = await post(api.url, small).expect(503);
    expect(refused.body).toMatchObject({ code: "queue-full", price: 1 });
    expect(refused.headers["retry-after"]).toBe("1");
    api.answer();
    expect(await first).toBe(200);
    await api.meter.flush();
    await post(api.url, small).expect(200);
  });

  test("counts bytes too", async () => {
    const api = await slow({ maxUnderWayBytes: 64 * 1024 });
    const large = { ...small, proof: "x".repeat(8 * 1024) };
    const first = Array.from({ length: 7 }, () =>
      post(api.url, large).then((response) => response.status),
    );
    await api.started(7);
    await post(api.url, large).expect(503);
    api.answer();
    await post(api.url, small).expect(200);
    expect(await Promise.all(first)).toEqual(first.map(() => 200));
  });

  test("counts what waits in the journal, too", async () => {
    const api = await guarded({ backlog: { count: 1 }, concurrency: 1 });
    const pay = () => request(api.url).post("/").set(payment);
    api.ledger.failNext("hang-before-applying");
    await pay().expect(200);
    await api.ledger.hanging();
    await pay().expect(200);
    await vi.waitUntil(() => !api.meter.health().accepting);
    const refused = await pay().expect(503);
    expect(refused.body.code).toBe("journal-full");
    expect(api.ran.count).toBe(2);
    await api.ledger.release();
    await api.meter.flush();
    await pay().expect(200);
  });
});

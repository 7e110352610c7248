/** The meter's own answers, and answers of others while a request waits (B4, B14, C1). */

import type { Request, Response } from "express";
import request from "supertest";
import { describe, expect, onTestFinished, test } from "vitest";
import { type CreditMeterOptions, creditMeter } from "../../src/index.ts";
import { fundedLedger, keepLines, meteredApi, meterOptions, payment } from "../support/api.ts";
import { connect, deferred, listen } from "../support/server.ts";

const ok = (_req: Request, res: Response) => void res.json({});

describe("what the meter itself refuses at a route costs nothing (B4)", () => {
  const cases: [string, Partial<CreditMeterOptions>][] = [
    ["refuse answers 200", { refuse: (_problem, _req, res) => res.status(200).json({}) }],
    ["chargeWhen ignores the status", { chargeWhen: () => true }],
    [
      "chargeWhen throws",
      {
        chargeWhen: () => {
          throw new Error("as was asked for");
        },
      },
    ],
  ];
  test.each(cases)("where %s", async (_name, options) => {
    const api = await meteredApi({ routes: { "POST /dear": 1 }, ...options }, (app, meter) => {
      app.use(meter);
      app.post("/dear", meter.charge(101), ok);
    });
    const { body } = await request(api.url).post("/dear").set(payment);
    await api.meter.flush();
    expect(api.ledger.countBurns()).toBe(0);
    expect(api.settled).toMatchObject([{ status: "skipped", error: { reason: "refused" } }]);
    if (!options.refuse) expect(body).toMatchObject({ code: "insufficient-credits" });
  });

  test("and what receipts() answers behind the meter, too", async () => {
    const chargeWhen = () => {
      throw new Error("as was asked for");
    };
    const routes = { "GET /redemptions/:id": 1 };
    const api = await meteredApi({ routes, chargeWhen }, (app, meter) => {
      app.use(meter);
      app.use("/redemptions", meter.receipts());
    });
    await request(api.url).get("/redemptions/none").set(payment).expect(404);
    await api.meter.flush();
    expect(api.settled).toMatchObject([{ status: "skipped", error: { reason: "price-zero" } }]);
  });
});

test("a listener that destroys the socket when its response is finished makes nothing free (B14)", async () => {
  const api = await meteredApi({ routes: { "GET /": 3 } }, (app, meter) => {
    app.use((req, res, next) => {
      // As http-shutdown and its like do while the server shuts down.
      res.once("finish", () => req.socket.destroy());
      next();
    });
    // The first request waits for the balance.
    app.use(meter);
    app.get("/", (_req, res) => {
      res.prependListener("finish", () => res.socket?.destroy());
      res.send("the whole answer");
    });
  });
  const client = await connect(api.port, payment);
  client.send("GET /");
  await client.received("the whole answer");
  await api.meter.flush();
  expect(api.settled).toMatchObject([{ status: "completed" }]);
});

describe("somebody answers while a request waits (C1)", () => {
  const plansFail = "as was asked for";
  const cases: [string, () => readonly string[]][] = [
    ["would be refused", () => ["another-plan"]],
    [
      "fails",
      () => {
        throw new Error(plansFail);
      },
    ],
  ];
  test.each(cases)("and the request %s: the answer stays whole", async (_name, plans) => {
    const ledger = await fundedLedger();
    const { lines, logger } = keepLines();
    const asked = deferred();
    const gate = deferred();
    const meter = creditMeter({
      ...meterOptions(ledger),
      logger,
      routes: { "GET /paid": 1 },
      plans: async () => {
        asked.resolve();
        await gate.promise;
        return plans();
      },
    });
    onTestFinished(async () => {
      await meter.close({ deadlineMs: 0 });
    });
    const { default: express } = await import("express");
    const app = express();
    app.set("env", "test");
    const half = deferred();
    app.use("/paid", (_req, res, next) => {
      next();
      // As a timeout in front of the meter does.
      void asked.promise.then(() => {
        res.status(503).write("too ");
        gate.resolve();
        void half.promise.then(() => res.end("late"));
      });
    });
    app.use(meter);
    app.get("/paid", ok);
    app.get("/free", (_req, res) => void res.send("free"));
    const client = await connect((await listen(app)).port, payment);
    client.send("GET /paid");
    await client.received("too ");
    // What the meter does after its wait comes before the next request is read.
    await new Promise((resolve) => setImmediate(resolve));
    half.resolve();
    await client.received("late");
    client.send("GET /free");
    await client.received("free");
    const errors = lines.filter(({ level }) => level === "error");
    expect(errors).toHaveLength(_name === "fails" ? 1 : 0);
  });
});

test("a head that was sent before the meter is an error at once, not silence", async () => {
  const api = await meteredApi({ routes: { "GET /": 1 } }, (app, meter) => {
    app.use((_req, res, next) => {
      res.flushHeaders();
      next();
    });
    app.use(meter);
    app.get("/", ok);
    app.use((error: Error, _req: Request, res: Response, _next: () => void) => {
      res.end(error.message);
    });
  });
  const client = await connect(api.port, payment);
  client.send("GET /");
  expect(await client.received("head-sent")).toContain("res.flushHeaders()");
});

test("a head that was sent before a route's own price is an error, where that price is refused", async () => {
  const api = await meteredApi({ routes: { "GET /": 1 } }, (app, meter) => {
    app.use(meter);
    app.use((_req, res, next) => {
      res.flushHeaders();
      next();
    });
    app.get("/", meter.charge(101), ok);
    app.use((error: Error, _req: Request, res: Response, _next: () => void) => {
      res.end(error.message);
    });
  });
  const client = await connect(api.port, payment);
  client.send("GET /");
  expect(await client.received("head-sent")).toContain("res.flushHeaders()");
  await api.meter.flush();
  expect(api.settled).toMatchObject([{ status: "skipped", error: { reason: "refused" } }]);
});

import { setImmediate as tick } from "node:timers/promises";
import cors from "cors";
import express, { type NextFunction, type Request, type Response } from "express";
import request from "supertest";
import { describe, expect, test } from "vitest";
import { creditMeter } from "../../src/index.ts";
import {
  holder,
  keepLines,
  meteredApi,
  meterOptions,
  payment,
  plan,
  secretKey,
  secretProof,
} from "../support/api.ts";
import { connect, deferred } from "../support/server.ts";

const ok = (_req: Request, res: Response) => void res.json({ ok: true });

describe("a paid request", () => {
  test("is answered first, then charged at the row's price", async () => {
    const api = await meteredApi({ routes: { "POST /v1/embeddings": 2 } }, (app, meter) => {
      app.use(meter);
      app.post("/v1/embeddings", ok);
    });
    const response = await request(api.url).post("/v1/embeddings").set(payment);
    expect(response.status).toBe(200);
    await api.meter.flush();
    expect(api.ledger.burns()).toMatchObject([
      { planId: plan, amount: 2, idempotencyKey: response.headers["redemption-id"] },
    ]);
    expect(api.ledger.balance(plan, holder)).toBe(98);
  });

  test("does not wait for its charge", async () => {
    const api = await meteredApi({ routes: { "POST /": 1 } }, (app, meter) => {
      app.use(meter);
      app.post("/", ok);
    });
    api.ledger.failNext("hang-before-applying");
    await request(api.url).post("/").set(payment).expect(200);
    await api.ledger.hanging();
    expect(api.ledger.countBurns()).toBe(0);
    await api.ledger.release();
    await api.meter.flush();
    expect(api.ledger.countBurns()).toBe(1);
  });

  test("has the record of the design on res.locals from admission to outcome", async () => {
    const seen: unknown[] = [];
    const api = await meteredApi({ routes: { "POST /": 5 } }, (app, meter) => {
      app.use(meter);
      app.post("/", (_req, res) => {
        const redemption = res.locals.redemption;
        seen.push(structuredClone({ ...redemption }));
        void redemption?.settled.then((settled) => seen.push(settled === redemption));
        res.json({});
      });
    });
    const response = await request(api.url).post("/").set(payment);
    await api.meter.flush();
    await tick();
    const redemptionId = response.headers["redemption-id"];
    expect(redemptionId).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(seen).toEqual([
      {
        redemptionId,
        status: "pending",
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        planId: plan,
        holderAddress: holder,
        route: "POST /",
        environment: "test",
        redemption: { requestedAmount: null, redeemedAmount: null, remainingBalance: null },
        message: expect.any(String),
      },
      true,
    ]);
    expect(JSON.parse(JSON.stringify(api.settled))).toEqual([
      {
        redemptionId,
        status: "completed",
        timestamp: expect.any(String),
        planId: plan,
        holderAddress: holder,
        route: "POST /",
        environment: "test",
        redemption: { requestedAmount: 5, redeemedAmount: 5, remainingBalance: 95 },
        success: { message: "Redeemed 5 credits; 95 remaining." },
        message: "Redeemed 5 credits; 95 remaining.",
      },
    ]);
  });

  test.each([
    [
      "a price function",
      { "POST /": { hold: 9, price: (_q: Request, res: Response) => res.locals.used } },
      7,
    ],
    ["a row with a number", { "POST /": { price: 3 } }, 3],
    ["a row for all methods", { "ALL /": 4 }, 4],
  ])("%s is charged", async (_name, routes, amount) => {
    const api = await meteredApi({ routes }, (app, meter) => {
      app.use(meter);
      app.post("/", (_req, res) => {
        res.locals.used = 7;
        res.json({});
      });
    });
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.flush();
    expect(api.ledger.burns()).toMatchObject([{ amount }]);
  });

  test("streams pass through byte for byte, chunk by chunk", async () => {
    const chunks = ["data: ä\n\n", "data: 2\n\n", "data: [DONE]\n\n"];
    const gates = chunks.map(() => deferred());
    const returned: boolean[] = [];
    const api = await meteredApi({ routes: { "GET /stream": 1 } }, (app, meter) => {
      app.use(meter);
      app.get("/stream", async (_req, res) => {
        res.type("text/event-stream");
        for (const [index, chunk] of chunks.entries()) {
          await gates[index]?.promise;
          returned.push(res.write(chunk));
        }
        returned.push(res.write("x".repeat(200_000)));
        res.end();
      });
    });
    const client = await connect(api.port, payment);
    client.send("GET /stream");
    for (const [index, chunk] of chunks.entries()) {
      gates[index]?.resolve();
      await client.received(Buffer.from(chunk).toString("latin1"));
    }
    await client.received("\r\n0\r\n\r\n");
    await api.meter.flush();
    // `write` says that the last one is too much for the moment: backpressure is the socket's.
    expect(returned).toEqual([true, true, true, false]);
    expect(api.ledger.burns()).toMatchObject([{ amount: 1 }]);
  });
});

describe("the price at the route", () => {
  test("charges without a table, and names the route", async () => {
    const api = await meteredApi({}, (app, meter) => {
      const router = express.Router();
      router.post("/images/:size", meter.charge(10), ok);
      app.use("/v1", router);
    });
    await request(api.url).post("/v1/images/large").set(payment).expect(200);
    await api.meter.flush();
    expect(api.settled).toMatchObject([{ route: "POST /v1/images/:size", status: "completed" }]);
    expect(api.ledger.burns()).toMatchObject([{ amount: 10 }]);
  });

  test("wins over the table, and charges once", async () => {
    const api = await meteredApi({ routes: { "POST /": 1 } }, (app, meter) => {
      app.use(meter);
      app.post("/", meter.charge(10), ok);
    });
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.flush();
    expect(api.ledger.burns()).toMatchObject([{ amount: 10 }]);
  });

  test("the same meter mounted twice charges once", async () => {
    const api = await meteredApi({ routes: { "POST /": 1 } }, (app, meter) => {
      app.use(meter, meter);
      app.post("/", ok);
    });
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.flush();
    expect(api.ledger.countBurns()).toBe(1);
  });

  test("two meters on one request are an error at the first request", async () => {
    const api = await meteredApi({ routes: { "POST /": 1 } }, (app, meter) => {
      const { logger } = keepLines();
      const other = creditMeter({ ...meterOptions({ baseUrl: "http://127.0.0.1:1" }), logger });
      app.use(meter);
      app.post("/", other.charge(2), ok);
      app.use((error: Error, _req: Request, res: Response, _next: NextFunction) => {
        res.status(500).json({ error: error.message });
      });
    });
    const response = await request(api.url).post("/").set(payment).expect(500);
    expect(response.body.error).toContain("[two-meters]");
    await api.meter.flush();
    expect(api.ledger.countBurns()).toBe(0);
  });

  test("a price that cannot be charged does not start", async () => {
    await meteredApi({}, (_app, meter) => {
      for (const price of [1.5, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e21, "2", null, {}]) {
        expect(() => meter.charge(price as number)).toThrow("[price-invalid]");
      }
    });
  });
});

describe("what is not charged", () => {
  const cases: [string, string, (req: Request, res: Response) => unknown, string][] = [
    ["a client error", "POST", (_req, res) => res.status(422).json({}), "not-successful"],
    ["a handler that throws", "POST", () => Promise.reject(new Error("broken")), "not-successful"],
    ["a redirect", "POST", (_req, res) => res.redirect("/other"), "not-successful"],
    ["not modified", "GET", (_req, res) => res.status(304).end(), "not-successful"],
    ["HEAD answered by a GET route", "HEAD", (_req, res) => res.send("text"), "head-request"],
  ];
  test.each(cases)("%s", async (_name, method, handler, reason) => {
    const api = await meteredApi({ routes: { "POST /": 1, "GET /": 1 } }, (app, meter) => {
      app.use(meter);
      app.all("/", (req, res, next) => {
        // Express 4 does not wait for a handler's promise.
        Promise.resolve(handler(req, res)).catch(next);
      });
    });
    const client = await connect(api.port, payment);
    client.send(`${method} /`);
    await client.received("\r\n\r\n");
    await api.meter.flush();
    expect(api.settled).toMatchObject([{ status: "skipped", error: { reason, code: reason } }]);
    expect(api.ledger.countBurns()).toBe(0);
  });

  test("a price of 0 is 0, and skipped", async () => {
    const api = await meteredApi(
      { routes: { "POST /": { hold: 1, price: () => 0 } } },
      (app, meter) => {
        app.use(meter);
        app.post("/", ok);
      },
    );
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.flush();
    expect(api.settled).toMatchObject([
      { status: "skipped", error: { reason: "price-zero" }, redemption: { requestedAmount: 0 } },
    ]);
    expect(api.ledger.requests().redeem).toEqual({});
  });

  test("an empty 204 is complete, and charged", async () => {
    const api = await meteredApi({ routes: { "DELETE /": 1 } }, (app, meter) => {
      app.use(meter);
      app.delete("/", (_req, res) => void res.status(204).end());
    });
    await request(api.url).delete("/").set(payment).expect(204);
    await api.meter.flush();
    expect(api.ledger.countBurns()).toBe(1);
  });

  describe.each(["plain", "like a preflight"])(
    "OPTIONS, %s, is a method like any other",
    (kind) => {
      const preflight = kind === "plain" ? {} : { "Access-Control-Request-Method": "POST" };
      const routes = { "ALL /table": 1, "OPTIONS /named": 2, "GET /other": 5 };
      const built = () =>
        meteredApi({ routes, unlisted: "refuse" }, (app, meter) => {
          app.use(meter);
          app.all(["/table", "/named"], ok);
          app.get("/other", ok);
        });
      const atRoutes = () =>
        meteredApi({}, (app, meter) => {
          app.all("/all", meter.charge(3), ok);
          app.use("/use", meter.charge(4), ok);
        });

      test("without a payment it is refused where its handler answers it", async () => {
        const [table, charge] = [await built(), await atRoutes()];
        for (const [api, path] of [
          [table, "/table"],
          [table, "/named"],
          [charge, "/all"],
          [charge, "/use"],
        ] as const) {
          const { body } = await request(api.url)
            .options(path)
            .set("Origin", "null")
            .set(preflight);
          expect(body).toMatchObject({ code: "payment-required" });
        }
        const { body } = await request(table.url).options("/other").set(preflight).expect(403);
        expect(body).toMatchObject({ code: "route-unlisted" });
      });

      test("with one it is charged", async () => {
        const [table, charge] = [await built(), await atRoutes()];
        await request(table.url)
          .options("/table")
          .set({ ...payment, ...preflight })
          .expect(200);
        await request(table.url)
          .options("/named")
          .set({ ...payment, ...preflight })
          .expect(200);
        await request(charge.url)
          .options("/all")
          .set({ ...payment, ...preflight })
          .expect(200);
        await request(charge.url)
          .options("/use")
          .set({ ...payment, ...preflight })
          .expect(200);
        await Promise.all([table.meter.flush(), charge.meter.flush()]);
        const amounts = [...table.ledger.burns(), ...charge.ledger.burns()].map(
          (one) => one.amount,
        );
        expect(amounts.toSorted()).toEqual([1, 2, 3, 4]);
      });
    },
  );

  test("cors in front of the meter answers preflights itself", async () => {
    const api = await meteredApi({ routes: { "ALL /": 1 } }, (app, meter) => {
      app.use(cors());
      app.use(meter);
      app.all("/", ok);
    });
    const headers = { Origin: "https://a.example", "Access-Control-Request-Method": "POST" };
    await request(api.url).options("/").set(headers).expect(204);
    expect(api.settled).toEqual([]);
  });
});

describe("a client that hangs up", () => {
  test("after a byte of the body pays a fixed price at once", async () => {
    const api = await meteredApi({ routes: { "GET /": 3 } }, (app, meter) => {
      app.use(meter);
      app.get("/", (_req, res) => void res.write("data: 1\n\n"));
    });
    const client = await connect(api.port, payment);
    client.send("GET /");
    await client.received("data: 1");
    client.socket.destroy();
    await api.meter.flush();
    expect(api.ledger.burns()).toMatchObject([{ amount: 3 }]);
  });

  test("before anything was delivered pays nothing", async () => {
    const started = deferred();
    const api = await meteredApi({ routes: { "GET /": 3 } }, (app, meter) => {
      app.use(meter);
      app.get("/", () => started.resolve());
    });
    const client = await connect(api.port, payment);
    client.send("GET /");
    await started.promise;
    client.socket.destroy();
    await api.meter.flush();
    expect(api.settled).toMatchObject([{ error: { reason: "nothing-delivered" } }]);
  });

  test("three pipelined requests on a socket that dies hold no place for ever", async () => {
    const started = deferred();
    const api = await meteredApi({ routes: { "GET /": 3 } }, (app, meter) => {
      app.use(meter);
      app.get("/", () => started.resolve());
    });
    const client = await connect(api.port, payment);
    client.send("GET /", "GET /", "GET /");
    await started.promise;
    client.socket.destroy();
    await api.meter.flush();
    expect(api.settled.map(({ status }) => status)).toEqual(["skipped", "skipped", "skipped"]);
  });

  test("pays a computed price when the handler ends the response, with what it then knows", async () => {
    const gone = deferred();
    const api = await meteredApi(
      {
        routes: { "GET /": { hold: 1, price: (_req, res) => res.locals.tokens } },
        abortGraceMs: 600_000,
      },
      (app, meter) => {
        app.use(meter);
        app.get("/", (_req, res) => {
          res.write("data: 1\n\n");
          res.on("close", async () => {
            await tick();
            gone.resolve();
            res.end();
            res.locals.tokens = 42;
          });
        });
      },
    );
    const client = await connect(api.port, payment);
    client.send("GET /");
    await client.received("data: 1");
    client.socket.destroy();
    await gone.promise;
    await api.meter.flush();
    expect(api.ledger.burns()).toMatchObject([{ amount: 42 }]);
  });

  test("pays a computed price after the grace time where the handler never ends", async () => {
    let runs = 0;
    const price = () => {
      runs += 1;
      return 5;
    };
    const routes = { "GET /": { hold: 5, price } };
    const api = await meteredApi({ routes, abortGraceMs: 10 }, (app, meter) => {
      app.use(meter);
      app.get("/", (_req, res) => void res.write("data: 1\n\n"));
    });
    const client = await connect(api.port, payment);
    client.send("GET /");
    await client.received("data: 1");
    client.socket.destroy();
    await api.meter.flush();
    expect(api.ledger.burns()).toMatchObject([{ amount: 5 }]);
    expect(runs).toBe(1);
  });

  test("does not pay what the server cut off", async () => {
    const written = deferred();
    const api = await meteredApi({ routes: { "GET /": 3 } }, (app, meter) => {
      app.use(meter);
      app.get("/", (_req, res, next) => {
        res.write("data: 1\n\n");
        void written.promise.then(() => next(new Error("upstream died")));
      });
    });
    const client = await connect(api.port, payment);
    client.send("GET /");
    await client.received("data: 1");
    written.resolve();
    await api.meter.flush();
    expect(api.settled).toMatchObject([{ error: { reason: "cut-by-server" } }]);
    expect(api.ledger.countBurns()).toBe(0);
  });
});

describe("chargeWhen", () => {
  test("overrides, and the row's wins over the meter's", async () => {
    const deliveries: unknown[] = [];
    const api = await meteredApi(
      {
        chargeWhen: (delivery) => {
          deliveries.push(delivery);
          return true;
        },
        routes: { "POST /always": 1, "POST /never": { price: 1, chargeWhen: () => false } },
      },
      (app, meter) => {
        app.use(meter);
        app.post("/always", (_req, res) => void res.status(500).end());
        app.post("/never", ok);
      },
    );
    await request(api.url).post("/always").set(payment).expect(500);
    await request(api.url).post("/never").set(payment).expect(200);
    await api.meter.flush();
    expect(deliveries).toEqual([{ extent: "complete", cutBy: null, status: 500 }]);
    expect(api.ledger.burns()).toMatchObject([{ amount: 1 }]);
    expect(api.settled.find(({ route }) => route === "POST /never")).toMatchObject({
      error: { reason: "charge-when" },
    });
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("mistake");
      },
    ],
    ["returns a promise", async () => true],
    ["returns nothing", () => undefined],
  ])("one that %s leaves the decision to a person", async (_name, chargeWhen) => {
    const api = await meteredApi(
      { chargeWhen: chargeWhen as never, routes: { "POST /": 1 } },
      (app, meter) => {
        app.use(meter);
        app.post("/", ok);
      },
    );
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.flush();
    expect(api.settled).toMatchObject([{ status: "unresolved", error: { reason: "price-error" } }]);
    expect(api.ledger.countBurns()).toBe(0);
  });
});

describe("n8n's troubleshooting: Invalid Amount", () => {
  const wrong: [string, () => unknown][] = [
    ["NaN", () => Number.NaN],
    ["a fraction", () => 1.5],
    ["a negative", () => -1],
    ["past MAX_SAFE_INTEGER", () => 2 ** 53],
    ["a string", () => "3"],
    ["nothing", () => undefined],
    ["a promise", async () => 3],
    ["a promise that rejects", () => Promise.reject(new Error("late"))],
    [
      "a throw",
      () => {
        throw new TypeError("usage is undefined");
      },
    ],
  ];
  test.each(wrong)("a price that is %s is unresolved with price-error", async (_name, price) => {
    let runs = 0;
    const counted = () => {
      runs += 1;
      return price() as number;
    };
    const api = await meteredApi(
      { routes: { "POST /": { hold: 1, price: counted } } },
      (app, meter) => {
        app.use(meter);
        app.post("/", ok);
      },
    );
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.flush();
    expect(runs).toBe(1);
    expect(api.settled).toMatchObject([{ status: "unresolved", error: { reason: "price-error" } }]);
    expect(api.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
    expect(api.ledger.requests().redeem).toEqual({});
  });
});

describe("routes that no row names", () => {
  test("are free by default", async () => {
    const api = await meteredApi({ routes: { "POST /paid": 1 } }, (app, meter) => {
      app.use(meter);
      app.get("/free", (_req, res) => void res.json({ locals: Object.keys(res.locals) }));
    });
    const response = await request(api.url).get("/free").expect(200);
    expect(response.body.locals).not.toContain("redemption");
    expect(response.headers).not.toHaveProperty("redemption-id");
  });

  test('can be refused, except the ones that are "free"', async () => {
    const api = await meteredApi(
      { routes: { "GET /free": "free" }, unlisted: "refuse" },
      (app, meter) => {
        app.use(meter);
        app.get("/free", ok);
        app.get("/other", ok);
      },
    );
    await request(api.url).get("/free").expect(200);
    const response = await request(api.url).get("/other").expect(403);
    expect(response.body).toMatchObject({ code: "route-unlisted", status: 403 });
  });
});

describe("the log", () => {
  test("has one line a redemption, at the level of its outcome", async () => {
    const api = await meteredApi({ routes: { "POST /": 3, "POST /skip": 0 } }, (app, meter) => {
      app.use(meter);
      app.post(["/", "/skip"], ok);
    });
    const pay = (path = "/") => request(api.url).post(path).set(payment).expect(200);
    await pay();
    await api.meter.flush();
    api.ledger.failNext("refuse-before-applying", { status: 402 });
    await pay();
    await api.meter.flush();
    api.ledger.failNext("drop-after-applying");
    await pay();
    await api.meter.flush();
    await pay("/skip");
    await api.meter.flush();
    expect(api.lines.map(({ level, fields }) => [level, fields.status, fields.reason])).toEqual([
      ["info", "completed", undefined],
      ["error", "failed", "insufficient-credits"],
      ["warn", "unresolved", "answer-lost"],
      ["debug", "skipped", "price-zero"],
    ]);
    expect(api.lines[0]?.fields).toEqual({
      redemptionId: api.settled[0]?.redemptionId,
      status: "completed",
      planId: plan,
      holderAddress: holder,
      route: "POST /",
      environment: "test",
      requestedAmount: 3,
      redeemedAmount: 3,
      remainingBalance: 97,
    });
  });

  test("warns of a charge that came out short", async () => {
    const api = await meteredApi(
      { routes: { "POST /": 3 } },
      (app, meter) => {
        app.use(meter);
        app.post("/", ok);
      },
      { ledger: { plans: { [plan]: { maxPerRedeem: 2 } } } },
    );
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.flush();
    expect(api.settled).toMatchObject([
      {
        status: "completed",
        short: true,
        redemption: { requestedAmount: 3, redeemedAmount: 2, remainingBalance: 98 },
      },
    ]);
    expect(api.lines).toMatchObject([{ level: "warn", fields: { redeemedAmount: 2 } }]);
  });

  test("survives a listener that throws or rejects, and tells", async () => {
    const api = await meteredApi({ routes: { "POST /": 1 } }, (app, meter) => {
      meter.on("redemption", () => {
        throw new Error("thrown");
      });
      meter.on("redemption", () => Promise.reject(new Error("rejected")));
      app.use(meter);
      app.post("/", ok);
    });
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.flush();
    await tick();
    const errors = api.lines.filter(({ level }) => level === "error");
    expect(errors.map(({ fields }) => (fields.err as Error).message)).toEqual([
      "thrown",
      "rejected",
    ]);
    expect(api.settled).toMatchObject([{ status: "completed" }]);
  });

  test("names rows that never matched, at close", async () => {
    const api = await meteredApi({ routes: { "POST /": 1, "POST /misspelt": 1 } }, (app, meter) => {
      app.use(meter);
      app.post("/", ok);
    });
    await request(api.url).post("/").set(payment).expect(200);
    await api.meter.close();
    expect(api.lines.at(-1)).toMatchObject({
      level: "warn",
      fields: { routes: ["POST /misspelt"] },
    });
  });

  test("tells once of a path that was rewritten behind the meter", async () => {
    const api = await meteredApi({ routes: { "GET /paid": 1 } }, (app, meter) => {
      app.use(meter);
      app.use((req, _res, next) => {
        if (req.url === "/alias") req.url = "/paid";
        next();
      });
      app.get("/paid", ok);
    });
    await request(api.url).get("/alias").expect(200);
    await request(api.url).get("/alias").expect(200);
    expect(api.lines).toMatchObject([
      { level: "warn", fields: { method: "GET", path: "/alias", reached: "GET /paid" } },
    ]);
  });

  test("never holds a proof or a key, whatever the ledger answers", async () => {
    const api = await meteredApi({ routes: { "POST /": 1 } }, (app, meter) => {
      app.use(meter);
      app.post("/", ok);
    });
    const faults = [
      "drop-after-applying",
      "error-before-applying",
      "refuse-before-applying",
      "garbage-before-applying",
    ] as const;
    for (const fault of faults) {
      api.ledger.failNext(fault);
      await request(api.url).post("/").set(payment).expect(200);
      await api.meter.flush();
    }
    await request(api.url)
      .post("/")
      .set({ ...payment, "Nevermined-Plan-Id": "another" })
      .expect(402);
    await api.meter.close();
    const said = JSON.stringify([api.lines, api.settled]);
    expect(said).not.toContain(secretProof);
    expect(said).not.toContain(secretKey);
    expect(api.settled).toHaveLength(faults.length);
  });
});

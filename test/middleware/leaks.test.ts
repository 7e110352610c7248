/** Holds and places end with the request, whatever events do not come and whatever throws (A2, E9). */

import { setImmediate as tick } from "node:timers/promises";
import express, { type Request, type Response } from "express";
import request from "supertest";
import { expect, onTestFinished, test, vi } from "vitest";
import { meteredApi, payment } from "../support/api.ts";
import { connect, deferred } from "../support/server.ts";

/** Holders have 100 credits: what keeps a hold keeps the next request out. */
const price = 60;

/** Catches what would end the process, in place of the test runner. */
function uncaught(): unknown[] {
  const caught: unknown[] = [];
  const before = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => caught.push(error));
  onTestFinished(() => {
    process.removeAllListeners("uncaughtException");
    for (const listener of before) process.on("uncaughtException", listener);
  });
  return caught;
}

test.each([
  ["a hold", {}],
  ["a place", { maxUnderWay: 1 }],
])(
  "%s ends with the socket where a parsed body is all that its request had",
  async (_what, options) => {
    const paid = deferred();
    const closed = deferred();
    const gate = deferred();
    const api = await meteredApi({ routes: { "POST /paid": price }, ...options }, (app, meter) => {
      app.use((req, _res, next) => {
        req.socket.once("close", () => setImmediate(closed.resolve));
        next();
      });
      app.use(express.json(), meter);
      app.get("/slow", () => {});
      app.post("/paid", async (_req, res) => {
        paid.resolve();
        await gate.promise;
        res.json({});
      });
    });
    const client = await connect(api.port, payment);
    const body = '{"a":1}';
    const headers = Object.entries({
      ...payment,
      Host: "test",
      "Content-Type": "application/json",
      "Content-Length": String(body.length),
    });
    const head = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    client.socket.write(
      `GET /slow HTTP/1.1\r\nHost: test\r\n\r\nPOST /paid HTTP/1.1\r\n${head}\r\n${body}`,
    );
    await paid.promise;
    client.socket.resetAndDestroy();
    await closed.promise;
    gate.resolve();
    // The place is free with the journal's acknowledgement.
    await vi.waitFor(() => expect(api.meter.health().accepting).toBe(true));
    await request(api.url).post("/paid").set(payment).send({}).expect(200);
  },
);

test("a hold ends where the request's own objects refuse what the meter writes on them", async () => {
  const api = await meteredApi({ routes: { "POST /paid": price } }, (app, meter) => {
    app.use((req, res, next) => {
      if (req.headers["x-freeze"] === "locals") Object.freeze(res.locals);
      next();
    });
    app.use(meter);
    app.post("/paid", (_req, res) => void res.json({}));
  });
  const ask = () => request(api.url).post("/paid").set(payment);
  await ask().set("X-Freeze", "locals").expect(500);
  await ask().expect(200);
});

test("a hold ends where another listener for the end of the response throws", async () => {
  const caught = uncaught();
  const api = await meteredApi({ routes: { "POST /paid": price } }, (app, meter) => {
    app.use((_req, res, next) => {
      res.once("finish", () => {
        throw new Error("as was asked for");
      });
      next();
    });
    app.use(meter);
    app.post("/paid", (_req, res) => void res.json({}));
  });
  await request(api.url).post("/paid").set(payment).expect(200);
  await api.meter.flush();
  expect(api.settled).toMatchObject([{ status: "completed" }]);
  expect(caught).toHaveLength(1);
});

test("what fails at the end of a response ends its hold, is told, and does not end the process", async () => {
  const caught = uncaught();
  const finished = deferred();
  const api = await meteredApi({ routes: { "POST /paid": price } }, (app, meter) => {
    app.use(meter);
    app.post("/paid", (req: Request, res: Response) => {
      if (req.headers["x-freeze"]) Object.freeze(res.locals.redemption);
      res.once("finish", finished.resolve);
      res.json({});
    });
  });
  await request(api.url).post("/paid").set(payment).set("X-Freeze", "yes").expect(200);
  await finished.promise;
  await tick();
  expect(caught).toEqual([]);
  expect(api.lines.filter(({ level }) => level === "error")).toHaveLength(1);
  await request(api.url).post("/paid").set(payment).expect(200);
});

/** Express behind something that is not Node's HTTP server, or inside of another framework. */

import fastifyExpress from "@fastify/express";
import express from "express";
import fastify from "fastify";
import { expect, onTestFinished, test } from "vitest";
import { type CreditMeterOptions, creditMeter } from "../../src/index.ts";
import { fundedLedger, keepLines, meterOptions, payment } from "../support/api.ts";
import { expectNothingLeft } from "./harness.ts";

/** A ledger and a meter for an application that something else will serve. */
async function world(options: Partial<CreditMeterOptions>) {
  const ledger = await fundedLedger(100);
  const { lines, logger } = keepLines();
  const meter = creditMeter({ ...meterOptions(ledger), logger, ...options });
  onTestFinished(async () => {
    await meter.close({ deadlineMs: 0 });
  });
  return { ledger, meter, lines };
}

test("@fastify/express: charged as under Express", async () => {
  const { ledger, meter } = await world({ routes: { "GET /paid": 2 } });
  const server = fastify();
  onTestFinished(() => server.close());
  await server.register(fastifyExpress);
  server.use(meter);
  server.get("/paid", async () => ({ answer: 42 }));
  const url = await server.listen({ port: 0, host: "127.0.0.1" });
  const paid = await fetch(`${url}/paid`, { headers: payment });
  expect(await paid.json()).toEqual({ answer: 42 });
  expect((await fetch(`${url}/paid`)).status).toBe(402);
  await meter.flush();
  expect(ledger.burns().map(({ amount }) => amount)).toEqual([2]);
  expectNothingLeft(meter);
});

/** An event as AWS's API Gateway hands it to a function. */
const event = (headers: Record<string, string>) => ({
  version: "2.0",
  routeKey: "$default",
  rawPath: "/paid",
  rawQueryString: "",
  headers,
  requestContext: {
    http: { method: "GET", path: "/paid", protocol: "HTTP/1.1", sourceIp: "127.0.0.1" },
    stage: "$default",
  },
  isBase64Encoded: false,
});

const lowerCase = Object.fromEntries(
  Object.entries(payment).map(([name, value]) => [name.toLowerCase(), value]),
);

function paidApp(meter: express.RequestHandler) {
  const app = express();
  app.set("env", "test");
  app.use(meter);
  app.get("/paid", (_req, res) => res.json({ answer: 42 }));
  return app;
}

/** What an adapter makes of an application: a function of an event. */
type Handle = (event: unknown, context: unknown) => Promise<{ statusCode: number; body: string }>;

const adapters: Record<string, (app: express.Express) => Promise<Handle>> = {
  async "serverless-http"(app) {
    const { default: serverless } = await import("serverless-http");
    return serverless(app as never) as unknown as Handle;
  },
  async "@codegenie/serverless-express"(app) {
    const { default: serverless } = (await import("@codegenie/serverless-express")) as unknown as {
      default: (options: { app: express.Express }) => Handle;
    };
    return serverless({ app });
  },
};

test.fails.each(Object.entries(adapters))(
  "%s: charged, and refused without a payment",
  async (_name, adapt) => {
    const { ledger, meter } = await world({ routes: { "GET /paid": 2 } });
    const handle = await adapt(paidApp(meter));
    const paid = await handle(event(lowerCase), {});
    expect([paid.statusCode, JSON.parse(paid.body)]).toEqual([200, { answer: 42 }]);
    expect((await handle(event({}), {})).statusCode).toBe(402);
    // A function may be frozen when it has answered: it waits for its charges before.
    await meter.flush();
    expect(ledger.burns().map(({ amount }) => amount)).toEqual([2]);
    expectNothingLeft(meter);
  },
);

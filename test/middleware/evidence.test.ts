/** Where nobody can tell what became of a response, nothing is given away (E1). */

import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import express, { type Express, type Request, type Response } from "express";
import { describe, expect, onTestFinished, test } from "vitest";
import { creditMeter } from "../../src/index.ts";
import {
  fundedLedger,
  keepLines,
  meteredApi,
  meterOptions,
  payment,
  secretKey,
  secretProof,
} from "../support/api.ts";
import { connect, deferred } from "../support/server.ts";

const isExpress4 = "lazyrouter" in express.application;

/** A metered application that another kind of server than Node's of HTTP/1 calls. */
async function bridged(make: (given: typeof express) => Express) {
  const ledger = await fundedLedger(5);
  const { lines, logger } = keepLines();
  const meter = creditMeter({
    ...meterOptions(ledger),
    logger,
    routes: { "GET /paid": 3, "GET /free": "free" },
  });
  onTestFinished(async () => {
    await meter.close({ deadlineMs: 0 });
  });
  const ran: string[] = [];
  const app = make(express);
  app.use(meter);
  for (const path of ["/paid", "/free"]) {
    app.get(path, (_req: Request, res: Response) => {
      ran.push(path);
      res.send("the whole answer");
    });
  }
  return { app, ledger, lines, ran, meter };
}

describe.runIf(isExpress4)("HTTP/2 by a compatibility layer", () => {
  test("is refused where an answer costs something, and told once", async () => {
    const { default: bridge } = await import("http2-express-bridge");
    const { app, ledger, lines, ran } = await bridged((given) => bridge(given) as Express);
    const server = http2.createServer({}, app as never);
    // What TLS would have agreed on.
    server.on("connection", (socket: Socket) => Object.assign(socket, { alpnProtocol: "h2c" }));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    onTestFinished(() => {
      client.destroy();
      server.close();
    });
    const ask = async (path: string) => {
      const stream = client.request({ ":path": path, ...payment });
      let body = "";
      stream.setEncoding("utf8").on("data", (chunk) => {
        body += chunk;
      });
      const [[headers]] = await Promise.all([once(stream, "response"), once(stream, "end")]);
      return { status: headers[":status"], body };
    };
    for (let times = 0; times < 3; times += 1) {
      const { status, body } = await ask("/paid");
      expect(status).toBe(501);
      expect(JSON.parse(body)).toMatchObject({ code: "delivery-untold", status: 501 });
    }
    expect(await ask("/free")).toEqual({ status: 200, body: "the whole answer" });
    expect(ran).toEqual(["/free"]);
    expect(ledger.countBurns()).toBe(0);
    expect(lines.filter(({ message }) => message.includes("HTTP/2"))).toHaveLength(1);
  });
});

describe("an adapter whose socket counts nothing", () => {
  const adapters: [string, object][] = [
    // As serverless-http makes it.
    ["is no emitter", { encrypted: true, readable: false, destroy: () => {}, end: () => {} }],
    // As spdy makes it on current versions of Node.
    ["counts no bytes", Object.assign(new http.Agent(), { destroyed: false, errored: null })],
  ];
  test.each(adapters)("%s: refused", async (_name, socket) => {
    const { app, ledger, ran } = await bridged((given) => given());
    const req = new http.IncomingMessage(socket as Socket);
    const headers = Object.entries({ Host: "test", ...payment });
    Object.assign(req, {
      method: "GET",
      url: "/paid",
      httpVersion: "1.1",
      httpVersionMajor: 1,
      httpVersionMinor: 1,
      headers: Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value])),
      rawHeaders: headers.flat(),
    });
    const res = new http.ServerResponse(req);
    const ended = deferred();
    const end = res.end;
    res.end = function (this: typeof res, ...args: unknown[]) {
      ended.resolve();
      return Reflect.apply(end, this, args);
    } as typeof res.end;
    app(req as Request, res as Response);
    await ended.promise;
    expect(res.statusCode).toBe(501);
    expect(ran).toEqual([]);
    expect(ledger.countBurns()).toBe(0);
  });
});

test("a websocket that an application routes to a priced row is refused", async () => {
  const ran: string[] = [];
  const api = await meteredApi({ routes: { "GET /paid": 60 } }, (app, meter) => {
    app.use(meter);
    app.get("/paid", (_req, res) => {
      ran.push("/paid");
      res.end();
    });
  });
  const server = http.createServer(api.app);
  const statuses: number[] = [];
  server.on("upgrade", (req, socket: Socket) => {
    // As express-ws does.
    const res = new http.ServerResponse(req);
    const end = res.end;
    res.end = function (this: typeof res, ...args: unknown[]) {
      statuses.push(res.statusCode);
      socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
      return Reflect.apply(end, this, args);
    } as typeof res.end;
    api.app(req as Request, res as Response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  for (let times = 0; times < 2; times += 1) {
    const client = await connect((server.address() as AddressInfo).port, {
      ...payment,
      Connection: "Upgrade",
      Upgrade: "websocket",
    });
    client.send("GET /paid");
    await client.received("400");
  }
  expect(statuses).toEqual([501, 501]);
  expect(ran).toEqual([]);
});

test("a response of which nobody can tell any more what was delivered is not free", async () => {
  const api = await meteredApi({ routes: { "GET /": 3 } }, (app, meter) => {
    app.use(meter);
    app.get("/", (req, res) => {
      // As a library that takes the socket over might leave it.
      res.write("the whole answer");
      Object.defineProperty(req.socket, "bytesWritten", { value: undefined });
    });
  });
  const client = await connect(api.port, payment);
  client.send("GET /");
  await client.received("the whole answer");
  client.socket.destroy();
  const settled = new Promise((resolve) => api.meter.on("redemption", resolve));
  await settled;
  expect(api.settled).toMatchObject([
    { status: "unresolved", error: { reason: "delivery-unconfirmed" } },
  ]);
  expect(JSON.stringify(api.lines)).not.toContain(secretProof);
  expect(JSON.stringify(api.lines)).not.toContain(secretKey);
});

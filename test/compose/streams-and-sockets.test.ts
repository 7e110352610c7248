/** Files, proxies and WebSockets beside the meter, in the same application and on the same server. */

import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import express from "express";
import expressWs from "express-ws";
import { createProxyMiddleware } from "http-proxy-middleware";
import serveStatic from "serve-static";
import { Server as SocketServer } from "socket.io";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { meteredApi, payment } from "../support/api.ts";
import { listen } from "../support/server.ts";
import { compare, expectNothingLeft } from "./harness.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "compose-"));
  await writeFile(path.join(folder, "a.txt"), "0123456789".repeat(1_000));
});
afterAll(() => rm(folder, { recursive: true }));

test("serve-static: whole files, ranges, and what has not changed", async () => {
  const whole = { path: "/files/a.txt" };
  const { answers } = await compare({
    build(app, { meter }) {
      app.use(meter);
      app.use("/files", serveStatic(folder));
    },
    options: { routes: { "GET /files/*path": 2 } },
    calls: [
      whole,
      { ...whole, headers: { range: "bytes=10-19" } },
      { ...whole, headers: { range: "bytes=0-4,20-24" } },
      { ...whole, headers: { range: "bytes=999999-" } },
      { ...whole, headers: { "if-modified-since": new Date(Date.now() + 1_000).toUTCString() } },
      { ...whole, method: "HEAD" },
      { path: "/files/none.txt" },
    ],
    // 206 is a success; 416, 304, HEAD and 404 are free. Several ranges are answered with the whole.
    charged: [2, 2, 2],
  });
  expect(answers.map(({ status }) => status)).toEqual([200, 206, 200, 416, 304, 200, 404]);
});

/** An API that streams, and one path of it that dies in mid-stream. */
function upstream() {
  const api = express();
  api.post("/v1/echo", (req, res) => {
    req.pipe(res);
  });
  api.get("/v1/stream", async (_req, res) => {
    for (let index = 0; index < 5; index += 1) {
      res.write(`data: ${index}\n\n`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    res.end();
  });
  api.get("/v1/dies", (_req, res) => {
    res.write("data: 0\n\n");
    setImmediate(() => res.socket?.destroy());
  });
  return listen(api);
}

test("http-proxy-middleware: bodies and streams of an upstream", async () => {
  const { url } = await upstream();
  await compare({
    build(app, { meter }) {
      app.use(meter);
      app.use(createProxyMiddleware({ target: url }));
    },
    options: { routes: { "POST /v1/echo": 1, "GET /v1/stream": 2 } },
    calls: [
      { method: "POST", path: "/v1/echo", body: "a body" },
      { path: "/v1/stream" },
      { path: "/v1/none" },
    ],
    charged: [1, 2],
  });
});

test("http-proxy-middleware: an upstream that dies in mid-stream is not charged, with the recipe", async () => {
  const { url } = await upstream();
  const {
    meter,
    ledger,
    settled,
    url: api,
  } = await meteredApi({ routes: { "GET /v1/dies": 2 } }, (app, mounted) => {
    app.use(mounted);
    app.use(
      createProxyMiddleware({
        target: url,
        on: {
          proxyRes: (proxyRes, _req, res) => {
            proxyRes.once("aborted", () => (res as http.ServerResponse).destroy());
          },
        },
      }),
    );
  });
  const answer = await fetch(`${api}/v1/dies`, { headers: payment });
  await expect(answer.text()).rejects.toThrow();
  await meter.flush();
  expect(ledger.burns()).toEqual([]);
  expect(settled.map(({ status, error }) => [status, error?.reason])).toEqual([
    ["skipped", "cut-by-server"],
  ]);
  expectNothingLeft(meter);
});

test("express-ws: the upgrade passes the meter, and leaves nothing behind", async () => {
  const seen: string[] = [];
  const { meter, ledger, port } = await meteredApi({ routes: { "GET /paid": 1 } }, () => {});
  const app = express();
  const server = http.createServer(app);
  expressWs(app, server);
  app.use(meter);
  (app as unknown as expressWs.Application).ws("/socket", (socket) => {
    socket.on("message", (message) => {
      seen.push(String(message));
      socket.send("answered");
    });
  });
  app.get("/paid", (_req, res) => res.json({}));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const own = (server.address() as AddressInfo).port;
  expect(own).not.toBe(port);
  const { WebSocket } = await import("undici");
  const socket = new WebSocket(`ws://127.0.0.1:${own}/socket`);
  await once(socket as unknown as EventTarget, "open");
  socket.send("asked");
  await once(socket as unknown as EventTarget, "message");
  socket.close();
  await once(socket as unknown as EventTarget, "close");
  const answer = await fetch(`http://127.0.0.1:${own}/paid`, { headers: payment });
  expect(answer.status).toBe(200);
  await meter.flush();
  expect(seen).toEqual(["asked"]);
  expect(ledger.burns().map(({ amount }) => amount)).toEqual([1]);
  expectNothingLeft(meter);
});

test("socket.io on the same server: its polling passes by, and the meter charges the rest", async () => {
  await compare({
    build(app, { meter }) {
      app.use(meter);
      app.get("/paid", (_req, res) => res.json({}));
    },
    serve(app) {
      const server = http.createServer(app);
      const io = new SocketServer(server);
      onTestFinished(async () => {
        await io.close();
      });
      return server;
    },
    options: { routes: { "GET /paid": 1 }, unlisted: "refuse" },
    calls: [{ path: "/paid" }, { path: "/paid" }],
    charged: [1, 1],
  });
});

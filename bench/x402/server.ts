/** The server, in a process of its own: one API three times, bare, behind the meter, and behind `@x402/express`. */

import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import express, { type RequestHandler } from "express";
import { creditMeter } from "../../dist/index.js";
import {
  type FromServer,
  price,
  type ServerSettings,
  type ToServer,
  type Variant,
} from "./messages.ts";
import { createNeighbour } from "./neighbour.ts";

const settings: ServerSettings = JSON.parse(process.argv[2] ?? "");
const quiet = () => {};
const meter = creditMeter({
  protocol: "x402",
  x402: { publicUrl: "http://127.0.0.1" },
  apiKey: settings.apiKey,
  environment: { name: "bench", baseUrl: settings.baseUrl },
  plans: [settings.offer.planId],
  routes: { "GET /*path": price },
  journal: settings.journal,
  logger: { debug: quiet, info: quiet, warn: quiet, error: quiet },
});
let became: string[] = [];
meter.on("redemption", ({ status }) => became.push(status));

let handled = 0;
const small: RequestHandler = (_req, res) => {
  handled += 1;
  res.json({ answer: "a credit is what this costs" });
};
const stream: RequestHandler = async (_req, res) => {
  handled += 1;
  const { chunks, everyMs } = settings.stream;
  res.type("text/event-stream");
  for (let written = 0; written < chunks; written += 1) {
    if (written > 0) await sleep(everyMs);
    res.write(`data: {"word":${written}}\n\n`);
  }
  res.end();
};

const before: Record<Variant, RequestHandler[]> = {
  bare: [],
  meter: [meter],
  "x402-express": [createNeighbour("GET /*", settings.offer, settings)],
};
const servers: http.Server[] = [];

async function listen(middleware: RequestHandler[]): Promise<number> {
  const app = express();
  for (const one of middleware) app.use(one);
  app.get("/small", small);
  app.get("/stream", stream);
  const server = http.createServer(app);
  // The connections of those whose turn it is not must stay.
  server.keepAliveTimeout = 60_000;
  servers.push(server.listen(0, "127.0.0.1"));
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

const tell = (message: FromServer) => void process.send?.(message);
process.on("message", async ({ kind }: ToServer) => {
  await meter.flush();
  if (kind === "look") {
    tell({ kind: "looked", handled, became });
    became = [];
    return;
  }
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  await meter.close({ deadlineMs: 2_000 });
  if (process.connected) process.disconnect();
});
// Nobody stays when the parent has gone.
process.once("disconnect", () => setTimeout(() => process.exit(), 3_000).unref());

const [bare, metered, neighbour] = [
  await listen(before.bare),
  await listen(before.meter),
  await listen(before["x402-express"]),
];
tell({ kind: "listening", ports: { bare, meter: metered, "x402-express": neighbour } });

/**
 * The server, in a process of its own: an Express application that streams events of a chat completion,
 * bare on one path and behind the meter on the other.
 */

import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import express, { type RequestHandler } from "express";
import { creditMeter } from "../../dist/index.js";
import { tokens } from "../../dist/usage/index.js";
import type { FromServer, ServerSettings, ToServer } from "./messages.ts";

const settings: ServerSettings = JSON.parse(process.argv[2] ?? "");
const quiet = () => {};
const meter = creditMeter({
  apiKey: settings.apiKey,
  environment: { name: "bench", baseUrl: settings.baseUrl },
  plans: [settings.plan],
  routes: { "POST /metered": { hold: 1, price: tokens({ input: 1, output: 1 }) } },
  journal: settings.journal,
  guard: { balanceTtlMs: 3_600_000 },
  logger: { debug: quiet, info: quiet, warn: quiet, error: quiet },
});
let charged = 0;
meter.on("redemption", ({ status }) => {
  if (status === "completed") charged += 1;
});

const event = (fields: string) => `data: {"model":"m",${fields}}\n\n`;
const delta = (text: string) => event(`"choices":[{"index":0,"delta":{"content":"${text}"}}]`);
const chunk = delta("word ".repeat(settings.eventBytes).slice(0, room()));
const used = '"usage":{"prompt_tokens":12,"completion_tokens":340,"total_tokens":352}';
const last = `${event(`"choices":[],${used}`)}data: [DONE]\n\n`;

function room(): number {
  return Math.max(0, settings.eventBytes - delta("").length);
}

/** Writes events one by one: at a pace, as an upstream that waits for nobody, or as fast as they are taken. */
const stream: RequestHandler = (req, res) => {
  const events = Number(req.query.events);
  const everyMs = Number(req.query.everyMs);
  const began = performance.now();
  let written = 0;
  res.type("text/event-stream");

  function atPace() {
    const due = Math.min(events, 1 + Math.floor((performance.now() - began) / everyMs));
    for (; written < due; written += 1) res.write(chunk);
    if (written < events) return;
    clearInterval(timer);
    res.end(last);
  }

  function atOnce() {
    if (written === events) return void res.end(last);
    written += 1;
    if (res.write(chunk)) setImmediate(atOnce);
    else res.once("drain", atOnce);
  }

  const timer = everyMs > 0 ? setInterval(atPace, everyMs) : undefined;
  if (timer) atPace();
  else atOnce();
};

const app = express();
app.disable("x-powered-by");
app.post("/bare", stream);
app.post("/metered", meter, stream);
const server = http.createServer(app);
server.keepAliveTimeout = 60_000;

const tell = (message: FromServer) => void process.send?.(message);

process.on("message", async ({ kind }: ToServer) => {
  // What the charges cost belongs to the answers that they are for.
  await meter.flush();
  if (kind === "measure") {
    const { user, system } = process.cpuUsage();
    return tell({ kind: "measured", cpu: user + system, charged });
  }
  server.close();
  server.closeAllConnections();
  await meter.close({ deadlineMs: 2_000 });
  if (process.connected) process.disconnect();
});
// Nobody stays when the parent has gone.
process.once("disconnect", () => setTimeout(() => process.exit(), 3_000).unref());

server.listen(0, "127.0.0.1");
await once(server, "listening");
tell({ kind: "listening", port: (server.address() as AddressInfo).port });

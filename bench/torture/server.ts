/** The process that is killed: a metered API with the package's defaults, but for shorter waits. */

import type { Worker } from "node:worker_threads";
import express from "express";
import { creditMeter } from "../../src/index.ts";
import { monotonicMs } from "./clock.ts";
import type { FromServer, ServerSettings, ToServer } from "./messages.ts";
import { shiftClock } from "./wall-clock.ts";

const settings = JSON.parse(process.argv[2] ?? "") as ServerSettings;

/** The meter does not tell which thread is its own: whatever was started last is. */
let worker: Worker | undefined;
process.on("worker", (started) => {
  worker = started;
});

const quiet = () => {};
const loud = (fields: object, line: string) => {
  const { err } = fields as { err?: unknown };
  // Every charge that fails is an error line of its own; here they are counted, not read.
  if (!("redemptionId" in fields)) console.error(`server ${settings.life}:`, line, err ?? "");
};
const meter = creditMeter({
  apiKey: settings.apiKey,
  environment: { name: "torture", baseUrl: settings.baseUrl },
  plans: [settings.plan],
  protocol: settings.protocol,
  ...(settings.protocol === "x402" && { x402: { publicUrl: "https://torture.example" } }),
  routes: {
    "POST /credits/1/:request": 1,
    "POST /credits/2/:request": 2,
    "POST /credits/3/:request": 3,
    "POST /credits/4/:request": 4,
    "POST /credits/5/:request": 5,
    "POST /broken": 5,
  },
  journal: settings.journal,
  durability: settings.durability,
  ...(settings.idempotentMs !== null && { idempotent: { windowMs: settings.idempotentMs } }),
  concurrency: settings.concurrency,
  perHolder: settings.perHolder,
  circuit: settings.circuit,
  timeoutMs: settings.timeoutMs,
  backoff: settings.backoff,
  exitWaitMs: settings.exitWaitMs,
  logger: { debug: quiet, info: quiet, warn: quiet, error: loud },
});

const app = express();
app.disable("x-powered-by");
app.use(meter);
app.post("/credits/:amount/:request", (_req, res) => {
  const redemptionId = res.locals.redemption?.redemptionId;
  res.json({ redemptionId, answeredAt: monotonicMs(), life: settings.life });
});
app.post("/broken", (_req, res) => {
  res.status(500).json({ life: settings.life });
});

/** What is said after the end is heard by nobody. */
const tell = (message: FromServer) => process.send?.(message, undefined, undefined, () => {});

process.on("message", async (message: ToServer) => {
  switch (message.kind) {
    case "health":
      tell({ kind: "health", health: meter.health() });
      break;
    case "flush":
      await meter.flush();
      tell({ kind: "flushed" });
      break;
    case "exit":
      process.exit(0);
      break;
    case "throw":
      setImmediate(() => {
        throw new Error("An exception that nobody catches, as was asked for.");
      });
      break;
    case "end-worker":
      // It dies of an exception, as it would of a fault of its own. Not `terminate()`: that stops it within
      // a call of the SQLite driver, which then ends the whole process.
      worker?.postMessage(null);
      await new Promise((resolve) => worker?.once("exit", resolve));
      tell({ kind: "worker-ended" });
      break;
    case "shift-clock":
      shiftClock(message.ms);
      break;
    case "close": {
      server.close();
      const { left } = await meter.close({ deadlineMs: 10_000 });
      const known = left.map(({ redemptionId, status }) => `${redemptionId} ${status}`);
      tell({ kind: "closed", left: known });
      process.disconnect();
      server.closeAllConnections();
    }
  }
});
// A parent that dies takes its servers along.
process.on("disconnect", () => setTimeout(() => process.exit(0), 2_000).unref());

const server = app.listen(settings.port, "127.0.0.1", () => tell({ kind: "ready" }));

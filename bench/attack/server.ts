/** The metered API that is killed: a process of its own, with a journal that outlives it. */

import type { AddressInfo } from "node:net";
import express from "express";
import { creditMeter, type GuardSettings } from "../../src/index.ts";
import { numberHeader, plan } from "./crowd.ts";
import { quietLogger } from "./quiet.ts";

export interface ServerSettings {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly journal: string;
  readonly guard: GuardSettings;
  readonly price: number;
  readonly concurrency: number;
}

export interface FromServer {
  readonly kind: "ready";
  readonly port: number;
}

/** What `GET /state` answers. */
export interface ServerState {
  /** Numbers of the requests whose handlers ran. */
  readonly ran: readonly number[];
  /** Redemptions in the journal, by status. */
  readonly journal: Readonly<Record<string, number>>;
}

const settings: ServerSettings = JSON.parse(process.argv[2] ?? "");
const { price, guard, journal, apiKey, baseUrl, concurrency } = settings;
const meter = creditMeter({
  apiKey,
  environment: { name: "attacked", baseUrl },
  plans: [plan],
  routes: { "POST /call": price, "POST /hang": price },
  guard,
  journal,
  concurrency,
  backoff: { baseMs: 1, maxMs: 50 },
  inline: true,
  logger: quietLogger,
});
const ran = new Set<number>();
const app = express();

app.get("/state", async (_req, res) => {
  const counts: Record<string, number> = {};
  let after: number | null = 0;
  while (after !== null) {
    const page: Awaited<ReturnType<typeof meter.redemptions.list>> = await meter.redemptions.list({
      after,
      limit: 1_000,
    });
    for (const { status } of page.redemptions) counts[status] = (counts[status] ?? 0) + 1;
    after = page.next;
  }
  res.json({ ran: [...ran], journal: counts } satisfies ServerState);
});
app.use(meter);
app.use((req, _res, next) => {
  ran.add(Number(req.get(numberHeader)));
  next();
});
app.post("/call", (_req, res) => void res.json({ answer: 42 }));
// Under way until the process is killed.
app.post("/hang", () => {});

const server = app.listen(0, "127.0.0.1", () => {
  process.send?.({ kind: "ready", port: (server.address() as AddressInfo).port });
});

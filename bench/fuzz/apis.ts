/** The two APIs that are under fire, each behind a meter, on one embedded ledger. */

import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import express, { type ErrorRequestHandler, type Express } from "express";
import { type CreditMeter, type CreditMeterOptions, creditMeter } from "../../src/index.ts";
import { createLedger } from "../../src/ledger/index.ts";
import type { HostileRequest } from "./requests.ts";
import { holders, plans } from "./values.ts";

export interface Apis {
  readonly ports: Readonly<Record<HostileRequest["to"], number>>;
  /** Resolves when every charge is settled. */
  settle(): Promise<void>;
  /** Charges that the ledger applied. */
  burns(): number;
  close(): Promise<void>;
}

const credits = 1_000_000_000;

/** @param onFault hears what must not happen: a 500, a log line that is an error, an unpaid delivery */
export async function startApis(onFault: (fault: string) => void): Promise<Apis> {
  const ledger = await createLedger();
  for (const planId of plans) {
    for (const holderAddress of holders) ledger.mint({ planId, holderAddress, amount: credits });
  }
  const quiet = () => {};
  const common = {
    apiKey: ledger.key,
    environment: { name: "embedded", baseUrl: ledger.baseUrl },
    routes: {
      "POST /paid": 1,
      "POST /items/:id": 1,
      "POST /computed": { hold: 5, price: () => 1 },
    },
    // In one process with the clients, and from TypeScript.
    inline: true,
    journal: "memory",
    // So that what is kept of the newest redemptions is full before the first look at the memory.
    maxLive: 1_000,
    logger: {
      debug: quiet,
      info: quiet,
      warn: quiet,
      error: (fields: object, line: string) => onFault(`${line} ${JSON.stringify(fields)}`),
    },
  } satisfies Partial<CreditMeterOptions>;

  // Nobody passes on credit: who has none must be refused, and is asked for once a minute.
  const guard = { creditLine: 0, refusalTtlMs: 60_000 };

  const byHeaders = creditMeter({
    ...common,
    plans: [...plans],
    guard,
  });
  const headersApp = newApp();
  headersApp.use("/redemptions", byHeaders.receipts());
  headersApp.use(byHeaders);
  headersApp.use(express.json());
  addRoutes(headersApp, onFault);

  const byBody = creditMeter({
    ...common,
    plans: "any",
    payment: (req) => req.body,
    guard: { ...guard, proofs: "single-use" },
  });
  const bodyApp = newApp();
  bodyApp.use(express.json());
  bodyApp.use(byBody);
  addRoutes(bodyApp, onFault);

  const servers = [await listen(headersApp), await listen(bodyApp)];
  const [headers = 0, body = 0] = servers.map((server) => (server.address() as AddressInfo).port);
  const meters: CreditMeter[] = [byHeaders, byBody];
  return {
    ports: { headers, body },
    async settle() {
      await Promise.all(meters.map((meter) => meter.flush()));
    },
    burns: () => ledger.countBurns(),
    async close() {
      for (const server of servers) {
        server.close();
        server.closeAllConnections();
      }
      await Promise.all(meters.map((meter) => meter.close({ deadlineMs: 10_000 })));
      await ledger.close();
    },
  };
}

function newApp(): Express {
  const app = express();
  app.disable("x-powered-by");
  return app;
}

function addRoutes(app: Express, onFault: (fault: string) => void) {
  app.post(["/paid", "/items/:id", "/computed"], (req, res) => {
    if (!res.locals.redemption) onFault(`delivered unpaid: ${req.method} ${req.originalUrl}`);
    res.json({ ok: true });
  });
  const answerErrors: ErrorRequestHandler = (error, _req, res, _next) => {
    const status = error.status ?? 500;
    if (status >= 500) onFault(String(error.stack));
    res.status(status).json({ error: status });
  };
  app.use(answerErrors);
}

async function listen(app: Express): Promise<http.Server> {
  // Each client keeps two connections, and one may rest for longer than Node keeps it: what is written
  // while it closes would be missing an answer.
  const server = http.createServer({ keepAliveTimeout: 0 }, app);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** A metered API on the embedded ledger, over real sockets, for one test. */

import express, { type Express } from "express";
import { onTestFinished } from "vitest";
import {
  type CreditMeter,
  type CreditMeterOptions,
  creditMeter,
  type Redemption,
} from "../../src/index.ts";
import { createLedger, type Ledger, type LedgerOptions } from "../../src/ledger/index.ts";
import { listen } from "./server.ts";

export const plan = "105906633592154016712415751065229075315413571";
export const holder = `0x${"Ab".repeat(20)}`;
export const secretKey = "nvm:the-sellers-secret-key";
export const secretProof = "0xproof-that-nobody-may-ever-see-in-a-log";

/** The headers of a request that pays. */
export const payment: Record<string, string> = {
  "Nevermined-Plan-Id": plan,
  "Nevermined-Holder-Address": holder,
  "Nevermined-Proof": secretProof,
};

export interface Line {
  level: "debug" | "info" | "warn" | "error";
  fields: Record<string, unknown>;
  message: string;
}

/** A logger that keeps its lines. */
export function keepLines() {
  const lines: Line[] = [];
  const write = (level: Line["level"]) => (fields: object, message: string) => {
    lines.push({ level, fields: fields as Record<string, unknown>, message });
  };
  return {
    lines,
    logger: {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      error: write("error"),
    },
  };
}

/** A ledger whose holder has the credits; closed when the test ends. */
export async function fundedLedger(credits = 100, options: LedgerOptions = {}): Promise<Ledger> {
  const ledger = await createLedger({ keys: [secretKey], ...options });
  onTestFinished(() => ledger.close());
  if (credits > 0) ledger.mint({ planId: plan, holderAddress: holder, amount: credits });
  return ledger;
}

/** What a meter needs to charge at the ledger, with waits that suit a test. */
export function meterOptions(ledger: { baseUrl: string }): CreditMeterOptions {
  return {
    apiKey: secretKey,
    environment: { name: "embedded", baseUrl: ledger.baseUrl },
    plans: [plan],
    backoff: { baseMs: 1, maxMs: 5 },
    journal: "memory",
    inline: true,
  };
}

export interface MeteredApi {
  readonly app: Express;
  readonly meter: CreditMeter;
  readonly ledger: Ledger;
  readonly lines: Line[];
  readonly settled: Redemption[];
  readonly url: string;
  readonly port: number;
}

/** A meter on a ledger and an application behind it; `build` adds the routes. */
export async function meteredApi(
  options: Partial<CreditMeterOptions>,
  build: (app: Express, meter: CreditMeter) => void,
  { credits = 100, ledger: ledgerOptions = {} as LedgerOptions } = {},
): Promise<MeteredApi> {
  const ledger = await fundedLedger(credits, ledgerOptions);
  const { lines, logger } = keepLines();
  const meter = creditMeter({ ...meterOptions(ledger), logger, ...options });
  onTestFinished(async () => {
    await meter.close({ deadlineMs: 0 });
  });
  const settled: Redemption[] = [];
  meter.on("redemption", (redemption) => settled.push(redemption));
  const app = express();
  // Elsewhere Express writes what handlers throw to the console.
  app.set("env", "test");
  build(app, meter);
  return { app, meter, ledger, lines, settled, ...(await listen(app)) };
}

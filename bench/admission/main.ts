/**
 * What admission costs a request whose holder is known: the time of the guard alone, and of the whole of the middleware up to the handler, against an Express application without a meter in the same
 * run. `npm run bench:admission`, with `--json` for machines.
 */

import path from "node:path";
import express, { type Express } from "express";
import { createWaits, systemClock } from "../../dist/clock.js";
import { createGuard } from "../../dist/guard/guard.js";
import { creditMeter } from "../../dist/index.js";
import { createLedger } from "../../dist/ledger/index.js";
import { temporaryFolder } from "../../test/support/folder.ts";
import { readCommand } from "../command.ts";
import { createDriver } from "./driver.ts";

const values = readCommand(
  `Usage: npm run bench:admission -- [options]

What admission costs a request whose holder is known: about half a minute.

  --rounds N          of each measurement (7)
  --requests N        of each round, through the whole middleware (4000)
  --json              the result as JSON
`,
  {
    json: { type: "boolean", default: false },
    rounds: { type: "string", default: "7" },
    requests: { type: "string", default: "4000" },
  },
);
const rounds = Number(values.rounds);
const requests = Number(values.requests);
const plan = "105906633592154016712415751065229";
const holder = (index: number) => `0x${(index % 1_000).toString(16).padStart(40, "0")}`;
const round = (value: number) => Math.round(value * 100) / 100;
const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? 0;

/** Microseconds that the guard takes to admit a known holder and to end the hold, synchronously. */
async function guardAlone(): Promise<{ microseconds: number; questions: number }> {
  let questions = 0;
  const guard = createGuard({
    balance: "ask",
    balanceTtlMs: 3_600_000,
    refusalTtlMs: 5_000,
    creditLine: 100,
    maxExposure: 1_000,
    blockForMs: 600_000,
    onLedgerDown: "credit-line",
    maxQuestions: 8,
    ask: async () => {
      questions += 1;
      return {
        balance: { told: true, amount: 1_000_000 },
        spentBefore: null,
        account: {
          ...{ unsettled: 0, doubtful: 0, spent: 0, onWire: 0 },
          refused: { credits: null, otherwise: null },
        },
      };
    },
    share: undefined,
    onExposureReached: () => {},
    unsettledInJournal: () => 0,
    onBalance: () => {},
    waitMs: 5_000,
    clock: systemClock,
    now: Date.now,
  });
  const waits = createWaits(systemClock, 5_000);
  const payments = Array.from({ length: 1_000 }, (_, index) => ({
    planId: plan,
    holderAddress: holder(index),
    proof: "0xproof",
  }));
  for (const payment of payments) {
    const admitted = await guard.admit(payment, 1, waits);
    if ("end" in admitted) admitted.end();
  }
  const asked = questions;
  const took: number[] = [];
  for (let turn = 0; turn < rounds + 2; turn += 1) {
    const began = performance.now();
    for (let index = 0; index < 100_000; index += 1) {
      const admitted = guard.admit(payments[index % 1_000] as (typeof payments)[0], 1, waits);
      if ("end" in admitted) admitted.end();
    }
    // The first two compile it.
    if (turn > 1) took.push((performance.now() - began) / 100);
  }
  return { microseconds: median(took), questions: questions - asked };
}

/** Microseconds of the event loop for each request, one after the other, through Express's router and the handler. */
async function inExpress() {
  const folder = temporaryFolder("bench-admission-");
  const ledger = await createLedger();
  for (let index = 0; index < 1_000; index += 1) {
    ledger.mint({ planId: plan, holderAddress: holder(index), amount: 10_000_000 });
  }
  const quiet = () => {};
  const meter = creditMeter({
    apiKey: ledger.key,
    environment: { name: "bench", baseUrl: ledger.baseUrl },
    plans: [plan],
    routes: { "POST /v1/embeddings": 1 },
    // Nothing is charged here: what a charge costs is another bench's.
    chargeWhen: () => false,
    journal: path.join(folder.path, "journal.db"),
    guard: { balanceTtlMs: 3_600_000 },
    logger: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
  const bare = express();
  const metered = express();
  metered.use(meter);
  for (const app of [bare, metered] as Express[]) {
    app.disable("x-powered-by");
    app.post("/v1/embeddings", (_req, res) => void res.end("{}"));
  }
  const drive = createDriver(plan, holder);
  try {
    // Every holder is known after this, and the code is compiled.
    await drive(metered, 2_000);
    await drive(bare, 2_000);
    const asked = ledger.requests().balance[200] ?? 0;
    const costs = { bare: [] as number[], metered: [] as number[] };
    for (let turn = 0; turn < rounds; turn += 1) {
      costs.bare.push(await drive(bare, requests));
      costs.metered.push(await drive(metered, requests));
    }
    const questions = (ledger.requests().balance[200] ?? 0) - asked;
    return { bare: median(costs.bare), metered: median(costs.metered), questions };
  } finally {
    await meter.close({ deadlineMs: 1_000 });
    await ledger.close();
    folder.remove();
  }
}

const alone = await guardAlone();
const whole = await inExpress();
const result = {
  guardMicroseconds: round(alone.microseconds),
  bareMicroseconds: round(whole.bare),
  meteredMicroseconds: round(whole.metered),
  ratio: round(whole.metered / whole.bare),
  questions: alone.questions + whole.questions,
};
if (values.json) console.log(JSON.stringify(result));
else {
  console.log(`
admit and end of a hold, holder known     ${result.guardMicroseconds} µs, ${alone.questions} questions asked
a request through bare Express            ${result.bareMicroseconds} µs of the event loop, without a network
the same behind the meter, not charged    ${result.meteredMicroseconds} µs, ${result.ratio} of it, ${whole.questions} questions asked`);
}

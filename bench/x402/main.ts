/**
 * The meter with x402 beside `@x402/express`, which keeps an answer back until it is settled, at one ledger
 * in one run: how soon buyers have an answer, and what becomes of it when settle fails.
 * `npm run bench:x402`, with `--json` for machines.
 */

import path from "node:path";
import { temporaryFolder } from "../../test/support/folder.ts";
import { readCommand } from "../command.ts";
import { startChild } from "../torture/child.ts";
import { createBuyer, tokenFor } from "./buyer.ts";
import {
  type FromLedger,
  type FromServer,
  type LedgerSettings,
  type Offer,
  type ServerSettings,
  type ToLedger,
  type ToServer,
  type Variant,
  variants,
} from "./messages.ts";

import { type Failed, failures, printed, type Times, timesOf } from "./report.ts";

const values = readCommand(
  `Usage: npm run bench:x402 -- [options]

The meter with x402 beside @x402/express, at one ledger: less than a minute.

  --streams N         answers in chunks of each (9)
  --answers N         small answers of each (101)
  --ledgerMs N        how long the ledger takes for verify, and for settle (20)
  --json              the result as JSON
`,
  {
    json: { type: "boolean", default: false },
    streams: { type: "string", default: "9" },
    answers: { type: "string", default: "101" },
    ledgerMs: { type: "string", default: "20" },
  },
);
const limitMs = 60_000;
const offer: Offer = {
  scheme: "nvm:erc4337",
  network: "eip155:84532",
  planId: "105906633592154016712415751065229",
};
const paying = ["meter", "x402-express"] as const;
/** The first has the clock's requests; each failure befalls another, for who is refused is blocked. */
const holders = Array.from({ length: 1 + failures.length * paying.length }, (_, index) => {
  return `0x${index.toString(16).padStart(40, "0")}`;
});

const folder = temporaryFolder("bench-x402-");
const options = {
  preload: import.meta.resolve("tsx"),
  env: { TSX_TSCONFIG_PATH: path.resolve(import.meta.dirname, "../../tsconfig.build.json") },
  onLine: (line: string) => void process.stderr.write(`${line}\n`),
};
const file = (name: string) => path.join(import.meta.dirname, name);
const ledgerSettings: LedgerSettings = {
  ...{ planId: offer.planId, holders },
  delayMs: Number(values.ledgerMs),
};
const ledger = startChild<ToLedger, FromLedger>(file("ledger.ts"), ledgerSettings, options);
const limit = setTimeout(() => {
  console.error("It takes too long; the machine is too busy for figures.");
  // The processes go with this one.
  folder.remove();
  process.exit(1);
}, limitMs);

let stopServer = () => {};
const buyer = createBuyer();
try {
  const { baseUrl, apiKey, buyerKeys } = await ledger.next("open");
  const tokens = await Promise.all(buyerKeys.map((key) => tokenFor(offer, baseUrl, key)));
  const serverSettings: ServerSettings = {
    ...{ baseUrl, apiKey, offer, journal: path.join(folder.path, "journal.db") },
    stream: { chunks: 10, everyMs: 50 },
  };
  const server = startChild<ToServer, FromServer>(file("server.ts"), serverSettings, options);
  stopServer = server.kill;
  const { ports } = await server.next("listening");

  async function look() {
    server.send({ kind: "look" });
    return server.next("looked");
  }

  async function burnsOf(holder: string) {
    ledger.send({ kind: "count", holder });
    return (await ledger.next("counted")).burns;
  }

  async function measure(variant: Variant, at: "small" | "stream") {
    const answer = await buyer.ask(ports[variant], `/${at}`, tokens[0] ?? "");
    if (answer.status !== 200) throw new Error(`${variant} answers ${answer.status}.`);
    return answer;
  }

  /** One of each in turn, so that what else goes on in the machine meets all. Who begins takes turns. */
  async function compare(at: "small" | "stream", rounds: number): Promise<Record<Variant, Times>> {
    const measured: Record<Variant, Times[]> = { bare: [], meter: [], "x402-express": [] };
    for (let turn = 0; turn < rounds; turn += 1) {
      for (const index of variants.keys()) {
        const variant = variants[(turn + index) % variants.length] ?? "bare";
        measured[variant].push(await measure(variant, at));
      }
    }
    return timesOf(measured);
  }

  async function fail(index: number, variant: (typeof paying)[number]): Promise<Failed> {
    const { fault, details } = failures[index] as (typeof failures)[number];
    const at = 1 + index * paying.length + paying.indexOf(variant);
    const holder = holders[at] ?? "";
    const before = await look();
    ledger.send({ kind: "fail", fault, details });
    // When it answers this, it has read that.
    const burnedBefore = await burnsOf(holder);
    const { status, body } = await buyer.ask(ports[variant], "/small", tokens[at] ?? "");
    const after = await look();
    return {
      status,
      answered: body.includes('"answer"'),
      handled: after.handled - before.handled,
      burned: (await burnsOf(holder)) - burnedBefore,
      // It has no memory of its own: what its hook onSettleFailure is told, the application may keep.
      remembered: variant === "meter" ? after.became.join(", ") || "nothing" : "nothing",
    };
  }

  process.stderr.write("warming up …\n");
  await compare("small", 20);
  process.stderr.write("streams …\n");
  const stream = await compare("stream", Number(values.streams));
  process.stderr.write("small answers …\n");
  const small = await compare("small", Number(values.answers));
  process.stderr.write("settlements that fail …\n");
  const { handled } = await look();
  const charged = await burnsOf(holders[0] ?? "");
  // Two of three are paid for.
  if (charged * 3 !== handled * 2) throw new Error(`${charged} charges for ${handled} answers.`);
  const failed: Record<string, Record<(typeof paying)[number], Failed>> = {};
  for (const [index, { name }] of failures.entries()) {
    failed[name] = {
      meter: await fail(index, "meter"),
      "x402-express": await fail(index, "x402-express"),
    };
  }
  const result = { ledgerMs: ledgerSettings.delayMs, stream, small, failed };
  console.log(values.json ? JSON.stringify(result) : printed(result));
  server.send({ kind: "stop" });
  ledger.send({ kind: "stop" });
  await Promise.all([server.ended, ledger.ended]);
} finally {
  clearTimeout(limit);
  buyer.close();
  stopServer();
  ledger.kill();
  folder.remove();
}

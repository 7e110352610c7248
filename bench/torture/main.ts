/** `npm run torture`: the command. `npm run torture -- --help` says what it takes. */

import { parseArgs } from "node:util";
import { runClock } from "./scenarios/clock.ts";
import { runCrashes } from "./scenarios/crashes.ts";
import { runDisk } from "./scenarios/disk.ts";
import { runKills } from "./scenarios/kills.ts";
import { runOutage } from "./scenarios/outage.ts";
import { runWorker } from "./scenarios/worker.ts";
import { tableOf } from "./table.ts";
import type { Verdict } from "./verdict.ts";
import type { WorldOptions } from "./world.ts";

const usage = `Usage: npm run torture -- [options]

  --scenario NAME     kills (default), outage, crashes, worker, clock, disk, or all
  --kills N           how often a server is killed (20)
  --ledger MODE       honour, ignore or both (both): whether it honours redemption ids
  --durability WORD   response or strict (response)
  --rate N            requests a second (500)
  --processes N       servers on one journal (1)
  --outage-ms N       how long the ledger is away, and then answers 502 (5000)
  --seed N            of kills, faults and requests (1)
  --json              verdicts as JSON
`;

const { values } = parseArgs({
  options: {
    scenario: { type: "string", default: "kills" },
    kills: { type: "string", default: "20" },
    ledger: { type: "string", default: "both" },
    durability: { type: "string", default: "response" },
    rate: { type: "string", default: "500" },
    processes: { type: "string", default: "1" },
    "outage-ms": { type: "string", default: "5000" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function oneOf<Word extends string>(name: string, value: string, words: readonly Word[]): Word {
  const word = words.find((known) => known === value);
  if (word === undefined) throw new Error(`--${name} is one of ${words.join(", ")}.`);
  return word;
}

function count(name: string, value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 1) {
    throw new Error(`--${name} is a whole number from 1 upwards.`);
  }
  return number;
}

const began = performance.now();
function report(line: string) {
  const seconds = ((performance.now() - began) / 1_000).toFixed(0).padStart(5);
  console.error(`${seconds} s  ${line}`);
}

const kills = count("kills", values.kills);
const outageMs = count("outage-ms", values["outage-ms"]);
const scenarios: Record<string, (options: WorldOptions) => Promise<Verdict>> = {
  kills: (options) => runKills({ ...options, kills }),
  outage: (options) => runOutage({ ...options, outageMs }),
  crashes: (options) => runCrashes({ ...options, times: 3 }),
  worker: (options) => runWorker({ ...options, times: 5 }),
  clock: runClock,
  disk: runDisk,
};

async function main() {
  if (values.help) return console.log(usage);
  const scenario = oneOf("scenario", values.scenario, [...Object.keys(scenarios), "all"]);
  const ledger = oneOf("ledger", values.ledger, ["honour", "ignore", "both"]);
  const verdicts: Verdict[] = [];
  for (const mode of ledger === "both" ? (["ignore", "honour"] as const) : [ledger]) {
    for (const [name, run] of Object.entries(scenarios)) {
      if (scenario !== "all" && scenario !== name) continue;
      report(`${name}: the ledger ${mode}s redemption ids`);
      const verdict = await run({
        ledger: mode,
        durability: oneOf("durability", values.durability, ["response", "strict"]),
        rate: count("rate", values.rate),
        processes: name === "kills" ? count("processes", values.processes) : 1,
        seed: count("seed", values.seed),
        report,
      });
      if (!values.json) console.log(tableOf(verdict));
      verdicts.push(verdict);
    }
  }
  if (values.json) console.log(JSON.stringify(verdicts, null, 2));
  process.exitCode = verdicts.every(({ ok }) => ok) ? 0 : 1;
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});

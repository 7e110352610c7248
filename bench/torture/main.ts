/** `npm run torture`: the command. `npm run torture -- --help` says what it takes. */

import { startPostgres, type TestPostgres } from "../../test/support/postgres.ts";
import { readCommand, runMain } from "../command.ts";
import { conductOf } from "./ledger.ts";
import { runClock } from "./scenarios/clock.ts";
import { runCrashes } from "./scenarios/crashes.ts";
import { runDisk } from "./scenarios/disk.ts";
import { runFleet, timesOf } from "./scenarios/fleet.ts";
import { runKills } from "./scenarios/kills.ts";
import { runOutage } from "./scenarios/outage.ts";
import { runWorker } from "./scenarios/worker.ts";
import { tableOf } from "./table.ts";
import type { Verdict } from "./verdict.ts";
import type { WorldOptions } from "./world.ts";

const usage = `Usage: npm run torture -- [options]

  --scenario NAME     kills, outage, crashes, worker, clock, disk, fleet, or all (kills; on PostgreSQL fleet)
  --journal WORD      sqlite or postgres (sqlite): where the charges are remembered. A PostgreSQL is started
                      for the run, unless TEST_DATABASE_URL names one, which is then not crashed
  --kills N           kills: how often a server is killed (20)
  --faults N          fleet: kills, stops, crashes of PostgreSQL and cut connections, all together (40)
  --protocol WORD     plans or x402 (plans): how buyers pay. With x402 there is no outage: what cannot be
                      verified meanwhile is refused
  --ledger MODE       honour, ignore or both (both): whether it honours redemption ids. With x402 the ids are
                      those that verify gives; a ledger that would ignore them gives none
  --durability WORD   response or strict (response)
  --rate N            requests a second (500)
  --processes N       kills and fleet: servers on one journal (1; fleet 4)
  --outage-ms N       how long the ledger is away, and then answers 502 (5000)
  --seed N            of kills, faults and requests (1)
  --json              verdicts as JSON
`;

const values = readCommand(usage, {
  scenario: { type: "string" },
  journal: { type: "string", default: "sqlite" },
  kills: { type: "string", default: "20" },
  faults: { type: "string", default: "40" },
  protocol: { type: "string", default: "plans" },
  ledger: { type: "string", default: "both" },
  durability: { type: "string", default: "response" },
  rate: { type: "string", default: "500" },
  processes: { type: "string" },
  "outage-ms": { type: "string", default: "5000" },
  seed: { type: "string", default: "1" },
  json: { type: "boolean", default: false },
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

const journal = oneOf("journal", values.journal, ["sqlite", "postgres"]);
const protocol = oneOf("protocol", values.protocol, ["plans", "x402"]);
const kills = count("kills", values.kills);
const times = timesOf(count("faults", values.faults));
const outageMs = count("outage-ms", values["outage-ms"]);
const scenarios: Record<string, (options: WorldOptions) => Promise<Verdict>> = {
  kills: (options) => runKills({ ...options, kills }),
  ...(protocol === "plans" && {
    outage: (options: WorldOptions) => runOutage({ ...options, outageMs }),
  }),
  crashes: (options) => runCrashes({ ...options, times: 3 }),
  worker: (options) => runWorker({ ...options, times: 5 }),
  clock: runClock,
  // Each is about one of the two journals.
  ...(journal === "sqlite" && { disk: runDisk }),
  ...(journal === "postgres" && {
    fleet: (options: WorldOptions) => runFleet({ ...options, times }),
  }),
};
/** The others kill, or end, the only one. */
const processes: Record<string, number> = {
  kills: count("processes", values.processes ?? "1"),
  fleet: count("processes", values.processes ?? "4"),
};

async function main() {
  const postgres = journal === "postgres" ? await startPostgres() : undefined;
  try {
    await runAll(postgres);
  } finally {
    await postgres?.stop();
  }
}

async function runAll(postgres: TestPostgres | undefined) {
  const usual = journal === "postgres" ? "fleet" : "kills";
  const known = [...Object.keys(scenarios), "all"];
  const scenario = oneOf("scenario", values.scenario ?? usual, known);
  const ledger = oneOf("ledger", values.ledger, ["honour", "ignore", "both"]);
  const verdicts: Verdict[] = [];
  for (const mode of ledger === "both" ? (["ignore", "honour"] as const) : [ledger]) {
    for (const [name, run] of Object.entries(scenarios)) {
      if (scenario !== "all" && scenario !== name) continue;
      report(`${name}: the ledger ${conductOf(mode, protocol)}`);
      const verdict = await run({
        protocol,
        ledger: mode,
        durability: oneOf("durability", values.durability, ["response", "strict"]),
        rate: count("rate", values.rate),
        processes: processes[name] ?? 1,
        postgres,
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

runMain(main);

/** `npm run attack`: what a dishonest buyer gets. `npm run attack -- --help` says what it takes. */

import { readCommand, runMain } from "../command.ts";
import { isKept, type Row } from "./row.ts";
import { fullScale } from "./scale.ts";
import { scenarios } from "./scenarios.ts";
import { tableOf } from "./table.ts";

const usage = `Usage: npm run attack -- [options]

Attacks a metered API on an embedded ledger, and compares what was got with what the
options allow. Ends with 1 where a bound was exceeded.

  --scenario NAME     ${Object.keys(scenarios).join(", ")}, or all (default)
  --json              the rows as JSON

Columns: sent, requests; got, answers that were delivered; charged, credits that the ledger
burned for them; loss, credits that those answers cost less what was charged; ran, handlers
that ran for a request that was refused.
`;

const values = readCommand(usage, {
  scenario: { type: "string", default: "all" },
  json: { type: "boolean", default: false },
});

async function main() {
  const names = Object.keys(scenarios);
  const { scenario } = values;
  if (scenario !== "all" && !names.includes(scenario)) {
    throw new Error(`--scenario is one of ${[...names, "all"].join(", ")}.`);
  }
  const began = performance.now();
  const rows: Row[] = [];
  for (const [name, run] of Object.entries(scenarios)) {
    if (scenario !== "all" && scenario !== name) continue;
    const seconds = ((performance.now() - began) / 1_000).toFixed(0).padStart(5);
    console.error(`${seconds} s  ${name}`);
    rows.push(...(await run(fullScale)));
  }
  console.log(values.json ? JSON.stringify(rows, null, 2) : tableOf(rows));
  process.exitCode = rows.every(isKept) ? 0 : 1;
}

runMain(main);

/** `npm run fuzz`: the command. `npm run fuzz -- --help` says what it takes. */

import { readCommand, runMain } from "../command.ts";
import { burnsAgree, type FuzzResult, runFuzz } from "./run.ts";

const usage = `Usage: npm run fuzz -- [options]

  --requests N        hostile requests to send (1000000)
  --seed N            of the requests (1)
  --json              the result as JSON
`;

/** Megabytes by which the heap may be larger at the end than after the first tenth. */
const mostGrowth = 20;

const values = readCommand(usage, {
  requests: { type: "string", default: "1000000" },
  seed: { type: "string", default: "1" },
  json: { type: "boolean", default: false },
});

function count(name: string, value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 1) {
    throw new Error(`--${name} is a whole number from 1 upwards.`);
  }
  return number;
}

function tableOf({ seed, requests, seconds, statuses, kinds, ...result }: FuzzResult): string {
  const [early, late] = result.memory;
  const megabytes = ({ heap, resident }: typeof early) =>
    `${heap.toFixed(1)} MB of heap, ${resident.toFixed(0)} MB in all`;
  const rows: [string, string | number][] = [
    ["requests", `${requests}, ${(requests / seconds).toFixed(0)} a second, seed ${seed}`],
    ...Object.entries(statuses).map(
      ([status, times]) =>
        [status === "none" ? "no answer" : `answered ${status}`, times] as [string, number],
    ),
    ...Object.entries(kinds),
    ["paid, by the answers", result.paid],
    ["burned, by the ledger", result.burns],
    ["after the first tenth", megabytes(early)],
    ["at the end", megabytes(late)],
    ["faults", result.faultCount],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n");
}

async function main() {
  const began = performance.now();
  const result = await runFuzz({
    requests: count("requests", values.requests),
    seed: count("seed", values.seed),
    report(line) {
      const seconds = ((performance.now() - began) / 1_000).toFixed(0).padStart(5);
      console.error(`${seconds} s  ${line}`);
    },
  });
  const [early, late] = result.memory;
  const ok = result.faultCount === 0 && burnsAgree(result) && late.heap - early.heap <= mostGrowth;
  for (const fault of result.faults) console.error(`\n${fault}`);
  console.log(values.json ? JSON.stringify({ ok, ...result }, null, 2) : tableOf(result));
  if (!ok) console.error("FAILED");
  process.exitCode = ok ? 0 : 1;
}

runMain(main);

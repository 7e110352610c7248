/**
 * What a journal in PostgreSQL carries: appends, holds and whole redemptions a second for 1, 2 and 4
 * processes on it, with what each of them and PostgreSQL use of the CPU, so that one sees who is the limit;
 * and what a redemption takes on disk. `npm run bench:fleet`, with `--json` for machines. PostgreSQL is the
 * one that `DATABASE_URL` names, or one from packages, with fsync on.
 */

import { availableParallelism } from "node:os";
import path from "node:path";
import { readCommand } from "../command.ts";
import { startChild } from "../torture/child.ts";
import { openDatabase } from "./database.ts";
import type { FromLedger, Part } from "./messages.ts";
import { childOptions, type Measured, median, run } from "./run.ts";
import { print, type Result } from "./table.ts";

const values = readCommand(
  `Usage: npm run bench:fleet -- [options]

What a journal in PostgreSQL carries, for 1, 2 and 4 processes: some minutes. PostgreSQL is
the one that DATABASE_URL names, or one from packages.

  --rounds N          of each measurement (3)
  --ms N              of appends and holds, for each run (3000)
  --redemptions N     of each run, over all of its processes (4000)
  --concurrency N     charges that each process has on the wire (16)
  --ledgerMs N        how long the ledger thinks about a charge (0)
  --parts LIST        appends,holds one by one,holds,holds of one holder,redemptions (all)
  --json              the result as JSON
`,
  {
    json: { type: "boolean", default: false },
    rounds: { type: "string", default: "3" },
    /** Of appends and holds, for each run. */
    ms: { type: "string", default: "3000" },
    /** Of each run, over all of its processes. */
    redemptions: { type: "string", default: "4000" },
    /** Charges that each process has on the wire. */
    concurrency: { type: "string", default: "16" },
    /** How long the ledger thinks about a charge. */
    ledgerMs: { type: "string", default: "0" },
    parts: {
      type: "string",
      default: "appends,holds one by one,holds,holds of one holder,redemptions",
    },
  },
);
const rounds = Number(values.rounds);
const parts = values.parts.split(",") as Part[];
const sizesOfFleets = [1, 2, 4];

function summary(measured: readonly Measured[]) {
  const of = (key: Exclude<keyof Measured, "sizes">) =>
    median(measured.map((one) => one[key] ?? 0));
  const known = measured.every(({ postgres }) => postgres !== null);
  return {
    perSecond: of("perSecond"),
    process: of("process"),
    postgres: known ? of("postgres") : null,
    ledger: of("ledger"),
    others: known ? of("others") : null,
    processMicroseconds: of("processMicroseconds"),
    postgresMicroseconds: known ? of("postgresMicroseconds") : null,
    walBytes: of("walBytes"),
  };
}

/** Of neighbours, so that what else goes on in the machine meets both. */
function ratio(some: readonly Measured[], ofOne: readonly Measured[]): number {
  return median(some.map(({ perSecond }, round) => perSecond / (ofOne[round]?.perSecond ?? 0)));
}

const database = await openDatabase();
const ledgerProcess = startChild<never, FromLedger>(
  path.join(import.meta.dirname, "ledger.ts"),
  Number(values.ledgerMs),
  childOptions,
);
try {
  const { baseUrl, key } = await ledgerProcess.next("open");
  const ledger = { pid: ledgerProcess.pid, baseUrl, key };
  const found = new Map<string, Measured[]>();
  for (let round = 1; round <= rounds; round += 1) {
    for (const part of parts) {
      // In another order each time, so that what else goes on in the machine meets all of them.
      for (const processes of round % 2 === 1 ? sizesOfFleets : sizesOfFleets.toReversed()) {
        process.stderr.write(`round ${round} of ${rounds}, ${part}, ${processes} processes … `);
        const measured = await run({
          part,
          processes,
          ms: Number(values.ms),
          redemptions: Number(values.redemptions),
          concurrency: Number(values.concurrency),
          database,
          ledger,
        });
        process.stderr.write(`${Math.round(measured.perSecond)} a second\n`);
        const name = `${part} ${processes}`;
        found.set(name, [...(found.get(name) ?? []), measured]);
      }
    }
  }
  const result: Result = {
    cores: availableParallelism(),
    postgres: database.version,
    commitMs: database.commitMs,
    rounds,
    parts: parts.map((part) => ({
      part,
      runs: sizesOfFleets.map((processes) => ({
        processes,
        ratio: ratio(found.get(`${part} ${processes}`) ?? [], found.get(`${part} 1`) ?? []),
        ...summary(found.get(`${part} ${processes}`) ?? []),
      })),
    })),
    // Of the largest fleet, in the last round.
    sizes: found.get(`redemptions ${sizesOfFleets.at(-1)}`)?.at(-1)?.sizes ?? null,
  };
  console.log(values.json ? JSON.stringify(result) : `\n${print(result)}`);
} finally {
  ledgerProcess.kill();
  await database.stop();
}

/** What the bench prints for people. */

import type { Part } from "./messages.ts";
import type { Measured } from "./run.ts";

/** In the median of all rounds. */
export type Summary = Omit<Measured, "sizes">;

export interface Result {
  readonly cores: number;
  readonly postgres: string;
  readonly commitMs: number;
  readonly rounds: number;
  readonly parts: readonly {
    readonly part: Part;
    readonly runs: readonly (Summary & { readonly processes: number; readonly ratio: number })[];
  }[];
  readonly sizes: Measured["sizes"];
}

const titles: Record<Part, string> = {
  appends: "appends a second, 256 in a commit",
  "holds one by one": "holds a second, one in a statement, 1,000 holders",
  holds: "holds a second, 32 in a statement, 1,000 holders",
  "holds of one holder": "holds a second, 32 in a statement, all of one holder",
  redemptions: "redemptions a second: hold, append, claim, send, settle",
};

const whole = (value: number) => Math.round(value).toLocaleString("en-US");
const percent = (cpus: number | null) => (cpus === null ? "?" : `${Math.round(cpus * 100)} %`);

export function print({ cores, postgres, commitMs, rounds, parts, sizes }: Result): string {
  const lines = [
    `${cores} cores, PostgreSQL ${postgres}, fsync on; one commit of one row takes ${commitMs.toFixed(2)} ms. Medians of ${rounds} rounds.`,
  ];
  for (const { part, runs } of parts) {
    const row = (name: string, cell: (run: (typeof runs)[number]) => string) =>
      lines.push(name.padEnd(44) + runs.map((run) => cell(run).padStart(12)).join(""));
    lines.push("");
    lines.push(titles[part]);
    row("  processes", ({ processes }) => String(processes));
    row("  a second", ({ perSecond }) => whole(perSecond));
    row("  times that of one process, same round", ({ ratio }) => ratio.toFixed(2));
    row("  CPU of each process", (run) => percent(run.process));
    row("  CPU of PostgreSQL", (run) => percent(run.postgres));
    if (part === "redemptions") row("  CPU of the ledger", (run) => percent(run.ledger));
    row("  CPU of programs that are not the bench's", (run) => percent(run.others));
    row("  CPU µs for each, of the processes", (run) => whole(run.processMicroseconds));
    row("  CPU µs for each, of PostgreSQL", (run) =>
      run.postgresMicroseconds === null ? "?" : whole(run.postgresMicroseconds),
    );
    row("  bytes of log (WAL) for each", ({ walBytes }) => whole(walBytes));
  }
  if (sizes) {
    lines.push(
      "",
      `bytes of a completed redemption on disk     ${whole(sizes.recordBytes)} with its indexes; ${whole(sizes.compactRecordBytes)} after VACUUM FULL`,
      `all tables, for each redemption             ${whole(sizes.allBytes)}; rows of differences left: ${whole(sizes.debtRows)} in debts, ${whole(sizes.spentRows)} in spent`,
    );
  }
  return lines.map((line) => line.trimEnd()).join("\n");
}

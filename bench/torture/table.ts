/** A verdict for people. */

import type { Verdict } from "./verdict.ts";

export function tableOf({ scenario, ok, figures, rules }: Verdict): string {
  const width = Math.max(...Object.keys(figures).map((name) => name.length));
  const lines = Object.entries(figures).map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
  const judged = rules.map(
    ({ rule, ok: kept, found }) => `  ${kept ? "ok  " : "FAIL"}  ${rule}: ${found}`,
  );
  return [`${scenario}: ${ok ? "passed" : "FAILED"}`, ...lines, "", ...judged, ""].join("\n");
}

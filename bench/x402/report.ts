/** What was measured, as a table and in words. */

import type { FaultDetails, FaultName } from "../../dist/ledger/index.js";
import { type Variant, variants } from "./messages.ts";

/** How settle fails, once. */
export const failures: readonly {
  name: string;
  fault: FaultName;
  details: FaultDetails[FaultName];
}[] = [
  { name: "refused", fault: "refuse-before-applying", details: {} },
  { name: "503 once", fault: "error-before-applying", details: { status: 503 } },
  { name: "answer lost", fault: "drop-after-applying", details: {} },
];

/** Milliseconds. */
export interface Times {
  readonly firstByteMs: number;
  readonly lastByteMs: number;
}

/** What became of one request whose settlement failed. */
export interface Failed {
  readonly status: number;
  /** Whether the buyer has what the handler made. */
  readonly answered: boolean;
  /** How often the handler ran. */
  readonly handled: number;
  /** How often the ledger burned the price. */
  readonly burned: number;
  /** The charge, in the words of the meter. */
  readonly remembered: string;
}

interface Result {
  readonly ledgerMs: number;
  readonly stream: Record<Variant, Times>;
  readonly small: Record<Variant, Times>;
  readonly failed: Record<string, Record<Exclude<Variant, "bare">, Failed>>;
}

export function median(numbers: number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;
}

/** The medians. */
export function timesOf(measured: Record<Variant, Times[]>): Record<Variant, Times> {
  const summary = (all: Times[]): Times => ({
    firstByteMs: round(median(all.map(({ firstByteMs }) => firstByteMs)), 1),
    lastByteMs: round(median(all.map(({ lastByteMs }) => lastByteMs)), 1),
  });
  return {
    bare: summary(measured.bare),
    meter: summary(measured.meter),
    "x402-express": summary(measured["x402-express"]),
  };
}

export function printed({ ledgerMs, stream, small, failed }: Result): string {
  const row = (label: string, times: Record<Variant, Times>, of: keyof Times) => {
    const cells = variants.map((variant) => times[variant][of].toFixed(1).padStart(15)).join("");
    const ratio = round(times.meter[of] / times["x402-express"][of], 2);
    return `${label.padEnd(28)}${cells}   ${ratio}`;
  };
  const heads = ["bare", "meter", "@x402/express"].map((head) => head.padStart(15)).join("");
  return [
    `\nms, medians; verify and settle take the ledger ${ledgerMs} ms each`,
    `${"".padEnd(28)}${heads}   meter / @x402/express`,
    row("stream: to the first byte", stream, "firstByteMs"),
    row("stream: to the last byte", stream, "lastByteMs"),
    row("small JSON: to the last byte", small, "lastByteMs"),
    ...Object.entries(failed).flatMap(([name, { meter, "x402-express": neighbour }]) => [
      `\nsettle fails: ${name}`,
      `  meter          ${inWords(meter)}`,
      `  @x402/express  ${inWords(neighbour)}`,
    ]),
  ].join("\n");
}

function inWords({ status, answered, handled, burned, remembered }: Failed): string {
  return [
    `${status} ${answered ? "with" : "without"} the answer`,
    `handler ran ${times(handled)}`,
    burned === 0 ? "not charged" : `charged ${times(burned)}`,
    remembered === "nothing" ? "nothing remembered" : `remembered as ${remembered}`,
  ].join(", ");
}

const times = (count: number) => (count === 1 ? "once" : `${count} times`);
const round = (value: number, places: number) => Number(value.toFixed(places));

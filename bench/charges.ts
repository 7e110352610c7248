/** What is written and held: as an API with a thousand buyers would. */

import { randomUUID } from "node:crypto";
import type { HoldAsked } from "../dist/account.js";
import type { Entry } from "../dist/journal/journal.js";
import type { Submission } from "../dist/redeemer/door.js";

export const plan = "105906633592154016712415751065229";
export const holders = Array.from(
  { length: 1_000 },
  (_, index) => `0x${index.toString(16).padStart(40, "0")}`,
);
/** As long as a signature. */
const proof = `0x${"5e".repeat(65)}`;

export function anyHolder(): string {
  return holders[Math.floor(Math.random() * holders.length)] ?? "";
}

export function submission(holderAddress: string, redemptionId: string = randomUUID()): Submission {
  return {
    redemptionId,
    status: "pending",
    planId: plan,
    holderAddress,
    proof,
    route: "POST /v1/chat/completions",
    environment: "test",
    amount: 5,
    hold: 0,
    usage: null,
    error: null,
    repeatable: true,
    expiresAt: null,
    admittedAt: Date.now(),
  };
}

export function entry(holderAddress: string): Entry {
  const { proof: _, ...rest } = submission(holderAddress);
  const { planId, amount } = rest;
  const body = JSON.stringify({ planId, holderAddress, amount, proof });
  return { ...rest, status: "pending", proof: null, body };
}

export function holdOf(redemptionId: string, holderAddress: string): HoldAsked {
  return {
    redemptionId,
    planId: plan,
    holderAddress,
    credits: 5,
    within: { total: Number.MAX_SAFE_INTEGER },
    refused: { credits: null, otherwise: null },
  };
}

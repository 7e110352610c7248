/** Processes are stopped (SIGSTOP) with charges on the wire, and go on later (SIGCONT). Linux only. */

import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { monotonicMs, until } from "./clock.ts";
import type { InPostgres } from "./journal-place.ts";
import { isInTransaction } from "./postgres-faults.ts";
import type { Server, World } from "./world.ts";

export interface Stop {
  readonly stay: Stay;
  /**
   * Ids that were `sending` under its name when it was looked for them, after each of its threads was
   * seen stopped: it stands between `sending` and the answer.
   */
  readonly sending: readonly string[];
  /** Burns that the ledger had made then. */
  readonly burnsBefore: number;
  /** It had a transaction open then. */
  readonly inTransaction: boolean;
  readonly stoodMs: number;
  /** Another server had taken over from it when it went on. */
  readonly takenOver: boolean;
}

/**
 * How long it stands: so many milliseconds; or until another has taken over, and so many longer. Then it
 * is caught in a transaction, whose locks are in the other's way.
 */
export type Stay = { readonly forMs: number } | { readonly pastTakeoverMs: number };

/** Milliseconds within which its peers must have taken over; they find out after fifteen seconds. */
const takeoverMs = 40_000;
/** How long a server is waited for that has nothing on the wire. */
const aimMs = 3_000;
/** How often it is tried to catch it in a transaction, and milliseconds in which it comes to the next. */
const tries = 40;
const nextMs = 10;

export async function stopAndContinue(
  { journal, ledger }: World,
  postgres: InPostgres,
  { pid }: Server,
  stay: Stay,
): Promise<Stop> {
  const isTakenOver = async () => (await journal.beatOf(pid)) === undefined;
  await until(async () => (await journal.sendingOf(pid)).length > 0, 5, aimMs);
  try {
    await stop(pid);
    let inTransaction = await isInTransaction(postgres, pid);
    for (let left = tries; "pastTakeoverMs" in stay && !inTransaction && left > 0; left -= 1) {
      process.kill(pid, "SIGCONT");
      await sleep(nextMs);
      await stop(pid);
      inTransaction = await isInTransaction(postgres, pid);
    }
    const began = monotonicMs();
    const sending = await journal.sendingOf(pid);
    const burnsBefore = ledger.ledger.countBurns();
    if ("forMs" in stay) await sleep(stay.forMs);
    else {
      await until(isTakenOver, 100, takeoverMs);
      await sleep(stay.pastTakeoverMs);
    }
    const takenOver = await isTakenOver();
    const stoodMs = monotonicMs() - began;
    return { stay, sending, burnsBefore, inTransaction, stoodMs, takenOver };
  } finally {
    process.kill(pid, "SIGCONT");
  }
}

/** A signal reaches one thread after the other. */
async function stop(pid: number) {
  process.kill(pid, "SIGSTOP");
  while (!areStopped(pid)) await sleep(1);
}

function areStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    try {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
      return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
    } catch {
      // That one has just ended.
      return true;
    }
  });
}

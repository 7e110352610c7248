/**
 * What is known of one holder on one plan, and what follows from it. Arithmetic only: who asks, and
 * when, is the guard's. Amounts are credits.
 */

import type { LedgerCredits } from "../redemption.ts";

export interface Standing {
  readonly planId: string;
  readonly holderAddress: string;
  /** What the ledger said last that the holder has; undefined before it has. */
  balance: number | undefined;
  /** When that was asked, in the order of events. */
  askedAt: number;
  /** When it was told, by a clock that only goes forward. */
  toldAt: number;
  /** Whether the balance counts: it was told, and no later question was left unanswered. */
  isKnown: boolean;
  /** Whether the journal was asked for what it remembers. */
  isLoaded: boolean;
  /** For requests under way. */
  held: number;
  /** Of charges handed over that the journal has not acknowledged. */
  handed: number;
  /** Of charges in the journal that are not settled. */
  journaled: number;
  /** Of charges that may have been applied, until someone decides. */
  doubtful: number;
  /** Charges that settled, until a balance that was asked for after it shows them. */
  uncovered: { readonly at: number; readonly amount: number }[];
  /** Set while the ledger has refused a charge for want of credits, and told no balance since. */
  brokeUntil: number;
  /** When that was, in the order of events. */
  brokeAt: number;
  /** Set while the holder is refused whatever they have, by the same clock as `toldAt`. */
  blockedUntil: number;
  /** Digests of proofs that have paid: those pass a block, which someone else may have caused. */
  goodProofs: readonly string[];
  /** Nobody is asked again before, by the same clock. */
  settledUntil: number;
  /** Whether the ledger left the last question unanswered, rather than saying that it does not tell. */
  isAway: boolean;
}

export function newStanding(planId: string, holderAddress: string): Standing {
  return {
    planId,
    holderAddress,
    balance: undefined,
    askedAt: 0,
    toldAt: 0,
    isKnown: false,
    isLoaded: false,
    held: 0,
    handed: 0,
    journaled: 0,
    doubtful: 0,
    uncovered: [],
    brokeUntil: 0,
    brokeAt: 0,
    blockedUntil: 0,
    goodProofs: [],
    settledUntil: 0,
    isAway: false,
  };
}

/** What is free of the balance; undefined where none was ever told. May be negative. */
export function available(standing: Standing): number | undefined {
  if (standing.balance === undefined) return undefined;
  const spent = standing.uncovered.reduce((sum, { amount }) => sum + amount, 0);
  return standing.balance - spent - standing.held - standing.handed - standing.journaled;
}

/** What the holder has had without its being settled: what counts against a line of credit. */
export function unsettled({ held, handed, journaled, doubtful }: Standing): number {
  return held + handed + journaled + doubtful;
}

/** Whether it must be remembered: it says more than could be asked for again. */
export function isBusy(standing: Standing, now: number): boolean {
  return unsettled(standing) > 0 || standing.blockedUntil > now || standing.brokeUntil > now;
}

/** Those that are kept apart; more are put together, as if they had settled at the last one's time. */
const maxUncovered = 64;

/** Lets a charge that settled count until a balance shows it. */
export function cover(standing: Standing, at: number, amount: number): void {
  standing.uncovered.push({ at, amount });
  if (standing.uncovered.length <= maxUncovered) return;
  const [first, second, ...rest] = standing.uncovered;
  if (!first || !second) return;
  standing.uncovered = [{ at: second.at, amount: first.amount + second.amount }, ...rest];
}

/**
 * Takes over a balance that was asked for at a point in the order of events. What had settled by then
 * is in it; an answer to an older question than the last changes nothing.
 *
 * @returns whether it was taken over
 */
export function tellBalance(
  standing: Standing,
  balance: LedgerCredits,
  askedAt: number,
  now: number,
): boolean {
  if (standing.balance !== undefined && askedAt < standing.askedAt) return false;
  // A string is past what a number can hold; as much as anything here can ask for.
  standing.balance = typeof balance === "number" ? balance : Number.MAX_SAFE_INTEGER;
  standing.askedAt = askedAt;
  standing.toldAt = now;
  standing.isKnown = true;
  if (askedAt >= standing.brokeAt) standing.brokeUntil = 0;
  standing.uncovered = standing.uncovered.filter(({ at }) => at > askedAt);
  return true;
}

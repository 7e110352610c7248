/**
 * What is known of one holder on one plan, and what follows from it. Arithmetic only: who asks, and
 * when, is the guard's. Amounts are credits.
 */

import type { LedgerCredits } from "../redemption.ts";

export interface Standing {
  readonly planId: string;
  readonly holderAddress: string;
  /** What the holder has when all that has settled is burned; undefined before the ledger has said. */
  balance: number | undefined;
  /** When the last balance that it told was asked for, in the order of events. */
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
  /** Of those on the wire. */
  onWire: number;
  /** Charges that settled since the last balance was asked for: it may show them, or not. */
  uncovered: { readonly at: number; readonly amount: number }[];
  /**
   * Set while the ledger has refused a charge for want of credits, and told no balance since that
   * would have paid for it.
   */
  brokeUntil: number;
  /** The amount of that charge: more than its hold where the price ended above it. */
  lacking: number;
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
    onWire: 0,
    uncovered: [],
    brokeUntil: 0,
    lacking: 0,
    brokeAt: 0,
    blockedUntil: 0,
    goodProofs: [],
    settledUntil: 0,
    isAway: false,
  };
}

/** What is free of the balance; undefined where none was ever told. May be negative. */
export function available(standing: Standing): number | undefined {
  const { balance, held, handed, journaled } = standing;
  return balance === undefined ? undefined : balance - held - handed - journaled;
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

/** A charge has settled, and was or may have been burned. */
export function spend(standing: Standing, at: number, amount: number): void {
  if (standing.balance !== undefined) standing.balance -= amount;
  standing.uncovered.push({ at, amount });
  if (standing.uncovered.length <= maxUncovered) return;
  const [first, second, ...rest] = standing.uncovered;
  if (!first || !second) return;
  standing.uncovered = [{ at: second.at, amount: first.amount + second.amount }, ...rest];
}

/**
 * Hears of a balance that was asked for at a point in the order of events. What had settled by then is in
 * it. What settled since may be in it or not, and what is on the wire may be: so it says of the balance
 * that it lies between two bounds. What was reckoned stays where it lies between them, since it knows of
 * each charge; else someone bought or spent credits elsewhere, and the lower bound counts.
 *
 * @param own the amount of the charge in whose answer it was told: that is in it for certain, and
 * must have been `spend`
 */
export function tellBalance(
  standing: Standing,
  balance: LedgerCredits,
  askedAt: number,
  now: number,
  own = 0,
): void {
  if (standing.balance !== undefined && askedAt < standing.askedAt) return;
  standing.uncovered = standing.uncovered.filter(({ at }) => at > askedAt);
  // A string is past what a number can hold; as much as anything here can ask for.
  const told = typeof balance === "number" ? balance : Number.MAX_SAFE_INTEGER;
  const settled = standing.uncovered.reduce((sum, { amount }) => sum + amount, 0) - own;
  const reckoned = standing.balance;
  const least = told - settled;
  const fits = reckoned !== undefined && reckoned >= least && reckoned <= told + standing.onWire;
  standing.balance = fits ? reckoned : least;
  standing.askedAt = askedAt;
  standing.toldAt = now;
  standing.isKnown = true;
  const wouldHavePaid = told >= standing.lacking;
  if (askedAt >= standing.brokeAt && wouldHavePaid) standing.brokeUntil = 0;
}

/**
 * What is known of one holder on one plan, and what follows from it. Arithmetic only: who asks, and
 * when, is the guard's. Amounts are credits.
 */

import type { Account } from "../account.ts";
import type { LedgerCredits } from "../redemption.ts";

export interface Standing {
  readonly planId: string;
  readonly holderAddress: string;
  /**
   * Credits that the holder has had in all: the balance that the ledger told and what was spent before.
   * Undefined before the ledger has said. So a charge that settles changes nothing but `spent`.
   */
  total: number | undefined;
  /** Of charges that settled, and were or may have been burned: it only grows. */
  spent: number;
  /** What had been spent by the time at which the ledger was asked for the balance that counts. */
  spentWhenTold: number;
  /** When the last balance that it told was asked for, in the order of events. */
  askedAt: number;
  /** When it was told, by a clock that only goes forward. */
  toldAt: number;
  /** Whether the balance counts: it was told, and no later question was left unanswered. */
  isKnown: boolean;
  /**
   * Whether it has what it owes without the ledger's word: its line of credit counts then, and it counts
   * against the exposure of all. A balance that was told is a word, also when it is old.
   */
  isOnLine: boolean;
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
  /** When the journal was heard of last, by the same clock as `toldAt`, where holds are shared. */
  copiedAt: number;
  /** On hold in other processes, where holds are shared. */
  elsewhere: number;
  /** When that was heard last, with a hold, by the same clock as `toldAt`. */
  heardAt: number;
  /** The refusals of the ledger that the journal told last. */
  refused: Account["refused"];
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
  /** Whether it has paid here, or the ledger told that it has credits: what strangers cannot make true. */
  isAcquainted: boolean;
  /** Digests of proofs that have paid: those pass a block, which someone else may have caused. */
  goodProofs: readonly string[];
  /** Nobody is asked again before, by the same clock. */
  settledUntil: number;
  /** When the turn of the last question came, by the same clock; undefined where it has not. */
  beganAt: number | undefined;
  /** Whether the ledger left the last question unanswered, rather than saying that it does not tell. */
  isAway: boolean;
}

export function newStanding(planId: string, holderAddress: string): Standing {
  return {
    planId,
    holderAddress,
    total: undefined,
    spent: 0,
    spentWhenTold: 0,
    askedAt: 0,
    toldAt: 0,
    isKnown: false,
    isOnLine: true,
    isLoaded: false,
    held: 0,
    handed: 0,
    journaled: 0,
    doubtful: 0,
    onWire: 0,
    copiedAt: Number.NEGATIVE_INFINITY,
    elsewhere: 0,
    heardAt: Number.NEGATIVE_INFINITY,
    refused: { credits: null, otherwise: null },
    brokeUntil: 0,
    lacking: 0,
    brokeAt: 0,
    blockedUntil: 0,
    isAcquainted: false,
    goodProofs: [],
    settledUntil: 0,
    beganAt: undefined,
    isAway: false,
  };
}

/** What is free of the balance; undefined where none was ever told. May be negative. */
export function available({
  total,
  spent,
  held,
  handed,
  journaled,
  elsewhere,
}: Standing): number | undefined {
  return total === undefined ? undefined : total - spent - held - handed - journaled - elsewhere;
}

/** What the holder has had without its being settled: what counts against a line of credit. */
export function unsettled({ held, handed, journaled, doubtful, elsewhere }: Standing): number {
  return held + handed + journaled + doubtful + elsewhere;
}

/** Whether it must be remembered: it says more than could be asked for again. */
export function isBusy(standing: Standing, now: number): boolean {
  return unsettled(standing) > 0 || standing.blockedUntil > now || standing.brokeUntil > now;
}

/**
 * Hears of a balance that was asked for at a point in the order of events. What had settled by then is in
 * it. What settled since may be in it or not, and what is on the wire may be: so it says of the total that
 * it lies between two bounds. What was reckoned stays where it lies between them, since it knows of each
 * charge; else someone bought or spent credits elsewhere, and the lower bound counts.
 *
 * @param asked when, in the order of events; and what had been spent by then, what is certainly in it
 * for another reason included: the charge in whose answer it was told
 */
export function tellBalance(
  standing: Standing,
  balance: LedgerCredits,
  asked: { readonly at: number; readonly spent: number },
  now: number,
): void {
  if (standing.total !== undefined && asked.at < standing.askedAt) return;
  // A string is past what a number can hold; as much as anything here can ask for.
  const told = typeof balance === "number" ? balance : Number.MAX_SAFE_INTEGER;
  const reckoned = standing.total;
  const least = told + asked.spent;
  const most = told + standing.spent + standing.onWire;
  const fits = reckoned !== undefined && reckoned >= least && reckoned <= most;
  standing.total = fits ? reckoned : least;
  standing.askedAt = asked.at;
  standing.spentWhenTold = asked.spent;
  standing.toldAt = now;
  standing.isKnown = true;
  standing.isOnLine = false;
  if (told > 0) standing.isAcquainted = true;
  const wouldHavePaid = told >= standing.lacking;
  if (asked.at >= standing.brokeAt && wouldHavePaid) standing.brokeUntil = 0;
}

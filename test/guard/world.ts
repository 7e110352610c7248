/** A guard whose clock stands still and whose questions the test answers. */

import { createWaits, type Waits } from "../../src/clock.ts";
import {
  createGuard,
  type GuardOptions,
  type GuardParts,
  type Known,
} from "../../src/guard/guard.ts";
import type { Hold, Turned } from "../../src/guard/hold.ts";
import type { ChargeEvent, Payment } from "../../src/redemption.ts";
import { manualClock } from "../support/clock.ts";

export const defaults: GuardOptions = {
  balance: "ask",
  balanceTtlMs: 30_000,
  refusalTtlMs: 5_000,
  creditLine: 100,
  maxExposure: 1_000,
  blockForMs: 600_000,
  onLedgerDown: "credit-line",
  maxQuestions: 8,
};

export const notRefused = { credits: null, otherwise: null };
export const nothingKnown: Known["account"] = {
  unsettled: 0,
  doubtful: 0,
  spent: 0,
  onWire: 0,
  refused: notRefused,
};
export const away: Known["balance"] = { told: false, answered: false, message: "away" };
export const mute: Known["balance"] = { told: false, answered: true, message: "mute" };

export function payer(name: string, proof = "proof"): Payment {
  return { planId: "plan", holderAddress: `0x${name}`, proof };
}

/** What was spent before the question is what the account says, unless told otherwise. */
type Answered = Omit<Known, "spentBefore"> & Partial<Known>;

type Settled = Extract<ChargeEvent, { kind: "settled" }>;

export function openGuard(options: Partial<GuardOptions> = {}, share?: GuardParts["share"]) {
  const clock = manualClock();
  let ids = 0;
  let inJournal = 0;
  let exposureReached = 0;
  const asked: {
    holderAddress: string;
    askLedger: boolean;
    answer: (known: Answered) => Promise<void>;
    fail: () => void;
  }[] = [];
  const made = createGuard({
    ...defaults,
    ...options,
    ask: ({ holderAddress, askLedger }) =>
      new Promise((resolve, reject) => {
        const answer = async (known: Answered) => {
          resolve({ spentBefore: share ? known.account.spent : null, ...known });
          await turn();
        };
        asked.push({ holderAddress, askLedger, answer, fail: () => reject(new Error("closed")) });
      }),
    share,
    onBalance: () => {},
    onExposureReached: () => {
      exposureReached += 1;
    },
    unsettledInJournal: () => inJournal,
    waitMs: 5_000,
    clock,
    now: () => 1_700_000_000_000 + clock.elapsed(),
  });
  const guard = {
    ...made,
    /** Each request has waits of its own, unless the test says otherwise. */
    admit: (payment: Payment, credits: number, waits: Waits = createWaits(clock, 5_000)) =>
      made.admit(payment, credits, waits),
  };

  /** Asks and answers at once. */
  async function admit(payment: Payment, credits: number, known?: Partial<Known>) {
    const before = asked.length;
    const admitted = guard.admit(payment, credits);
    await turn();
    if (asked.length > before) {
      await asked.at(-1)?.answer({ balance: away, account: nothingKnown, ...known });
    }
    return admitted;
  }

  return {
    guard,
    asked,
    admit,
    clock,
    pass: clock.pass,
    wallClock: () => 1_700_000_000_000 + clock.elapsed(),
    holdsInJournal: (credits: number) => {
      inJournal = credits;
    },
    exposureReached: () => exposureReached,
    /** A charge of this holder, step by step. */
    charge(name: string, amount: number) {
      ids += 1;
      const charge = { redemptionId: `id ${ids}`, holderKey: `plan 0x${name}`, amount };
      const tell = (kind: "handed-over" | "accepted" | "sending") =>
        guard.learn({ ...charge, kind });
      const unsettled = { unsettled: amount, doubtful: 0 };
      const settle = (outcome: Settled["outcome"], was: Settled["was"] = unsettled) =>
        guard.learn({ ...charge, kind: "settled", was, outcome });
      return {
        ...charge,
        handedOver: () => tell("handed-over"),
        accepted: () => tell("accepted"),
        sending: () => tell("sending"),
        putBack: (was: Settled["was"] = unsettled) =>
          guard.learn({ ...charge, kind: "put-back", was }),
        completed: (remainingBalance: number | string | null, proof: string | null = null) =>
          settle({ status: "completed", remainingBalance, proof }),
        failed: (reason: string, byPerson = false) =>
          settle({ status: "failed", reason, byPerson, proof: "a false proof" }),
        unresolved: () => settle({ status: "unresolved", wasSent: true }),
        settle,
        underWay() {
          tell("handed-over");
          tell("accepted");
          tell("sending");
        },
      };
    },
  };
}

/** Lets everything that is due run. */
export const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

export const isHold = (admitted: Hold | Turned): admitted is Hold => "end" in admitted;

export function codeOf(admitted: Hold | Turned): string {
  return isHold(admitted) ? "pass" : admitted.code;
}

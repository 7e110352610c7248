/**
 * The door between the event loop that serves requests and what remembers and sends the charges.
 * Three kinds of message pass it (submit, ask, outcome), all of them plain data, so that what is behind
 * it can live in another thread.
 */

import type { Account, HoldAnswer, HoldAsked } from "../account.ts";
import type {
  Act,
  ActRecord,
  Filter,
  JournalRecord,
  Page,
  Reservation,
  Totals,
} from "../journal/journal.ts";
import type {
  Answer,
  BalanceReading,
  LedgerCredits,
  Usage,
  Verification,
  VerifyQuestion,
} from "../redemption.ts";

/** Hands a redemption over for good. The same id may be handed over again, without harm. */
export interface Submission {
  readonly redemptionId: string;
  readonly status: "prepared" | "pending" | "unresolved" | "skipped";
  readonly planId: string;
  readonly holderAddress: string;
  /** A secret. */
  readonly proof: string;
  readonly route: string;
  readonly environment: "production" | "test";
  /** Credits; null where the price is not known. */
  readonly amount: number | null;
  /** Credits that were set aside for it. */
  readonly hold: number;
  /** Whether it carries an id that the ledger may honour. */
  readonly repeatable: boolean;
  /** When its proof expires, in milliseconds since 1970; null: not known to. */
  readonly expiresAt: number | null;
  readonly usage: Usage | null;
  readonly error: {
    readonly code: string;
    readonly reason: string;
    readonly message: string;
  } | null;
  /** Milliseconds since 1970. */
  readonly admittedAt: number;
}

/** What can be asked, by name, and what the answer is. */
export interface Questions {
  /**
   * What the journal remembers of these; what it does not know is left out. `follow`: what becomes of
   * them is to be told from now on.
   */
  read: {
    ask: { readonly redemptionIds: readonly string[]; readonly follow?: boolean };
    answer: JournalRecord[];
  };
  list: { ask: Filter; answer: Page };
  show: {
    ask: { redemptionId: string };
    answer:
      | {
          readonly record: JournalRecord;
          readonly acts: readonly ActRecord[];
          readonly balanceBefore: { readonly amount: LedgerCredits; readonly at: number } | null;
          readonly balanceNow: { readonly amount: LedgerCredits; readonly at: number } | null;
        }
      | undefined;
  };
  act: {
    ask: {
      readonly redemptionId: string;
      readonly act: Act["act"];
      readonly amount: number | null;
      readonly by: string;
      readonly note: string | null;
      /** Although an answer of the ledger's may still come. */
      readonly force?: boolean;
    };
    /** `too-early`: an answer of the ledger's may still come. Undefined: the act does not fit. */
    answer: JournalRecord | "too-early" | undefined;
  };
  totals: { ask: Record<never, never>; answer: Totals };
  /**
   * What is known of a holder: by the ledger (null where it was not to be asked), and then by the
   * journal, with all that was acknowledged before the answer. `isShared`: others charge the holder, too.
   */
  account: {
    ask: {
      readonly planId: string;
      readonly holderAddress: string;
      readonly askLedger: boolean;
      readonly isShared: boolean;
    };
    answer: {
      readonly balance: BalanceReading | null;
      /** Credits that the journal knew to be spent before the ledger was asked; null where not shared. */
      readonly spentBefore: number | null;
      readonly account: Account;
    };
  };
  /** Whether an x402 access token pays so many credits, by the ledger. */
  verify: { ask: VerifyQuestion; answer: Verification };
  /** Sets credits aside, so that every process on the journal knows of them. */
  hold: { ask: HoldAsked; answer: HoldAnswer };
  /** Gives back hold and proof of a redemption that leaves no record. */
  release: { ask: { readonly redemptionId: string }; answer: undefined };
  /** Whether the proof is this redemption's now, durably; false where another has used it. */
  reserve: { ask: Reservation; answer: boolean };
  /** Sends nothing more, gives up what is on the wire, writes down what came of it, and closes. */
  stop: { ask: Record<never, never>; answer: undefined };
}

export type QuestionName = keyof Questions;

/** What became of a redemption. */
export type Change =
  | Answer
  | { readonly status: "sending" }
  /** Something else changed it: another process, or an operator. */
  | { readonly status: "changed"; readonly record: JournalRecord };

/** News of one redemption. */
export interface News {
  readonly redemptionId: string;
  readonly holderKey: string;
  /** Credits; null where the price is not known. */
  readonly amount: number | null;
  readonly change: Change;
}

/** How it goes behind the door. */
export interface Health {
  /** False while the journal cannot be written. */
  readonly writable: boolean;
  /** Why it cannot, in one sentence. */
  readonly problem: string | null;
  /** What waits, from all processes on this journal. */
  readonly totals: Totals;
  /** Why sending pauses; null while it does not. */
  readonly paused: string | null;
  /** What must be mended before sending goes on, in one sentence; null where nothing must. */
  readonly fault: string | null;
}

/** Everything that comes out of the door. */
export type Outcome =
  /** These are durable now. */
  | { readonly kind: "accepted"; readonly redemptionIds: readonly string[] }
  | { readonly kind: "changes"; readonly changes: readonly News[] }
  | { readonly kind: "health"; readonly health: Health }
  /**
   * The ledger answered after a person had decided, or for an attempt before the last: it changes nothing, and
   * stands beside the decision, in the acts.
   */
  | {
      readonly kind: "late-answer";
      readonly redemptionId: string;
      readonly attempt: number;
      readonly answer: Answer;
    }
  /** What was found when the journal was opened, or was taken over from a process that ended. */
  | {
      readonly kind: "recovered";
      readonly pending: number;
      readonly unresolved: readonly string[];
      readonly resent: number;
    };

export interface Door {
  /** What comes after `stop` is not acknowledged. */
  submit(submissions: readonly Submission[]): void;
  ask<Name extends QuestionName>(
    name: Name,
    question: Questions[Name]["ask"],
  ): Promise<Questions[Name]["answer"]>;
}

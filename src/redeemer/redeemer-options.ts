/** What a redeemer is made of. */

import type { Claimed, Journal } from "../journal/journal.ts";
import type {
  Answer,
  BalanceReading,
  Charge,
  Verification,
  VerifyQuestion,
} from "../redemption.ts";
import type { Backoff } from "./backoff.ts";
import type { Outcome } from "./door.ts";

export interface RedeemerOptions {
  readonly journal: Journal;
  /** A name for this redeemer that no other ever had. */
  readonly owner: string;
  /** Redeemers of this process that are known to be gone. */
  readonly replaces?: readonly string[] | undefined;
  /** Charges on the wire at once, at the most. */
  readonly concurrency: number;
  /** Charges of one holder on the wire at once, at the most. */
  readonly perHolder: number;
  readonly backoff: Backoff;
  /** Answers in a row that are trouble before sending pauses. */
  readonly circuitThreshold: number;
  /** Milliseconds for which it is relied on that the ledger honours a redemption id; null: not at all. */
  readonly idempotentMs: number | null;
  /** Completed, failed and skipped records are forgotten after so many milliseconds. */
  readonly retentionMs: number;
  /** The bytes of a charge as they go on the wire. Throws where there can be none. */
  readonly encode: (charge: Charge) => string;
  /** Milliseconds for one attempt, in all. */
  readonly timeoutMs: number;
  /**
   * Sends a charge once. A rejection counts as "may have been applied". `mayWrite` must be asked in the same
   * tick right before its first byte is written; where it says no, nothing is.
   */
  readonly send: (charge: Claimed, signal: AbortSignal, mayWrite: () => boolean) => Promise<Answer>;
  /** What the holder has now. */
  readonly askBalance: (planId: string, holderAddress: string) => Promise<BalanceReading>;
  /** Whether an x402 access token pays. Never rejects. */
  readonly verify: (question: VerifyQuestion) => Promise<Verification>;
  /** Ends whatever `send` keeps open. */
  readonly end: () => Promise<void>;
  /** Must not throw. */
  readonly tell: (outcome: Outcome) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly elapsed: () => number;
  /** A number from 0 to 1, 1 excluded. */
  readonly random: () => number;
}

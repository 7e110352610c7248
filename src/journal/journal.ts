/**
 * The contract of the journal: the durable memory of redemptions. Every implementation passes the
 * same suite, `test/journal/conformance.ts`.
 *
 * When `commit` has resolved, all of it is durable. When it rejects, or the process dies before, all
 * of it or none of it is; every part can be committed again without harm. Whether a charge is sent is
 * decided by compare-and-set here, never by a clock: clocks and heartbeats only decide who works when.
 *
 * Whoever prepares, claims, holds or beats is on the list of owners until another takes over from it, or it
 * closes and has nothing under way: so whatever is `prepared` or `sending`, or on hold, can be taken over.
 *
 * Texts may hold anything but NUL and lone surrogates, which databases do not keep: each of them comes
 * back as U+FFFD.
 */

import type { Account, HoldAnswer, HoldAsked } from "../account.ts";
import type { Answer, LedgerCredits, RedemptionStatus, Usage } from "../redemption.ts";

/** `prepared`: admitted under strict durability; what became of its response is not known yet. */
export type RecordStatus = RedemptionStatus | "prepared";

/** A redemption as it is handed over. Plain data. */
export interface Entry {
  readonly redemptionId: string;
  readonly status: "prepared" | "pending" | "unresolved" | "skipped";
  readonly planId: string;
  readonly holderAddress: string;
  readonly route: string;
  readonly environment: "production" | "test";
  /** Credits; null where the price is not known. */
  readonly amount: number | null;
  /** Credits that were set aside for it. */
  readonly hold: number;
  /** What its price was computed from. */
  readonly usage: Usage | null;
  /** Kept while there is no amount; a secret. */
  readonly proof: string | null;
  /** The exact bytes of the charge, once there is an amount. It holds the proof: a secret. */
  readonly body: string | null;
  /** Whether it carries an id that the ledger may honour: else it is sent once, whatever it believes. */
  readonly repeatable: boolean;
  /** When its proof expires, in milliseconds since 1970; null: not known to. Of a holder's the nearest goes first. */
  readonly expiresAt: number | null;
  /** Why it is unresolved or skipped. */
  readonly error: RecordError | null;
  /** Milliseconds since 1970. */
  readonly admittedAt: number;
}

export interface RecordError {
  readonly code: string;
  readonly reason: string;
  readonly message: string;
}

/** A redemption as it is remembered. Milliseconds since 1970, null where it has not happened. */
export interface JournalRecord extends Omit<Entry, "status"> {
  readonly status: RecordStatus;
  readonly redeemedAmount: LedgerCredits | null;
  readonly remainingBalance: LedgerCredits | null;
  readonly short: boolean;
  /** What the ledger calls the burn, and whose credits it says they were; null where it did not say. */
  readonly transaction: string | null;
  readonly payer: string | null;
  /** How often it was taken for sending. */
  readonly attempt: number;
  /** Who took it last, or prepared it. */
  readonly owner: string | null;
  readonly firstSentAt: number | null;
  readonly sentAt: number | null;
  /** When the first attempt was sent that ended without an answer and may have been applied. */
  readonly doubtSince: number | null;
  readonly changedAt: number;
}

/** A record that this owner may send now: it is `sending` already, durably. */
export interface Claimed {
  readonly redemptionId: string;
  readonly holderKey: string;
  readonly amount: number;
  readonly body: string;
  readonly attempt: number;
  readonly sentAt: number;
  /** As of the record. */
  readonly doubtSince: number | null;
  readonly repeatable: boolean;
  readonly expiresAt: number | null;
  /** Milliseconds since it was handed over, or put back last. */
  readonly waitedMs: number;
}

/** Takes pending records, one holder after the other; of each what expires first, and then the oldest. */
export interface Claim {
  /** Records at the most. */
  readonly limit: number;
  /** Records of one holder that this owner may be sending at once. */
  readonly perHolder: number;
  /** A holder to pass over if there is another. */
  readonly avoid?: string | undefined;
}

/**
 * What an attempt came to; applies only while its record is `sending` under that owner and attempt.
 * `completed` and `failed` also apply, as a late answer, to what has meanwhile become `unresolved`, or
 * `pending` again with no attempt since: that one must not be sent once more.
 */
export interface Settlement {
  readonly redemptionId: string;
  readonly attempt: number;
  readonly answer: Answer;
  /** For `pending`: it may have been applied, and is sent again under an id that the ledger honours. */
  readonly mayBeApplied: boolean;
  /**
   * For `pending`: not to be taken again before, in milliseconds since 1970. One that is hours away was
   * set by another clock, and does not count.
   */
  readonly notBefore: number;
}

/** All that is committed at once. */
export interface Batch {
  readonly owner: string;
  readonly now: number;
  /**
   * New records. An id that exists is left alone, but for a `prepared` one (or one that was given up
   * as `delivery-unconfirmed`), which becomes what is handed over now.
   */
  readonly append: readonly Entry[];
  /**
   * Comes after `append`: a redemption that is skipped gives its proof back, and one that was skipped
   * reserves none any more.
   */
  readonly reserve?: readonly Reservation[];
  readonly settle: readonly Settlement[];
  readonly claim?: Claim | undefined;
}

export interface Committed {
  /** Whether each settlement applied. */
  readonly settled: readonly boolean[];
  /**
   * Whether each settlement is an answer that came after a person's decision, or for an attempt before the last:
   * it did not apply, and is written beside the acts, once.
   */
  readonly late: readonly boolean[];
  /** Whether each proof is its redemption's now; false: another has used it. */
  readonly reserved: readonly boolean[];
  readonly claimed: readonly Claimed[];
}

/** A proof that must not be used again. */
export interface Reservation {
  readonly redemptionId: string;
  /** What makes the proof one of a kind: itself, or its nonce. A secret: only a digest is kept. */
  readonly proof: string;
}

/** What waits, or is on the wire. */
export interface Totals {
  readonly pending: number;
  /** Credits that are not settled, of all holders. */
  readonly credits: number;
  /** Bytes of the bodies of what is pending. */
  readonly pendingBytes: number;
  /** When the oldest pending record was admitted; null where there is none. */
  readonly oldestPendingAt: number | null;
  readonly sending: number;
  readonly unresolved: number;
}

/** An owner, as seen by another. */
export interface OwnerSeen {
  readonly owner: string;
  /** Grows while the owner lives. Compared with itself only: no clock of another host matters. */
  readonly beat: number;
  /** True where the implementation knows for certain that its process has ended. */
  readonly gone: boolean;
}

export interface Takeover {
  /** The owner that is gone. */
  readonly from: string;
  readonly now: number;
  /**
   * What it was sending, and may have been applied since this time only, is sent again under its id,
   * since the ledger honours it, where it is repeatable; null: nothing is.
   */
  readonly resendSince: number | null;
}

/** What a person decides about an unresolved redemption, or (`cancel`, `fail`) about one that waits. */
export type Act =
  | { readonly act: "complete"; readonly redeemedAmount: number | null }
  | { readonly act: "fail" }
  | { readonly act: "cancel" }
  | { readonly act: "supply"; readonly amount: number; readonly body: string }
  | { readonly act: "resend" };

/** An act, with who did it; or an answer of the ledger's that came too late. */
export interface ActRecord {
  readonly redemptionId: string;
  readonly act: Act["act"] | "answer";
  /** Who: a name or an address, as the operator gives it; "ledger" for an answer. */
  readonly by: string;
  readonly note: string | null;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Credits that were supplied or marked as redeemed, or that the ledger says it redeemed. */
  readonly amount: number | null;
}

export interface Filter {
  readonly status?: RecordStatus | undefined;
  readonly holderAddress?: string | undefined;
  /** Records after this one, in the order of their admission: the cursor of the page before. */
  readonly after?: number | undefined;
  readonly limit: number;
}

export interface Page {
  readonly records: readonly JournalRecord[];
  /** Cursor of the next page; null where there is none. */
  readonly next: number | null;
}

export interface Journal {
  /** May run at once, synchronously: what only some implementations can, and a process at its exit needs. */
  commit(batch: Batch): Promise<Committed>;
  read(redemptionIds: readonly string[]): Promise<JournalRecord[]>;
  list(filter: Filter): Promise<Page>;
  totals(): Promise<Totals>;
  account(planId: string, holderAddress: string): Promise<Account>;
  /**
   * Sets credits aside, each if it fits, in their order. A hold ends with the commit that records what
   * its redemption came to (one that is prepared has come to nothing yet), with `release`, or when its
   * owner is taken over; it is not made where that is recorded already. It need not survive a crash of
   * the machine: the requests do not.
   */
  hold(owner: string, asked: readonly HoldAsked[]): Promise<HoldAnswer[]>;
  /** Gives back holds and proofs of redemptions that leave no record. */
  release(redemptionIds: readonly string[]): Promise<void>;
  /**
   * What the holder had after the last of its other charges that completed before this one was first
   * sent (or, if it never was, before it last changed); null if not known.
   */
  balanceBefore(record: JournalRecord): Promise<{ amount: LedgerCredits; at: number } | null>;
  /** The database's time, in milliseconds since 1970; null where it has none of its own but this machine's. */
  clock(): Promise<number | null>;
  /** Tells that the owner lives, and returns the others. */
  beat(owner: string): Promise<OwnerSeen[]>;
  /**
   * Ends another owner: what it was sending becomes unresolved (or pending, see `resendSince`), what it
   * had prepared becomes unresolved as `delivery-unconfirmed`, its holds end. Returns the ids by what they became.
   */
  takeOver(takeover: Takeover): Promise<{ unresolved: string[]; pending: string[] }>;
  /**
   * Carries an act out on an unresolved record, and records it. Undefined, and nothing is done, where it
   * is not unresolved (to cancel, not pending; to fail, neither); to send again, where there are no bytes to
   * send; to supply, where there is an amount.
   *
   * @param quietMs nothing is done where it was sent less long ago, or that is not known; what waits since it
   * was certainly not applied may be ended at once
   */
  act(
    act: Act,
    record: Omit<ActRecord, "act" | "amount">,
    quietMs?: number,
  ): Promise<JournalRecord | undefined>;
  acts(redemptionId: string): Promise<ActRecord[]>;
  /**
   * Forgets completed, failed and skipped records that have not changed since, and proofs that were used
   * before; returns how many records.
   */
  prune(before: number, limit: number): Promise<number>;
  /** Takes secrets that were overwritten out of the files, too. */
  tidy(): Promise<void>;
  /** Takes the owner off the list, unless it leaves something under way behind, and closes. */
  close(owner: string): Promise<void>;
}

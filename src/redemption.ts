/** The words that every room shares: payment, redemption, charge, outcome; and the states. */

import type { FailureReason, PostponementReason, SkipReason, UnresolvedReason } from "./errors.ts";

/** What a request attaches in order to pay. */
export interface Payment {
  /** The credit plan at the ledger. Opaque: a `did:nv:…` or a decimal uint256 of up to 78 digits. */
  readonly planId: string;
  /** `0x` and 40 hexadecimal digits, in the letter case in which the buyer wrote it. */
  readonly holderAddress: string;
  /** What shows that the holder agrees: a signature or a JSON document. A secret: never logged. */
  readonly proof: string;
}

/**
 * Tokens of one answer. Counts are whole numbers from 0 upwards.
 *
 * @example
 * ```ts
 * import type { Usage } from "express-credit-meter";
 *
 * const used: Usage = { inputTokens: 1200, outputTokens: 80, cachedInputTokens: 1024, model: "gpt-5" };
 * ```
 */
export interface Usage {
  /** All that was read, what came from a cache included. */
  readonly inputTokens: number;
  /** All that was written, what the model thought included. */
  readonly outputTokens: number;
  /** Of `inputTokens`: what came from a cache. */
  readonly cachedInputTokens?: number;
  /** As the model calls itself. */
  readonly model?: string;
}

/**
 * An amount of credits as the ledger states it: a number, or a decimal string where the value is
 * past `Number.MAX_SAFE_INTEGER` and a number would lie.
 */
export type LedgerCredits = number | string;

/** The life of a redemption; see `mayBecome` for the moves that exist. */
export type RedemptionStatus =
  | "pending"
  | "sending"
  | "completed"
  | "failed"
  | "unresolved"
  | "skipped";

/**
 * One charge and its outcome, as found on `res.locals.redemption` from the moment a request is
 * admitted. Its fields change in place.
 *
 * @example
 * ```ts
 * import type { Response } from "express";
 *
 * async function report(res: Response) {
 *   const settled = await res.locals.redemption?.settled;
 *   console.log(settled?.status, settled?.redemption.redeemedAmount, settled?.error?.reason);
 * }
 * ```
 */
export interface Redemption {
  /** Random (a UUID of version 4, 122 bits), the same for life; also the `Redemption-Id` header. */
  readonly redemptionId: string;
  status: RedemptionStatus;
  /** ISO 8601 time of the last change. */
  timestamp: string;
  readonly planId: string;
  readonly holderAddress: string;
  /** The row of the price table, or method and path of the route that `charge()` is mounted on. */
  readonly route: string;
  /** `"production"` for Nevermined's live environment, `"test"` for every other. */
  readonly environment: "production" | "test";
  /** Credits. `null` until known; what was redeemed is what the ledger says, not what was asked. */
  readonly redemption: {
    requestedAmount: number | null;
    redeemedAmount: LedgerCredits | null;
    remainingBalance: LedgerCredits | null;
  };
  /** What its price was computed from, where it is a price by tokens, or the handler reported it. */
  usage?: Usage;
  /** Set when the ledger redeemed less than was asked. */
  short?: true;
  /** What the ledger calls the burn, mostly the hash of a transaction; where it said so (x402). */
  transaction?: string;
  /** Whose credits the ledger says they were; where it said so (x402). */
  payer?: string;
  /** Set when completed. */
  success?: { message: string };
  /**
   * Set when failed, unresolved or skipped. `reason` is one of this package's words, each with a
   * heading in `docs/errors.md`; `code` is the ledger's or the network's own code where there is one
   * (`BCK.CREDITS.0003`, `HTTP_502`, `UND_ERR_SOCKET`), else the same word as `reason`.
   */
  error?: RedemptionError;
  /** One line for a person. */
  message: string;
  /**
   * Resolves with this object when it is completed, failed, skipped or unresolved, the first time: what was
   * unresolved may go on later. Never rejects. Not enumerable, so that the record can be logged or sent as JSON.
   */
  readonly settled: Promise<Redemption>;
}

export interface RedemptionError {
  code: string;
  message: string;
  reason: FailureReason | UnresolvedReason | SkipReason;
}

/** What the redeemer is asked to burn. Plain data: it may cross to another thread. */
export interface Charge {
  readonly redemptionId: string;
  readonly planId: string;
  readonly holderAddress: string;
  readonly proof: string;
  /** Credits, a positive safe integer. */
  readonly amount: number;
}

/** What became of one attempt to burn. Plain data. */
export type Answer =
  | {
      readonly status: "completed";
      readonly redeemedAmount: LedgerCredits | null;
      readonly remainingBalance: LedgerCredits | null;
      /** The ledger says that it redeemed less than was asked. */
      readonly short: boolean;
      /** What the ledger calls the burn, mostly the hash of a transaction. Only x402 tells. */
      readonly transaction?: string;
      /** Whose credits the ledger says they were: `0x` and 40 hexadecimal digits. Only x402 tells. */
      readonly payer?: string;
    }
  | {
      readonly status: "failed";
      readonly reason: FailureReason;
      readonly code: string;
      readonly message: string;
    }
  | {
      readonly status: "unresolved";
      readonly reason: UnresolvedReason;
      readonly code: string;
      readonly message: string;
    }
  | {
      /** Certainly not applied: the same charge may be sent again under the same id. */
      readonly status: "pending";
      readonly reason: PostponementReason;
      readonly code: string;
      readonly message: string;
      /** Milliseconds that the ledger asked us to wait. */
      readonly retryAfterMs?: number;
    };

/** What a ledger said when it was asked for a balance. Plain data. */
export type BalanceReading =
  /** 0 where the ledger says so, or says in a code of its own that it does not know the plan or the holder. */
  | { readonly told: true; readonly amount: LedgerCredits }
  /**
   * Not known, which is not "none". `answered`: somebody is there, and does not tell; not a busy or broken
   * ledger. `message`: what came instead, one sentence without secrets.
   */
  | { readonly told: false; readonly answered: boolean; readonly message: string };

/** Whether an x402 access token pays so many credits. Plain data. */
export interface VerifyQuestion {
  /** What a 402 tells the buyer. */
  readonly paymentRequired: object;
  /** A secret. */
  readonly x402AccessToken: string;
  /** Credits. */
  readonly maxAmount: number;
}

/** What a ledger said when it was asked whether an x402 access token pays. Plain data. */
export type Verification =
  | {
      readonly status: "valid";
      /** Under which the settlement is idempotent. `null`: the ledger gave none that can be used. */
      readonly agentRequestId: string | null;
      /** `0x` and 40 hexadecimal digits. `null`: the ledger did not say. */
      readonly payer: string | null;
    }
  | { readonly status: "invalid"; readonly reason: FailureReason; readonly message: string }
  /** It did not say: out of reach, busy, or not set up as it must be. */
  | { readonly status: "away"; readonly message: string };

/** Whether it was charged, or how much it is, nobody can say. */
export type UnresolvedAnswer = Extract<Answer, { status: "unresolved" }>;

/** What of a charge counted before, and as what. Credits. */
export interface Owed {
  readonly unsettled: number;
  readonly doubtful: number;
}

/** Holders are told apart by plan and address; addresses are compared without letter case. */
export function holderKeyOf(planId: string, holderAddress: string): string {
  return `${planId} ${holderAddress.toLowerCase()}`;
}

/** What happens to a charge, for whoever keeps account of it. Amounts are credits. */
export type ChargeEvent = {
  readonly redemptionId: string;
  /** Plan and address, as the journal tells holders apart. */
  readonly holderKey: string;
  readonly amount: number;
} & (
  | { readonly kind: "handed-over" | "accepted" | "sending" }
  /** It waits again. */
  | { readonly kind: "put-back"; readonly was: Owed }
  | {
      readonly kind: "settled";
      readonly was: Owed;
      readonly outcome:
        | {
            readonly status: "completed";
            readonly remainingBalance: LedgerCredits | null;
            readonly proof: string | null;
          }
        | {
            readonly status: "failed";
            readonly reason: string;
            readonly byPerson: boolean;
            readonly proof: string | null;
          }
        | { readonly status: "unresolved"; readonly wasSent: boolean };
    }
);

/** A response that costs nothing. */
export interface Skip {
  readonly status: "skipped";
  readonly reason: SkipReason;
  readonly code: string;
  readonly message: string;
}

/** Every change that can happen to a redemption after its request was admitted. */
export type Change = Answer | Skip | { readonly status: "sending" };

const moves: Record<RedemptionStatus, readonly RedemptionStatus[]> = {
  // Another process may send it, so that only the end of it is seen here.
  pending: ["sending", "completed", "failed", "unresolved", "skipped"],
  sending: ["completed", "failed", "unresolved", "pending"],
  // A late answer may still arrive for what was given up as lost, and a person may decide.
  unresolved: ["completed", "failed", "pending"],
  completed: [],
  failed: [],
  skipped: [],
};

/** Whether a redemption may move from one state to another. */
export function mayBecome(from: RedemptionStatus, to: RedemptionStatus): boolean {
  return moves[from].includes(to);
}

/** Whether `settled` has resolved: nothing happens to it any more without a person or a late answer. */
export function isSettled(status: RedemptionStatus): boolean {
  return status !== "pending" && status !== "sending";
}

type Opening = Pick<
  Redemption,
  "redemptionId" | "planId" | "holderAddress" | "route" | "environment"
>;

/** A new redemption, and the function that settles its promise. */
export function openRedemption(
  opening: Opening,
  now: number,
): { redemption: Redemption; settle: () => void } {
  let resolveSettled: (redemption: Redemption) => void = () => {};
  const settled = new Promise<Redemption>((resolve) => {
    resolveSettled = resolve;
  });
  const redemption = {
    redemptionId: opening.redemptionId,
    status: "pending",
    timestamp: new Date(now).toISOString(),
    planId: opening.planId,
    holderAddress: opening.holderAddress,
    route: opening.route,
    environment: opening.environment,
    redemption: { requestedAmount: null, redeemedAmount: null, remainingBalance: null },
    message: "Admitted; the price is known when the response has ended.",
  } as Omit<Redemption, "settled"> as Redemption;
  Object.defineProperty(redemption, "settled", { value: settled });
  return { redemption, settle: () => resolveSettled(redemption) };
}

/**
 * Carries a change out on the record. Returns false, and leaves the record as it is, where the
 * change is not a move that exists: an outcome that comes twice must not undo the first.
 */
export function applyChange(record: Redemption, change: Change, now: number): boolean {
  if (!mayBecome(record.status, change.status)) return false;
  record.status = change.status;
  record.timestamp = new Date(now).toISOString();
  delete record.error;
  switch (change.status) {
    case "sending":
      record.message = `Charging ${credits(record.redemption.requestedAmount)}.`;
      break;
    case "completed":
      record.redemption.redeemedAmount = change.redeemedAmount;
      record.redemption.remainingBalance = change.remainingBalance;
      if (change.short) record.short = true;
      if (change.transaction !== undefined) record.transaction = change.transaction;
      if (change.payer !== undefined) record.payer = change.payer;
      record.message = completedMessage(record);
      record.success = { message: record.message };
      break;
    case "pending":
      record.message = `Not charged yet, will be sent again: ${change.message}`;
      break;
    default:
      record.error = { code: change.code, message: change.message, reason: change.reason };
      record.message = `${change.reason === "payment-expired" ? headline.skipped : headline[change.status]}: ${change.message}`;
  }
  return true;
}

/** What is remembered of a redemption elsewhere. */
export interface Remembered {
  readonly status: RedemptionStatus;
  /** ISO 8601. */
  readonly timestamp: string;
  readonly redemption: Redemption["redemption"];
  readonly short: boolean;
  readonly transaction: string | null;
  readonly payer: string | null;
  readonly error: RedemptionError | null;
}

/**
 * Brings a record up to date with what is remembered of it elsewhere: what another process or a person
 * did. Returns false, and changes nothing, where that is no move that exists.
 */
export function applyRecord(record: Redemption, remembered: Remembered, now: number): boolean {
  const { status, error } = remembered;
  if (!mayBecome(record.status, status)) return false;
  if (status === "sending") return applyChange(record, { status }, now);
  Object.assign(record.redemption, remembered.redemption);
  if (status === "completed") {
    const { redeemedAmount, remainingBalance } = remembered.redemption;
    const { short, transaction, payer } = remembered;
    const told = { ...(transaction !== null && { transaction }), ...(payer !== null && { payer }) };
    applyChange(record, { status, redeemedAmount, remainingBalance, short, ...told }, now);
  } else if (error) {
    applyChange(record, { ...error, status } as Change, now);
  } else {
    record.status = status;
    record.message = "Waits to be sent.";
    delete record.error;
  }
  record.timestamp = remembered.timestamp;
  return true;
}

const headline = {
  failed: "The ledger refused the charge",
  unresolved: "A person must decide",
  skipped: "Not charged",
} as const;

function completedMessage(record: Redemption): string {
  const { requestedAmount, redeemedAmount, remainingBalance } = record.redemption;
  const redeemed =
    redeemedAmount === null
      ? `Redeemed; the ledger did not say how many of ${credits(requestedAmount)}`
      : record.short
        ? `Redeemed only ${redeemedAmount} of ${credits(requestedAmount)}`
        : `Redeemed ${credits(redeemedAmount)}`;
  return remainingBalance === null ? `${redeemed}.` : `${redeemed}; ${remainingBalance} remaining.`;
}

function credits(amount: LedgerCredits | null): string {
  return `${amount ?? "an unknown number of"} ${amount === 1 ? "credit" : "credits"}`;
}

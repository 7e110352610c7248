/**
 * Every word under which something can go wrong. Each has a heading of its own in `docs/errors.md`
 * that says what happened and what to do; a test keeps the two in step.
 */

/** Thrown while the program starts, or at the first request that shows a wrong set-up. */
export const setupCodes = [
  "option-invalid",
  "api-key-missing",
  "environment-unknown",
  "route-invalid",
  "price-invalid",
  "two-meters",
  "express-mismatch",
  "head-sent",
  "plans-failed",
  "verify-failed",
  "journal-unusable",
  "act-refused",
  "usage-invalid",
] as const;

/** The `code` of an answer that refuses a request before its handler runs. */
export const refusalCodes = [
  "payment-required",
  "payment-malformed",
  "plan-not-sold",
  "insufficient-credits",
  "holder-blocked",
  "exposure-reached",
  "proof-invalid",
  "proof-spent",
  "request-id-repeated",
  "ledger-away",
  "not-asked-in-time",
  "route-unlisted",
  "queue-full",
  "journal-full",
  "journal-failing",
  "ledger-misconfigured",
  "closing",
  "delivery-untold",
  "receipt-not-found",
] as const;

/** Why the ledger refused a charge for good, or could not be sent it in time: `error.reason` of a `failed` redemption. */
export const failureReasons = [
  "insufficient-credits",
  "proof-refused",
  "payment-expired",
  "ledger-refused",
] as const;

/** Why nobody can say whether, or how much, was charged: `error.reason` of an `unresolved` one. */
export const unresolvedReasons = [
  "answer-lost",
  "maybe-charged",
  "unexpected-answer",
  "idempotency-mismatch",
  "price-error",
  "charge-invalid",
  "delivery-unconfirmed",
] as const;

/** Why a response costs nothing: `error.reason` of a `skipped` redemption. */
export const skipReasons = [
  "not-successful",
  "head-request",
  "nothing-delivered",
  "cut-by-server",
  "price-zero",
  "charge-when",
  "refused",
] as const;

/** Why a charge was certainly not applied and is sent again later. Only ever seen in the log. */
export const postponementReasons = [
  "ledger-unreachable",
  "ledger-throttled",
  "still-running",
  "configuration-fault",
] as const;

export type SetupCode = (typeof setupCodes)[number];
export type RefusalCode = (typeof refusalCodes)[number];
export type FailureReason = (typeof failureReasons)[number];
export type UnresolvedReason = (typeof unresolvedReasons)[number];
export type SkipReason = (typeof skipReasons)[number];
export type PostponementReason = (typeof postponementReasons)[number];

/**
 * The one class of error that this package throws. `code` is stable and has a heading in
 * `docs/errors.md`; `message` says what to do; `cause` holds the error underneath, if there is one.
 *
 * @example
 * ```ts
 * import { CreditMeterError, creditMeter } from "express-credit-meter";
 *
 * try {
 *   creditMeter({ environment: "sandbox", plans: ["1059"], routes: {} });
 * } catch (error) {
 *   if (error instanceof CreditMeterError && error.code === "api-key-missing") process.exit(78);
 *   throw error;
 * }
 * ```
 */
export class CreditMeterError extends Error {
  readonly code: SetupCode;

  constructor(code: SetupCode, message: string, options?: ErrorOptions) {
    super(`${message} [${code}]`, options);
    this.name = "CreditMeterError";
    this.code = code;
  }
}

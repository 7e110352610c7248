/**
 * Charges Nevermined plan credits for each successful response of an Express API, after the response
 * has gone.
 *
 * @packageDocumentation
 */

import "./express-locals.ts";

export {
  type CloseOptions,
  type CreditMeter,
  creditMeter,
  type MeterHealth,
  type RedemptionListener,
} from "./credit-meter.ts";
export {
  CreditMeterError,
  type FailureReason,
  type RefusalCode,
  type SetupCode,
  type SkipReason,
  type UnresolvedReason,
} from "./errors.ts";
export type { Plans } from "./guard/plans.ts";
export type { ProofVerdict, VerifyProof } from "./guard/proofs.ts";
export type { Delivery } from "./middleware/delivery.ts";
export type { PaymentHeaders, PaymentReader } from "./middleware/payment.ts";
export type {
  ChargeDecision,
  ChargeRule,
  ChargeWhen,
  Price,
  PriceFunction,
} from "./middleware/pricing.ts";
export type { Problem, Refuse } from "./middleware/refusal.ts";
export type {
  BalanceAt,
  Decider,
  ListOptions,
  OperatedRedemptions,
  RedemptionDetails,
  RememberedRedemption,
} from "./operator.ts";
export type {
  CreditMeterOptions,
  Environment,
  GuardSettings,
  Logger,
  PostgresJournal,
  RoutePrice,
} from "./options.ts";
export type {
  LedgerCredits,
  Payment,
  Redemption,
  RedemptionError,
  RedemptionStatus,
  Usage,
} from "./redemption.ts";

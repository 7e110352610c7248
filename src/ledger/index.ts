export type { Burn, BurnFilter, Movement } from "./accounts.ts";
export type { Audit } from "./audit.ts";
export type {
  DelayDetails,
  Endpoint,
  ErrorDetails,
  FaultDetails,
  FaultName,
  FaultRates,
  FaultTarget,
  GarbageDetails,
  GarbageForm,
  NoDetails,
  RefusalDetails,
  Script,
  ThrottleDetails,
} from "./faults.ts";
export { createLedger, type Ledger, type RequestCounts } from "./ledger.ts";
export {
  type AnswerStyle,
  buyerKey,
  devKey,
  type IdempotencyMode,
  type LedgerBuyer,
  type LedgerKey,
  type LedgerOptions,
  type LedgerPlan,
  type RedeemRequest,
  type RefusalStyle,
  type RequestIds,
} from "./options.ts";

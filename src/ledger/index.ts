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
  devKey,
  type IdempotencyMode,
  type LedgerKey,
  type LedgerOptions,
  type LedgerPlan,
  type RedeemRequest,
} from "./options.ts";

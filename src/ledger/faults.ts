/** An endpoint of the ledger; the last three are those of x402. */
export type Endpoint = "redeem" | "mint" | "balance" | "permissions" | "verify" | "settle";

/** How long a delay lasts: milliseconds, or a range that is drawn from. */
export interface DelayDetails {
  /** 0 to 600,000; default 100. */
  ms?: number | readonly [min: number, max: number];
}

/** Which server error is answered. */
export interface ErrorDetails {
  /** 500 to 599; default 500. */
  status?: number;
  /** Default `BCK.HTTP.<status>`; `BCK.AUTH.0014` with 503 is the one the catalogue calls retryable. */
  code?: string;
}

/** Which refusal is answered. */
export interface RefusalDetails {
  /** 400 to 499, or 200 for `{ "success": false }` (of verify `isValid`); default 402. */
  status?: number;
  /** Default: the code that the catalogue has for the status, or else `BCK.HTTP.<status>`. */
  code?: string;
}

/** How soon a throttled client may come again. */
export interface ThrottleDetails {
  /** Whole seconds in `Retry-After`, 0 to 86,400; default 1. */
  retryAfter?: number;
}

/**
 * What a 200 that cannot be read looks like: a proxy's HTML page, JSON that stops in the middle,
 * JSON of the wrong types, or no body.
 */
export type GarbageForm = "html" | "truncated" | "types" | "empty";

/** Which garbage is answered. */
export interface GarbageDetails {
  /** Default: drawn. */
  form?: GarbageForm;
}

/** Faults that have nothing to choose. */
export type NoDetails = Record<never, never>;

/**
 * The faults, by what they do and when. `before-applying`: no credit has moved when it happens,
 * and, but for a delay or a hang that ends, none will. `after-applying`: the ledger has decided
 * and committed, and something befalls the answer.
 */
export interface FaultDetails {
  /** The new connection is destroyed before a byte is read. Drawn once a connection. */
  "reject-connection-before-applying": NoDetails;
  /** Waits, then goes on, whether the client is still there or not. */
  "delay-before-applying": DelayDetails;
  /** Waits until `release()`, then goes on, whether the client is still there or not. */
  "hang-before-applying": NoDetails;
  /** Answers a 5xx and applies nothing. */
  "error-before-applying": ErrorDetails;
  /** Answers 429 with `Retry-After` and applies nothing. */
  "throttle-before-applying": ThrottleDetails;
  /** Refuses and applies nothing; not remembered for the `Idempotency-Key` or `agentRequestId`. */
  "refuse-before-applying": RefusalDetails;
  /** Answers a 200 that cannot be read and applies nothing. */
  "garbage-before-applying": GarbageDetails;
  /** Destroys the connection without an answer and applies nothing. */
  "drop-before-applying": NoDetails;
  /** Applies, waits, then answers. */
  "delay-after-applying": DelayDetails;
  /** Applies, waits until `release()`, then answers. */
  "hang-after-applying": NoDetails;
  /** Applies, then answers a 5xx. */
  "error-after-applying": ErrorDetails;
  /** Applies, then answers a 200 that cannot be read. */
  "garbage-after-applying": GarbageDetails;
  /** Applies, then destroys the connection without an answer. */
  "drop-after-applying": NoDetails;
  /** Applies and answers well, then destroys the connection that it said it would keep. */
  "close-after-applying": NoDetails;
}

/** The name of a fault: what it does, and whether the request has been applied when it happens. */
export type FaultName = keyof FaultDetails;

/** Which requests a fault may befall. */
export interface FaultTarget {
  /**
   * Default `redeem` and `settle`, which burn. Of no account to
   * `reject-connection-before-applying`.
   */
  on?: Endpoint | readonly Endpoint[] | "any";
}

/**
 * Faults that happen by chance: each name with its rate, 0 (never) to 1 (always), alone or with
 * details.
 *
 * @example
 * ```ts
 * import type { FaultRates } from "express-credit-meter/ledger";
 *
 * const faults: FaultRates = {
 *   "drop-after-applying": 0.05,
 *   "delay-before-applying": { rate: 0.5, ms: [5, 50] },
 * };
 * ```
 */
export type FaultRates = {
  [Name in FaultName]?: number | ({ rate: number } & FaultTarget & FaultDetails[Name]);
};

/** What `failNext` may be told besides the fault's own details. */
export interface Script extends FaultTarget {
  /** How many requests it befalls, one after the other; default 1. */
  times?: number;
  /** How many requests pass unharmed first; default 0. */
  after?: number;
}

/** One fault that befalls one request. */
export interface Fault {
  name: FaultName;
  ms?: number | undefined;
  status?: number | undefined;
  code?: string | undefined;
  retryAfter?: number | undefined;
  form?: GarbageForm | undefined;
}

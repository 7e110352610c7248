import { z } from "zod";
import { check } from "./check.ts";
import { maxCredits } from "./database.ts";
import type { FaultRates } from "./faults.ts";

/** The API key of a ledger that was given none. No secret: it opens only embedded ledgers. */
export const devKey = "nvm:dev-key";

/** A key with limits. */
export interface LedgerKey {
  key: string;
  /** The plans that it may redeem from and mint for; others are 403 `BCK.AUTH.0003`. Default: all. */
  plans?: readonly string[];
  /** `false`: well known but not registered, 403 `BCK.APIKEY.0001`. Default `true`. */
  registered?: boolean;
}

/** A buyer, who asks for x402 access tokens with a key of their own. */
export interface LedgerBuyer {
  /** Whose credits the tokens burn. */
  holderAddress: string;
  /** Default: what {@link buyerKey} says. */
  key?: string;
}

/** The API key of a buyer who was given none. No secret: it opens only embedded ledgers. */
export function buyerKey(holderAddress: string): string {
  return `nvm:buyer-${encodeURIComponent(holderAddress.toLowerCase())}`;
}

/** How a plan differs from one that burns what is asked. */
export interface LedgerPlan {
  /** `planName` in a balance; default: the plan's id. */
  name?: string;
  /** A redemption of more burns only so many credits. At least 1; default: no maximum. */
  maxPerRedeem?: number;
  /** Every redemption burns so many credits, whatever is asked. At least 1. */
  fixedAmount?: number;
}

/** A redemption as it was asked for. */
export interface RedeemRequest {
  planId: string;
  holderAddress: string;
  amount: number;
  proof: string;
}

/**
 * How a redemption is answered: with numbers, with decimal strings (which other endpoints of
 * Nevermined send; a balance has them too), or with `{}`, since every field is optional.
 */
export type AnswerStyle = "numbers" | "strings" | "empty";

/** Whether a repeated `Idempotency-Key` burns once or, as if it were not there, again. */
export type IdempotencyMode = "honour" | "ignore";

/**
 * What an `agentRequestId` is worth. `honour`: verify gives a new one each time, and settle burns
 * once for each. `ignore`: settle burns again. `repeat`: verify gives the id that it gave last, to
 * whoever asks, and settle burns once for it. `none`: verify gives none.
 */
export type RequestIds = "honour" | "ignore" | "repeat" | "none";

/**
 * How verify and settle refuse a token. `flags`: 201 with `isValid: false` or `success: false` and
 * a reason, which is what Nevermined's SDK reads. `problems`: the status and the code that the
 * error catalogue has for it, which its documents name as well.
 */
export type RefusalStyle = "flags" | "problems";

/** What {@link createLedger} takes; everything has a default. */
export interface LedgerOptions {
  /**
   * A file that keeps accounts and remembered answers over restarts, in a folder that exists. Two
   * ledgers on one file burn a key once, but only its own knows that a key is still running.
   * Default `:memory:`.
   */
  path?: string;
  /** Default `127.0.0.1`. */
  host?: string;
  /** 0 to 65,535; default 0, any free one. */
  port?: number;
  /** Keys of sellers that it accepts; at least one. Default {@link devKey}. */
  keys?: readonly (string | LedgerKey)[];
  /** Holders who may ask for x402 access tokens: addresses, or with a key. More with `addBuyer`. */
  buyers?: readonly (string | LedgerBuyer)[];
  /** Plans that differ from the usual. Any other plan id works too and starts empty. */
  plans?: Readonly<Record<string, LedgerPlan>>;
  /**
   * Says at once whether a proof that is not empty is good; `false` is 403 `BCK.PROTOCOL.0030`.
   * Default: every one is.
   */
  acceptProof?: (request: RedeemRequest) => boolean;
  /** Default `honour`. Can be changed while it runs. */
  idempotency?: IdempotencyMode;
  /** Default `numbers`. Can be changed while it runs. */
  answers?: AnswerStyle;
  /** Default `honour`. Can be changed while it runs. */
  requestIds?: RequestIds;
  /** Default `flags`. Can be changed while it runs. */
  refusals?: RefusalStyle;
  /** How long an x402 access token is good, 1 or more; `null`: for ever. Default an hour. */
  tokenTtlMs?: number | null;
  /** The time of burns, and by which tokens expire; milliseconds since 1970. Default `Date.now`. */
  now?: () => number;
  /** Milliseconds after which an idle connection is closed, 1 to 600,000; default 5,000. */
  keepAliveMs?: number;
  /** Where the faults' generator starts, 0 to 2^32 - 1; default 1. */
  seed?: number;
  /** Faults from the start; default none. */
  faults?: FaultRates;
}

const text = z.string().min(1);
const credits = z.int().min(1).max(maxCredits);
const keySchema = z.preprocess(
  (key) => (typeof key === "string" ? { key } : key),
  z.strictObject({
    key: text,
    plans: z.array(text).readonly().optional(),
    registered: z.boolean().optional(),
  }),
);
const buyerSchema = z
  .preprocess(
    (buyer) => (typeof buyer === "string" ? { holderAddress: buyer } : buyer),
    z.strictObject({
      holderAddress: text,
      key: text.regex(/^\S+$/, "must not hold white space").optional(),
    }),
  )
  .transform(({ holderAddress, key = buyerKey(holderAddress) }) => ({ holderAddress, key }));
const planSchema = z.strictObject({
  name: text.optional(),
  maxPerRedeem: credits.optional(),
  fixedAmount: credits.optional(),
});
/** What can be changed while the ledger runs. */
export const modes = {
  idempotency: z.enum(["honour", "ignore"]),
  answers: z.enum(["numbers", "strings", "empty"]),
  requestIds: z.enum(["honour", "ignore", "repeat", "none"]),
  refusals: z.enum(["flags", "problems"]),
};
const optionsSchema = z.strictObject({
  // The binding takes a URL for a server elsewhere, and other schemes for a file's name.
  path: text
    .refine((path) => path === ":memory:" || !/^[a-z][a-z0-9+.-]+:/i.test(path), "must be a file")
    .default(":memory:"),
  host: text.default("127.0.0.1"),
  port: z.int().min(0).max(65_535).default(0),
  keys: z
    .array(keySchema)
    .min(1)
    .default([{ key: devKey }]),
  buyers: z.array(buyerSchema).default([]),
  // Entries, not z.record: a plan may be called `__proto__`.
  plans: z
    .looseObject({})
    .default({})
    .transform(() => undefined),
  acceptProof: z
    .custom<(request: RedeemRequest) => boolean>((value) => typeof value === "function", {
      error: "must be a function",
    })
    .optional(),
  idempotency: modes.idempotency.default("honour"),
  answers: modes.answers.default("numbers"),
  requestIds: modes.requestIds.default("honour"),
  refusals: modes.refusals.default("flags"),
  tokenTtlMs: z.int().min(1).nullable().default(3_600_000),
  now: z
    .custom<() => number>((value) => typeof value === "function", { error: "must be a function" })
    .default(() => Date.now),
  keepAliveMs: z.int().min(1).max(600_000).default(5_000),
  seed: z.int().min(0).max(0xffffffff).default(1),
  faults: z.custom<FaultRates>().default({}),
});

/** The options with their defaults; throws a `TypeError` that names each mistake. */
export function readOptions(options: LedgerOptions) {
  const { plans: _plans, ...read } = check(optionsSchema, options, "options");
  const plans = new Map(
    Object.entries(options.plans ?? {}).map(([planId, plan]) => [
      planId,
      check(planSchema, plan, `options of plan "${planId}"`),
    ]),
  );
  return { ...read, plans };
}

/** A buyer with a key; throws a `TypeError` for what is none. */
export function readBuyer(buyer: string | LedgerBuyer): Required<LedgerBuyer> {
  return check(buyerSchema, buyer, "buyers");
}

/** How many credits a plan burns when so many are asked for. */
export function dueOf(plan: z.output<typeof planSchema> | undefined, amount: number): number {
  return plan?.fixedAmount ?? Math.min(amount, plan?.maxPerRedeem ?? amount);
}

export type ReadOptions = ReturnType<typeof readOptions>;

/** The options: their strict schema, their defaults, and the environment variables behind them. */

import { z } from "zod";
import { CreditMeterError } from "./errors.ts";
import type { GuardOptions } from "./guard/guard.ts";
import type { Plans } from "./guard/plans.ts";
import type { VerifyProof } from "./guard/proofs.ts";
import type { PricedRoute } from "./middleware/meter.ts";
import { defaultHeaders, type PaymentHeaders, type PaymentReader } from "./middleware/payment.ts";
import { type ChargeWhen, chargeRules, isCredits, type Price } from "./middleware/pricing.ts";
import type { Refuse } from "./middleware/refusal.ts";
import { checked } from "./mistakes.ts";

/**
 * A row of the price table. `"free"` lets requests through unmetered: for exceptions to a wildcard,
 * for `unlisted: "refuse"`, and for routes that carry `meter.charge()` themselves.
 */
export type RoutePrice =
  | Price
  | "free"
  | {
      readonly price: Price;
      /**
       * Credits to set aside while a request runs whose price is computed: what it may cost at most, from 1
       * upwards. A fixed price is its own hold.
       */
      readonly hold?: number | undefined;
      /** Replaces the meter's `chargeWhen` for this route. */
      readonly chargeWhen?: ChargeWhen | undefined;
    };

/** A logger with pino's order of arguments: the object first, then the line. */
export interface Logger {
  debug(object: object, message: string): void;
  info(object: object, message: string): void;
  warn(object: object, message: string): void;
  error(object: object, message: string): void;
}

/** Where the credits are: one of Nevermined's environments, or an API of your own choice. */
export type Environment =
  | "sandbox"
  | "live"
  | "staging_sandbox"
  | "staging_live"
  | {
      /** For the log. */
      readonly name: string;
      /**
       * Such as `http://127.0.0.1:8402/api/v1`. An origin alone gets `/api/v1`, unless `redeemPath` is given:
       * then it is taken as it stands. Without a user, a password, `?` or `#`.
       */
      readonly baseUrl: string;
      /** Path of the redemption endpoint below the base URL. Default: `/protocol/plans/redeem`. */
      readonly redeemPath?: string | undefined;
    };

/** A journal in PostgreSQL. Needs the package `pg`. */
export interface PostgresJournal {
  /**
   * A connection string such as `postgres://user@host/database`, or what `pg` takes to make a pool, as plain
   * data. What is left out comes from the `PG*` environment variables.
   */
  readonly postgres: string | Readonly<Record<string, unknown>>;
  /** The schema that its tables live in; it is made where it does not exist. Default: `credit_meter`. */
  readonly schema?: string | undefined;
}

/** Options of the guard: who passes before the handler runs. */
export interface GuardSettings {
  /**
   * `"ask"`: the ledger is asked for balances. `"never"`: every holder has a line of credit instead.
   * Default: `"ask"`.
   */
  readonly balance?: "ask" | "never" | undefined;
  /** Milliseconds for which a balance counts. Default: 30,000; 0 to 3,600,000. */
  readonly balanceTtlMs?: number | undefined;
  /**
   * Milliseconds for which a holder who has too little, or of whom the ledger did not answer, is not
   * asked for again. Default: 5,000; 0 to 3,600,000.
   */
  readonly refusalTtlMs?: number | undefined;
  /**
   * Credits of charges and requests under way that a holder may owe of whom the ledger has told no balance.
   * Default: 100; 0 upwards.
   */
  readonly creditLine?: number | undefined;
  /**
   * Credits that all such holders may owe together: those of whom the ledger never told a balance. Who is known
   * passes on the balance that was told last, less what was had since, and does not count here. Default: ten
   * times the line.
   */
  readonly maxExposure?: number | undefined;
  /**
   * Milliseconds for which a holder is refused whose charge the ledger refused, but for proofs that have
   * paid before. Default: 600,000; 0 to a day.
   */
  readonly blockForMs?: number | undefined;
  /**
   * While the ledger does not answer: `"credit-line"`, or `"refuse"` with 503 whoever must be asked for.
   * Default: `"credit-line"`; with x402 `"refuse"`, since then its tokens are not verified either.
   */
  readonly onLedgerDown?: "credit-line" | "refuse" | undefined;
  /**
   * Whose holds count. `"fleet"`: those of all processes on the journal, which each request then asks (one
   * round trip to the database). `"process"`: those of the process; *n* processes multiply what a
   * dishonest buyer can cost by *n*. Default: `"fleet"` with a journal in PostgreSQL, else `"process"`.
   */
  readonly scope?: "process" | "fleet" | undefined;
  /** Balances that are asked for at once. Default: 8; 1 to 256. */
  readonly maxQuestions?: number | undefined;
  /**
   * `"single-use"`: a proof pays once; a second request with it gets 409. Default: `"reusable"`, since
   * no document of Nevermined's says that a proof is good for one request only.
   */
  readonly proofs?: "reusable" | "single-use" | undefined;
  /** Judges the proof before the handler runs. Default: only the ledger does, after it. */
  readonly verifyProof?: VerifyProof | undefined;
}

/** Options of `protocol: "x402"`. */
export interface X402Settings {
  /** Where buyers reach this API, such as `https://api.example.com`: what a 402 names begins with it. */
  readonly publicUrl: string;
  /** The agent at Nevermined that this API is. Default: none is named. */
  readonly agentId?: string | undefined;
  /** What the API does, for a person who sees a 402. */
  readonly description?: string | undefined;
  /** What it answers, such as `application/json`. */
  readonly mimeType?: string | undefined;
  /**
   * `"always"`: the ledger verifies the token before the handler runs, and gives the id under which the charge
   * is settled once. `"never"`: no request waits for it; then a lost answer waits for a person. Default:
   * `"always"`.
   */
  readonly verify?: "always" | "never" | undefined;
}

/** Options of {@link creditMeter}. */
export interface CreditMeterOptions {
  /**
   * How buyers pay. `"plans"`: each request names plan, holder and proof, and is charged by
   * `POST /protocol/plans/redeem`. `"x402"`: it carries an x402 access token, which is verified before and
   * settled after; see the option `x402`. Default: `"plans"`.
   */
  readonly protocol?: "plans" | "x402" | undefined;
  /** What goes with `protocol: "x402"`, and only with that. */
  readonly x402?: X402Settings | undefined;
  /**
   * The plans that pay for this API: a list, a function that returns one, or `"any"`. With `"any"` a
   * buyer could pay with a plan of their own making.
   */
  readonly plans: Plans;
  /**
   * Prices by route, first match wins: `"POST /v1/embeddings"` with the path as Express would mount
   * it, from the root of the application. Default: no rows.
   */
  readonly routes?: Readonly<Record<string, RoutePrice>> | undefined;
  /** The seller's API key. A secret. Default: the environment variable `NVM_API_KEY`. */
  readonly apiKey?: string | undefined;
  /**
   * Default: a custom one at the environment variable `NVM_BACKEND_URL` (the backend's origin, as for
   * Nevermined's SDK, or a base URL), else the one that the prefix of the API key names (`sandbox:`, `live:`,
   * `sandbox-staging:`, `live-staging:`).
   */
  readonly environment?: Environment | undefined;
  /** Other names for the three request headers, or a function that finds the payment. */
  readonly payment?: PaymentHeaders | PaymentReader | undefined;
  /** What happens to a route that no row names. Default: `"free"`. */
  readonly unlisted?: "free" | "refuse" | undefined;
  /** Answers refused requests in your own format. Default: RFC 9457 problem documents. */
  readonly refuse?: Refuse | undefined;
  /** Which responses are charged: `"delivered"`, `"complete"`, `"started"` or a function. Default: `"delivered"`. */
  readonly chargeWhen?: ChargeWhen | undefined;
  /**
   * Milliseconds that a computed price waits for its handler after the client has gone. Default:
   * 5,000; 0 to 600,000.
   */
  readonly abortGraceMs?: number | undefined;
  /** Who passes before the handler runs, and what a dishonest buyer can cost at most. */
  readonly guard?: GuardSettings | undefined;
  /** How much of something one request may take. */
  readonly limits?:
    | {
        /**
         * Milliseconds that a request waits in all before its handler runs or it is refused: for the journal,
         * the ledger's word on a balance or a token, and holds of the fleet. What functions of your own take
         * does not count. Default: 5,000; 1 to 600,000.
         */
        readonly waitMs?: number | undefined;
      }
    | undefined;
  /** Charges on the wire at once. Default: 16; 1 to 1,024. */
  readonly concurrency?: number | undefined;
  /** Charges of one holder on the wire at once. Default: 4; 1 to 1,024. */
  readonly perHolder?: number | undefined;
  /**
   * So many answers in a row that leave it open whether the ledger works make sending pause; one
   * charge at a time probes. Default: 5; 1 to 1,000.
   */
  readonly circuit?: number | undefined;
  /**
   * Says that the ledger honours the redemption id as an idempotency key for so many milliseconds:
   * what may have been applied is then sent again under its id until five minutes before the end (or until
   * half of a window of less than ten), and after that waits for a person. False: nothing is sent again.
   * Default: it is not known to; with x402, what verify gave an id is sent again for 24 hours, as Nevermined's
   * documents call a settlement idempotent on it and name no end.
   */
  readonly idempotent?: { readonly windowMs: number } | false | undefined;
  /**
   * Where charges are remembered: the path of a file on a local disk, shared by the processes of one machine;
   * a URL that begins with `postgres://`, or `{ postgres }`, shared by those of many; or `"memory"`, which loses what is under way when the process
   * ends. Default: `"./.credit-meter/journal.db"`.
   */
  readonly journal?: string | PostgresJournal | undefined;
  /**
   * `"response"`: a charge is durable some milliseconds after its response. `"strict"`: the redemption
   * is, before its handler runs, so that no delivered response lacks a record. Default: `"response"`.
   */
  readonly durability?: "response" | "strict" | undefined;
  /**
   * Runs journal and client in this thread instead of a worker: for tests that intercept HTTP. Default:
   * false.
   */
  readonly inline?: boolean | undefined;
  /**
   * What may wait in the journal, in records and bytes, and the milliseconds for which the ledger may decide
   * nothing while charges of several holders wait; past it new requests get 503.
   * Default: 1,000,000, 2 GiB and 7 days.
   */
  readonly backlog?:
    | { readonly count?: number; readonly bytes?: number; readonly ageMs?: number }
    | undefined;
  /**
   * Redemptions that are kept up to date on their `res.locals`, the newest; the journal has all.
   * Default: 10,000; 1 to 1,000,000.
   */
  readonly maxLive?: number | undefined;
  /** Completed, failed and skipped redemptions are forgotten after so many days. Default: 90. */
  readonly retentionDays?: number | undefined;
  /** Milliseconds that the process's exit waits for the journal. Default: 1,000; 0 to 60,000. */
  readonly exitWaitMs?: number | undefined;
  /**
   * Redemptions between admission and the journal's acknowledgement; past it new requests get 503.
   * Default: 10,000; 1 to 1,000,000.
   */
  readonly maxUnderWay?: number | undefined;
  /** Bytes of the payments of those. Default: 64 MiB; at least 64 KiB. */
  readonly maxUnderWayBytes?: number | undefined;
  /** Milliseconds for one attempt to charge, in all. Default: 30,000; 100 to 600,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * Waits, in milliseconds, before a charge that was certainly not applied is sent again: drawn from
   * 0 to `baseMs`, doubled with each attempt up to `maxMs`. Default: 250 and 30,000.
   */
  readonly backoff?: { readonly baseMs?: number; readonly maxMs?: number } | undefined;
  /** Your own logger. Default: pino on standard output. */
  readonly logger?: Logger | undefined;
}

/** The options as the rooms use them. */
export interface Settings {
  readonly apiKey: string;
  readonly environment: {
    readonly name: string;
    readonly baseUrl: string;
    readonly redeemPath: string;
  };
  readonly plans: Plans;
  /** Undefined with `protocol: "plans"`. */
  readonly x402: (X402Settings & { readonly verify: "always" | "never" }) | undefined;
  readonly routes: Readonly<Record<string, PricedRoute | "free">>;
  readonly payment: PaymentReader | Readonly<Record<keyof typeof defaultHeaders, string>>;
  readonly unlisted: "free" | "refuse";
  readonly refuse: Refuse | undefined;
  readonly chargeWhen: ChargeWhen | undefined;
  readonly abortGraceMs: number;
  readonly guard: GuardOptions & {
    readonly scope: "process" | "fleet";
    readonly proofs: "reusable" | "single-use";
    readonly verifyProof: VerifyProof | undefined;
  };
  readonly limits: { readonly waitMs: number };
  readonly concurrency: number;
  readonly perHolder: number;
  readonly circuit: number;
  /** Milliseconds for which it is relied on that the ledger honours an id; null: not at all. */
  readonly idempotentMs: number | null;
  readonly journal:
    | string
    | { readonly postgres: PostgresJournal["postgres"]; readonly schema: string };
  readonly durability: "response" | "strict";
  readonly inline: boolean;
  readonly backlog: { readonly count: number; readonly bytes: number; readonly ageMs: number };
  readonly maxLive: number;
  readonly retentionDays: number;
  readonly exitWaitMs: number;
  readonly maxUnderWay: number;
  readonly maxUnderWayBytes: number;
  readonly timeoutMs: number;
  readonly backoff: { readonly baseMs: number; readonly maxMs: number };
  readonly logger: Logger | undefined;
}

/** Base URLs by Nevermined's names for its environments, as in its SDK. */
const baseUrls = {
  sandbox: "https://api.sandbox.nevermined.app/api/v1",
  live: "https://api.live.nevermined.app/api/v1",
  staging_sandbox: "https://api.sandbox.nevermined.dev/api/v1",
  staging_live: "https://api.live.nevermined.dev/api/v1",
} as const;

/** Prefixes of API keys that name their environment, as in Nevermined's SDK. */
const environmentsByPrefix: Readonly<Record<string, keyof typeof baseUrls>> = {
  sandbox: "sandbox",
  live: "live",
  "sandbox-staging": "staging_sandbox",
  "live-staging": "staging_live",
};

const dayMs = 86_400_000;

/** Where Nevermined's backend serves its API. */
const apiPath = "/api/v1";

const defaultRedeemPath = "/protocol/plans/redeem";

const aFunction = <T>() =>
  z.custom<T>((value) => typeof value === "function", "must be a function");
const wholeNumber = (from: number, to: number) => {
  const words = `must be a whole number from ${from} to ${to}`;
  return z.int(words).min(from, words).max(to, words);
};
const headerName = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, "must be an HTTP header name");

const httpUrl = z.url({ protocol: /^https?$/, error: "must be an http or https URL" });

/** What paths can be joined to, and nothing that the log must not show. */
const ledgerUrl = z.custom<string>((value) => {
  if (!httpUrl.safeParse(value).success) return false;
  const { search, hash, username, password } = new URL(value as string);
  return search + hash + username + password === "";
}, "must be an http or https URL without a user, a password, ? or #");

const price = z.custom<Price>(
  (value) => isCredits(value) || typeof value === "function",
  "must be a whole number of credits from 0 upwards, or a synchronous function that returns one",
);
const hold = z.custom<number>(
  (value) => isCredits(value) && value > 0,
  "must be a whole number of credits from 1 upwards",
);

const chargeWhen = z.custom<ChargeWhen>(
  (value) => typeof value === "function" || chargeRules.includes(value as never),
  'must be "delivered", "complete", "started" or a function',
);

/** A price with what may go with it; also what `meter.charge()` takes. */
const pricedRoute = z
  .strictObject({
    price,
    hold: hold.optional(),
    chargeWhen: chargeWhen.optional(),
  })
  .refine(({ price, hold }) => typeof price !== "function" || hold !== undefined, {
    path: ["hold"],
    error:
      "must say how many credits to set aside while a request runs whose price is computed: { hold, price }",
  })
  .refine(({ price, hold }) => typeof price === "function" || hold === undefined, {
    path: ["hold"],
    error: "is not needed; leave hold out: a fixed price is its own hold",
  });

/** Whether it can cross to the thread that keeps the journal. */
function isPlainData(value: unknown): boolean {
  try {
    return typeof value === "object" && value !== null && structuredClone(value) !== undefined;
  } catch {
    return false;
  }
}

const defaultSchema = "credit_meter";
const postgresUrl = /^postgres(ql)?:\/\//;
/** A URL, or what looks like one: as a path it would make a folder of that name, with charges in it. */
const url = /^:?[a-z][a-z0-9+.-]+:/i;

const wholeCredits = z.custom<number>(
  isCredits,
  "must be a whole number of credits from 0 upwards",
);

const guardSchema = z.strictObject({
  balance: z.enum(["ask", "never"], 'must be "ask" or "never"').default("ask"),
  balanceTtlMs: wholeNumber(0, 3_600_000).default(30_000),
  refusalTtlMs: wholeNumber(0, 3_600_000).default(5_000),
  creditLine: wholeCredits.default(100),
  maxExposure: wholeCredits.optional(),
  blockForMs: wholeNumber(0, dayMs).default(600_000),
  onLedgerDown: z.enum(["credit-line", "refuse"], 'must be "credit-line" or "refuse"').optional(),
  scope: z.enum(["process", "fleet"], 'must be "process" or "fleet"').optional(),
  maxQuestions: wholeNumber(1, 256).default(8),
  proofs: z
    .enum(["reusable", "single-use"], 'must be "reusable" or "single-use"')
    .default("reusable"),
  verifyProof: aFunction<VerifyProof>().optional(),
});

const visible = z.string().regex(/^[\x20-\x7e]+$/, "must be visible ASCII text");

const x402Schema = z.strictObject({
  publicUrl: httpUrl,
  agentId: visible.max(256, "must have 256 characters or less").optional(),
  description: z.string().max(512, "must have 512 characters or less").optional(),
  mimeType: visible.max(128, "must have 128 characters or less").optional(),
  verify: z.enum(["always", "never"], 'must be "always" or "never"').default("always"),
});

const optionsSchema = z.strictObject(
  {
    protocol: z.enum(["plans", "x402"], 'must be "plans" or "x402"').default("plans"),
    x402: x402Schema.optional(),
    plans: z.custom<Plans>(
      (value) =>
        value === "any" ||
        typeof value === "function" ||
        (Array.isArray(value) &&
          value.length > 0 &&
          value.every((plan) => typeof plan === "string" && plan !== "")),
      'must list the ids of the plans that this API sells, be a function that returns that list, or be "any" (then a buyer could pay with a plan of their own making)',
    ),
    routes: z.record(z.string(), z.unknown()).optional(),
    apiKey: z.string().optional(),
    environment: z
      .union(
        [
          z.enum(["sandbox", "live", "staging_sandbox", "staging_live"]),
          z.strictObject({
            name: z.string().min(1),
            baseUrl: ledgerUrl,
            redeemPath: z.string().startsWith("/").optional(),
          }),
        ],
        'must be "sandbox", "live", "staging_sandbox", "staging_live" or { name, baseUrl } with an http or https URL',
      )
      .optional(),
    payment: z
      .union(
        [
          aFunction<PaymentReader>(),
          z.strictObject({
            planId: headerName.optional(),
            holderAddress: headerName.optional(),
            proof: headerName.optional(),
          }),
        ],
        "must be a function, or header names as { planId, holderAddress, proof }",
      )
      .optional(),
    unlisted: z.enum(["free", "refuse"], 'must be "free" or "refuse"').optional(),
    refuse: aFunction<Refuse>().optional(),
    chargeWhen: chargeWhen.optional(),
    abortGraceMs: wholeNumber(0, 600_000).default(5_000),
    guard: guardSchema.prefault({}),
    limits: z.strictObject({ waitMs: wholeNumber(1, 600_000).default(5_000) }).prefault({}),
    concurrency: wholeNumber(1, 1_024).default(16),
    perHolder: wholeNumber(1, 1_024).default(4),
    circuit: wholeNumber(1, 1_000).default(5),
    idempotent: z
      .union(
        [z.strictObject({ windowMs: wholeNumber(1, 366 * dayMs) }), z.literal(false)],
        "must be false, or { windowMs } with a whole number from 1 to a year",
      )
      .optional(),
    journal: z
      .union(
        [
          z
            .string()
            .regex(postgresUrl)
            .transform((postgres) => ({ postgres, schema: defaultSchema })),
          z.custom<string>(
            (value) => typeof value === "string" && value !== "" && !url.test(value),
          ),
          z.strictObject({
            postgres: z.union([
              z.string().regex(postgresUrl),
              z.custom<Readonly<Record<string, unknown>>>(isPlainData),
            ]),
            schema: z
              .string()
              .regex(/^[a-z_][a-z0-9_]{0,62}$/)
              .default(defaultSchema),
          }),
        ],
        'must be the path of a file, "memory", a postgres:// URL, or { postgres, schema? } with such a URL or the options of a pg Pool as plain data, and a schema of small letters, digits and _',
      )
      .default("./.credit-meter/journal.db"),
    durability: z
      .enum(["response", "strict"], 'must be "response" or "strict"')
      .default("response"),
    inline: z.boolean("must be true or false").default(false),
    backlog: z
      .strictObject({
        count: wholeNumber(1, 1_000_000_000).default(1_000_000),
        bytes: wholeNumber(1, 2 ** 50).default(2 ** 31),
        ageMs: wholeNumber(1, 366 * dayMs).default(7 * dayMs),
      })
      .prefault({}),
    maxLive: wholeNumber(1, 1_000_000).default(10_000),
    retentionDays: wholeNumber(1, 36_500).default(90),
    exitWaitMs: wholeNumber(0, 60_000).default(1_000),
    maxUnderWay: wholeNumber(1, 1_000_000).default(10_000),
    maxUnderWayBytes: wholeNumber(64 * 1024, 2 ** 40).default(64 * 1024 * 1024),
    timeoutMs: wholeNumber(100, 600_000).default(30_000),
    backoff: z
      .strictObject({
        baseMs: wholeNumber(1, 60_000).default(250),
        maxMs: wholeNumber(1, 3_600_000).default(30_000),
      })
      .prefault({}),
    logger: z
      .custom<Logger>(
        (value) =>
          ["debug", "info", "warn", "error"].every(
            (level) => typeof (value as Record<string, unknown> | null)?.[level] === "function",
          ),
        "must be a pino logger, or have pino's methods debug, info, warn and error",
      )
      .optional(),
  },
  // An unknown option has words of its own.
  {
    error: ({ code }) =>
      code === "invalid_type" ? "must be an object with at least plans and routes" : undefined,
  },
);

/**
 * Checks the options strictly and fills in the defaults.
 *
 * @param variables environment variables, `process.env` outside of tests
 * @throws {CreditMeterError} `option-invalid`, `api-key-missing`, `environment-unknown`,
 * `price-invalid`
 */
export function readOptions(
  options: unknown,
  variables: Readonly<Record<string, string | undefined>>,
): Settings {
  const parsed = checked(optionsSchema, options);
  if ("wrong" in parsed) {
    const mend = `Mend the options of creditMeter: ${parsed.wrong}.`;
    throw new CreditMeterError("option-invalid", mend);
  }
  const { payment, routes, protocol, idempotent, ...rest } = parsed.data;
  checkProtocol(parsed.data);
  const apiKey = (rest.apiKey ?? variables.NVM_API_KEY ?? "").trim();
  if (apiKey === "") {
    throw new CreditMeterError(
      "api-key-missing",
      "The API key is missing. Set the environment variable NVM_API_KEY or the option apiKey to the key of the plan's seller.",
    );
  }
  if (!/^[\x21-\x7e]+$/.test(apiKey)) {
    throw new CreditMeterError(
      "option-invalid",
      "The API key has characters that no HTTP header can carry, such as a line break. Copy it again.",
    );
  }
  return {
    ...rest,
    apiKey,
    environment: chooseEnvironment(rest.environment, apiKey, variables.NVM_BACKEND_URL),
    routes: Object.fromEntries(
      Object.entries(routes ?? {}).map(([key, value]) => [
        key,
        value === "free" ? "free" : readPrice(value, `routes["${key}"]`),
      ]),
    ),
    payment:
      typeof payment === "function"
        ? payment
        : {
            planId: payment?.planId ?? defaultHeaders.planId,
            holderAddress: payment?.holderAddress ?? defaultHeaders.holderAddress,
            proof: payment?.proof ?? defaultHeaders.proof,
          },
    guard: {
      ...rest.guard,
      scope: rest.guard.scope ?? (typeof rest.journal === "string" ? "process" : "fleet"),
      maxExposure: rest.guard.maxExposure ?? 10 * rest.guard.creditLine,
      onLedgerDown: rest.guard.onLedgerDown ?? (protocol === "x402" ? "refuse" : "credit-line"),
      verifyProof: rest.guard.verifyProof,
    },
    x402: rest.x402,
    idempotentMs: reliedOnMs(idempotent ?? (protocol === "x402" && settlesOnce)),
    unlisted: rest.unlisted ?? "free",
    refuse: rest.refuse,
    chargeWhen: rest.chargeWhen,
    logger: rest.logger,
  };
}

/**
 * Nevermined's documents call a settlement idempotent on the id that verify gave, and name no end of it: a day is
 * what others give such an id at least. What has no id is never repeated, whatever this says.
 */
const settlesOnce = { windowMs: dayMs };

/** What is sent at the end of a window comes to the ledger after it, and two clocks differ. */
const windowMarginMs = 300_000;

/** A window that is short is relied on for its first half. */
function reliedOnMs(idempotent: { readonly windowMs: number } | false): number | null {
  if (!idempotent) return null;
  const { windowMs } = idempotent;
  return Math.floor(Math.max(windowMs - windowMarginMs, windowMs / 2));
}

function checkProtocol({ protocol, x402, payment, plans }: z.output<typeof optionsSchema>) {
  const mend = (what: string) => {
    throw new CreditMeterError("option-invalid", `Mend the options of creditMeter: ${what}.`);
  };
  if (protocol === "plans") {
    if (x402) mend('x402 goes with protocol: "x402" only');
    return;
  }
  if (!x402) {
    mend('protocol: "x402" needs x402: { publicUrl }, the URL at which buyers reach this API');
  }
  if (payment)
    mend("leave payment out: with x402 the header payment-signature carries the payment");
  if (plans === "any") mend('plans must be a list: a 402 names the plans that pay; "any" cannot');
}

/**
 * Checks a price, alone or with what goes with it.
 *
 * @param where how to name it in the error
 * @throws {CreditMeterError} `price-invalid`
 */
export function readPrice(value: unknown, where: string): PricedRoute {
  const whole =
    typeof value === "object" && value !== null && "price" in value ? value : { price: value };
  const parsed = checked(pricedRoute, whole);
  if ("data" in parsed) return parsed.data;
  const { price: given } = whole as { price: unknown };
  throw new CreditMeterError("price-invalid", `Mend ${where}: ${parsed.wrong}.${asGiven(given)}`);
}

function chooseEnvironment(
  chosen: Environment | undefined,
  apiKey: string,
  backendUrl: string | undefined,
): Settings["environment"] {
  const prefix = apiKey.slice(0, Math.max(0, apiKey.indexOf(":")));
  const ofKey = Object.hasOwn(environmentsByPrefix, prefix)
    ? environmentsByPrefix[prefix]
    : undefined;
  const named = chosen ?? (backendUrl ? { name: "custom", baseUrl: backendUrl } : ofKey);
  if (named === undefined) {
    throw new CreditMeterError(
      "environment-unknown",
      'The environment is not known, and the API key does not name it. Set the option environment to "sandbox" for trying out or "live" for real credits.',
    );
  }
  if (typeof named === "string") {
    if (ofKey && ofKey !== named) {
      throw new CreditMeterError(
        "environment-unknown",
        `The environment is "${named}", but the API key is one of "${ofKey}". Use the key of that environment, or change the option environment.`,
      );
    }
    return { name: named, baseUrl: baseUrls[named], redeemPath: defaultRedeemPath };
  }
  if (!ledgerUrl.safeParse(named.baseUrl).success) {
    throw new CreditMeterError(
      "environment-unknown",
      "The environment variable NVM_BACKEND_URL must be an http or https URL without a user, a password, ? or #.",
    );
  }
  const redeemPath = "redeemPath" in named ? named.redeemPath : undefined;
  return {
    name: named.name,
    baseUrl: joinable(named.baseUrl, redeemPath === undefined),
    redeemPath: redeemPath ?? defaultRedeemPath,
  };
}

/**
 * One spelling for one place, without a slash at the end. Nevermined's SDK calls the origin the backend's URL,
 * and adds the path itself.
 */
function joinable(url: string, mayBeOrigin: boolean): string {
  const { origin, pathname } = new URL(url);
  const path = pathname.replace(/\/+$/, "");
  return origin + (path === "" && mayBeOrigin ? apiPath : path);
}

/** A price is no secret, and `"2"` looks like a number to whoever wrote it. */
function asGiven(price: unknown): string {
  if (isCredits(price)) return "";
  if (typeof price === "number") return ` It is ${price}.`;
  if (typeof price === "string") return ` It is the text ${JSON.stringify(price)}.`;
  return typeof price === "bigint" ? ` It is the bigint ${price}n.` : "";
}

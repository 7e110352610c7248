/** What an operator may look at and decide: `meter.redemptions`. */

import { CreditMeterError } from "./errors.ts";
import type { ActRecord, Filter } from "./journal/journal.ts";
import type { Door, Questions } from "./redeemer/door.ts";
import { fieldsOf } from "./redeemer/redemptions.ts";
import type { LedgerCredits, Redemption } from "./redemption.ts";

/** A redemption as the journal remembers it, without secrets. */
export type RememberedRedemption = Omit<
  Redemption,
  "settled" | "message" | "success" | "status"
> & {
  /** As on `res.locals.redemption`, and `prepared`: admitted, its response not known (strict). */
  readonly status: Redemption["status"] | "prepared";
  /** How often it was taken for sending. */
  readonly attempts: number;
  /** ISO 8601; null before. */
  readonly firstSentAt: string | null;
};

/** A balance and when it was so. */
export interface BalanceAt {
  readonly amount: LedgerCredits;
  /** ISO 8601. */
  readonly at: string;
}

/** What is known of one redemption. */
export interface RedemptionDetails {
  readonly redemption: RememberedRedemption;
  /**
   * What operators did about it, oldest first; and, as `answer`, what the ledger said after that, or to an
   * attempt before the last.
   */
  readonly acts: readonly (Omit<ActRecord, "at"> & { readonly at: string })[];
  /**
   * What the holder had after the last charge before this one, and has now; null where it is not known.
   * It decides nothing alone: another seller's charge, or one that came late, makes it lie.
   */
  readonly balanceBefore: BalanceAt | null;
  readonly balanceNow: BalanceAt | null;
}

/** Which redemptions to list. */
export interface ListOptions {
  readonly status?: RememberedRedemption["status"];
  readonly holderAddress?: string;
  /** `next` of the page before. */
  readonly after?: number;
  /** Default: 100; 1 to 1,000. */
  readonly limit?: number;
}

/** Who decides, for the record. */
export interface Decider {
  /** A name or an address. */
  readonly by: string;
  readonly note?: string;
  /**
   * Decides although an answer of the ledger's may still come: before the timeout of the request and 30
   * seconds have passed since the charge was sent. An answer that comes afterwards is written beside the
   * decision, as an act of "ledger", and logged as an error. Default: false.
   */
  readonly force?: boolean;
}

/**
 * Redemptions in the journal, and what a person may decide about unresolved and waiting ones. Every decision is
 * recorded with who made it and when.
 *
 * @example
 * ```ts
 * import type { CreditMeter } from "express-credit-meter";
 *
 * async function settleLost(meter: CreditMeter) {
 *   const { redemptions } = await meter.redemptions.list({ status: "unresolved" });
 *   for (const { redemptionId } of redemptions) {
 *     console.log(await meter.redemptions.show(redemptionId));
 *     await meter.redemptions.complete(redemptionId, { by: "ada", note: "seen at the ledger" });
 *   }
 * }
 * ```
 */
export interface OperatedRedemptions {
  /** Oldest first. `next` is null on the last page. */
  list(options?: ListOptions): Promise<{
    readonly redemptions: readonly RememberedRedemption[];
    readonly next: number | null;
  }>;
  /** Undefined where there is none with this id. Asks the ledger for the holder's balance. */
  show(redemptionId: string): Promise<RedemptionDetails | undefined>;
  /**
   * It was charged.
   * @throws {CreditMeterError} `act-refused` where it is not unresolved, or was sent so lately that an answer
   * may still come; so do the other three
   */
  complete(
    redemptionId: string,
    decider: Decider & { readonly redeemedAmount?: number },
  ): Promise<RememberedRedemption>;
  /** It was not charged, and will not be. Also ends what waits to be sent. */
  fail(redemptionId: string, decider: Decider): Promise<RememberedRedemption>;
  /**
   * Ends a charge that waits to be sent (`pending`), such as one that the ledger never takes: it becomes
   * `failed` with the code `operator`.
   *
   * @throws {CreditMeterError} `act-refused` where it does not wait: it may be on the wire at this moment
   */
  cancel(redemptionId: string, decider: Decider): Promise<RememberedRedemption>;
  /** Its price, in credits, where the price could not be computed: it is charged now. */
  supply(redemptionId: string, amount: number, decider: Decider): Promise<RememberedRedemption>;
  /** Send the same bytes again. Where it was applied after all, and the ledger does not honour the id, this charges twice. */
  resend(redemptionId: string, decider: Decider): Promise<RememberedRedemption>;
}

export function createOperator(ask: Door["ask"]): OperatedRedemptions {
  async function act(
    redemptionId: string,
    what: Omit<Questions["act"]["ask"], "redemptionId" | "by" | "note" | "force">,
    { by, note, force = false }: Decider,
  ): Promise<RememberedRedemption> {
    if (typeof by !== "string" || by.trim() === "") {
      throw new CreditMeterError("act-refused", 'Say who decides: { by: "name" }.');
    }
    const { amount } = what;
    if (amount !== null && !(Number.isSafeInteger(amount) && amount > 0)) {
      throw new CreditMeterError("act-refused", "An amount is a positive whole number of credits.");
    }
    const record = await ask("act", { redemptionId, ...what, by, note: note ?? null, force });
    if (record === "too-early") {
      throw new CreditMeterError(
        "act-refused",
        `Redemption ${redemptionId} was sent so lately that the ledger's answer may still come. Wait until timeoutMs and 30 seconds have passed since then, or insist with { force: true }.`,
      );
    }
    if (record) return remembered(record);
    throw new CreditMeterError(
      "act-refused",
      `Redemption ${redemptionId} is not unresolved, or ${what.act} does not fit it: only one without an amount can be supplied with one, only one with an amount can be sent again, and only one that waits can be cancelled.`,
    );
  }

  return {
    async list({ limit = 100, ...filter } = {}) {
      const asked: Filter = { ...filter, limit: Math.min(Math.max(1, Math.trunc(limit)), 1_000) };
      const { records, next } = await ask("list", asked);
      return { redemptions: records.map(remembered), next };
    },

    async show(redemptionId) {
      const shown = await ask("show", { redemptionId });
      if (!shown) return undefined;
      const dated = (balance: { amount: LedgerCredits; at: number } | null) =>
        balance && { amount: balance.amount, at: iso(balance.at) };
      return {
        redemption: remembered(shown.record),
        acts: shown.acts.map((one) => ({ ...one, at: iso(one.at) })),
        balanceBefore: dated(shown.balanceBefore),
        balanceNow: dated(shown.balanceNow),
      };
    },

    complete: (id, { redeemedAmount, ...decider }) =>
      act(id, { act: "complete", amount: redeemedAmount ?? null }, decider),
    fail: (id, decider) => act(id, { act: "fail", amount: null }, decider),
    cancel: (id, decider) => act(id, { act: "cancel", amount: null }, decider),
    supply: (id, amount, decider) => act(id, { act: "supply", amount }, decider),
    resend: (id, decider) => act(id, { act: "resend", amount: null }, decider),
  };
}

type Shown = NonNullable<Questions["read"]["answer"][number]>;

function remembered(record: Shown): RememberedRedemption {
  const { error, short, transaction, payer, ...fields } = fieldsOf(record);
  const { redemptionId, planId, holderAddress, route, environment } = record;
  return {
    redemptionId,
    ...fields,
    status: record.status,
    planId,
    holderAddress,
    route,
    environment,
    ...(record.usage && { usage: record.usage }),
    ...(short && { short: true }),
    ...(transaction !== null && { transaction }),
    ...(payer !== null && { payer }),
    ...(error && { error }),
    attempts: record.attempt,
    firstSentAt: record.firstSentAt === null ? null : iso(record.firstSentAt),
  };
}

function iso(at: number): string {
  return new Date(at).toISOString();
}

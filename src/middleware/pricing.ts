/** Whether a delivered response is charged, and how much: the decisions, without their timing. */

import type { Request, Response } from "express";
import type { SkipReason } from "../errors.ts";
import type { Skip } from "../redemption.ts";
import type { Delivery } from "./delivery.ts";

/**
 * Credits for one response: a whole number from 0 to `Number.MAX_SAFE_INTEGER`, or a synchronous
 * function of the finished request. It runs once, after the response has ended. Whatever it returns
 * that is no such number, a promise included, and whatever it throws, leaves the redemption
 * `unresolved` with the reason `price-error`. 0 charges nothing.
 *
 * @example
 * ```ts
 * import type { Price } from "express-credit-meter";
 *
 * const byTokens: Price = (_req, res) => Math.ceil(res.locals["usage"].total_tokens / 1000);
 * ```
 */
export type Price = number | PriceFunction;

/** See {@link Price}. One that reads the response has a `watch`, which is called at admission. */
export interface PriceFunction {
  (req: Request, res: Response, delivery: Delivery): number;
  readonly watch?: (res: Response) => void;
}

/**
 * Which responses are charged. None of these charges a `HEAD`, or a status other than 2xx.
 * - `"delivered"` (the default): one that was delivered completely, or cut by the client after any byte
 *   of its body.
 * - `"complete"`: one that was delivered completely.
 * - `"started"`: one whose handler began its work, whatever was delivered: for answers that can be had
 *   another way, by a resume route, a poll or a webhook. After a client that left early the handler's
 *   status is waited for, `abortGraceMs` at the most. What the server cut off before any head is not charged.
 * - A function decides on all others, too; where it throws, or returns no boolean, the redemption is
 *   left `unresolved` with the reason `price-error`.
 *
 * Where nobody can tell what was delivered, the first two leave the redemption `unresolved` with the
 * reason `delivery-unconfirmed`.
 *
 * @example
 * ```ts
 * import type { ChargeWhen } from "express-credit-meter";
 *
 * // Nobody pays for half an answer of the cheap kind.
 * const whole: ChargeWhen = ({ extent, status }, _req, res) =>
 *   status < 300 && (extent === "complete" || res.locals["model"] === "large");
 * ```
 */
export type ChargeWhen = ChargeRule | ChargeDecision;

/** See {@link ChargeWhen}. */
export type ChargeRule = (typeof chargeRules)[number];

/** See {@link ChargeWhen}. */
export type ChargeDecision = (delivery: Delivery, req: Request, res: Response) => boolean;

export const chargeRules = ["delivered", "complete", "started"] as const;

/** What a price came to. */
export type Priced =
  | { readonly status: "priced"; readonly amount: number }
  | Skip
  | {
      readonly status: "unresolved";
      readonly reason: "price-error" | "delivery-unconfirmed";
      readonly code: string;
      readonly message: string;
    };

/** Why this response is not charged, or not yet; undefined when it is. */
export function notCharged(
  rule: ChargeRule,
  delivery: Delivery,
  method: string,
): Priced | undefined {
  const { extent, cutBy, status } = delivery;
  const isSuccess = status >= 200 && status <= 299;
  if (rule !== "started" && extent === "none") return skip("nothing-delivered");
  if (method === "HEAD") return skip("head-request");
  if (!isSuccess) return skip("not-successful");
  if (rule === "started") {
    return cutBy === "server" && extent === "none" ? skip("cut-by-server") : undefined;
  }
  if (extent === "unknown") return deliveryUnconfirmed;
  if (cutBy === "server") return skip("cut-by-server");
  return rule === "complete" && extent !== "complete" ? skip("charge-when") : undefined;
}

const deliveryUnconfirmed: Priced = {
  status: "unresolved",
  reason: "delivery-unconfirmed",
  code: "delivery-unconfirmed",
  message: "The connection ended, and its socket does not tell how much of the response had gone.",
};

const skipMessages: Record<SkipReason, string> = {
  "not-successful": "The response was no success (its status is not 2xx).",
  "head-request": "A HEAD request has no body to pay for.",
  "nothing-delivered": "The connection ended before any byte of the body was delivered.",
  "cut-by-server": "The server cut the response off.",
  "price-zero": "The price is 0.",
  "charge-when": "The chargeWhen of its route or meter says so.",
  refused: "The meter itself refused the request at its route.",
};

export function skip(reason: SkipReason): Skip {
  return { status: "skipped", reason, code: reason, message: skipMessages[reason] };
}

export function priceError(message: string): Priced {
  return { status: "unresolved", reason: "price-error", code: "price-error", message };
}

/** Runs a price, and judges what it returns. */
export function runPrice(price: Price, req: Request, res: Response, delivery: Delivery): Priced {
  let amount: unknown = price;
  if (typeof price === "function") {
    try {
      amount = price(req, res, delivery);
    } catch (error) {
      return priceError(`The price threw: ${describe(error)}. An operator supplies the amount.`);
    }
  }
  if (isCredits(amount)) return amount === 0 ? skip("price-zero") : { status: "priced", amount };
  if (isThenable(amount)) {
    // Nobody waits for it, and its rejection must not end the process.
    amount.then(undefined, () => {});
    return priceError(
      "The price returned a promise; it must return a number. Compute what it needs in the handler, put it on res.locals and read it there.",
    );
  }
  return priceError(
    `The price returned ${show(amount)}; it must return a whole number of credits from 0 to ${Number.MAX_SAFE_INTEGER}.`,
  );
}

/** Whether a value is a whole number of credits that a JavaScript number can hold exactly. */
export function isCredits(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : show(error);
}

function show(value: unknown): string {
  return typeof value === "number" || value === undefined || value === null
    ? String(value)
    : `a value of type ${typeof value}`;
}

/** What tokens cost, exactly: rates are decimal, and binary fractions would round some of them wrongly. */

import type { Usage } from "../redemption.ts";

/** A decimal number of credits: 0.15, or "0.15". */
export type Rate = number | string;

/** Credits for so many tokens; see `per`. */
export interface Rates {
  readonly input: Rate;
  readonly output: Rate;
  /** Default: the rate of `input`. */
  readonly cachedInput?: Rate | undefined;
}

/** A decimal as a whole number of 10^-12. */
const places = 12;
const one = 10n ** BigInt(places);

/** A rate as a whole number of 10^-12 credits; undefined where it is none. */
export function parseRate(rate: unknown): bigint | undefined {
  if (typeof rate !== "number" && typeof rate !== "string") return undefined;
  // A number past 10^21 or below 10^-6 has an exponent; nobody means a rate like that.
  const parts = /^(\d{1,15})(?:\.(\d{1,12}))?$/.exec(String(rate));
  if (!parts) return undefined;
  const [, whole = "0", fraction = ""] = parts;
  return BigInt(whole) * one + BigInt(fraction.padEnd(places, "0"));
}

export interface ParsedRates {
  readonly input: bigint;
  readonly output: bigint;
  readonly cachedInput: bigint;
}

/** Credits, rounded up once, at the end. */
export function costOf(usage: Usage, rates: ParsedRates, per: number): bigint {
  const cached = BigInt(usage.cachedInputTokens ?? 0);
  const fresh = BigInt(usage.inputTokens) - cached;
  const sum =
    fresh * rates.input + cached * rates.cachedInput + BigInt(usage.outputTokens) * rates.output;
  const divisor = BigInt(per) * one;
  return (sum + divisor - 1n) / divisor;
}

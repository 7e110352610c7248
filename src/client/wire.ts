/** The shapes of Nevermined's HTTP API, checked in both directions. */

import { z } from "zod";
import type { Charge, LedgerCredits } from "../redemption.ts";

/**
 * Body of `POST /protocol/plans/redeem`. All four fields are required by Nevermined's OpenAPI
 * document; the amount is a positive whole number (`BCK.CREDITS.0002` refuses others).
 */
export const redeemRequest = z.strictObject({
  planId: z.string().min(1),
  holderAddress: z.string().regex(/^0x[0-9a-fA-F]{40}$/),
  amount: z.int().positive(),
  proof: z.string().min(1),
});

/**
 * Whole credits. The document types them as integers, Nevermined's other endpoints send such
 * numbers as decimal strings, so both are read; a value that a number cannot hold stays a string.
 */
export const ledgerCredits = z.union([
  z.int().nonnegative(),
  z
    .string()
    .regex(/^\d{1,78}$/)
    .transform((digits): LedgerCredits => {
      const value = Number(digits);
      return Number.isSafeInteger(value) ? value : digits.replace(/^0+(?=\d)/, "");
    }),
]);

/** NestJS, on which Nevermined's backend runs, gives the faults of a validation as an array. */
const words = z.union([z.string(), z.array(z.string()).transform((several) => several.join("; "))]);

/**
 * An error of Nevermined's backend (`code` as `BCK.NAMESPACE.NNNN`, `message`), or the generic
 * `{ success: false, error, statusCode }`. Only what is read here; anything else may come along.
 */
export const errorReply = z.looseObject({
  code: z
    .string()
    .regex(/^[\w.-]{1,64}$/)
    .optional()
    .catch(undefined),
  message: words.optional().catch(undefined),
  error: words.optional().catch(undefined),
});

/** The exact bytes of a charge on the wire. Throws where the charge breaks the contract. */
export function encodeRedeem(charge: Charge): string {
  const { planId, holderAddress, amount, proof } = charge;
  const checked = redeemRequest.safeParse({ planId, holderAddress, amount, proof });
  if (checked.success) return JSON.stringify(checked.data);
  throw breach(checked.error);
}

/** What is thrown for a charge that must not be sent: it names fields, and shows no value of them. */
export function breach({ issues }: z.ZodError): TypeError {
  const wrong = issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  const error = new TypeError(`this charge breaks the ledger's contract: ${wrong.join("; ")}`);
  return Object.assign(error, { code: "CHARGE_INVALID" });
}

/** A JSON object, or undefined for anything else: HTML, a cut document, an array, `null`. */
export function readObject(body: string | undefined): Record<string, unknown> | undefined {
  if (body === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** The proof in a charge's body: what must not be seen anywhere else. */
export function secretOf(body: string): string {
  const proof = readObject(body)?.proof;
  return typeof proof === "string" ? proof : "";
}

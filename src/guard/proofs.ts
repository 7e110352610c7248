/** What the guard makes of a proof: whether it is valid, and what of it can be used only once. */

import type { Request } from "express";
import type { Payment } from "../redemption.ts";

/**
 * Judges a proof before the handler runs: true or false, or `{ nonce }` where it is valid and names what
 * of it must not be used again (with `proofs: "single-use"`; else the whole proof is). An error that it
 * throws goes to the application's error handler.
 *
 * @example
 * ```ts
 * import type { VerifyProof } from "express-credit-meter";
 *
 * const issued = new Set<string>();
 * const known: VerifyProof = ({ proof }) => issued.has(proof);
 * ```
 */
export type VerifyProof = (payment: Payment, req: Request) => ProofVerdict | Promise<ProofVerdict>;

/** See {@link VerifyProof}. */
export type ProofVerdict = boolean | { readonly nonce: string };

/**
 * What is spent with this payment. A proof that is spelt in two ways is one: hexadecimal digits in
 * either case, JSON with any spaces, base64 in either alphabet.
 */
export function spentBy(
  { planId, holderAddress, proof }: Payment,
  verdict: ProofVerdict | undefined,
): string {
  // Nonces are each holder's own; a proof is one of a kind whoever shows it.
  if (typeof verdict === "object") {
    return `${planId} ${holderAddress.toLowerCase()} nonce ${verdict.nonce}`;
  }
  return `${planId} proof ${spelling(proof)}`;
}

function base64url(text: string): string {
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function spelling(proof: string): string {
  const trimmed = proof.trim();
  if (/^0x[0-9a-f]+$/i.test(trimmed)) return trimmed.toLowerCase();
  if (/^[\w+/-]+=*$/.test(trimmed)) return base64url(trimmed);
  try {
    return JSON.stringify(JSON.parse(trimmed));
  } catch {
    return trimmed;
  }
}

import { type Answer, json, problem } from "../answers.ts";
import type { RefusalStyle } from "../options.ts";

/** Why a token does not pay. Codes are those of Nevermined's error catalogue. */
export interface Refusal {
  status: number;
  code: string;
  message: string;
}

export const malformedToken: Refusal = {
  status: 400,
  code: "BCK.X402.0010",
  message: "Invalid x402 access token: it must be base64 of an x402 v2 payment payload.",
};
export const strangeToken: Refusal = {
  status: 402,
  code: "BCK.X402.0005",
  message: "Invalid access token: this ledger did not issue it, or it was changed.",
};
export const expiredToken: Refusal = {
  status: 402,
  code: "BCK.X402.0005",
  message: "Invalid access token: it has expired.",
};
export const spentToken: Refusal = {
  status: 402,
  code: "BCK.X402.0059",
  message: "Access token has already been used: ask for a new one.",
};
export const otherScheme: Refusal = {
  status: 400,
  code: "BCK.X402.0013",
  message:
    "Accepted payment method does not match requirements: none of accepts has the token's scheme, network and plan.",
};
export const otherResource: Refusal = {
  status: 400,
  code: "BCK.X402.0013",
  message:
    "Accepted payment method does not match requirements: the token is for another resource.",
};
export function tooFew(held: number, due: number): Refusal {
  const message = `Insufficient balance: the payer has ${held} credits of the plan, ${due} are needed.`;
  return { status: 402, code: "BCK.CREDITS.0003", message };
}

/** What is known when a token is refused. */
export interface Known {
  network: string;
  payer?: string | undefined;
  balance?: number | undefined;
}

/** How the two facilitator endpoints say no. */
export function sayNo(
  endpoint: "verify" | "settle",
  style: RefusalStyle,
  refusal: Refusal,
  { network, payer, balance }: Known,
  correlationId: string,
): Answer {
  if (style === "problems") {
    return problem(refusal.status, refusal.code, refusal.message, correlationId);
  }
  if (endpoint === "verify") {
    return json(201, { isValid: false, invalidReason: refusal.message, payer, network });
  }
  return json(201, {
    success: false,
    errorReason: refusal.message,
    payer,
    transaction: "",
    network,
    billingModel: "credits",
    creditsRedeemed: "0",
    ...(balance !== undefined && { remainingBalance: String(balance) }),
  });
}

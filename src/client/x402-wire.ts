/** The shapes of Nevermined's x402 endpoints, checked in both directions. */

import { z } from "zod";
import type { Charge, VerifyQuestion } from "../redemption.ts";
import { breach, readObject } from "./wire.ts";

/** Both come from the ledger; the embedded one and Nevermined's own (`arId-<uuid>`) fit. */
const requestIdPattern = /^[\w-]{1,128}$/;
const address = z.string().regex(/^0x[0-9a-fA-F]{40}$/);

/**
 * What a 402 told the buyer. Required are the fields that Nevermined requires
 * (nevermined-io/docs, specs/x402-smart-accounts, section 3.3); whatever else a scheme has comes along.
 */
const paymentRequired = z.looseObject({
  x402Version: z.literal(2),
  resource: z.looseObject({ url: z.string() }),
  accepts: z.array(z.looseObject({ scheme: z.string().min(1), network: z.string().min(1) })).min(1),
  extensions: z.looseObject({}),
});

/** The terms of a settlement: what the proof of a charge holds that is paid with x402. */
const terms = z.strictObject({
  paymentRequired,
  x402AccessToken: z.string().min(1),
  agentRequestId: z.string().regex(requestIdPattern).optional(),
});

const settleRequest = z.object({ proof: terms, amount: z.int().positive() });

/**
 * The exact bytes of a charge at `POST /x402/settle`. Throws where the charge breaks the contract.
 *
 * @param charge its proof is a JSON text, the terms of the settlement; amounts travel as decimal strings
 */
export function encodeSettle({ proof, amount }: Charge): string {
  // What is sent is what was read, not what the schema made of it: a scheme may sign its fields.
  const read = readObject(proof);
  const checked = settleRequest.safeParse({ proof: read, amount });
  if (!checked.success) throw breach(checked.error);
  const { paymentRequired, x402AccessToken, agentRequestId } = read as z.input<typeof terms>;
  return JSON.stringify({
    paymentRequired,
    x402AccessToken,
    maxAmount: String(amount),
    ...(agentRequestId !== undefined && { agentRequestId }),
  });
}

/** The bytes of a question to `POST /x402/verify`. */
export function encodeVerify(question: VerifyQuestion): string {
  const { paymentRequired, x402AccessToken, maxAmount } = question;
  return JSON.stringify({ paymentRequired, x402AccessToken, maxAmount: String(maxAmount) });
}

/** A hash on a chain, or the id that a payment provider gave. */
const reference = z
  .string()
  .regex(/^[\w-]{1,128}$/)
  .optional()
  .catch(undefined);

/** A 200 or 201 of `POST /x402/settle` that charged, beside the credits: left out where it cannot be read. */
export const settleReply = z.looseObject({
  /** "credits", which it is where it is not told; any other word, such as "pay-as-you-go", is money. */
  billingModel: z
    .string()
    .nullish()
    .transform((word) => word ?? undefined)
    .catch("unknown"),
  transaction: reference,
  /** The reference of a charge on a card, where there is no transaction. */
  orderTx: reference,
  payer: address.optional().catch(undefined),
});

/** A 200 or 201 of `POST /x402/verify`. */
export const verifyReply = z.looseObject({
  isValid: z.boolean(),
  invalidReason: z.string().optional().catch(undefined),
  payer: address.nullable().catch(null),
  agentRequestId: z.string().regex(requestIdPattern).nullable().catch(null),
  /** Nevermined's SDK reads the id from here first (nevermined-io/payments, src/x402/express). */
  agentRequest: z
    .looseObject({ agentRequestId: z.string().regex(requestIdPattern) })
    .nullable()
    .catch(null),
});

/** Fields of a token's payload that name things anyone may know. */
const publicFields: ReadonlySet<string> = new Set([
  "from",
  "to",
  "agentId",
  "httpVerb",
  "resourceUrl",
  "sessionKeysProvider",
]);
/** Shorter ones are words such as "redeem", which a message may need. */
const shortestSecret = 16;
/** Tokens hold five or so; a hostile one may hold hundreds, and each is looked for in every message. */
const mostSecrets = 32;

/**
 * What of an x402 access token must not be seen anywhere else: the token, and what its payload is signed
 * with. The ledger reads the token, and may speak of its parts.
 */
export function secretsOfToken(token: string): string[] {
  const { payload } = readObject(Buffer.from(token, "base64").toString()) ?? {};
  const secrets = [token];
  const open: unknown[] = [payload];
  while (open.length > 0 && secrets.length < mostSecrets) {
    const value = open.pop();
    if (typeof value === "string" && value.length >= shortestSecret) secrets.push(value);
    if (typeof value !== "object" || value === null) continue;
    for (const [name, inner] of Object.entries(value)) {
      if (!publicFields.has(name)) open.push(inner);
    }
  }
  return secrets;
}

/** The access token in the body of a settlement. */
export function tokenOf(body: string): string {
  const token = readObject(body)?.x402AccessToken;
  return typeof token === "string" ? token : "";
}

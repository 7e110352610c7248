import { z } from "zod";
import { maxCredits } from "../database.ts";
import { readBase64Json } from "./tokens.ts";

/*
 * Shapes from Nevermined's OpenAPI document (nevermined-io/docs, api-reference/openapi.json) and
 * its SDK (nevermined-io/payments, src/x402). What they name besides (batch, marginPercent,
 * delegationConfig) is taken and has no effect; what nobody names is not looked at, as there.
 */
const text = z.string().min(1, "must not be empty");
const rail = z
  .string()
  .regex(
    /^(?:stripe|braintree|visa|eip155:\d{1,20})$/,
    "must be eip155:<chain id>, or a card rail",
  );

export const permissionsBody = z.object({
  accepted: z.object({
    scheme: z.enum(["nvm:erc4337", "nvm:card-delegation"]),
    network: rail,
    // Not required by request validation there either: its lack is a refusal with a code.
    planId: text.optional(),
    extra: z
      .object({
        version: z.string().default("1"),
        agentId: z.string().optional(),
        httpVerb: z.string().optional(),
      })
      .prefault({}),
  }),
  resource: z
    .object({ url: text, description: z.string().optional(), mimeType: z.string().optional() })
    .optional(),
  delegationConfig: z.looseObject({}).optional(),
  tokenVersion: z.union([z.literal(2), z.literal(3)]).optional(),
});

const paymentRequired = z.object({
  x402Version: z.literal(2),
  // The SDK sends "" where it was told no endpoint.
  resource: z.object({ url: z.string() }),
  accepts: z
    .array(z.object({ scheme: text, network: rail, planId: text.optional() }))
    .min(1, "must hold a scheme"),
  extensions: z.looseObject({}),
});

/** Credits as a decimal string; a number is refused, as the OpenAPI document says. */
const amount = z
  .string()
  .regex(/^(?:0|[1-9]\d{0,15})$/, "must be whole credits as a decimal string")
  .transform(Number)
  .refine((value) => value <= maxCredits, `must be at most ${maxCredits}`);

const settlement = {
  // An object by the OpenAPI document and the SDK, base64 of it in the command line's documents
  // (nevermined-io/docs, api-reference/cli/querying.md).
  paymentRequired: z.preprocess(
    (value) => (typeof value === "string" ? readBase64Json(value) : value),
    paymentRequired,
  ),
  x402AccessToken: text,
  maxAmount: amount.optional(),
};

export const verifyBody = z.object(settlement);
export const settleBody = z.object({
  ...settlement,
  agentRequestId: z
    .string()
    .regex(/^[\w-]{1,128}$/, "must be 1 to 128 letters, digits, - or _")
    .optional(),
});

export type PaymentRequired = z.output<typeof paymentRequired>;

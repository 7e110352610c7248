import { hash, randomBytes } from "node:crypto";
import { z } from "zod";

/** The schemes and networks that this ledger settles; Nevermined has card schemes too. */
export const scheme = "nvm:erc4337";
export const networkPattern = /^eip155:\d{1,20}$/;

/** What an access token is bound to. */
export interface Grant {
  holderAddress: string;
  planId: string;
  network: string;
  extra: Record<string, string | undefined>;
  resource?: Record<string, string | undefined> | undefined;
  singleUse: boolean;
}

/** An access token that has been read; whether the ledger issued it is another question. */
export interface Token {
  /** Of its bytes, so the same however its base64 is spelt. */
  hash: string;
  planId: string;
  network: string;
  payer: string;
  resourceUrl: string | undefined;
}

/**
 * Writes an access token: base64 of an x402 v2 payment payload
 * (nevermined-io/docs, specs/x402-smart-accounts). Its signature is random: the ledger knows its
 * tokens by their hash, so nobody can make one or change one.
 */
export function writeToken(grant: Grant): { accessToken: string; hash: string } {
  const { extra, resource } = grant;
  const bytes = Buffer.from(
    JSON.stringify({
      x402Version: 2,
      resource,
      accepted: { scheme, network: grant.network, planId: grant.planId, extra },
      payload: {
        signature: hex(65),
        authorization: {
          from: grant.holderAddress,
          sessionKeysProvider: "zerodev",
          sessionKeys: [{ id: "redeem", data: hex(32) }],
          // By its nonce the SDK knows a single-use token (nevermined-io/payments,
          // src/x402/token-version.ts).
          ...(grant.singleUse && {
            nonce: hex(32),
            agentId: extra.agentId ?? "",
            httpVerb: extra.httpVerb ?? "",
            resourceUrl: resource?.url ?? "",
          }),
        },
      },
      extensions: {},
    }),
  );
  return { accessToken: bytes.toString("base64"), hash: hashOf(bytes) };
}

const envelope = z.object({
  x402Version: z.literal(2),
  resource: z.object({ url: z.string() }).optional(),
  accepted: z.object({
    scheme: z.literal(scheme),
    network: z.string().regex(networkPattern),
    planId: z.string().min(1),
  }),
  payload: z.object({
    signature: z.string(),
    authorization: z.object({ from: z.string().min(1) }),
  }),
});

/** Reads a token in either alphabet of base64, padded or not; `undefined` when it is none. */
export function readToken(text: string): Token | undefined {
  const bytes = decodeBase64(text);
  const read = envelope.safeParse(bytes && parsed(bytes));
  if (!bytes || !read.success) return undefined;
  const { accepted, payload, resource } = read.data;
  return {
    hash: hashOf(bytes),
    planId: accepted.planId,
    network: accepted.network,
    payer: payload.authorization.from,
    resourceUrl: resource?.url,
  };
}

/** JSON in base64, or `undefined`. */
export function readBase64Json(text: string): unknown {
  const bytes = decodeBase64(text);
  return bytes && parsed(bytes);
}

function decodeBase64(text: string): Buffer | undefined {
  // Buffer.from skips what it does not know: a token could be spelt in any number of ways.
  return /^[\w+/-]+={0,2}$/.test(text) ? Buffer.from(text, "base64") : undefined;
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

function hashOf(bytes: Buffer): string {
  return hash("sha256", bytes, "base64url");
}

function hex(bytes: number): string {
  return `0x${randomBytes(bytes).toString("hex")}`;
}

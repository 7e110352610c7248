/** Reads an x402 access token. What buyers send is hostile until the ledger has verified it. */

import { checkPayment } from "../payment.ts";
import { readStrictJson } from "./strict-json.ts";

/** What of an access token decides who pays and from which plan. None of it is verified. */
export interface AccessToken {
  readonly planId: string;
  /** `0x` and 40 hexadecimal digits, in the letter case in which the token has it. */
  readonly holderAddress: string;
  /** Such as `nvm:erc4337` or `nvm:card-delegation`. */
  readonly scheme: string;
  /** Such as `eip155:84532` or `stripe`. */
  readonly network: string;
  /** What the buyer agreed to, as it came. */
  readonly accepted: Readonly<Record<string, unknown>>;
  /** Milliseconds since 1970. `null`: the token does not say, though the ledger may know an end. */
  readonly expiresAt: number | null;
}

/** What was read: a token, or what the buyer has to mend. */
export type TokenReading =
  | { readonly ok: true; readonly token: AccessToken }
  | { readonly ok: false; readonly detail: string };

/** The same as for a proof: some Node servers take no more in all headers together. */
const longestBytes = 8 * 1024;
/** The names of schemes and networks; those of x402 and Nevermined stay below 32. */
const longestName = 128;

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads the header `payment-signature`: base64 of a payment payload (x402 v2, section 5.2;
 * nevermined-io/docs, specs/x402-smart-accounts and specs/x402-card-delegation, section 3). Never throws.
 */
export function readToken(header: string): TokenReading {
  if (header.length > longestBytes) {
    return malformed(`Shorten the access token to ${longestBytes} bytes or less.`);
  }
  const bytes = decodeBase64(header);
  if (!bytes) return malformed("Send the access token as base64, as the ledger issued it.");
  const json = readStrictJson(bytes);
  if (!json.ok) return malformed(`Send the access token as the ledger issued it: ${json.wrong}.`);
  if (!isFields(json.value)) return wrongType("the access token", "an object");
  const { x402Version, accepted, payload } = json.value;
  if (x402Version !== 2) return malformed("Use x402 version 2: x402Version must be the number 2.");
  if (!isFields(accepted)) return wrongType("accepted", "an object");
  if (!isFields(payload)) return wrongType("payload", "an object");
  const { scheme, network } = accepted;
  if (!isName(scheme)) return wrongType("accepted.scheme", "the name of a scheme");
  if (!isName(network)) return wrongType("accepted.network", "the name of a network");
  const authorization = isFields(payload.authorization) ? payload.authorization : {};
  const { planId, holderAddress } = { planId: accepted.planId, holderAddress: authorization.from };
  const found = { planId, holderAddress, proof: header };
  const checked = checkPayment(found, (field) => placeOf[field]);
  if (!checked.ok) return malformed(checked.detail);
  const { payment } = checked;
  const expiresAt = earliest([endOf(authorization.validBefore), endOfJwt(payload.token)]);
  return {
    ok: true,
    token: {
      planId: payment.planId,
      holderAddress: payment.holderAddress,
      scheme,
      network,
      accepted,
      expiresAt,
    },
  };
}

const placeOf = {
  planId: "the access token's accepted.planId",
  holderAddress: "the access token's payload.authorization.from",
  proof: "the access token",
};

/**
 * RFC 4648, sections 4 and 5, padded or not. One token has one spelling in each: `Buffer.from` would skip
 * what it does not know, and ignore bits that are left over, so that a spent token could come again as new.
 */
function decodeBase64(text: string): Buffer | undefined {
  const [, digits = "", padding = ""] = /^([\w+/-]+)(={0,2})$/.exec(text) ?? [];
  const isMixed = /[+/]/.test(digits) && /[_-]/.test(digits);
  if (digits === "" || isMixed) return undefined;
  if (padding !== "" && (digits.length + padding.length) % 4 !== 0) return undefined;
  const bytes = Buffer.from(digits, "base64");
  const canonical = bytes.toString("base64url");
  const spelt = digits.replaceAll("+", "-").replaceAll("/", "_");
  return canonical === spelt ? bytes : undefined;
}

/** x402's scheme "exact" (section 5.2.2): seconds since 1970, as a decimal string. */
function endOf(validBefore: unknown): number | null {
  const isDigits = typeof validBefore === "string" && /^\d{1,16}$/.test(validBefore);
  return isDigits ? timeOf(Number(validBefore)) : timeOf(validBefore);
}

/** Nevermined's card delegations carry a JWT with an expiry (specs/x402-card-delegation, section 3.3). */
function endOfJwt(token: unknown): number | null {
  const claims = typeof token === "string" ? token.split(".")[1] : undefined;
  const bytes = claims === undefined ? undefined : decodeBase64(claims);
  const json = bytes && readStrictJson(bytes);
  return json?.ok && isFields(json.value) ? timeOf(json.value.exp) : null;
}

/** Seconds to milliseconds. What lies past the end of JavaScript's time means never. */
function timeOf(seconds: unknown): number | null {
  const ms = typeof seconds === "number" ? Math.floor(seconds * 1000) : Number.NaN;
  return ms >= 0 && ms <= 8.64e15 ? ms : null;
}

function earliest(times: readonly (number | null)[]): number | null {
  const known = times.filter((time) => time !== null);
  return known.length === 0 ? null : Math.min(...known);
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value.length <= longestName && /^[\x21-\x7e]+$/.test(value);
}

function wrongType(field: string, type: string): TokenReading {
  return malformed(`Send the access token as the ledger issued it: ${field} must be ${type}.`);
}

function malformed(detail: string): TokenReading {
  return { ok: false, detail };
}

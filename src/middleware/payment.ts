/** Reads the payment that a request attaches. What buyers send is hostile until it is checked. */

import type { Request } from "express";
import type { Payment } from "../redemption.ts";

/**
 * Names of the three request headers. A name that is left out keeps its default:
 * `Nevermined-Plan-Id`, `Nevermined-Holder-Address`, `Nevermined-Proof`.
 */
export interface PaymentHeaders {
  readonly planId?: string | undefined;
  readonly holderAddress?: string | undefined;
  readonly proof?: string | undefined;
}

/**
 * Finds the payment elsewhere: in a body, a cookie, a session. What it returns is checked like the
 * headers are; fields that are missing are answered with 402, malformed ones with 400. An error that
 * it throws goes to the application's error handler.
 */
export type PaymentReader = (
  req: Request,
) => Partial<Payment> | null | undefined | Promise<Partial<Payment> | null | undefined>;

/** What was read: a payment, or what is wrong with it. */
export type PaymentReading =
  | { readonly ok: true; readonly payment: Payment }
  | { readonly ok: false; readonly code: "payment-required" | "payment-malformed"; detail: string };

export const defaultHeaders = {
  planId: "Nevermined-Plan-Id",
  holderAddress: "Nevermined-Holder-Address",
  proof: "Nevermined-Proof",
} as const;

type Field = keyof typeof defaultHeaders;
const fields = Object.keys(defaultHeaders) as Field[];

/** Bytes of one field, at the most: some Node servers take no more in all headers together. */
const longestBytes = 8 * 1024;
/** A uint256 has 78 digits, and a did:nv is shorter; the guard remembers many of them. */
const longestPlanId = 256;

/** Reads the three headers of a request. */
export function readHeaders(req: Request, names: Record<Field, string>): PaymentReading {
  const found: Partial<Record<Field, string>> = {};
  for (const field of fields) {
    const name = names[field];
    const value = onlyValueOf(req, name.toLowerCase());
    if (value === null) return malformed(`Send the header ${name} only once.`);
    if (value !== undefined) found[field] = value;
  }
  return checkPayment(found, (field) => `the header ${names[field]}`);
}

/**
 * The value of a header; null where it has several. `req.headers` joins what was sent twice, and which of the
 * two would we charge? `req.headersDistinct` throws where a header is called `__proto__`, in versions of
 * Node before March 2026 (CVE-2026-21710).
 *
 * @param name in lower case
 */
export function onlyValueOf({ rawHeaders }: Request, name: string): string | undefined | null {
  const values = rawHeaders.filter(
    (_value, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name,
  );
  return values.length > 1 ? null : values[0];
}

/**
 * Checks what was found.
 *
 * @param nameOf how to call a field when speaking to the buyer
 */
export function checkPayment(
  found: unknown,
  nameOf: (field: Field) => string = (field) => `the payment's ${field}`,
): PaymentReading {
  const values = (found ?? {}) as Partial<Record<Field, unknown>>;
  const missing = fields.filter((field) => values[field] === undefined || values[field] === null);
  if (missing.length > 0) {
    return {
      ok: false,
      code: "payment-required",
      detail: `This request must be paid with credits. Add ${inEnglish.format(missing.map(nameOf))}.`,
    };
  }
  for (const field of fields) {
    const value = values[field];
    const name = nameOf(field);
    if (typeof value !== "string") return malformed(`Give ${name} as a string.`);
    if (value.trim() === "") return malformed(`Give ${name} a value; it is empty.`);
    const longest = field === "planId" ? longestPlanId : longestBytes;
    if (Buffer.byteLength(value) > longest) {
      return malformed(`Shorten ${name} to ${longest} bytes or less.`);
    }
    const wrong = checks[field](value);
    if (wrong) return malformed(`Mend ${name}: ${wrong}.`);
  }
  const { planId, holderAddress, proof } = values as Payment;
  return { ok: true, payment: { planId, holderAddress, proof } };
}

const checks: Record<Field, (value: string) => string | undefined> = {
  planId: (value) =>
    /^[\x21-\x7e]+$/.test(value)
      ? undefined
      : "a plan id has only visible ASCII characters and no spaces",
  holderAddress: (value) =>
    /^0x[0-9a-fA-F]{40}$/.test(value)
      ? undefined
      : "an address is 0x followed by 40 hexadecimal digits",
  proof: (value) => {
    // Half a character, or none: JSON and SQLite would each make something else of it.
    if (/[\0\p{Surrogate}]/u.test(value)) return "it is no Unicode text";
    // A signature is opaque. What looks like JSON was meant as JSON, and a ledger will parse it.
    if (!/^\s*[{[]/.test(value)) return undefined;
    try {
      JSON.parse(value);
      return undefined;
    } catch {
      return "it looks like JSON and cannot be parsed";
    }
  },
};

const inEnglish = new Intl.ListFormat("en");

function malformed(detail: string): PaymentReading {
  return { ok: false, code: "payment-malformed", detail };
}

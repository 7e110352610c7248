/**
 * What an exchange with the ledger means for the charge: one pure function, first match wins. The
 * rule behind every row: *not applied* needs evidence, *applied* needs the ledger's word, and all
 * between is neither success nor failure.
 */

import type { FailureReason } from "../errors.ts";
import type { Answer, LedgerCredits } from "../redemption.ts";
import { errorReply, readObject, redeemReply } from "./wire.ts";

/** Everything that is known of one attempt. */
export interface Exchange {
  /** Whether any byte of the request may have been written to a socket. */
  readonly written: boolean;
  /** The ledger's answer as far as it came. */
  readonly answer?: {
    readonly status: number;
    /** Lower-case names. */
    readonly headers: Readonly<Record<string, string | string[] | undefined>>;
    /** Undefined where it could not be read whole: cut off, or larger than the cap. */
    readonly body: string | undefined;
  };
  /** What broke the exchange. `code` as Node or undici names it, such as `ECONNREFUSED`. */
  readonly fault?: { readonly code: string; readonly message: string };
}

/**
 * Codes that Nevermined marks as transient on a 503. Anything else with a 5xx may have been applied.
 */
const retryableCodes: ReadonlySet<string> = new Set(["BCK.AUTH.0014"]);

/** Codes of a refusal that speaks of our key, not of the charge. */
const keyCode = /^BCK\.(?:AUTH|APIKEY)\./;

/** A code of Nevermined's domain. `BCK.HTTP.<status>` is the framework's and tells nothing. */
const domainCode = /^BCK\.(?!HTTP\.)[A-Z0-9_]+\.\d+$/;

const reasonsByCode: Readonly<Record<string, FailureReason>> = {
  "BCK.CREDITS.0003": "insufficient-credits",
  "BCK.PROTOCOL.0011": "insufficient-credits",
  "BCK.PROTOCOL.0029": "proof-refused",
  "BCK.PROTOCOL.0030": "proof-refused",
};

/**
 * @param exchange what was written and what came back
 * @param requestedAmount credits that were asked for
 * @param now milliseconds since 1970, for a `Retry-After` that is a date
 */
export function readOutcome(exchange: Exchange, requestedAmount: number, now: number): Answer {
  const { answer, fault } = exchange;
  if (!answer) {
    const code = fault?.code ?? "UNKNOWN";
    const said = fault?.message ?? "no answer";
    return exchange.written
      ? lost(code, `The request was sent and no answer came back (${said}).`)
      : {
          status: "pending",
          reason: "ledger-unreachable",
          code,
          message: `Nothing was sent to the ledger (${said}).`,
        };
  }

  const { status, headers } = answer;
  const body = readObject(answer.body);
  const error = errorReply.parse(body ?? {});
  const code = error.code ?? `HTTP_${status}`;
  const said = error.message || error.error || `HTTP status ${status}`;

  if (status === 200 || status === 201) {
    if (body?.success === false) return refused(code, said);
    const reply = redeemReply.safeParse(body);
    if (reply.success) return completed(reply.data, requestedAmount);
    const why = fault ? ` (${fault.message})` : "";
    return lost(
      fault?.code ?? code,
      `The ledger answered ${status} with a body that cannot be read${why}.`,
    );
  }
  if (status === 402) return refused(code, said, "insufficient-credits");

  const mayBeDomain = status === 400 || status === 403 || status === 404;
  const aboutTheKey = status === 401 || (mayBeDomain && keyCode.test(code));
  if (mayBeDomain && domainCode.test(code) && !aboutTheKey) return refused(code, said);
  const routeMissing = status === 404 && /\bCannot POST\b/.test(error.message || answer.body || "");
  if (aboutTheKey || routeMissing) {
    const mend = aboutTheKey
      ? "The ledger does not accept the API key; check that it is valid, of this environment, and that its owner sells the plan."
      : "The ledger has no such endpoint; check the base URL and the redeem path of the environment.";
    return { status: "pending", reason: "configuration-fault", code, message: `${mend} (${said})` };
  }
  if (status === 429 || (status === 503 && retryableCodes.has(code))) {
    return {
      status: "pending",
      reason: "ledger-throttled",
      code,
      message: `The ledger asks to wait (${said}).`,
      ...retryAfter(headers["retry-after"], now),
    };
  }
  // Nevermined documents neither of the next two. The words are those of the IETF draft
  // "The Idempotency-Key HTTP Header Field", section 2.7; without them nothing is assumed.
  const aboutTheId = /idempotency[-_ ]?key/i.test(said);
  if (status === 409 && aboutTheId && /still|progress|processing|running|outstanding/i.test(said)) {
    return {
      status: "pending",
      reason: "still-running",
      code,
      message: `The ledger is still working on this charge (${said}).`,
      ...retryAfter(headers["retry-after"], now),
    };
  }
  if (status === 422 && aboutTheId) {
    return {
      status: "unresolved",
      reason: "idempotency-mismatch",
      code,
      message: `The ledger says that this redemption id was used with another body (${said}).`,
    };
  }
  if (status >= 500 || status === 408) {
    return lost(
      code,
      `The ledger answered ${status}, which does not say whether it charged (${said}).`,
    );
  }
  return {
    status: "unresolved",
    reason: "unexpected-answer",
    code,
    message: `The ledger answered ${status}, which is no documented answer to a redemption (${said}).`,
  };
}

function completed(
  reply: {
    creditsRedeemed?: LedgerCredits | null | undefined;
    remainingBalance?: LedgerCredits | null | undefined;
  },
  requestedAmount: number,
): Answer {
  const redeemedAmount = reply.creditsRedeemed ?? null;
  return {
    status: "completed",
    redeemedAmount,
    remainingBalance: reply.remainingBalance ?? null,
    // A string is past MAX_SAFE_INTEGER, so more than any amount that can be asked for.
    short: typeof redeemedAmount === "number" && redeemedAmount < requestedAmount,
  };
}

function refused(code: string, said: string, fallback: FailureReason = "ledger-refused"): Answer {
  const reason = Object.hasOwn(reasonsByCode, code) ? reasonsByCode[code] : undefined;
  return { status: "failed", reason: reason ?? fallback, code, message: said };
}

function lost(code: string, message: string): Answer {
  return { status: "unresolved", reason: "answer-lost", code, message };
}

/**
 * RFC 9110, section 10.2.3: seconds, or an HTTP date in the one form that may still be sent.
 * `Date.parse` alone would find a year in any garbage that holds a number.
 */
function retryAfter(header: string | string[] | undefined, now: number): { retryAfterMs?: number } {
  const value = (Array.isArray(header) ? header[0] : header)?.trim() ?? "";
  const isDate = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(value);
  const ms = isDate ? Date.parse(value) - now : /^\d+$/.test(value) ? Number(value) * 1000 : 0;
  return Number.isFinite(ms) && ms > 0 ? { retryAfterMs: ms } : {};
}

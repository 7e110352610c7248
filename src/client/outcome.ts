/**
 * What an exchange with the ledger means for the charge: one pure function, first match wins. The
 * rule behind every row: *not applied* needs evidence, *applied* needs the ledger's word, and all
 * between is neither success nor failure.
 */

import type { FailureReason } from "../errors.ts";
import type { Answer, LedgerCredits } from "../redemption.ts";
import { errorReply, ledgerCredits, readObject } from "./wire.ts";

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

/** What tells the endpoints that burn credits apart. */
export interface Dialect {
  /** What a charge is called at this endpoint. */
  readonly charge: "redemption" | "settlement";
  /** What to do where the endpoint is not there. */
  readonly mend: string;
  /** What an answer tells of a charge that was applied, beside the credits. */
  readonly completed: (body: Body, credits: Credits, requestedAmount: number) => Answer;
  readonly reasonOf: (said: Said) => FailureReason;
  /** By what the ledger knows a charge that comes again, and how it may be spelt. */
  readonly id: { readonly name: string; readonly words: RegExp };
}

export type Body = Readonly<Record<string, unknown>>;

/** Credits of an answer; null: it does not name them. */
export interface Credits {
  readonly redeemed: LedgerCredits | null;
  readonly remaining: LedgerCredits | null;
}

/** What a ledger's answer says in codes and words. */
export interface Said {
  readonly status: number;
  /** A code of the ledger's, or `HTTP_<status>`. */
  readonly code: string;
  /** Its own words, or the status. */
  readonly words: string;
}

/** Codes of a refusal that speaks of our key, not of what was asked. */
export const keyCode = /^BCK\.(?:AUTH|APIKEY)\./;

/** A code of Nevermined's domain. `BCK.HTTP.<status>` is the framework's and tells nothing. */
export const domainCode = /^BCK\.(?!HTTP\.)[A-Z0-9_]+\.\d+$/;

/**
 * Codes after which the buyer may have been charged (nevermined-io/docs, development-guide/api-errors/codes.mdx):
 * a burn that broke off, credits that were not issued after a card was charged, and a charge of a card of which
 * the provider does not say whether it went through.
 */
const chargedCodes: ReadonlySet<string> = new Set([
  "BCK.X402.0009",
  "BCK.X402.0017",
  "BCK.X402.0048",
]);

/**
 * Codes that Nevermined marks as retryable on a 503, and that tell of a step before the burn: the session could
 * not be verified; the permission could not be checked; what an account needs in order to burn at all was not
 * installed. Anything else with a 5xx may have been applied.
 */
const retryableCodes: ReadonlySet<string> = new Set([
  "BCK.AUTH.0014",
  "BCK.X402.0051",
  "BCK.X402.0052",
]);

/** Codes of a refusal, as Nevermined's catalogue has them. */
export const reasonsByCode: ReadonlyMap<string, FailureReason> = new Map([
  ["BCK.CREDITS.0003", "insufficient-credits"],
  ["BCK.PROTOCOL.0011", "insufficient-credits"],
  ["BCK.PROTOCOL.0029", "proof-refused"],
  ["BCK.PROTOCOL.0030", "proof-refused"],
]);

const redemption: Dialect = {
  charge: "redemption",
  // Nevermined's command line says that settling is the only way to burn; its API's document still has both.
  mend: 'check the base URL and the redeem path of the environment; where the ledger burns credits by settling only, as Nevermined\'s own may, set protocol: "x402"',
  completed: (_body, credits, requestedAmount) => completed(credits, requestedAmount),
  reasonOf,
  id: { name: "redemption id", words: /idempotency[-_ ]?key/i },
};

/** A 402 means just this by Nevermined's document, whoever sent it; codes may say otherwise. */
function reasonOf({ status, code }: Said): FailureReason {
  return reasonsByCode.get(code) ?? (status === 402 ? "insufficient-credits" : "ledger-refused");
}

/**
 * What an exchange at the redemption endpoint means.
 *
 * @param exchange what was written and what came back
 * @param requestedAmount credits that were asked for
 * @param now milliseconds since 1970, for a `Retry-After` that is a date
 */
export function readOutcome(exchange: Exchange, requestedAmount: number, now: number): Answer {
  return judge(redemption, exchange, requestedAmount, now);
}

/** The rows that every endpoint that burns credits shares. */
export function judge(
  dialect: Dialect,
  exchange: Exchange,
  requestedAmount: number,
  now: number,
): Answer {
  const { answer, fault } = exchange;
  if (!answer) {
    const code = fault?.code ?? "UNKNOWN";
    const words = fault?.message ?? "no answer";
    return exchange.written
      ? lost(code, `The request was sent and no answer came back (${words}).`)
      : {
          status: "pending",
          reason: "ledger-unreachable",
          code,
          message: `Nothing was sent to the ledger (${words}).`,
        };
  }

  const { status, headers } = answer;
  const body = readObject(answer.body);
  const isDone = status === 200 || status === 201;
  const said = isDone
    ? withReason(wordsOf(status, body), body?.errorReason)
    : wordsOf(status, body);
  const { code, words } = said;

  const sign = signOfCharge(said, body ?? {});
  if (sign !== undefined) {
    return {
      status: "unresolved",
      reason: "maybe-charged",
      code,
      message: `The buyer may have been charged: the ledger answered ${status}, ${sign} (${words}).`,
    };
  }
  if (isDone && body?.success !== false) {
    const credits = body && readCredits(body);
    if (credits) return dialect.completed(body, credits, requestedAmount);
    const why = fault ? ` (${fault.message})` : "";
    return lost(
      fault?.code ?? code,
      `The ledger answered ${status} with a body that cannot be read${why}.`,
    );
  }
  const kind = kindOf(said, answer.body);
  if (kind === "key" || kind === "route") {
    const message = faultMessage(kind, dialect.mend, words);
    return { status: "pending", reason: "configuration-fault", code, message };
  }
  if (isDone || kind === "refused") return refused(said, dialect.reasonOf(said));
  if (status === 429 || (status === 503 && retryableCodes.has(code))) {
    return {
      status: "pending",
      reason: "ledger-throttled",
      code,
      message: `The ledger asks to wait (${words}).`,
      ...retryAfter(headers["retry-after"], now),
    };
  }
  // Nevermined documents neither of the next two. The words are those of the IETF draft
  // "The Idempotency-Key HTTP Header Field", section 2.7; without them nothing is assumed.
  const aboutTheId = dialect.id.words.test(words);
  if (
    status === 409 &&
    aboutTheId &&
    /still|progress|processing|running|outstanding/i.test(words)
  ) {
    return {
      status: "pending",
      reason: "still-running",
      code,
      message: `The ledger is still working on this charge (${words}).`,
      ...retryAfter(headers["retry-after"], now),
    };
  }
  if (status === 422 && aboutTheId) {
    return {
      status: "unresolved",
      reason: "idempotency-mismatch",
      code,
      message: `The ledger says that this ${dialect.id.name} was used with another body (${words}).`,
    };
  }
  if (status >= 500 || status === 408) {
    return lost(
      code,
      `The ledger answered ${status}, which does not say whether it charged (${words}).`,
    );
  }
  return {
    status: "unresolved",
    reason: "unexpected-answer",
    code,
    message: `The ledger answered ${status}, which is no documented answer to a ${dialect.charge} (${words}).`,
  };
}

/** What an answer says in the shapes of an error, as far as it does. */
export function wordsOf(status: number, body: Body | undefined): Said {
  const error = errorReply.parse(body ?? {});
  const code = error.code ?? `HTTP_${status}`;
  return { status, code, words: error.message || error.error || `HTTP status ${status}` };
}

/** A reason that is one word is a code. */
export function withReason(said: Said, reason: unknown): Said {
  if (typeof reason !== "string" || reason === "") return said;
  return { ...said, words: reason, ...(/^[\w.]{1,64}$/.test(reason) && { code: reason }) };
}

/**
 * What says, in an answer that is no plain success, that the buyer may have been charged: such an answer is
 * never sent again on its own, not even under an id that the ledger honours, since what was charged may be a
 * card, and the id that of a burn that came after it.
 */
function signOfCharge({ status, code }: Said, body: Body): string | undefined {
  if (chargedCodes.has(code)) return "with a code that says so";
  const isDone = status === 200 || status === 201;
  if (isYes(body.success)) return isDone ? undefined : "and calls it a success";
  if (isDone && body.success !== false) return undefined;
  const { transaction, orderTx, creditsRedeemed } = body;
  // x402, section 5.3.2: an empty string where the settlement failed.
  const named = [transaction, orderTx].some((it) => typeof it === "string" && it !== "");
  const burned = (ledgerCredits.safeParse(creditsRedeemed).data ?? 0) !== 0;
  return named || burned ? "no success, and names what it charged" : undefined;
}

/** Nevermined's document types it as a boolean. */
function isYes(success: unknown): boolean {
  return success === true || success === "true";
}

/**
 * The credits that a 200 or 201 names. Undefined where it cannot be read; whatever says that it is a success is
 * one, and what it names in a way that cannot be read is left out.
 */
function readCredits(body: Body): Credits | undefined {
  const { success = null, creditsRedeemed, remainingBalance } = body;
  const redeemed = ledgerCredits.nullish().safeParse(creditsRedeemed);
  const isReadable = isYes(success) || (success === null && redeemed.success);
  if (!isReadable) return undefined;
  const remaining = ledgerCredits.nullish().safeParse(remainingBalance);
  return { redeemed: redeemed.data ?? null, remaining: remaining.data ?? null };
}

/** What an answer that is no success speaks of: the charge, our key, or the address that we sent it to. */
export function kindOf(
  { status, code }: Said,
  body: string | undefined,
): "refused" | "key" | "route" | "other" {
  if (status === 401) return "key";
  const isRefusal = status === 200 || status === 201 || (status >= 400 && status < 500);
  if (!isRefusal || status === 408 || status === 429) return "other";
  if (keyCode.test(code)) return "key";
  if (status === 402) return "refused";
  if (status !== 400 && status !== 403 && status !== 404) return "other";
  if (domainCode.test(code)) return "refused";
  // NestJS, and Express in HTML, for a route that is not there.
  return status === 404 && /\bCannot POST\b/.test(body ?? "") ? "route" : "other";
}

/** What to do about a fault of the configuration. */
export function faultMessage(kind: "key" | "route", mend: string, words: string): string {
  return kind === "key"
    ? `The ledger does not accept the API key; check that it is valid, of this environment, and that its owner sells the plan. (${words})`
    : `The ledger has no such endpoint; ${mend}. (${words})`;
}

export function completed(
  { redeemed, remaining }: Credits,
  requestedAmount: number,
): Extract<Answer, { status: "completed" }> {
  return {
    status: "completed",
    redeemedAmount: redeemed,
    remainingBalance: remaining,
    // A string is past MAX_SAFE_INTEGER, so more than any amount that can be asked for.
    short: typeof redeemed === "number" && redeemed < requestedAmount,
  };
}

function refused({ code, words }: Said, reason: FailureReason): Answer {
  return { status: "failed", reason, code, message: words };
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

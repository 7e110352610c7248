/** What journals in databases have in common: their columns, and what an act decides. */

import type { HoldAnswer, HoldAsked } from "../account.ts";
import type { Act, Claimed, JournalRecord, Settlement } from "./journal.ts";
import { text } from "./text.ts";

export interface ClaimedRow {
  redemption_id: string;
  holder_key: string;
  amount: number;
  body: string;
  attempt: number;
  sent_at: number;
  doubt_since: number | null;
  repeatable: boolean | 0 | 1;
  expires_at: number;
  waiting_since: number;
}

export function claimedOf(row: ClaimedRow): Claimed {
  return {
    redemptionId: row.redemption_id,
    holderKey: row.holder_key,
    amount: row.amount,
    body: row.body,
    attempt: row.attempt,
    sentAt: row.sent_at,
    doubtSince: row.doubt_since,
    repeatable: Boolean(row.repeatable),
    expiresAt: row.expires_at === never ? null : row.expires_at,
    waitedMs: Math.max(0, row.sent_at - row.waiting_since),
  };
}

export interface Row {
  seq: number;
  redemption_id: string;
  status: JournalRecord["status"];
  plan_id: string;
  holder_address: string;
  route: string;
  environment: JournalRecord["environment"];
  amount: number | null;
  hold: number;
  usage: string | null;
  redeemed_amount: JournalRecord["redeemedAmount"];
  remaining_balance: JournalRecord["remainingBalance"];
  /** SQLite has no truth values, but 0 and 1. */
  short: boolean | 0 | 1;
  burn: string | null;
  payer: string | null;
  code: string | null;
  reason: string | null;
  message: string | null;
  proof: string | null;
  body: string | null;
  attempt: number;
  owner: string | null;
  admitted_at: number;
  changed_at: number;
  first_sent_at: number | null;
  sent_at: number | null;
  doubt_since: number | null;
  repeatable: boolean | 0 | 1;
  expires_at: number;
}

export function recordOf(row: Row): JournalRecord {
  const { code, reason, message } = row;
  return {
    redemptionId: row.redemption_id,
    status: row.status,
    planId: row.plan_id,
    holderAddress: row.holder_address,
    route: row.route,
    environment: row.environment,
    amount: row.amount,
    hold: row.hold,
    usage: row.usage === null ? null : JSON.parse(row.usage),
    redeemedAmount: row.redeemed_amount,
    remainingBalance: row.remaining_balance,
    short: Boolean(row.short),
    transaction: row.burn,
    payer: row.payer,
    error: reason === null ? null : { code: code ?? reason, reason, message: message ?? "" },
    proof: row.proof,
    body: row.body,
    attempt: row.attempt,
    owner: row.owner,
    admittedAt: row.admitted_at,
    changedAt: row.changed_at,
    firstSentAt: row.first_sent_at,
    sentAt: row.sent_at,
    doubtSince: row.doubt_since,
    repeatable: Boolean(row.repeatable),
    expiresAt: row.expires_at === never ? null : row.expires_at,
  };
}

/** When something expires that is not known to: after all that is. */
export const never = Number.MAX_SAFE_INTEGER;

/** What an act sets; null: nothing. */
export interface Decision {
  readonly status: JournalRecord["status"];
  readonly amount: number | null;
  readonly redeemed: number | null;
  readonly bytes: number | null;
  readonly code: string | null;
  readonly reason: string | null;
  readonly message: string | null;
}

export function decisionOf(act: Act): Decision {
  const none = {
    amount: null,
    redeemed: null,
    bytes: null,
    code: null,
    reason: null,
    message: null,
  };
  switch (act.act) {
    case "complete":
      return { ...none, status: "completed", redeemed: act.redeemedAmount };
    case "fail":
    case "cancel":
      return {
        ...none,
        status: "failed",
        code: "operator",
        reason: "ledger-refused",
        message:
          act.act === "fail"
            ? "An operator marked this charge as failed."
            : "An operator cancelled this charge.",
      };
    case "supply": {
      const bytes = Buffer.byteLength(text(act.body));
      return { ...none, status: "pending", amount: act.amount, bytes };
    }
    case "resend":
      return { ...none, status: "pending" };
  }
}

/** Credits of an act, for its record. */
export function amountOf(act: Act): number | null {
  if (act.act === "supply") return act.amount;
  return act.act === "complete" ? act.redeemedAmount : null;
}

/**
 * What an answer that came too late tells whoever looks at the acts. Undefined where it tells nothing: that
 * the charge was not applied by it, or that nobody knows.
 */
export function lateAnswerOf({ attempt, answer }: Settlement) {
  if (answer.status === "pending") return undefined;
  if (answer.status === "unresolved" && answer.reason === "answer-lost") return undefined;
  if (answer.status !== "completed") {
    const { status, reason, code, message } = answer;
    return { note: `Attempt ${attempt}: ${status}, ${reason} (${code}): ${message}`, amount: null };
  }
  const { redeemedAmount, remainingBalance, transaction } = answer;
  const told = [
    `Attempt ${attempt}: completed`,
    `redeemed ${redeemedAmount ?? "not told"}`,
    `remaining ${remainingBalance ?? "not told"}`,
    ...(transaction === undefined ? [] : [`transaction ${transaction}`]),
  ];
  const amount = typeof redeemedAmount === "number" ? redeemedAmount : null;
  return { note: told.join(", "), amount };
}

/** Milliseconds for which what a holder has spent is kept when nothing is added: see `Account`. */
export const spentKeptMs = 2 * 3_600_000;

/** Milliseconds for which is kept what was had on credit and refused: the longest `blockForMs`. */
export const lostKeptMs = 86_400_000;

/**
 * Whether a hold is made.
 *
 * @param held credits that are on hold for the holder in all processes, for other redemptions
 */
export function fits(
  { credits, within, refused }: HoldAsked,
  { account, held, exposure }: Omit<HoldAnswer, "isHeld"> & { readonly held: number },
): boolean {
  const isNews = (known: number | null, now: number | null) => now !== null && now !== known;
  const { refused: found } = account;
  if (isNews(refused.credits, found.credits) || isNews(refused.otherwise, found.otherwise)) {
    return false;
  }
  const owes = account.unsettled + held + credits;
  if ("total" in within) return account.spent + owes <= within.total;
  const { creditLine, maxExposure } = within;
  return owes + account.doubtful <= creditLine && (exposure ?? 0) + credits <= maxExposure;
}

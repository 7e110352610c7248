/** Makers of what goes into a journal. */

import type {
  Batch,
  Claimed,
  Committed,
  Entry,
  Journal,
  JournalRecord,
} from "../../src/journal/journal.ts";
import type { Answer } from "../../src/redemption.ts";
import { holderKeyOf } from "../../src/redemption.ts";

export const t0 = 1_800_000_000_000;
export const hour = 3_600_000;

export function entry(redemptionId: string, more: Partial<Entry> = {}): Entry {
  const status = more.status ?? "pending";
  const priced = status === "pending";
  return {
    redemptionId,
    status,
    planId: "1059",
    holderAddress: "0xA11ce",
    route: "POST /v1/images",
    environment: "test",
    amount: priced ? 3 : null,
    hold: priced ? 0 : 2,
    usage: null,
    proof: priced || status === "skipped" ? null : `proof of ${redemptionId}`,
    body: priced ? `{"id":"${redemptionId}"}` : null,
    error: reasons[status],
    repeatable: true,
    expiresAt: null,
    admittedAt: t0,
    ...more,
  };
}

const reasons = {
  prepared: null,
  pending: null,
  unresolved: { code: "price-error", reason: "price-error", message: "No price." },
  skipped: { code: "HTTP_500", reason: "not-successful", message: "Not charged." },
} as const;

export function commit(journal: Journal, batch: Partial<Batch>): Promise<Committed> {
  return journal.commit({ owner: "one", now: t0, append: [], settle: [], ...batch });
}

export const all = { limit: 1_000, perHolder: 1_000 };

/** Takes what is due, in the order in which it was given. */
export async function claim(journal: Journal, batch: Partial<Batch> = {}): Promise<Claimed[]> {
  const { claimed } = await commit(journal, { claim: all, ...batch });
  return [...claimed];
}

export const answers = {
  completed: { status: "completed", redeemedAmount: 3, remainingBalance: 97, short: false },
  failed: { status: "failed", reason: "ledger-refused", code: "BCK.1", message: "No." },
  unresolved: { status: "unresolved", reason: "answer-lost", code: "ECONNRESET", message: "Lost." },
  pending: { status: "pending", reason: "ledger-throttled", code: "HTTP_429", message: "Later." },
} as const satisfies Record<string, Answer>;

export function settlement(
  { redemptionId, attempt }: { redemptionId: string; attempt: number },
  answer: Answer,
  notBefore = 0,
) {
  return { redemptionId, attempt, answer, mayBeApplied: false, notBefore };
}

/** Settles one; tells whether it applied. */
export async function settle(
  journal: Journal,
  attempt: { redemptionId: string; attempt: number },
  answer: Answer,
  batch: Partial<Batch> & { notBefore?: number } = {},
): Promise<boolean | undefined> {
  const { notBefore, ...rest } = batch;
  const settlements = [settlement(attempt, answer, notBefore)];
  return (await commit(journal, { settle: settlements, ...rest })).settled[0];
}

/** The one record of that id. */
export async function recordOf(journal: Journal, redemptionId: string) {
  const records = await journal.read([redemptionId]);
  if (records.length !== 1 || !records[0]) throw new Error(`${records.length} of ${redemptionId}`);
  return records[0];
}

export async function statusOf(journal: Journal, redemptionId: string) {
  return (await recordOf(journal, redemptionId)).status;
}

/** Every record, page by page. */
export async function everything(journal: Journal) {
  const records = [];
  let after: number | undefined;
  do {
    const page = await journal.list({ after, limit: 100 });
    records.push(...page.records);
    after = page.next ?? undefined;
  } while (after !== undefined);
  return records;
}

function creditsOf(records: readonly JournalRecord[]): number {
  return records.reduce((sum, { amount }) => sum + (amount ?? 0), 0);
}

/** What is not settled: charges under way, and holds of what has no price yet. */
function unsettledOf(records: readonly JournalRecord[]): number {
  const waiting = records.filter(({ status }) => status === "pending" || status === "sending");
  const unpriced = records.filter(
    ({ status, error }) => status === "unresolved" && error?.reason === "price-error",
  );
  return creditsOf(waiting) + unpriced.reduce((sum, { hold }) => sum + hold, 0);
}

/** What a holder owes, added up one by one. */
export async function owed(journal: Journal, planId: string, holderAddress: string) {
  const key = holderKeyOf(planId, holderAddress);
  const theirs = (await everything(journal)).filter(
    (record) => holderKeyOf(record.planId, record.holderAddress) === key,
  );
  const of = (...words: string[]) => theirs.filter(({ status }) => words.includes(status));
  return {
    unsettled: unsettledOf(theirs),
    doubtful: creditsOf(of("unresolved").filter(({ firstSentAt }) => firstSentAt !== null)),
  };
}

/** The totals, counted one by one. */
export async function counted(journal: Journal) {
  const records = await everything(journal);
  const of = (status: string) => records.filter((record) => record.status === status);
  const admitted = of("pending").map(({ admittedAt }) => admittedAt);
  return {
    pending: admitted.length,
    credits: unsettledOf(records),
    pendingBytes: of("pending").reduce((sum, { body }) => sum + Buffer.byteLength(body ?? ""), 0),
    oldestPendingAt: admitted.length > 0 ? Math.min(...admitted) : null,
    sending: of("sending").length,
    unresolved: of("unresolved").length,
  };
}

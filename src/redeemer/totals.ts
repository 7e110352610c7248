/** What waits, kept about right between the counts of the journal, which would be too dear at each commit. */

import type { Batch, Committed, Totals } from "../journal/journal.ts";
import type { Attempted } from "./attempt.ts";

export const noTotals: Totals = {
  pending: 0,
  credits: 0,
  pendingBytes: 0,
  oldestPendingAt: null,
  sending: 0,
  unresolved: 0,
};

export function afterCommit(
  totals: Totals,
  { append }: Batch,
  settle: readonly Attempted[],
  { settled, claimed }: Committed,
): Totals {
  const added = append.filter(({ status }) => status === "pending");
  const applied = settle.filter((_, index) => settled[index]);
  const done = applied.map(({ answer }) => answer.status);
  const over = applied.filter(({ answer }) => answer.status !== "pending");
  const of = (status: string) => done.filter((one) => one === status).length;
  const pending = positive(totals.pending + added.length + of("pending") - claimed.length);
  return {
    pending,
    credits: positive(totals.credits + creditsOf(added) - creditsOf(over)),
    pendingBytes: positive(totals.pendingBytes + bytesOf(added) - bytesOf(claimed)),
    oldestPendingAt:
      pending === 0 ? null : (totals.oldestPendingAt ?? added[0]?.admittedAt ?? null),
    sending: positive(totals.sending + claimed.length - done.length),
    unresolved:
      totals.unresolved +
      of("unresolved") +
      append.filter(({ status }) => status === "unresolved").length,
  };
}

function creditsOf(records: readonly { readonly amount: number | null }[]): number {
  return records.reduce((sum, { amount }) => sum + (amount ?? 0), 0);
}

function bytesOf(records: readonly { readonly body: string | null }[]): number {
  return records.reduce((sum, { body }) => sum + (body?.length ?? 0), 0);
}

/** A record that was handed over twice is counted twice until the next count. */
function positive(count: number): number {
  return Math.max(0, count);
}

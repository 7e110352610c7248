/** Compares, by id, what buyers received, what the journal remembers and what the ledger burned. */

import type { Received } from "./buyers.ts";
import type { RecordSeen } from "./messages.ts";

export interface Seen {
  readonly received: readonly Received[];
  readonly records: readonly RecordSeen[];
  /** One of each burn: whose redemption it was, and the credits. */
  readonly burns: readonly { readonly redemptionId: string | null; readonly amount: number }[];
  /** The credits of all holders before and after. */
  readonly before: number;
  readonly after: number;
  /** Which process was killed, and when, by `performance.now`. */
  readonly killed: { readonly place: number; readonly at: number };
}

export interface Sums {
  readonly delivered: number;
  /** Requests to which no whole answer came. */
  readonly cutOff: number;
  /** Turned away with 503, before any work: the journal was not to be reached. */
  readonly turnedAway: number;
  /** Records by status. */
  readonly records: Readonly<Record<string, number>>;
  /** Of those delivered. */
  readonly completed: number;
  readonly unresolved: number;
  /** Delivered, and not remembered: how old they were at the kill. */
  readonly lost: readonly { readonly redemptionId: string; readonly ageMs: number }[];
  readonly burns: number;
  readonly burnedTwice: number;
  readonly credits: number;
  /** Unresolved ones that the ledger has burned: what a person would find there. */
  readonly unresolvedBurned: number;
  /** What does not agree; empty where all does. */
  readonly wrong: readonly string[];
}

/**
 * A record is written at most 5 ms after its response by a process that has the machine to itself. Here
 * four processes, a database and a ledger share a few cores.
 */
const oldestLostMs = 1_000;

export function sumUp({ received, records, burns, before, after, killed }: Seen): Sums {
  const statusOf = new Map(records.map(({ redemptionId, status }) => [redemptionId, status]));
  const delivered = received.filter(({ status }) => status === 200);
  const cutOff = received.filter(({ status }) => status === 0 || status === 502).length;
  const turnedAway = received.filter(({ status }) => status === 503).length;
  const of = (wanted: string | undefined) =>
    delivered.filter(({ redemptionId }) => statusOf.get(redemptionId ?? "") === wanted);
  const missing = of(undefined);
  const burnedIds = new Set(burns.map(({ redemptionId }) => redemptionId));
  const credits = burns.reduce((sum, { amount }) => sum + amount, 0);
  const unresolved = records.filter(({ status }) => status === "unresolved");

  const wrong: string[] = [];
  const check = (isRight: boolean, otherwise: string) => {
    if (!isRight) wrong.push(otherwise);
  };
  const [completed, open] = [of("completed").length, of("unresolved").length];
  check(
    delivered.length === completed + open + missing.length,
    "some that were delivered are neither completed nor unresolved",
  );
  check(new Set(delivered.map((one) => one.redemptionId)).size === delivered.length, "an id twice");
  check(
    missing.every(({ place, at }) => place === killed.place && killed.at - at < oldestLostMs),
    "a record lacks that the kill does not explain",
  );
  const burnedTwice = burns.length - burnedIds.size;
  check(burnedTwice === 0, "something was burned twice");
  check(
    records.every((one) => one.status !== "completed" || burnedIds.has(one.redemptionId)),
    "a completed one was not burned",
  );
  check(
    [...burnedIds].every((id) =>
      ["completed", "unresolved"].includes(statusOf.get(id ?? "") ?? ""),
    ),
    "something was burned that is neither completed nor unresolved",
  );
  check(before - after === credits, "the balances do not fit the burns");
  // The process may have answered, and died before the last byte was on its way.
  check(
    records.length - (delivered.length - missing.length) <= cutOff,
    "a record without an answer",
  );
  check(
    received.length === delivered.length + cutOff + turnedAway,
    "a request was answered with another status",
  );

  const byStatus: Record<string, number> = {};
  for (const { status } of records) byStatus[status] = (byStatus[status] ?? 0) + 1;
  return {
    delivered: delivered.length,
    cutOff,
    turnedAway,
    records: byStatus,
    completed,
    unresolved: open,
    lost: missing.map(({ redemptionId, at }) => ({
      redemptionId: redemptionId ?? "",
      ageMs: killed.at - at,
    })),
    burns: burns.length,
    burnedTwice,
    credits,
    unresolvedBurned: unresolved.filter((one) => burnedIds.has(one.redemptionId)).length,
    wrong,
  };
}

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  applyChange,
  isSettled,
  mayBecome,
  openRedemption,
  type Redemption,
  type RedemptionStatus,
} from "../src/redemption.ts";

const statuses: RedemptionStatus[] = [
  "pending",
  "sending",
  "completed",
  "failed",
  "unresolved",
  "skipped",
];

const allowed: Record<RedemptionStatus, RedemptionStatus[]> = {
  pending: ["sending", "completed", "failed", "unresolved", "skipped"],
  sending: ["pending", "completed", "failed", "unresolved"],
  unresolved: ["completed", "failed", "pending"],
  completed: [],
  failed: [],
  skipped: [],
};

const opening = {
  redemptionId: "id",
  planId: "plan",
  holderAddress: "0x",
  route: "GET /",
  environment: "test" as const,
};

const change = fc.oneof(
  fc.constant({ status: "sending" as const }),
  fc.record({
    status: fc.constant("completed" as const),
    redeemedAmount: fc.option(fc.nat()),
    remainingBalance: fc.option(fc.nat()),
    short: fc.boolean(),
  }),
  fc.record({
    status: fc.constant("pending" as const),
    reason: fc.constant("ledger-unreachable" as const),
    code: fc.string(),
    message: fc.string(),
  }),
  fc.record({
    status: fc.constant("failed" as const),
    reason: fc.constant("ledger-refused" as const),
    code: fc.string(),
    message: fc.string(),
  }),
  fc.record({
    status: fc.constant("unresolved" as const),
    reason: fc.constant("answer-lost" as const),
    code: fc.string(),
    message: fc.string(),
  }),
  fc.record({
    status: fc.constant("skipped" as const),
    reason: fc.constant("price-zero" as const),
    code: fc.string(),
    message: fc.string(),
  }),
);

describe("the states", () => {
  test.each(statuses.flatMap((from) => statuses.map((to) => [from, to] as const)))(
    "%s to %s",
    (from, to) => {
      expect(mayBecome(from, to)).toBe(allowed[from].includes(to));
    },
  );

  test("whatever happens in whatever order, only moves that exist are made and the record stays whole", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
        const { redemption } = openRedemption(opening, 0);
        for (const [index, next] of changes.entries()) {
          const before = structuredClone({ ...redemption }) as Redemption;
          const moved = applyChange(redemption, next, index + 1);
          expect(moved).toBe(allowed[before.status].includes(next.status));
          if (!moved) expect({ ...redemption }).toEqual(before);
          const { status } = redemption;
          expect(redemption.success !== undefined).toBe(status === "completed");
          expect(redemption.error !== undefined).toBe(
            status === "failed" || status === "unresolved" || status === "skipped",
          );
          expect(isSettled(status)).toBe(status !== "pending" && status !== "sending");
        }
      }),
    );
  });

  test("settled is not enumerable, so that a record can be sent as JSON", () => {
    const { redemption } = openRedemption(opening, 0);
    expect(Object.keys(redemption)).not.toContain("settled");
    expect(redemption.settled).toBeInstanceOf(Promise);
    expect(redemption.timestamp).toBe("1970-01-01T00:00:00.000Z");
  });
});

test.each([
  [1, 1, 5, false, "Redeemed 1 credit; 5 remaining."],
  [5, null, null, false, "Redeemed; the ledger did not say how many of 5 credits."],
  [5, 3, 0, true, "Redeemed only 3 of 5 credits; 0 remaining."],
  [5, "9007199254740993", "1", false, "Redeemed 9007199254740993 credits; 1 remaining."],
])(
  "asked for %s, redeemed %s, left %s: a line for a person",
  (asked, redeemed, left, short, line) => {
    const { redemption } = openRedemption(opening, 0);
    redemption.redemption.requestedAmount = asked;
    applyChange(redemption, { status: "sending" }, 0);
    applyChange(
      redemption,
      { status: "completed", redeemedAmount: redeemed, remainingBalance: left, short },
      0,
    );
    expect(redemption.message).toBe(line);
    expect(redemption.success).toEqual({ message: line });
  },
);

import { expect, test } from "vitest";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";

test.each([
  ["set back by an hour, a charge that was put off does not wait for the old time", -3_600_000, 1],
  ["not set back, it waits", 0, 0],
  ["set forward, it is due", 3_600_000, 1],
])("with the clock %s", async (_what, jumpMs, taken) => {
  const journal = openSqliteJournal(":memory:");
  const owner = "owner";
  const now = 1_800_000_000_000;
  const append = [
    {
      redemptionId: "a",
      status: "pending" as const,
      planId: "plan",
      holderAddress: "0x",
      route: "GET /",
      environment: "test" as const,
      amount: 1,
      hold: 0,
      usage: null,
      proof: null,
      body: "{}",
      error: null,
      repeatable: true,
      expiresAt: null,
      admittedAt: now,
    },
  ];
  const claim = { limit: 1, perHolder: 1 };
  const first = await journal.commit({ owner, now, append, settle: [], claim });
  expect(first.claimed).toHaveLength(1);
  const answer = {
    status: "pending" as const,
    reason: "ledger-unreachable" as const,
    code: "ECONNREFUSED",
    message: "refused",
  };
  const settle = [
    { redemptionId: "a", attempt: 1, answer, mayBeApplied: false, notBefore: now + 30_000 },
  ];
  await journal.commit({ owner, now, append: [], settle });
  const again = await journal.commit({ owner, now: now + jumpMs, append: [], settle: [], claim });
  expect(again.claimed).toHaveLength(taken);
  await journal.close(owner);
});

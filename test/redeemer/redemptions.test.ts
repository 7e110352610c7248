import { describe, expect, test } from "vitest";
import type { Door, Outcome, Submission } from "../../src/redeemer/door.ts";
import { createRedemptions } from "../../src/redeemer/redemptions.ts";
import type { Redemption } from "../../src/redemption.ts";

const payment = { planId: "plan", holderAddress: `0x${"a".repeat(40)}`, proof: "proof" };

const backlog = { count: 10_000, bytes: 1_000_000, ageMs: 1_000_000 };

/** Redemptions before a door at which nothing happens but what the test says. */
function atADoor() {
  let tell: (outcome: Outcome) => void = () => {};
  const submitted: Submission[] = [];
  const asked: unknown[] = [];
  const answers: unknown[] = [];
  const none = () => {};
  let time = 0;
  const redemptions = createRedemptions({
    environment: "test",
    maxUnderWay: 10_000,
    maxUnderWayBytes: 1_000_000,
    maxLive: 10_000,
    backlog,
    openDoor: (given) => {
      tell = given;
      const door: Pick<Door, "submit"> & { ask: (...all: unknown[]) => Promise<unknown> } = {
        submit: (some) => void submitted.push(...some),
        ask: async (...question) => {
          asked.push(question);
          return answers.shift();
        },
      };
      return door as Door;
    },
    onSettled: none,
    onAnswer: none,
    onUnsent: none,
    lasting: true,
    onCharge: none,
    onHealth: none,
    onLateAnswer: none,
    onRecovered: none,
    now: Date.now,
    elapsed: () => time,
  });
  const charge = (holderAddress = payment.holderAddress) => {
    const redemption = redemptions.open({ ...payment, holderAddress }, "GET /") as Redemption;
    redemptions.charge(redemption, 1);
    return redemption;
  };
  const recovered = { kind: "recovered", pending: 0, unresolved: [], resent: 0 } as const;
  return {
    redemptions,
    submitted,
    asked,
    answers,
    charge,
    recovered,
    tell: (outcome: Outcome) => tell(outcome),
    pass: (ms: number) => {
      time += ms;
    },
  };
}

test("there is no room before the journal is open", async () => {
  const { redemptions, recovered, tell } = atADoor();
  expect(redemptions.hasRoom()).toBe(false);
  expect(await redemptions.room(1)).toBe(false);
  const waiting = redemptions.room(60_000);
  tell(recovered);
  expect(await waiting).toBe(true);
  expect(redemptions.hasRoom()).toBe(true);
});

test("there is no room while 256 are not acknowledged", async () => {
  const { redemptions, recovered, tell, charge } = atADoor();
  tell(recovered);
  for (let count = 0; count < 255; count += 1) charge();
  expect(redemptions.hasRoom()).toBe(true);
  const last = charge();
  expect(redemptions.hasRoom()).toBe(false);
  const waiting = redemptions.room(60_000);
  tell({ kind: "accepted", redemptionIds: [last.redemptionId] });
  expect(await waiting).toBe(true);
});

test("whoever waits for room is told when the meter closes", async () => {
  const { redemptions } = atADoor();
  const waiting = redemptions.room(60_000);
  void redemptions.close(0);
  expect(await waiting).toBe(false);
});

test("after the thread has started again, what it knew is asked for and followed", async () => {
  const { redemptions, recovered, tell, charge, asked, answers } = atADoor();
  tell(recovered);
  const redemption = charge();
  const { redemptionId } = redemption;
  tell({ kind: "accepted", redemptionIds: [redemptionId] });
  const error = { code: "OWNER_GONE", reason: "answer-lost", message: "gone" };
  const record = { ...payment, redemptionId, status: "unresolved", changedAt: 0, amount: 1, error };
  answers.push([record]);
  tell(recovered);
  await redemptions.flush();
  expect(asked).toEqual([["read", { redemptionIds: [redemptionId], follow: true }]]);
  expect(redemption).toMatchObject({ status: "unresolved", error });
});

const away = {
  status: "pending",
  reason: "ledger-unreachable",
  code: "ECONNREFUSED",
  message: "refused",
} as const;
const done = {
  status: "completed",
  redeemedAmount: 1,
  remainingBalance: 1,
  short: false,
} as const;

/** What a journal says of itself in which a charge waits that another process admitted by its own clock. */
function waitsSince(oldestPendingAt: number): Outcome {
  const totals = {
    pending: 2,
    credits: 2,
    pendingBytes: 2,
    oldestPendingAt,
    sending: 0,
    unresolved: 0,
  };
  return {
    kind: "health",
    health: { writable: true, problem: null, totals, paused: null },
  } as Outcome;
}

describe("charges that wait for long", () => {
  const { ageMs } = backlog;
  const holders = [`0x${"a".repeat(40)}`, `0x${"b".repeat(40)}`];

  test("by another clock, or by one that has jumped, refuse nobody", () => {
    const { redemptions, recovered, tell, charge } = atADoor();
    tell(recovered);
    tell(waitsSince(0));
    charge();
    expect(redemptions.refusal()).toBeUndefined();
  });

  test("of one holder refuse nobody; of two they do, while the ledger decides nothing", () => {
    const { redemptions, recovered, tell, charge, pass } = atADoor();
    tell(recovered);
    for (let count = 0; count < 2; count += 1) charge(holders[0]);
    pass(ageMs + 1);
    tell(waitsSince(Date.now()));
    expect(redemptions.refusal()).toBeUndefined();
    charge(holders[1]);
    expect(redemptions.refusal()).toBe("journal-full");
    // Now and then one passes and tries: the ledger may be back, and all that is left was never its fault.
    const tries = charge(holders[1]);
    expect(redemptions.open(payment, "GET /")).toBe("journal-full");
    const { redemptionId } = tries;
    const holderKey = `plan ${holders[1]}`;
    tell({ kind: "changes", changes: [{ redemptionId, holderKey, amount: 1, change: away }] });
    expect(redemptions.refusal()).toBe("journal-full");
    tell({ kind: "changes", changes: [{ redemptionId, holderKey, amount: 1, change: done }] });
    expect(redemptions.refusal()).toBeUndefined();
  });
});

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { waitBeforeRetry } from "../../src/redeemer/backoff.ts";
import type { Door, Outcome } from "../../src/redeemer/door.ts";
import { createRedeemer } from "../../src/redeemer/redeemer.ts";
import type { Answer, Charge } from "../../src/redemption.ts";

const completed: Answer = {
  status: "completed",
  redeemedAmount: 1,
  remainingBalance: 1,
  short: false,
};
const pending: Answer = {
  status: "pending",
  reason: "ledger-unreachable",
  code: "ECONNREFUSED",
  message: "refused",
};

function chargeOf(id: string): Charge {
  return { redemptionId: id, planId: "p", holderAddress: "0x", proof: "s", amount: 1 };
}

/** A redeemer whose sends are answered by the test. All that passes its door is cloned on the way. */
function redeemer(concurrency: number) {
  const onWire = new Map<string, (answer: Answer) => void>();
  const sent: string[] = [];
  const told: [string, Outcome["change"]["status"]][] = [];
  let ended = 0;
  const inner = createRedeemer({
    concurrency,
    backoff: { baseMs: 100, maxMs: 1_000 },
    send: (charge, signal) =>
      new Promise((resolve) => {
        sent.push(charge.redemptionId);
        const answer = (value: Answer) => {
          onWire.delete(charge.redemptionId);
          resolve(value);
        };
        onWire.set(charge.redemptionId, answer);
        signal.addEventListener("abort", () =>
          answer({ status: "unresolved", reason: "answer-lost", code: "ABORTED", message: "" }),
        );
      }),
    end: async () => {
      ended += 1;
    },
    tell: (outcome) => {
      const { redemptionId, change } = structuredClone(outcome);
      told.push([redemptionId, change.status]);
    },
    random: () => 0.5,
  });
  const door: Door = {
    submit: (message) => inner.submit(structuredClone(message)),
    ask: async (message) => structuredClone(await inner.ask(structuredClone(message))),
  };
  const submit = (...ids: string[]) => {
    for (const id of ids) door.submit({ kind: "submit", charge: chargeOf(id) });
  };
  const answer = async (id: string, value: Answer) => {
    onWire.get(id)?.(value);
    await vi.advanceTimersByTimeAsync(0);
  };
  return { door, submit, answer, sent, told, onWire, ended: () => ended };
}

describe("the redeemer", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test("keeps no more on the wire than its concurrency, oldest first", async () => {
    const { submit, answer, sent, onWire } = redeemer(2);
    submit("a", "b", "c", "d");
    await vi.advanceTimersByTimeAsync(0);
    expect(sent).toEqual(["a", "b"]);
    await answer("b", completed);
    expect(sent).toEqual(["a", "b", "c"]);
    expect(onWire.size).toBe(2);
  });

  test("sends again, under the same id, only what was certainly not applied", async () => {
    const { submit, answer, sent, told } = redeemer(4);
    submit("away", "refused", "lost", "done");
    await vi.advanceTimersByTimeAsync(0);
    const detail = { code: "x", message: "x" };
    await answer("away", pending);
    await answer("refused", { status: "failed", reason: "insufficient-credits", ...detail });
    await answer("lost", { status: "unresolved", reason: "answer-lost", ...detail });
    await answer("done", completed);
    await vi.advanceTimersByTimeAsync(49);
    expect(sent).toHaveLength(4);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent.slice(4)).toEqual(["away"]);
    await answer("away", completed);
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(sent).toHaveLength(5);
    expect(told.filter(([id]) => id === "away").map(([, status]) => status)).toEqual([
      "sending",
      "pending",
      "sending",
      "completed",
    ]);
  });

  test("waits as long as the ledger asks", async () => {
    const { submit, answer, sent } = redeemer(1);
    submit("a");
    await vi.advanceTimersByTimeAsync(0);
    await answer("a", { ...pending, retryAfterMs: 5_000 });
    await vi.advanceTimersByTimeAsync(5_049);
    expect(sent).toEqual(["a"]);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent).toEqual(["a", "a"]);
  });

  test("a waiting charge does not hold up the others", async () => {
    const { submit, answer, sent } = redeemer(1);
    submit("a", "b");
    await vi.advanceTimersByTimeAsync(0);
    await answer("a", pending);
    expect(sent).toEqual(["a", "b"]);
  });

  test("stop gives up what is on the wire and names what was not sent", async () => {
    const { door, submit, answer, told, ended } = redeemer(2);
    submit("waiting", "sending", "ready", "late");
    await vi.advanceTimersByTimeAsync(0);
    await answer("waiting", pending);
    const { unsent } = await door.ask({ kind: "ask", ask: "stop" });
    expect([...unsent].sort()).toEqual(["late", "waiting"]);
    expect(told.filter(([, status]) => status === "unresolved").map(([id]) => id)).toEqual([
      "sending",
      "ready",
    ]);
    expect(ended()).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a send that rejects may have been applied", async () => {
    const told: Outcome[] = [];
    const { submit } = createRedeemer({
      concurrency: 1,
      backoff: { baseMs: 1, maxMs: 1 },
      send: () => Promise.reject(new Error("broken")),
      end: async () => {},
      tell: (outcome) => told.push(outcome),
      random: Math.random,
    });
    submit({ kind: "submit", charge: chargeOf("a") });
    await vi.advanceTimersByTimeAsync(0);
    expect(told.at(-1)).toMatchObject({ change: { status: "unresolved", reason: "answer-lost" } });
  });
});

describe("the wait before sending again", () => {
  const backoff = { baseMs: 250, maxMs: 30_000 };

  test("is drawn below a ceiling that doubles and is bounded, and never undercuts Retry-After", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.option(fc.integer({ min: 0, max: 10_000_000 }), { nil: undefined }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (attempt, retryAfterMs, random) => {
          const ms = waitBeforeRetry(backoff, attempt, retryAfterMs, random);
          const asked = Math.min(retryAfterMs ?? 0, 3_600_000);
          expect(Number.isInteger(ms)).toBe(true);
          expect(ms).toBeGreaterThanOrEqual(asked);
          const ceiling = Math.min(30_000, 250 * 2 ** Math.min(attempt - 1, 50));
          expect(ms - asked).toBeLessThan(ceiling);
          expect(ms - asked).toBe(Math.floor(random * ceiling));
        },
      ),
    );
  });
});

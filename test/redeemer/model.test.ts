/**
 * Several redeemers on one journal, a ledger that loses answers, commits that fail, processes that end
 * or sleep at any moment, against what must hold whatever happens. Chance comes from the seed alone.
 */

import fc from "fast-check";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Claimed, Journal, JournalRecord } from "../../src/journal/journal.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import type { Outcome } from "../../src/redeemer/door.ts";
import { createRedeemer, type Redeemer } from "../../src/redeemer/redeemer.ts";
import type { Answer } from "../../src/redemption.ts";
import { away, completed, defaults, lost, refused, submissionOf } from "./world.ts";

vi.mock("node:timers", () => import("../support/global-timers.ts"));

beforeEach(() => {
  vi.useFakeTimers();
});
afterAll(() => {
  vi.useRealTimers();
});

/** Marsaglia's xorshift, 32 bits: numbers from 0 to 1. */
function chanceFrom(seed: number) {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const never = () => new Promise<never>(() => {});

/** What a record may become from one commit or takeover to the next, without a person. */
const moves: Record<string, readonly string[]> = {
  pending: ["pending", "sending", "completed", "failed"],
  sending: ["sending", "pending", "completed", "failed", "unresolved"],
  unresolved: ["unresolved", "completed", "failed"],
  completed: ["completed"],
  failed: ["failed"],
};

/** The ledger. `honours`: a second request under one id burns nothing, and gets the first one's answer. */
function openLedger(honours: boolean, chance: () => number) {
  const burns = new Map<string, number>();
  const decided = new Map<string, Answer>();
  const running = new Set<string>();
  let troubled = true;

  /** Burns, or refuses, after a while, whoever still listens. */
  async function decide(id: string): Promise<Answer> {
    running.add(id);
    await wait(chance() * 300);
    running.delete(id);
    const answer = troubled && chance() < 0.15 ? refused : completed;
    if (answer === completed) burns.set(id, (burns.get(id) ?? 0) + 1);
    decided.set(id, answer);
    return answer;
  }

  return {
    burns,
    heal: () => {
      troubled = false;
    },
    async redeem({ redemptionId: id }: Claimed): Promise<Answer> {
      const fate = troubled ? chance() : 1;
      await wait(chance() * 50);
      if (fate < 0.15) return away;
      if (fate < 0.25) return lost;
      if (honours && running.has(id)) return { ...away, reason: "still-running" };
      const before = honours ? decided.get(id) : undefined;
      const decision = before ? Promise.resolve(before) : decide(id);
      // Lost at once, while it is still applied later; or lost after it.
      if (fate < 0.4) return lost;
      const answer = await decision;
      return fate < 0.5 ? lost : answer;
    },
  };
}

interface Process {
  readonly owner: string;
  readonly redeemer: Redeemer;
  alive: boolean;
  asleep: boolean;
  readonly unacknowledged: Set<string>;
}

function openModel(seed: number, idempotentMs: number | null) {
  const chance = chanceFrom(seed);
  const inner = openSqliteJournal(":memory:");
  const ledger = openLedger(idempotentMs !== null, chance);
  const submitted: string[] = [];
  const processes: [Process?, Process?] = [];
  const wrong: string[] = [];
  const seen = new Map<string, JournalRecord>();
  let owners = 0;
  let commitsFail = 0;
  let mostSending = 0;

  async function watchRecords() {
    let sending = 0;
    for (const record of await inner.read(submitted)) {
      const { redemptionId: id, status, attempt } = record;
      const before = seen.get(id);
      seen.set(id, record);
      if (status === "sending") sending += 1;
      if (before && !moves[before.status]?.includes(status)) {
        wrong.push(`${id}: ${before.status} → ${status}`);
      }
      if (before && attempt < before.attempt) wrong.push(`${id}: attempt ${attempt}`);
    }
    mostSending = Math.max(mostSending, sending);
  }

  /** The journal as one process has it: what it does there may be its last act. */
  function journalOf(mine: () => Process | undefined): Journal {
    const step = async () => {
      await wait(chance() * 4);
      while (mine()?.asleep) await wait(100);
      if (mine()?.alive === false) await never();
    };
    const fails = () => chance() < commitsFail;
    const over =
      <Args extends unknown[], Value>(call: (...args: Args) => Promise<Value>) =>
      async (...args: Args) => {
        await step();
        if (fails()) throw new Error("database or disk is full");
        const value = await call(...args);
        await watchRecords();
        await step();
        if (fails()) throw new Error("nobody knows whether it was applied");
        return value;
      };
    return {
      ...inner,
      commit: over(inner.commit),
      beat: over(inner.beat),
      takeOver: over(inner.takeOver),
      totals: over(inner.totals),
      read: over(inner.read),
      list: over(inner.list),
      close: async () => {},
    };
  }

  async function hear(mine: Process, outcome: Outcome) {
    if (!mine.alive) return;
    if (outcome.kind === "accepted") {
      for (const id of outcome.redemptionIds) mine.unacknowledged.delete(id);
      const records = await inner.read(outcome.redemptionIds);
      if (records.length < new Set(outcome.redemptionIds).size) wrong.push("accepted, not durable");
    }
    if (outcome.kind !== "changes") return;
    for (const { redemptionId: id, change } of outcome.changes) {
      const { status } = change;
      if (status !== "completed" && status !== "failed") continue;
      const [record] = await inner.read([id]);
      if (record?.status !== status) wrong.push(`${id}: told ${status}, is ${record?.status}`);
    }
  }

  function start(slot: 0 | 1, replaces: readonly string[], inherited: readonly string[]) {
    owners += 1;
    const owner = `owner ${owners}`;
    let mine: Process | undefined;
    const redeemer = createRedeemer({
      ...defaults,
      owner,
      replaces,
      concurrency: 3,
      perHolder: 2,
      circuitThreshold: 4,
      backoff: { baseMs: 20, maxMs: 500 },
      idempotentMs,
      journal: journalOf(() => mine),
      async send(charge) {
        const [record] = await inner.read([charge.redemptionId]);
        if (record === undefined || record.attempt < charge.attempt)
          wrong.push("sent before commit");
        const answer = await ledger.redeem(charge);
        return mine?.alive ? answer : never();
      },
      tell: (outcome) => void (mine && hear(mine, outcome)),
      random: chance,
    });
    mine = { owner, redeemer, alive: true, asleep: false, unacknowledged: new Set(inherited) };
    processes[slot] = mine;
    redeemer.submit(inherited.map((id) => submissionOf(id)));
  }

  start(0, [], []);
  start(1, [], []);

  return {
    ledger,
    wrong,
    seen,
    submitted,
    totals: () => inner.totals(),
    mostSending: () => mostSending,
    submit(slot: 0 | 1, count: number) {
      const ids = Array.from(
        { length: count },
        (_, index) => `${"abc"[(submitted.length + index) % 3]}${submitted.length + index}`,
      );
      submitted.push(...ids);
      for (const id of ids) processes[slot]?.unacknowledged.add(id);
      processes[slot]?.redeemer.submit(ids.map((id) => submissionOf(id)));
    },
    /** The process ends; what it had not acknowledged is handed over to its successor by id. */
    crash(slot: 0 | 1, isReplaced: boolean) {
      const before = processes[slot];
      if (!before) return;
      before.alive = false;
      start(slot, isReplaced ? [before.owner] : [], [...before.unacknowledged]);
    },
    sleep(slot: 0 | 1, ms: number) {
      const mine = processes[slot];
      if (!mine) return;
      mine.asleep = true;
      setTimeout(() => {
        mine.asleep = false;
      }, ms);
    },
    failCommits: (share: number) => {
      commitsFail = share;
    },
    async settle() {
      commitsFail = 0;
      ledger.heal();
      // Until the silence of who slept or ended is over, and the longest waits.
      await vi.advanceTimersByTimeAsync(45_000);
    },
  };
}

type Model = ReturnType<typeof openModel>;
type Act = (model: Model) => unknown;

const slot = fc.constantFrom(0 as const, 1 as const);
const named = (name: string, act: Act): Act => Object.assign(act, { toString: () => name });
const act: fc.Arbitrary<Act> = fc.oneof(
  fc
    .tuple(slot, fc.integer({ min: 1, max: 8 }))
    .map(([at, count]) => named(`submit(${at}, ${count})`, (model) => model.submit(at, count))),
  fc
    .tuple(slot, fc.boolean())
    .map(([at, replaced]) =>
      named(`crash(${at}, ${replaced})`, (model) => model.crash(at, replaced)),
    ),
  fc
    .tuple(slot, fc.constantFrom(50, 1_000, 20_000))
    .map(([at, ms]) => named(`sleep(${at}, ${ms})`, (model) => model.sleep(at, ms))),
  fc
    .constantFrom(0, 0.1, 0.5, 1)
    .map((share) => named(`failCommits(${share})`, (model) => model.failCommits(share))),
  {
    weight: 4,
    arbitrary: fc
      .constantFrom(1, 3, 7, 30, 200, 2_000, 20_000)
      .map((ms) => named(`pass(${ms})`, () => vi.advanceTimersByTimeAsync(ms))),
  },
);
const script = fc.array(act, { minLength: 4, maxLength: 24, size: "max" });

async function play(seed: number, acts: readonly Act[], idempotentMs: number | null) {
  vi.clearAllTimers();
  const model = openModel(seed, idempotentMs);
  model.submit(0, 3);
  for (const one of acts) await one(model);
  await model.settle();
  vi.clearAllTimers();
  return model;
}

/** What must hold of every ledger. */
async function check({ ledger, wrong, seen, submitted, totals }: Model) {
  expect(wrong).toEqual([]);
  expect(seen.size).toBe(submitted.length);
  expect(await totals()).toMatchObject({ pending: 0, sending: 0 });
  for (const [id, { status }] of seen) {
    const burned = ledger.burns.get(id) ?? 0;
    expect([id, burned]).toEqual([id, Math.min(burned, 1)]);
    if (status === "completed") expect([id, burned]).toEqual([id, 1]);
    if (status === "failed") expect([id, burned]).toEqual([id, 0]);
  }
}

describe("whatever fails, and whenever", { timeout: 120_000 }, () => {
  test("a ledger that ignores ids burns nothing twice, and what it may have burned is listed", async () => {
    let unresolved = 0;
    let mostSending = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(), script, async (seed, acts) => {
        const model = await play(seed, acts, null);
        await check(model);
        unresolved += (await model.totals()).unresolved;
        mostSending = Math.max(mostSending, model.mostSending());
      }),
      { numRuns: 20 },
    );
    // The scripts are worth something: answers were lost, and several were on the wire at once.
    expect(unresolved).toBeGreaterThan(10);
    expect(mostSending).toBeGreaterThan(3);
  });

  test("one that honours them charges everything once, and leaves nothing to a person", async () => {
    let burned = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(), script, async (seed, acts) => {
        const model = await play(seed, acts, 3_600_000);
        await check(model);
        expect(await model.totals()).toMatchObject({ unresolved: 0 });
        burned += model.ledger.burns.size;
      }),
      { numRuns: 20 },
    );
    expect(burned).toBeGreaterThan(20);
  });
});

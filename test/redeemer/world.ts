/** A redeemer on a real journal, with sends that the test answers. All that passes its door is cloned. */

import { onTestFinished, vi } from "vitest";
import type { Claimed, Journal, JournalRecord } from "../../src/journal/journal.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import type { Change, Door, Health, Outcome, Submission } from "../../src/redeemer/door.ts";
import { createRedeemer } from "../../src/redeemer/redeemer.ts";
import type { RedeemerOptions } from "../../src/redeemer/redeemer-options.ts";
import type { Answer, Charge, UnresolvedAnswer } from "../../src/redemption.ts";

type Pending = Extract<Answer, { status: "pending" }>;

export const completed = {
  status: "completed",
  redeemedAmount: 1,
  remainingBalance: 1,
  short: false,
} satisfies Answer;
export const away: Pending = {
  status: "pending",
  reason: "ledger-unreachable",
  code: "ECONNREFUSED",
  message: "refused",
};
export const lost: UnresolvedAnswer = {
  status: "unresolved",
  reason: "answer-lost",
  code: "ECONNRESET",
  message: "reset",
};
export const aborted: Answer = { ...lost, code: "ABORTED" };
export const wrongKey: Pending = {
  status: "pending",
  reason: "configuration-fault",
  code: "HTTP_401",
  message: "who are you",
};
export const refused: Answer = {
  status: "failed",
  reason: "insufficient-credits",
  code: "BCK.CREDITS.0003",
  message: "no credits",
};

export const secret = "a-proof-that-stays-behind-the-door";

/** Names whose first letters agree pay with the same holder: `a`, `a2` and `b` are of two. */
export function submissionOf(id: string, more: Partial<Submission> = {}): Submission {
  return {
    redemptionId: id,
    status: "pending",
    planId: "plan",
    holderAddress: `0x${id.slice(0, 1)}`,
    proof: secret,
    route: "POST /",
    environment: "test",
    amount: 1,
    hold: 0,
    usage: null,
    error: null,
    repeatable: true,
    expiresAt: null,
    admittedAt: Date.now(),
    ...more,
  };
}

export function encode({ redemptionId, amount, proof }: Charge): string {
  if (amount === 13) throw new TypeError("13 is no amount");
  return JSON.stringify({ redemptionId, amount, proof });
}

export const defaults = {
  owner: "ours",
  concurrency: 2,
  perHolder: 2,
  backoff: { baseMs: 100, maxMs: 1_000 },
  circuitThreshold: 1_000,
  idempotentMs: null,
  timeoutMs: 30_000,
  retentionMs: 90 * 86_400_000,
  encode,
  askBalance: async () => ({ told: true, amount: 7 }),
  verify: async () => ({ status: "away", message: "nobody asks" }),
  end: async () => {},
  now: () => Date.now(),
  elapsed: () => performance.now(),
  random: () => 0.5,
} satisfies Partial<RedeemerOptions>;

export interface World {
  readonly door: Door;
  readonly drainNow: () => void;
  readonly journal: Journal;
  /** Ids in the order in which they were sent. */
  readonly sent: string[];
  readonly charges: Claimed[];
  /** Ids on the wire. */
  readonly onWire: () => string[];
  /** Everything that was told, with the time. */
  readonly told: Outcome[];
  readonly changesOf: (id: string) => Change["status"][];
  readonly accepted: () => string[];
  readonly health: () => Health | undefined;
  readonly submit: (...ids: string[]) => void;
  /** Answers the oldest send of this redemption. */
  readonly answer: (id: string, answer: Answer) => Promise<void>;
  readonly pass: (ms: number) => Promise<void>;
  readonly record: (id: string) => Promise<JournalRecord | undefined>;
}

/**
 * Stops the redeemer when the test ends. Needs vitest's fake timers.
 *
 * @param options `journal`: another journal than a new one in memory, which may be shared
 */
export function openWorld(options: Partial<RedeemerOptions> = {}): World {
  const journal = options.journal ?? openSqliteJournal(":memory:");
  const waiting: { id: string; resolve: (answer: Answer) => void }[] = [];
  const sent: string[] = [];
  const charges: Claimed[] = [];
  const told: Outcome[] = [];
  const redeemer = createRedeemer({
    ...defaults,
    send: (charge, signal) =>
      new Promise((resolve) => {
        const { redemptionId: id } = charge;
        sent.push(id);
        charges.push(structuredClone(charge));
        const entry = { id, resolve };
        waiting.push(entry);
        signal.addEventListener("abort", () => {
          waiting.splice(waiting.indexOf(entry), 1);
          resolve(aborted);
        });
      }),
    tell: (outcome) => told.push(structuredClone(outcome)),
    ...options,
    journal,
  });
  const door: Door = {
    submit: (submissions) => redeemer.submit(structuredClone(submissions)),
    ask: async (name, question) =>
      structuredClone(await redeemer.ask(name, structuredClone(question))),
  };
  const pass = async (ms: number) => void (await vi.advanceTimersByTimeAsync(ms));
  onTestFinished(async () => {
    const stopped = redeemer.ask("stop", {});
    await pass(1_000);
    await stopped;
  });
  return {
    door,
    drainNow: redeemer.drainNow,
    journal,
    sent,
    charges,
    told,
    onWire: () => waiting.map(({ id }) => id),
    changesOf: (wanted) =>
      told.flatMap((outcome) =>
        outcome.kind === "changes"
          ? outcome.changes
              .filter(({ redemptionId }) => redemptionId === wanted)
              .map(({ change }) => change.status)
          : [],
      ),
    accepted: () =>
      told.flatMap((outcome) => (outcome.kind === "accepted" ? outcome.redemptionIds : [])),
    health: () => told.findLast((outcome) => outcome.kind === "health")?.health,
    submit: (...ids) => door.submit(ids.map((id) => submissionOf(id))),
    async answer(id, answer) {
      const entry = waiting.find((one) => one.id === id);
      if (!entry) throw new Error(`${id} is not on the wire`);
      waiting.splice(waiting.indexOf(entry), 1);
      entry.resolve(answer);
      await pass(2);
    },
    pass,
    record: async (id) => (await journal.read([id]))[0],
  };
}

/** A journal whose commits a test can hold back or fail, before or after they are applied. */
export function troubled(inner: Journal) {
  let fate: "fine" | "held" | "refused" | "applied-and-refused" = "fine";
  /** Commits that are fine before that. */
  let spared = 0;
  let held: (() => void)[] = [];
  const full = () => Promise.reject(new Error("database or disk is full"));
  const journal: Journal = {
    ...inner,
    async commit(batch) {
      if (spared > 0) {
        spared -= 1;
        return inner.commit(batch);
      }
      if (fate === "held") await new Promise<void>((resolve) => held.push(resolve));
      if (fate === "refused") return full();
      const committed = await inner.commit(batch);
      return fate === "applied-and-refused" ? full() : committed;
    },
  };
  return {
    journal,
    set: (next: typeof fate, sparing = 0) => {
      fate = next;
      spared = sparing;
      for (const release of held) release();
      held = [];
    },
  };
}

/** A journal against a few lines of model, through random histories of several owners. */

import fc from "fast-check";
import { expect, test } from "vitest";
import type {
  Act,
  Claim,
  Claimed,
  Entry,
  Journal,
  RecordStatus,
} from "../../src/journal/journal.ts";
import { holderKeyOf } from "../../src/redemption.ts";
import { answers, commit, counted, entry, everything, owed, settlement, t0 } from "./records.ts";

interface Remembered {
  status: RecordStatus;
  attempt: number;
  owner: string | null;
  holder: string;
  amount: number | null;
  body: string | null;
  proof: string | null;
  reason: string | null;
  notBefore: number;
  firstSentAt: number | null;
  sentAt: number | null;
  doubtSince: number | null;
  changedAt: number;
}

const ids = ["a", "b", "c", "d", "e", "f", "__proto__"];
const id = fc.constantFrom(...ids);
const owner = fc.constantFrom("one", "two", "three");
const handed = fc.record({
  redemptionId: id,
  status: fc.constantFrom<Entry["status"]>(
    "pending",
    "pending",
    "prepared",
    "unresolved",
    "skipped",
  ),
});
const claimed = fc.record({
  limit: fc.integer({ min: 0, max: 5 }),
  perHolder: fc.integer({ min: 1, max: 2 }),
  avoid: fc.constantFrom(undefined, undefined, "1059 0x0"),
});
const settled = fc.record({
  // Of all the attempts that ever were, counted from the last.
  which: fc.nat({ max: 6 }),
  status: fc.constantFrom(...(Object.keys(answers) as (keyof typeof answers)[])),
  wait: fc.constantFrom(0, 500, 5_000),
  mayBeApplied: fc.boolean(),
});
const act = fc.constantFrom<Act>(
  { act: "complete", redeemedAmount: 1 },
  { act: "fail" },
  { act: "cancel" },
  { act: "supply", amount: 4, body: "supplied" },
  { act: "resend" },
);
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("commit" as const),
      owner,
      append: fc.array(handed, { maxLength: 4 }),
      settle: fc.array(settled, { maxLength: 3 }),
      claim: fc.option(claimed, { nil: undefined, freq: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("takeOver" as const),
      from: owner,
      since: fc.constantFrom(null, 0, 1_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("act" as const), id, act }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("prune" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(400, 3_000, -2_000),
    }),
  },
);

const over: readonly RecordStatus[] = ["completed", "failed", "skipped"];

/** Moves that exist; a record that is over may only be forgotten. */
const moves: Readonly<Record<RecordStatus, readonly RecordStatus[]>> = {
  prepared: ["pending", "sending", "unresolved", "skipped"],
  // Put back and taken again in one batch looks like no move.
  pending: ["sending", "completed", "failed"],
  sending: ["pending", "completed", "failed", "unresolved"],
  unresolved: ["pending", "sending", "completed", "failed", "skipped"],
  completed: [],
  failed: [],
  skipped: [],
};

export function describeModel(open: () => Promise<Journal>): void {
  test("agrees with a simple model, whatever comes in whatever order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
        const journal = await open();
        const model = createModel();
        for (const one of steps) {
          await model.take(journal, one);
          await model.compare(journal);
        }
      }),
      { numRuns: 50 },
    );
  });
}

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

function createModel() {
  /** In the order of admission. */
  const records = new Map<string, Remembered>();
  /** Every attempt that ever was, with the owner that it was given to. */
  const attempts: (Claimed & { owner: string })[] = [];
  let before = new Map<string, Remembered>();
  let now = t0;

  async function take(journal: Journal, one: Step) {
    before = new Map([...records].map(([key, value]) => [key, { ...value }]));
    switch (one.do) {
      case "wait":
        now += one.ms;
        return;
      case "commit":
        return commitBatch(journal, one);
      case "takeOver": {
        const resendSince = one.since === null ? null : t0 + one.since;
        const became = await journal.takeOver({ from: one.from, now, resendSince });
        const expected = modelTakeOver(one.from, resendSince);
        expect(became.unresolved.sort()).toEqual(expected.unresolved.sort());
        expect(became.pending.sort()).toEqual(expected.pending.sort());
        return;
      }
      case "act": {
        const done = await journal.act(one.act, {
          redemptionId: one.id,
          by: "ann",
          note: null,
          at: now,
        });
        expect(done !== undefined).toBe(modelAct(one.id, one.act));
        return;
      }
      case "prune": {
        const old = [...records].filter(
          ([, record]) => over.includes(record.status) && record.changedAt < now,
        );
        for (const [key] of old) records.delete(key);
        expect(await journal.prune(now, 100)).toBe(old.length);
      }
    }
  }

  async function commitBatch(journal: Journal, one: Extract<Step, { do: "commit" }>) {
    const append = one.append.map(({ redemptionId, status }) =>
      entry(redemptionId, { status, holderAddress: `0x${ids.indexOf(redemptionId) % 3}` }),
    );
    const settle = one.settle.flatMap(({ which, status, wait, mayBeApplied }) => {
      const attempt = attempts.at(-1 - which);
      return attempt ? [{ ...settlement(attempt, answers[status], now + wait), mayBeApplied }] : [];
    });
    const committed = await commit(journal, {
      owner: one.owner,
      now,
      append,
      settle,
      claim: one.claim,
    });
    for (const handedOver of append) modelAppend(handedOver, one.owner);
    const applied = settle.map((each) => modelSettle(each, one.owner));
    expect(committed.settled).toEqual(applied);
    if (one.claim) modelClaim(one.claim, committed.claimed, one.owner);
    else expect(committed.claimed).toEqual([]);
  }

  function modelAppend(handedOver: Entry, by: string) {
    const known = records.get(handedOver.redemptionId);
    const open =
      known?.status === "prepared" ||
      (known?.status === "unresolved" && known.reason === "delivery-unconfirmed");
    if (known && (!open || handedOver.status === "prepared")) return;
    const { status, amount, body, proof, error, planId, holderAddress } = handedOver;
    records.set(handedOver.redemptionId, {
      ...{ status, amount, body, proof, notBefore: 0, changedAt: now },
      reason: error?.reason ?? null,
      holder: holderKeyOf(planId, holderAddress),
      attempt: 0,
      owner: status === "prepared" ? by : null,
      firstSentAt: null,
      sentAt: null,
      doubtSince: null,
    });
  }

  function modelSettle(
    { redemptionId, attempt, answer, mayBeApplied, notBefore }: ReturnType<typeof settlement>,
    by: string,
  ) {
    const record = records.get(redemptionId);
    const final = answer.status === "completed" || answer.status === "failed";
    const fits =
      record?.owner === by &&
      record.attempt === attempt &&
      (record.status === "sending" ||
        (final && (record.status === "unresolved" || record.status === "pending")));
    if (!fits) return false;
    const reason = answer.status === "completed" ? null : answer.reason;
    Object.assign(record, { status: answer.status, changedAt: now, notBefore, reason });
    if (mayBeApplied) record.doubtSince ??= record.sentAt;
    if (final) Object.assign(record, { body: null, proof: null });
    return true;
  }

  /** Which ones are taken is the journal's choice, within these bounds. */
  function modelClaim(claim: Claim, taken: readonly Claimed[], by: string) {
    for (const record of records.values()) {
      // Put off in the future: the clock was set back since, and says nothing of that wait any more.
      if (record.changedAt > now && record.status === "pending") record.notBefore = 0;
    }
    const dueOf = (holder?: string) =>
      [...records].filter(
        ([, record]) =>
          record.status === "pending" &&
          record.notBefore <= now &&
          (holder === undefined || record.holder === holder),
      );
    const sendingOf = (holder: string) =>
      [...records.values()].filter(
        (record) => record.status === "sending" && record.owner === by && record.holder === holder,
      ).length;
    const free = () => dueOf().filter(([, { holder }]) => sendingOf(holder) < claim.perHolder);
    expect(taken.length).toBeLessThanOrEqual(Math.max(claim.limit, 0));
    for (const one of taken) {
      const record = records.get(one.redemptionId);
      if (!record) throw new Error(`${one.redemptionId} was taken and is not known`);
      expect(dueOf(record.holder)[0]?.[0]).toBe(one.redemptionId);
      expect(sendingOf(record.holder)).toBeLessThan(claim.perHolder);
      if (record.holder === claim.avoid) {
        expect(free().every(([, { holder }]) => holder === claim.avoid)).toBe(true);
      }
      record.status = "sending";
      record.attempt += 1;
      record.owner = by;
      record.reason = null;
      record.firstSentAt ??= now;
      record.sentAt = now;
      const waitedMs = Math.max(0, now - record.changedAt);
      record.changedAt = now;
      expect(one).toEqual({
        redemptionId: one.redemptionId,
        holderKey: record.holder,
        amount: record.amount,
        body: record.body,
        attempt: record.attempt,
        sentAt: now,
        doubtSince: record.doubtSince,
        repeatable: true,
        expiresAt: null,
        waitedMs,
      });
      const same = attempts.filter(
        (each) => each.redemptionId === one.redemptionId && each.attempt === one.attempt,
      );
      // Unless it was forgotten meanwhile, and the id began anew.
      if (!forgotten.has(one.redemptionId)) expect(same).toEqual([]);
      attempts.push({ ...one, owner: by });
    }
    // Nothing is left lying that could have been taken.
    if (taken.length < claim.limit) {
      const left = free().filter(([, { holder }]) => holder !== claim.avoid);
      expect(left).toEqual([]);
      if (taken.length === 0 && claim.limit > 0) expect(free()).toEqual([]);
    }
  }

  function modelTakeOver(from: string, since: number | null) {
    const unresolved: string[] = [];
    const pending: string[] = [];
    for (const [key, record] of records) {
      const { status } = record;
      if (record.owner !== from || (status !== "prepared" && status !== "sending")) continue;
      const doubtSince = record.doubtSince ?? record.sentAt;
      const again = status === "sending" && since !== null && (doubtSince ?? 0) >= since;
      if (again) record.doubtSince = doubtSince;
      const reason = status === "prepared" ? "delivery-unconfirmed" : "answer-lost";
      Object.assign(record, again ? { status: "pending", notBefore: 0 } : { status: "unresolved" });
      Object.assign(record, { changedAt: now, reason: again ? null : reason });
      (again ? pending : unresolved).push(key);
    }
    return { unresolved, pending };
  }

  function modelAct(key: string, what: Act) {
    const record = records.get(key);
    const ends = what.act === "fail" || what.act === "cancel";
    const fits =
      record?.status === "pending"
        ? ends
        : record?.status === "unresolved" && what.act !== "cancel";
    if (!record || !fits) return false;
    if (what.act === "resend" && record.body === null) return false;
    if (what.act === "supply" && record.amount !== null) return false;
    record.changedAt = now;
    record.notBefore = 0;
    record.reason = ends ? "ledger-refused" : null;
    if (what.act === "supply") Object.assign(record, { amount: what.amount, body: what.body });
    record.proof = null;
    record.doubtSince = null;
    if (what.act === "complete") Object.assign(record, { status: "completed", body: null });
    else if (ends) Object.assign(record, { status: "failed", body: null });
    else record.status = "pending";
    return true;
  }

  const forgotten = new Set<string>();

  async function compare(journal: Journal) {
    const found = await everything(journal);
    for (const key of before.keys()) if (!records.has(key)) forgotten.add(key);
    expect(found.map(({ redemptionId }) => redemptionId)).toEqual([...records.keys()]);
    for (const record of found) {
      const { holder, notBefore: _, reason, ...expected } = records.get(record.redemptionId) ?? {};
      expect(record).toMatchObject(expected);
      expect(holderKeyOf(record.planId, record.holderAddress)).toBe(holder);
      expect(record.error?.reason ?? null).toBe(reason);
      const was = before.get(record.redemptionId);
      if (!was || was.status === record.status) continue;
      expect(moves[was.status]).toContain(record.status);
      expect(record.attempt).toBeGreaterThanOrEqual(was.attempt);
    }
    expect(await journal.totals()).toEqual(await counted(journal));
    for (const number of [0, 1, 2]) {
      const sums = await owed(journal, "1059", `0x${number}`);
      expect(await journal.account("1059", `0x${number}`)).toMatchObject(sums);
    }
  }

  return { take, compare };
}

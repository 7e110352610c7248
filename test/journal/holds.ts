/** How every journal sets credits aside for requests under way. */

import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { HoldAsked } from "../../src/account.ts";
import type { Journal } from "../../src/journal/journal.ts";
import type { Opened } from "./conformance.ts";
import { answers, claim, commit, entry, settle, t0 } from "./records.ts";

const notRefused = { credits: null, otherwise: null };
const holder = { planId: "1059", holderAddress: "0xA11ce" };

type Asked = Partial<HoldAsked> & { readonly redemptionId: string };

function asked(given: Asked): HoldAsked {
  return { ...holder, credits: 3, within: { total: 10 }, refused: notRefused, ...given };
}

const onCredit = (more: object = {}) => ({
  creditLine: 100,
  maxExposure: 10,
  blockForMs: 3_600_000,
  ...more,
});

export function describeHolds(open: () => Promise<Opened>): void {
  async function fresh() {
    const opened = await open();
    onTestFinished(() => opened.journal.close("one"));
    return opened;
  }

  async function hold(journal: Journal, owner: string, ...given: Asked[]) {
    const answers = await journal.hold(owner, given.map(asked));
    return answers.map(({ isHeld }) => isHeld);
  }

  describe("holds", () => {
    test("what fits, in the order in which it was asked for", async () => {
      const { journal } = await fresh();
      const credits = [3, 8, 4, 4, 3];
      const given = credits.map((credits, n) => ({ redemptionId: `${n}`, credits }));
      expect(await hold(journal, "one", ...given)).toEqual([true, false, true, false, true]);
      expect(await hold(journal, "one", { redemptionId: "next", credits: 1 })).toEqual([false]);
      expect(await hold(journal, "one", { redemptionId: "free", credits: 0 })).toEqual([true]);
    });

    test("and tells what the decision came from", async () => {
      const { journal } = await fresh();
      await commit(journal, { append: [entry("a"), entry("b"), entry("c")] });
      const [a] = await claim(journal, { claim: { limit: 2, perHolder: 2 } });
      if (!a) throw new Error("none was taken");
      await settle(journal, a, answers.completed);
      await hold(journal, "two", { redemptionId: "theirs", credits: 2, within: { total: 100 } });
      const given = asked({ redemptionId: "ours", credits: 1, within: { total: 12 } });
      expect(await journal.hold("one", [given])).toEqual([
        {
          isHeld: true,
          account: { unsettled: 6, doubtful: 0, spent: 3, onWire: 3, refused: notRefused },
          elsewhere: 2,
          exposure: null,
        },
      ]);
      expect(await hold(journal, "one", { ...given, redemptionId: "more" })).toEqual([false]);
    });

    test("of each holder apart, whose address may be written in two ways", async () => {
      const { journal } = await fresh();
      const ask = (redemptionId: string, holderAddress: string) => ({
        redemptionId,
        holderAddress,
        credits: 6,
      });
      const given = [ask("a", "0xA11ce"), ask("b", "0xa11CE"), ask("c", "0xB0b")];
      expect(await hold(journal, "one", ...given)).toEqual([true, false, true]);
    });

    test("more or less for the same redemption, in place of what it has", async () => {
      const { journal } = await fresh();
      expect(await hold(journal, "one", { redemptionId: "a", credits: 8 })).toEqual([true]);
      expect(await hold(journal, "one", { redemptionId: "a", credits: 11 })).toEqual([false]);
      expect(await hold(journal, "one", { redemptionId: "b", credits: 3 })).toEqual([false]);
      expect(await hold(journal, "one", { redemptionId: "a", credits: 4 })).toEqual([true]);
      expect(await hold(journal, "one", { redemptionId: "b", credits: 6 })).toEqual([true]);
    });

    test("until its record is there, which counts from then on", async () => {
      const { journal } = await fresh();
      await hold(journal, "one", { redemptionId: "a", credits: 9 });
      await commit(journal, { append: [entry("a", { status: "prepared", hold: 0 })] });
      expect(await hold(journal, "one", { redemptionId: "b", credits: 2 })).toEqual([false]);
      await commit(journal, { append: [entry("a", { amount: 7 })] });
      expect(await hold(journal, "one", { redemptionId: "b", credits: 4 })).toEqual([false]);
      expect(await hold(journal, "one", { redemptionId: "b", credits: 3 })).toEqual([true]);
      await commit(journal, { append: [entry("b", { status: "skipped" })] });
      expect(await hold(journal, "one", { redemptionId: "c", credits: 3 })).toEqual([true]);
    });

    test("and no more once that is there, or was", async () => {
      const { journal } = await fresh();
      await commit(journal, { append: [entry("a", { status: "skipped" }), entry("b")] });
      const late = [{ redemptionId: "a" }, { redemptionId: "b" }];
      expect(await hold(journal, "one", ...late)).toEqual([false, false]);
      await commit(journal, { append: [entry("c", { status: "prepared" })] });
      expect(await hold(journal, "one", { redemptionId: "c" })).toEqual([true]);
    });

    test("until it is released, or its owner is gone or closes", async () => {
      const { journal, second } = await fresh();
      const full = { credits: 10 };
      await hold(journal, "one", { redemptionId: "a", ...full });
      await journal.release(["a", "never held"]);
      expect(await hold(journal, "two", { redemptionId: "b", ...full })).toEqual([true]);
      expect(await hold(journal, "one", { redemptionId: "c" })).toEqual([false]);
      expect((await journal.beat("one")).map(({ owner }) => owner)).toEqual(["two"]);
      await journal.takeOver({ from: "two", now: t0, resendSince: null });
      expect(await hold(journal, "one", { redemptionId: "c", ...full })).toEqual([true]);
      const other = await second?.();
      if (!other) return;
      await hold(other, "three", { redemptionId: "d", credits: 0 });
      await journal.release(["c"]);
      await hold(other, "three", { redemptionId: "e", ...full });
      await other.close("three");
      expect(await hold(journal, "one", { redemptionId: "f", ...full })).toEqual([true]);
    });

    test("and gives back the proof of what is released, unless it has a record", async () => {
      const { journal } = await fresh();
      const reserve = (id: string, ...proofs: string[]) =>
        commit(journal, { reserve: proofs.map((proof) => ({ redemptionId: id, proof })) });
      await reserve("a", "p");
      await reserve("b", "q");
      await commit(journal, { append: [entry("b")] });
      await journal.release(["a", "b"]);
      expect((await reserve("c", "p", "q")).reserved).toEqual([true, false]);
    });

    test("nothing where the ledger has refused a charge that was not known of", async () => {
      const { journal } = await fresh();
      await commit(journal, { append: [entry("a"), entry("b")] });
      const [a, b] = await claim(journal);
      if (!a || !b) throw new Error("not both were taken");
      await settle(journal, a, answers.failed, { now: t0 + 1 });
      const [turned] = await journal.hold("one", [asked({ redemptionId: "c" })]);
      expect(turned).toMatchObject({
        isHeld: false,
        account: { refused: { credits: null, otherwise: t0 + 1 } },
      });
      const refused = { credits: null, otherwise: t0 + 1 };
      expect(await hold(journal, "one", { redemptionId: "c", refused })).toEqual([true]);
      const broke = { ...answers.failed, reason: "insufficient-credits" } as const;
      await settle(journal, b, broke, { now: t0 + 2 });
      expect(await hold(journal, "one", { redemptionId: "d", refused })).toEqual([false]);
      const both = { credits: t0 + 2, otherwise: t0 + 1 };
      expect(await hold(journal, "one", { redemptionId: "d", refused: both })).toEqual([true]);
    });

    test("on credit, as long as all together owe no more than they may", async () => {
      const { journal } = await fresh();
      const ask = (redemptionId: string, credits: number, more = {}) => ({
        redemptionId,
        credits,
        holderAddress: `0x${redemptionId}`,
        within: onCredit(more),
      });
      expect(await hold(journal, "one", ask("a", 4))).toEqual([true]);
      expect(await hold(journal, "two", ask("b", 4))).toEqual([true]);
      expect(await hold(journal, "one", ask("c", 3))).toEqual([false]);
      // Of whom the balance is known owes nothing on credit.
      expect(await hold(journal, "one", { redemptionId: "d", credits: 9 })).toEqual([true]);
      const line = { creditLine: 5 };
      expect(await hold(journal, "one", { ...ask("e", 2, line), holderAddress: "0xa" })).toEqual([
        false,
      ]);
      // Recorded, sent and settled: each owes until then.
      const owner = { owner: "one" };
      const record = (id: string) => entry(id, { holderAddress: `0x${id}`, amount: 4 });
      await commit(journal, { ...owner, append: [record("a"), record("b")] });
      expect(await hold(journal, "one", ask("c", 3))).toEqual([false]);
      const [a, b] = await claim(journal, owner);
      if (!a || !b) throw new Error("not both were taken");
      expect(await hold(journal, "one", ask("c", 3))).toEqual([false]);
      await settle(journal, a, answers.unresolved, owner);
      expect(await hold(journal, "one", ask("c", 3))).toEqual([false]);
      await settle(journal, a, answers.completed, owner);
      expect(await hold(journal, "one", ask("c", 6))).toEqual([true]);
      // What the ledger refuses was had for nothing.
      await settle(journal, b, answers.failed, owner);
      expect(await hold(journal, "one", ask("f", 1))).toEqual([false]);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(await hold(journal, "one", ask("f", 4, { blockForMs: 1 }))).toEqual([true]);
    });

    test("as a simple model does, whatever happens to it", async () => {
      const ids = ["a", "b", "c", "d"];
      const id = fc.constantFrom(...ids);
      const step = fc.oneof(
        {
          weight: 4,
          arbitrary: fc.record({
            do: fc.constant("hold" as const),
            id,
            credits: fc.nat(6),
            owner: fc.constantFrom("one", "two"),
          }),
        },
        { weight: 1, arbitrary: fc.record({ do: fc.constant("release" as const), id }) },
        {
          weight: 2,
          arbitrary: fc.record({
            do: fc.constant("record" as const),
            id,
            amount: fc.integer({ min: 1, max: 6 }),
          }),
        },
        {
          weight: 1,
          arbitrary: fc.record({
            do: fc.constant("end" as const),
            owner: fc.constantFrom("one", "two"),
          }),
        },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 20 }), async (steps) => {
          const { journal } = await open();
          const held = new Map<string, { credits: number; owner: string }>();
          const owed = new Map<string, number>();
          for (const one of steps) {
            if (one.do === "hold") {
              const others = [...held].filter(([key]) => key !== one.id);
              const sum = (list: Iterable<number>) => [...list].reduce((a, b) => a + b, 0);
              const onHold = sum(others.map(([, { credits }]) => credits));
              const expected = !owed.has(one.id) && onHold + sum(owed.values()) + one.credits <= 10;
              const given = { redemptionId: one.id, credits: one.credits };
              expect(await hold(journal, one.owner, given)).toEqual([expected]);
              const owner = held.get(one.id)?.owner ?? one.owner;
              if (expected) held.set(one.id, { credits: one.credits, owner });
            } else if (one.do === "release") {
              await journal.release([one.id]);
              held.delete(one.id);
            } else if (one.do === "record") {
              await commit(journal, { append: [entry(one.id, { amount: one.amount })] });
              held.delete(one.id);
              if (!owed.has(one.id)) owed.set(one.id, one.amount);
            } else {
              await journal.takeOver({ from: one.owner, now: t0, resendSince: null });
              for (const [key, { owner }] of held) if (owner === one.owner) held.delete(key);
            }
          }
          await journal.close("one");
        }),
        { numRuns: 20 },
      );
    });
  });
}

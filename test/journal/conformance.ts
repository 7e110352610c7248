/** What every journal must do: the contract of `src/journal/journal.ts`, and nothing of how. */

import { describe, expect, onTestFinished, test } from "vitest";
import type { Act, Claimed, Entry, Journal } from "../../src/journal/journal.ts";
import type { Answer } from "../../src/redemption.ts";
import { describeHolds } from "./holds.ts";
import { describeModel } from "./model.ts";
import {
  all,
  answers,
  claim,
  commit,
  counted,
  entry,
  everything,
  hour,
  recordOf,
  settle,
  settlement,
  statusOf,
  t0,
} from "./records.ts";

export interface Opened {
  /** Empty. */
  readonly journal: Journal;
  /** Opens the same store once more, after the journal was closed. */
  readonly reopen?: () => Promise<Journal>;
  /** Opens the same store once more, beside the journal. */
  readonly second?: () => Promise<Journal>;
}

/** What the contract lets an operator give as who and when. */
const who = { by: "ann", note: null, at: t0 + 9 };

export function describeJournal(name: string, open: () => Promise<Opened>): void {
  /** One that is closed when the test ends. */
  async function fresh() {
    const opened = await open();
    onTestFinished(() => opened.journal.close("one"));
    return opened.journal;
  }

  /** A record in each state, told apart by its id. */
  async function inEachState(journal: Journal) {
    await commit(journal, {
      append: ["sending", "completed", "failed", "unresolved"].map((id) => entry(id)),
    });
    const taken = await claim(journal);
    const attemptOf = (id: string) => {
      const attempt = taken.find(({ redemptionId }) => redemptionId === id);
      if (!attempt) throw new Error(`${id} was not taken`);
      return attempt;
    };
    await commit(journal, {
      now: t0 + 1,
      append: [
        entry("pending"),
        entry("prepared", { status: "prepared" }),
        entry("skipped", { status: "skipped" }),
        entry("price-error", { status: "unresolved" }),
      ],
      settle: (["completed", "failed", "unresolved"] as const).map((id) =>
        settlement(attemptOf(id), answers[id]),
      ),
    });
    await commit(journal, {
      owner: "gone",
      append: [entry("delivery-unconfirmed", { status: "prepared" })],
    });
    await journal.takeOver({ from: "gone", now: t0 + 2, resendSince: null });
    return attemptOf;
  }

  describe(`a journal: ${name}`, () => {
    describe("remembers", () => {
      const handedOver: Entry[] = [
        entry("pending", { admittedAt: t0 - 5, environment: "production", amount: 2 ** 53 - 1 }),
        entry("prepared", { status: "prepared" }),
        entry("price-error", { status: "unresolved" }),
        entry("charge-invalid", {
          status: "unresolved",
          amount: 0.5,
          error: { code: "charge-invalid", reason: "charge-invalid", message: "0.5" },
        }),
        entry("skipped", { status: "skipped", amount: 0 }),
      ];

      test.each(handedOver)("what was handed over: $redemptionId", async (handed) => {
        const journal = await fresh();
        await commit(journal, { append: [handed], now: t0 + 7 });
        expect(await recordOf(journal, handed.redemptionId)).toEqual({
          ...handed,
          owner: handed.status === "prepared" ? "one" : null,
          redeemedAmount: null,
          remainingBalance: null,
          short: false,
          transaction: null,
          payer: null,
          attempt: 0,
          firstSentAt: null,
          sentAt: null,
          doubtSince: null,
          changedAt: t0 + 7,
        });
      });

      test("no secrets of what is skipped", async () => {
        const journal = await fresh();
        await commit(journal, {
          append: [entry("a", { status: "skipped", proof: "secret", body: "secret" })],
        });
        expect(await recordOf(journal, "a")).toMatchObject({ proof: null, body: null });
      });

      test.each([
        "pending",
        "sending",
        "completed",
        "failed",
        "unresolved",
        "price-error",
        "skipped",
      ])("the first that it was told of an id: %s", async (id) => {
        const journal = await fresh();
        await inEachState(journal);
        const before = await recordOf(journal, id);
        const again = { amount: 99, body: "other", holderAddress: "0xB0b" };
        await commit(journal, {
          owner: "two",
          now: t0 + 50,
          append: [
            entry(id, again),
            entry(id, { status: "prepared" }),
            entry(id, { status: "skipped" }),
            entry(id, { status: "unresolved" }),
          ],
        });
        expect(await recordOf(journal, id)).toEqual(before);
        expect(await everything(journal)).toHaveLength(9);
      });

      const decided: Entry[] = [
        entry("", { amount: 8, body: "the bytes" }),
        entry("", { status: "skipped", error: { code: "c", reason: "head-request", message: "" } }),
        entry("", { status: "unresolved", proof: "the proof" }),
      ];
      describe.each(["prepared", "delivery-unconfirmed"])("what becomes of: %s", (id) => {
        test.each(decided)("$status", async (decision) => {
          const journal = await fresh();
          await inEachState(journal);
          await commit(journal, {
            now: t0 + 50,
            append: [{ ...decision, redemptionId: id, admittedAt: t0 + 40 }],
          });
          const { status, amount, proof, body, error } = decision;
          expect(await recordOf(journal, id)).toMatchObject({
            ...{ status, amount, proof, body, error },
            ...{ owner: null, attempt: 0, admittedAt: t0, changedAt: t0 + 50 },
          });
          const due = (await claim(journal)).map(({ redemptionId }) => redemptionId);
          expect(due.includes(id)).toBe(status === "pending");
          expect(await journal.totals()).toEqual(await counted(journal));
        });

        test("prepared once more", async () => {
          const journal = await fresh();
          await inEachState(journal);
          const before = await recordOf(journal, id);
          await commit(journal, { owner: "two", append: [entry(id, { status: "prepared" })] });
          expect(await recordOf(journal, id)).toEqual(before);
        });
      });

      test("what was prepared and decided in one batch", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a", { status: "prepared" }), entry("a")] });
        expect(await recordOf(journal, "a")).toMatchObject({ status: "pending", proof: null });
        expect(await journal.totals()).toMatchObject({ pending: 1, sending: 0 });
      });

      test("a batch of 256", async () => {
        const journal = await fresh();
        const ids = Array.from({ length: 256 }, (_, index) => `id-${index}`);
        await commit(journal, { append: ids.map((id) => entry(id)) });
        expect((await everything(journal)).map(({ redemptionId }) => redemptionId)).toEqual(ids);
        const taken = await claim(journal);
        const { settled } = await commit(journal, {
          settle: taken.map((attempt) => settlement(attempt, answers.completed)),
        });
        expect(settled).toEqual(ids.map(() => true));
        expect(await journal.read(ids)).toHaveLength(256);
      });

      test("all of a batch or nothing of it", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("old"), entry("other")] });
        const [attempt] = await claim(journal, { claim: { limit: 1, perHolder: 1 } });
        const before = await everything(journal);
        const broken = commit(journal, {
          append: [entry("good"), entry("bad", { status: "sold" as never })],
          settle: attempt ? [settlement(attempt, answers.completed)] : [],
          claim: all,
        });
        await expect(broken).rejects.toThrow();
        expect(await everything(journal)).toEqual(before);
        expect(await journal.totals()).toEqual(await counted(journal));
        await commit(journal, { append: [entry("good")] });
        expect(await statusOf(journal, "good")).toBe("pending");
      });

      test("nothing of a batch whose settlement cannot be written", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("old")] });
        const [attempt] = await claim(journal);
        const nonsense = { ...answers.completed, status: "sold" } as unknown as Answer;
        const broken = commit(journal, {
          append: [entry("new")],
          settle: attempt ? [settlement(attempt, nonsense)] : [],
        });
        await expect(broken).rejects.toThrow();
        expect(await journal.read(["new"])).toEqual([]);
        expect(await statusOf(journal, "old")).toBe("sending");
      });

      test.each([
        ["quotes", `'";--\\ $1 :id ?1 %s`],
        ["letters of the world", "žлуфф 漢字 😀 \u2028\uFEFF"],
        ["control characters", "\u0001\t\r\n\u001f\u007f"],
        ["JSON in JSON", JSON.stringify(JSON.stringify({ "\0": "\\u0000\ud800" }))],
        ["a name from the prototype", "__proto__"],
        ["nothing", ""],
      ])("texts as they are: %s", async (_name, text) => {
        expect(await roundTrip(text)).toEqual(Array(10).fill(text));
      });

      test.each([
        ["NUL", "a\0b"],
        ["the first half of a pair", "a\ud83db"],
        ["the second half of a pair", "a\ude00b"],
      ])("in place of what no database keeps, U+FFFD: %s", async (_name, text) => {
        expect(await roundTrip(text)).toEqual(Array(10).fill("a\uFFFDb"));
      });

      /** Every text that is handed over, as it comes back. */
      async function roundTrip(text: string) {
        const journal = await fresh();
        const error = { code: text, reason: text, message: text };
        const texts = { planId: text, holderAddress: text, route: text, proof: text };
        await commit(journal, {
          append: [entry(text, { ...texts, body: text, error, status: "unresolved" })],
        });
        const record = await recordOf(journal, text);
        expect(await journal.list({ holderAddress: text, limit: 1 })).toMatchObject({
          records: [record],
        });
        await journal.act({ act: "resend" }, { redemptionId: text, by: text, note: text, at: t0 });
        const [act] = await journal.acts(text);
        const [attempt] = await claim(journal);
        if (!attempt || !act) throw new Error("It cannot be found again.");
        await settle(journal, attempt, { ...answers.failed, code: text, message: text });
        const { error: failure } = await recordOf(journal, text);
        expect(failure?.code).toBe(failure?.message);
        return [
          record.redemptionId,
          record.planId,
          record.holderAddress,
          record.route,
          record.proof,
          record.error?.message,
          attempt.body,
          act.by,
          act.note,
          failure?.message,
        ];
      }
    });

    describe("gives records out", () => {
      test("marked as sending, to nobody else", async () => {
        const journal = await fresh();
        const { claimed } = await commit(journal, {
          append: [entry("a", { amount: 5, body: "bytes" })],
          claim: all,
        });
        expect(claimed).toEqual([
          {
            redemptionId: "a",
            holderKey: "1059 0xa11ce",
            amount: 5,
            body: "bytes",
            attempt: 1,
            sentAt: t0,
            doubtSince: null,
            repeatable: true,
            expiresAt: null,
            waitedMs: 0,
          },
        ]);
        expect(await recordOf(journal, "a")).toMatchObject({
          status: "sending",
          owner: "one",
          attempt: 1,
          firstSentAt: t0,
          sentAt: t0,
          body: "bytes",
        });
        expect(await claim(journal)).toEqual([]);
        expect(await claim(journal, { owner: "two" })).toEqual([]);
      });

      test("again, with the next attempt, when they are pending again", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a")] });
        const [first] = await claim(journal);
        if (!first) throw new Error("nothing was taken");
        expect(await settle(journal, first, answers.pending)).toBe(true);
        expect(await recordOf(journal, "a")).toMatchObject({
          status: "pending",
          error: { code: "HTTP_429", reason: "ledger-throttled", message: "Later." },
        });
        const [second] = await claim(journal, { owner: "two", now: t0 + 5 });
        expect(second).toEqual({
          ...first,
          attempt: 2,
          sentAt: t0 + 5,
          waitedMs: expect.any(Number),
        });
        expect(await recordOf(journal, "a")).toMatchObject({
          owner: "two",
          sentAt: t0 + 5,
          firstSentAt: t0,
          error: null,
        });
      });

      test("no more than was asked for, without holders nothing", async () => {
        const journal = await fresh();
        expect(await claim(journal)).toEqual([]);
        await commit(journal, { append: ["a", "b", "c"].map((id) => entry(id)) });
        expect(await claim(journal, { claim: { limit: 2, perHolder: 9 } })).toHaveLength(2);
        expect(await claim(journal, { claim: { limit: 0, perHolder: 9 } })).toEqual([]);
        expect(await claim(journal)).toHaveLength(1);
      });

      test("only pending ones", async () => {
        const journal = await fresh();
        await inEachState(journal);
        expect(await claim(journal)).toMatchObject([{ redemptionId: "pending" }]);
      });

      const threeHolders = ["a1", "a2", "a3", "b1", "c1", "c2"].map((id) =>
        entry(id, { holderAddress: `0x${id[0]}` }),
      );

      test("one of each holder in turn, of each the oldest first", async () => {
        const journal = await fresh();
        await commit(journal, { append: threeHolders });
        const ids = (await claim(journal)).map(({ redemptionId }) => redemptionId);
        expect(ids.slice(0, 3).sort()).toEqual(["a1", "b1", "c1"]);
        expect(ids.slice(3, 5).sort()).toEqual(["a2", "c2"]);
        expect(ids.slice(5)).toEqual(["a3"]);
      });

      test("in turn over many batches, too", async () => {
        const journal = await fresh();
        await commit(journal, { append: threeHolders });
        const ids: string[] = [];
        for (let turn = 0; turn < 3; turn += 1) {
          const taken = await claim(journal, { claim: { limit: 1, perHolder: 9 } });
          ids.push(...taken.map(({ redemptionId }) => redemptionId));
        }
        expect(ids.sort()).toEqual(["a1", "b1", "c1"]);
      });

      test("no more of one holder than its cap, whatever the letter case", async () => {
        const journal = await fresh();
        await commit(journal, {
          append: [
            entry("a1", { holderAddress: "0xAb" }),
            entry("a2", { holderAddress: "0xaB" }),
            entry("a3", { holderAddress: "0xab" }),
            entry("b1", { holderAddress: "0xab", planId: "other" }),
          ],
        });
        const capped = { claim: { limit: 9, perHolder: 2 } };
        const taken = await claim(journal, capped);
        expect(taken.map(({ redemptionId }) => redemptionId).sort()).toEqual(["a1", "a2", "b1"]);
        expect(await claim(journal, capped)).toEqual([]);
        const a1 = taken.find(({ redemptionId }) => redemptionId === "a1");
        if (!a1) throw new Error("nothing was taken");
        // One that has come back makes room in the same batch.
        const { claimed } = await commit(journal, {
          ...capped,
          settle: [settlement(a1, answers.completed)],
        });
        expect(claimed).toMatchObject([{ redemptionId: "a3" }]);
      });

      test("of a holder who is at the cap of another owner", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a"), entry("b")] });
        const capped = { claim: { limit: 9, perHolder: 1 } };
        expect(await claim(journal, capped)).toHaveLength(1);
        expect(await claim(journal, { ...capped, owner: "two" })).toHaveLength(1);
      });

      test("of a holder to avoid only if there is no other", async () => {
        const journal = await fresh();
        await commit(journal, {
          append: [
            entry("a1", { holderAddress: "0xa" }),
            entry("a2", { holderAddress: "0xa" }),
            entry("b1", { holderAddress: "0xb" }),
            entry("c1", { holderAddress: "0xc" }),
          ],
        });
        const avoiding = { claim: { limit: 1, perHolder: 9, avoid: "1059 0xa" } };
        const ids: (string | undefined)[] = [];
        for (let turn = 0; turn < 3; turn += 1) {
          ids.push((await claim(journal, avoiding))[0]?.redemptionId);
        }
        expect(ids.slice(0, 2).sort()).toEqual(["b1", "c1"]);
        expect(ids[2]).toBe("a1");
      });

      test("not before their time, and then at once", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a"), entry("b")] });
        const [first] = await claim(journal, { claim: { limit: 1, perHolder: 9 } });
        if (!first) throw new Error("nothing was taken");
        await settle(journal, first, answers.pending, { notBefore: t0 + 1_000 });
        // It is the oldest, and does not hold up what comes behind it.
        expect(await claim(journal, { now: t0 + 999 })).toMatchObject([{ redemptionId: "b" }]);
        expect(await claim(journal, { now: t0 + 999 })).toEqual([]);
        expect(await claim(journal, { now: t0 + 1_000 })).toMatchObject([
          { redemptionId: "a", attempt: 2 },
        ]);
      });

      test("the oldest first among those whose time has come", async () => {
        const journal = await fresh();
        await commit(journal, { append: ["a", "b", "c"].map((id) => entry(id)) });
        const [a, b] = await claim(journal, { claim: { limit: 2, perHolder: 9 } });
        if (!a || !b) throw new Error("nothing was taken");
        await settle(journal, b, answers.pending, { notBefore: t0 + 1 });
        await settle(journal, a, answers.pending, { notBefore: t0 + 2 });
        const ids = (await claim(journal, { now: t0 + 5 })).map((taken) => taken.redemptionId);
        expect(ids).toEqual(["a", "b", "c"]);
      });

      test("also when the clock that put them off was wrong by a year", async () => {
        const journal = await fresh();
        const ahead = t0 + 365 * 24 * hour;
        await commit(journal, { append: [entry("a")], now: ahead });
        const [first] = await claim(journal, { now: ahead });
        if (!first) throw new Error("nothing was taken");
        await settle(journal, first, answers.pending, { now: ahead, notBefore: ahead + 1_000 });
        expect(await claim(journal, { now: t0 })).toMatchObject([{ redemptionId: "a" }]);
      });
    });

    describe("settles", () => {
      async function taken(journal: Journal) {
        await commit(journal, { append: [entry("a")] });
        const [attempt] = await claim(journal);
        if (!attempt) throw new Error("nothing was taken");
        return attempt;
      }

      test.each([
        [answers.completed, { redeemedAmount: 3, remainingBalance: 97, short: false, error: null }],
        [{ ...answers.completed, redeemedAmount: 1, short: true }, { short: true }],
        [
          { ...answers.completed, redeemedAmount: null, remainingBalance: null },
          { redeemedAmount: null, remainingBalance: null },
        ],
        [answers.failed, { error: { code: "BCK.1", reason: "ledger-refused", message: "No." } }],
        [
          answers.unresolved,
          { error: { code: "ECONNRESET", reason: "answer-lost", message: "Lost." } },
        ],
      ] as const)("what an attempt came to: $status", async (answer, expected) => {
        const journal = await fresh();
        expect(await settle(journal, await taken(journal), answer, { now: t0 + 3 })).toBe(true);
        const record = await recordOf(journal, "a");
        expect(record).toMatchObject({ ...expected, status: answer.status, changedAt: t0 + 3 });
        // Only what may be sent again keeps its bytes.
        expect(record.body).toBe(answer.status === "unresolved" ? '{"id":"a"}' : null);
        expect(record.proof).toBeNull();
      });

      test.each([
        2 ** 53 - 1,
        "9007199254740993",
        "0",
        "00012",
        "123456789012345678901234567890",
        0,
        0.1,
      ])("amounts in the type in which they came: %j", async (amount) => {
        const journal = await fresh();
        const answer = { ...answers.completed, redeemedAmount: amount, remainingBalance: amount };
        await settle(journal, await taken(journal), answer);
        expect(await recordOf(journal, "a")).toMatchObject({
          redeemedAmount: amount,
          remainingBalance: amount,
        });
        await commit(journal, { append: [entry("b")], now: t0 + 1 });
        const before = await journal.balanceBefore(await recordOf(journal, "b"));
        expect(before?.amount).toBe(amount);
      });

      test("nothing under another owner, attempt or id", async () => {
        const journal = await fresh();
        const attempt = await taken(journal);
        const before = await everything(journal);
        for (const answer of Object.values(answers)) {
          expect(await settle(journal, attempt, answer, { owner: "two" })).toBe(false);
          expect(await settle(journal, { ...attempt, attempt: 2 }, answer)).toBe(false);
          expect(await settle(journal, { ...attempt, attempt: 0 }, answer)).toBe(false);
          expect(await settle(journal, { ...attempt, redemptionId: "b" }, answer)).toBe(false);
        }
        expect(await everything(journal)).toEqual(before);
      });

      test("each by itself, and tells which applied", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a"), entry("b")] });
        const [a, b] = await claim(journal);
        if (!a || !b) throw new Error("nothing was taken");
        const { settled } = await commit(journal, {
          settle: [
            settlement({ ...a, attempt: 7 }, answers.failed),
            settlement(b, answers.completed),
            settlement(a, answers.unresolved),
            settlement(b, answers.failed),
          ],
        });
        expect(settled).toEqual([false, true, true, false]);
      });

      test.each(["completed", "failed"] as const)(
        "late, what has become unresolved: %s",
        async (status) => {
          const journal = await fresh();
          const attempt = await taken(journal);
          await journal.takeOver({ from: "one", now: t0 + 1, resendSince: null });
          expect(await settle(journal, attempt, answers.unresolved)).toBe(false);
          expect(await settle(journal, attempt, answers.pending)).toBe(false);
          expect(await settle(journal, attempt, answers[status], { owner: "two" })).toBe(false);
          expect(await recordOf(journal, "a")).toMatchObject({
            status: "unresolved",
            changedAt: t0 + 1,
          });
          expect(await settle(journal, attempt, answers[status])).toBe(true);
          expect(await recordOf(journal, "a")).toMatchObject({ status, body: null });
          expect(await settle(journal, attempt, answers.completed)).toBe(false);
          expect(await statusOf(journal, "a")).toBe(status);
        },
      );

      test.each(["completed", "failed"] as const)(
        "late, what would be sent once more: %s",
        async (status) => {
          const journal = await fresh();
          const attempt = await taken(journal);
          await settle(journal, attempt, answers.unresolved);
          await journal.act({ act: "resend" }, { ...who, redemptionId: "a" });
          expect(await settle(journal, attempt, answers.unresolved)).toBe(false);
          expect(await settle(journal, attempt, answers[status], { claim: all })).toBe(true);
          expect(await statusOf(journal, "a")).toBe(status);
          expect(await journal.totals()).toEqual(await counted(journal));
        },
      );

      test("not late, what was sent once more", async () => {
        const journal = await fresh();
        const first = await taken(journal);
        await settle(journal, first, answers.unresolved);
        await journal.act({ act: "resend" }, { ...who, redemptionId: "a" });
        const [second] = await claim(journal);
        if (!second) throw new Error("nothing was taken");
        expect(await settle(journal, first, answers.completed)).toBe(false);
        expect(await statusOf(journal, "a")).toBe("sending");
        expect(await settle(journal, second, answers.unresolved)).toBe(true);
        expect(await settle(journal, first, answers.completed)).toBe(false);
        expect(await statusOf(journal, "a")).toBe("unresolved");
      });

      test.each(["completed", "failed", "skipped", "prepared", "price-error"])(
        "never what is %s",
        async (id) => {
          const journal = await fresh();
          await inEachState(journal);
          const before = await recordOf(journal, id);
          for (const answer of Object.values(answers)) {
            const attempt = { redemptionId: id, attempt: before.attempt };
            expect(await settle(journal, attempt, answer, { now: t0 + 9 })).toBe(false);
          }
          expect(await recordOf(journal, id)).toEqual(before);
        },
      );
    });

    describe("keeps the terms of a settlement", () => {
      test("takes of a holder what expires first, and then the oldest", async () => {
        const journal = await fresh();
        const at = (id: string, expiresAt: number | null) => entry(id, { expiresAt });
        await commit(journal, {
          append: [at("a", null), at("b", t0 + 9), at("c", t0 + 5), at("d", null), at("e", t0 + 5)],
        });
        const order = (await claim(journal)).map(({ redemptionId }) => redemptionId);
        expect(order).toEqual(["c", "e", "b", "a", "d"]);
        expect(await recordOf(journal, "b")).toMatchObject({ expiresAt: t0 + 9 });
        expect(await recordOf(journal, "a")).toMatchObject({ expiresAt: null });
      });

      test("sends again, of what an owner was sending, only what may be repeated", async () => {
        const journal = await fresh();
        const append = [entry("a"), entry("b", { repeatable: false })];
        await commit(journal, { owner: "two", append });
        const taken = await claim(journal, { owner: "two" });
        expect(taken.map(({ repeatable }) => repeatable)).toEqual([true, false]);
        const left = await journal.takeOver({ from: "two", now: t0, resendSince: 0 });
        expect(left).toEqual({ unresolved: ["b"], pending: ["a"] });
      });

      test("and remembers what the ledger calls the burn, and who paid", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a"), entry("b")] });
        const [a, b] = await claim(journal);
        if (!a || !b) throw new Error("not both were taken");
        const told = { transaction: "0xburn", payer: "0xpayer" };
        await settle(journal, a, { ...answers.completed, ...told });
        await settle(journal, b, answers.completed);
        expect(await recordOf(journal, "a")).toMatchObject(told);
        expect(await recordOf(journal, "b")).toMatchObject({ transaction: null, payer: null });
      });
    });

    describe("reserves proofs", () => {
      const reserve = async (journal: Journal, ...pairs: [id: string, proof: string][]) =>
        (
          await commit(journal, {
            reserve: pairs.map(([redemptionId, proof]) => ({ redemptionId, proof })),
          })
        ).reserved;

      test("for the first that asks, also within one batch", async () => {
        const journal = await fresh();
        expect(await reserve(journal, ["a", "p"], ["b", "p"], ["c", "q"])).toEqual([
          true,
          false,
          true,
        ]);
        expect(await reserve(journal, ["d", "p"])).toEqual([false]);
        // A commit that is repeated.
        expect(await reserve(journal, ["a", "p"])).toEqual([true]);
      });

      test("until a redemption that is skipped gives its own back", async () => {
        const journal = await fresh();
        await reserve(journal, ["a", "p"], ["b", "q"], ["c", "r"]);
        await commit(journal, {
          append: [
            entry("a", { status: "skipped" }),
            entry("b"),
            entry("c", { status: "unresolved" }),
          ],
        });
        expect(await reserve(journal, ["d", "p"], ["d", "q"], ["d", "r"])).toEqual([
          true,
          false,
          false,
        ]);
      });

      test("given back and taken in one batch, and by a prepared one, too", async () => {
        const journal = await fresh();
        await reserve(journal, ["a", "p"]);
        await commit(journal, { append: [entry("a", { status: "prepared" })] });
        const { reserved } = await commit(journal, {
          append: [entry("a", { status: "skipped" })],
          reserve: [{ redemptionId: "b", proof: "p" }],
        });
        expect(reserved).toEqual([true]);
      });

      test("not for a redemption that was skipped before its turn came", async () => {
        const journal = await fresh();
        await commit(journal, {
          append: [entry("a", { status: "skipped" })],
          reserve: [{ redemptionId: "a", proof: "p" }],
        });
        expect(await reserve(journal, ["b", "p"])).toEqual([true]);
      });

      test("and forgets them with the records of that time", async () => {
        const journal = await fresh();
        await commit(journal, { now: t0, reserve: [{ redemptionId: "a", proof: "p" }] });
        await commit(journal, { now: t0 + 10, reserve: [{ redemptionId: "b", proof: "q" }] });
        await journal.prune(t0 + 5, 10);
        expect(await reserve(journal, ["c", "p"], ["d", "q"])).toEqual([true, false]);
      });

      test("whatever text a proof is, and none of it stays readable", async () => {
        const journal = await fresh();
        const odd = ["", "\0", "\ud800", "é".repeat(5_000)];
        const pairs = odd.map((proof, index): [string, string] => [`${index}`, proof]);
        expect(await reserve(journal, ...pairs)).toEqual(odd.map(() => true));
      });
    });

    describe("knows what a holder owes, and", () => {
      const none = { credits: null, otherwise: null };

      test("the last refusal, unless the ledger has charged since", async () => {
        const journal = await fresh();
        expect(await journal.account("1059", "0xa11ce")).toEqual({
          unsettled: 0,
          doubtful: 0,
          spent: 0,
          onWire: 0,
          refused: none,
        });
        await commit(journal, { append: [entry("a"), entry("b"), entry("c"), entry("d")] });
        const [a, b, c, d] = await claim(journal);
        if (!a || !b || !c || !d) throw new Error("not all were taken");
        const broke: Answer = { ...answers.failed, reason: "insufficient-credits" };
        await settle(journal, a, broke, { now: t0 + 1 });
        expect(await journal.account("1059", "0xA11CE")).toEqual({
          unsettled: 9,
          doubtful: 0,
          spent: 0,
          onWire: 9,
          refused: { credits: t0 + 1, otherwise: null },
        });
        await settle(journal, b, answers.failed, { now: t0 + 2 });
        const otherwise = { credits: null, otherwise: t0 + 2 };
        expect(await journal.account("1059", "0xa11ce")).toMatchObject({ refused: otherwise });
        // That it has charged since says nothing about a false proof.
        await settle(journal, c, answers.completed, { now: t0 + 3 });
        expect(await journal.account("1059", "0xa11ce")).toMatchObject({ refused: otherwise });
        await settle(journal, d, answers.unresolved, { now: t0 + 4 });
        expect(await journal.account("1059", "0xa11ce")).toMatchObject({
          unsettled: 0,
          doubtful: 3,
          spent: 6,
          onWire: 0,
        });
        await journal.act({ act: "fail" }, { ...who, redemptionId: "d", at: t0 + 5 });
        expect(await journal.account("1059", "0xa11ce")).toEqual({
          unsettled: 0,
          doubtful: 0,
          // The ledger may have burned it: that a person says otherwise shows in its next balance.
          spent: 6,
          onWire: 0,
          refused: otherwise,
        });
      });

      test("what was set aside for what has no price yet", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a", { status: "unresolved", hold: 7 })] });
        expect(await journal.account("1059", "0xa11ce")).toMatchObject({ unsettled: 7 });
        const supply: Act = { act: "supply", amount: 6, body: "six" };
        await journal.act(supply, { ...who, redemptionId: "a" });
        expect(await journal.account("1059", "0xa11ce")).toMatchObject({ unsettled: 6 });
        expect(await journal.totals()).toEqual(await counted(journal));
      });
    });

    describeHolds(open);

    describe("knows owners", () => {
      const others = async (journal: Journal, owner: string) =>
        (await journal.beat(owner)).map((other) => other.owner).sort();

      test("who beat, but not the one who asks", async () => {
        const journal = await fresh();
        expect(await journal.beat("one")).toEqual([]);
        expect(await journal.beat("two")).toMatchObject([{ owner: "one", gone: false }]);
        expect(await others(journal, "three")).toEqual(["one", "two"]);
      });

      test("by a beat that grows only while they live", async () => {
        const journal = await fresh();
        await journal.beat("one");
        const [first] = await journal.beat("two");
        const [still] = await journal.beat("two");
        await journal.beat("one");
        const [later] = await journal.beat("two");
        expect(still?.beat).toBe(first?.beat);
        expect(later?.beat).toBeGreaterThan(first?.beat ?? Number.NaN);
      });

      test.each([
        ["prepares", { append: [entry("b", { status: "prepared" })] }],
        ["takes records", { claim: all }],
      ])("who %s without a beat", async (_what, batch) => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a")], owner: "two" });
        await commit(journal, { ...batch, owner: "three" });
        expect(await others(journal, "one")).toContain("three");
      });

      test("who was taken for gone and goes on", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a")], owner: "two" });
        await journal.beat("two");
        await journal.takeOver({ from: "two", now: t0, resendSince: null });
        expect(await others(journal, "one")).toEqual([]);
        await claim(journal, { owner: "two" });
        expect(await others(journal, "one")).toEqual(["two"]);
      });
    });

    describe("ends an owner that is gone", () => {
      async function left(journal: Journal) {
        await commit(journal, {
          owner: "gone",
          append: [entry("old"), entry("prepared", { status: "prepared" })],
        });
        await claim(journal, { owner: "gone", now: t0 });
        await commit(journal, { owner: "gone", append: [entry("new")] });
        await claim(journal, { owner: "gone", now: t0 + 1_000 });
        await commit(journal, {
          append: [entry("mine"), entry("my-prepared", { status: "prepared" })],
        });
        await claim(journal);
        await commit(journal, { append: [entry("waits")] });
      }

      test("whose ledger does not honour the id", async () => {
        const journal = await fresh();
        await left(journal);
        const became = await journal.takeOver({ from: "gone", now: t0 + 5, resendSince: null });
        expect(became.unresolved.sort()).toEqual(["new", "old", "prepared"]);
        expect(became.pending).toEqual([]);
        expect(await recordOf(journal, "old")).toMatchObject({
          status: "unresolved",
          error: { reason: "answer-lost" },
          body: '{"id":"old"}',
          attempt: 1,
          owner: "gone",
          changedAt: t0 + 5,
        });
        expect(await recordOf(journal, "prepared")).toMatchObject({
          status: "unresolved",
          error: { reason: "delivery-unconfirmed" },
          proof: "proof of prepared",
        });
        expect(await claim(journal)).toMatchObject([{ redemptionId: "waits" }]);
      });

      test("whose ledger has honoured the id since a time", async () => {
        const journal = await fresh();
        await left(journal);
        const became = await journal.takeOver({ from: "gone", now: t0 + 5, resendSince: t0 + 1 });
        expect(became.unresolved.sort()).toEqual(["old", "prepared"]);
        expect(became.pending).toEqual(["new"]);
        expect(await statusOf(journal, "prepared")).toBe("unresolved");
        const taken = await claim(journal, { owner: "two", now: t0 + 2_000 });
        expect(taken.find(({ redemptionId }) => redemptionId === "new")).toMatchObject({
          attempt: 2,
          body: '{"id":"new"}',
          doubtSince: t0 + 1_000,
        });
        expect(taken.map(({ redemptionId }) => redemptionId).sort()).toEqual(["new", "waits"]);
      });

      test.each([
        ["counting from the first attempt that may have been applied", true, ["a"], []],
        ["not counting from one that certainly was not", false, [], ["a"]],
      ])("%s", async (_name, mayBeApplied, unresolved, pending) => {
        const journal = await fresh();
        await commit(journal, { owner: "gone", append: [entry("a")] });
        const [first] = await claim(journal, { owner: "gone" });
        if (!first) throw new Error("nothing was taken");
        const again = { ...settlement(first, answers.pending), mayBeApplied };
        await commit(journal, { owner: "gone", settle: [again] });
        const [second] = await claim(journal, { owner: "gone", now: t0 + 1_000 });
        expect(second).toMatchObject({ doubtSince: mayBeApplied ? t0 : null });
        const became = await journal.takeOver({ from: "gone", now: t0, resendSince: t0 + 500 });
        expect(became).toEqual({ unresolved, pending });
      });

      test("and touches nobody else's, and does so once", async () => {
        const journal = await fresh();
        await left(journal);
        await journal.takeOver({ from: "gone", now: t0, resendSince: 0 });
        expect(await statusOf(journal, "mine")).toBe("sending");
        expect(await statusOf(journal, "my-prepared")).toBe("prepared");
        expect(await journal.takeOver({ from: "gone", now: t0, resendSince: null })).toEqual({
          unresolved: [],
          pending: [],
        });
        expect((await journal.beat("two")).map(({ owner }) => owner)).toEqual(["one"]);
        expect(await journal.totals()).toEqual(await counted(journal));
      });
    });

    describe("lets a person decide", () => {
      const complete: Act = { act: "complete", redeemedAmount: 2 };
      const fail: Act = { act: "fail" };
      const supply: Act = { act: "supply", amount: 6, body: "six — ✓" };
      const resend: Act = { act: "resend" };
      const cancel: Act = { act: "cancel" };
      const act = (journal: Journal, what: Act, redemptionId: string) =>
        journal.act(what, { ...who, redemptionId });

      test.each([
        ["unresolved", complete, { status: "completed", redeemedAmount: 2, body: null }],
        ["unresolved", { ...complete, redeemedAmount: null }, { redeemedAmount: null }],
        ["price-error", complete, { status: "completed", redeemedAmount: 2, proof: null }],
        ["unresolved", fail, { status: "failed", body: null }],
        ["price-error", fail, { status: "failed", proof: null, amount: null }],
        ["delivery-unconfirmed", fail, { status: "failed", proof: null }],
        ["price-error", supply, { status: "pending", amount: 6, body: "six — ✓", proof: null }],
        ["delivery-unconfirmed", supply, { status: "pending", amount: 6, body: "six — ✓" }],
        ["unresolved", resend, { status: "pending", amount: 3, body: '{"id":"unresolved"}' }],
        ["pending", cancel, { status: "failed", amount: 3, body: null }],
        ["pending", fail, { status: "failed", amount: 3, body: null }],
      ] as const)("%s: $act", async (id, what, expected) => {
        const journal = await fresh();
        await inEachState(journal);
        const changed = await act(journal, what, id);
        expect(changed).toMatchObject({ ...expected, redemptionId: id, changedAt: who.at });
        expect(await recordOf(journal, id)).toEqual(changed);
        const due = (await claim(journal)).map(({ redemptionId }) => redemptionId);
        expect(due.includes(id)).toBe(changed?.status === "pending");
        expect(await journal.totals()).toEqual(await counted(journal));
      });

      test("once no answer can come any more, where they do not insist", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("lost"), entry("doubtful"), entry("put-back")] });
        const taken = await claim(journal);
        const of = (id: string) => taken.find(({ redemptionId }) => redemptionId === id) as Claimed;
        await commit(journal, {
          settle: [
            settlement(of("lost"), answers.unresolved),
            { ...settlement(of("doubtful"), answers.pending), mayBeApplied: true },
            settlement(of("put-back"), answers.pending),
          ],
        });
        const sentAt = (await recordOf(journal, "lost")).sentAt ?? 0;
        const atOnce = { ...who, at: sentAt };
        const act = (what: Act, id: string, quietMs: number) =>
          journal.act(what, { ...atOnce, redemptionId: id }, quietMs);
        expect(await act(fail, "lost", 60_000)).toBeUndefined();
        expect(await act(cancel, "doubtful", 60_000)).toBeUndefined();
        // That was certainly not applied.
        expect(await act(cancel, "put-back", 60_000)).toMatchObject({ status: "failed" });
        expect(await act(fail, "lost", 0)).toMatchObject({ status: "failed" });
        expect(await act(cancel, "doubtful", 0)).toMatchObject({ status: "failed" });
        // What the ledger says afterwards stands beside it, once.
        const late = { settle: [settlement(of("lost"), answers.completed)] };
        expect(await commit(journal, late)).toMatchObject({ settled: [false], late: [true] });
        expect(await commit(journal, late)).toMatchObject({ settled: [false], late: [false] });
        expect(await journal.acts("lost")).toMatchObject([
          { act: "fail" },
          { act: "answer", by: "ledger", amount: 3 },
        ]);
      });

      test("and says why it failed", async () => {
        const journal = await fresh();
        await inEachState(journal);
        expect((await act(journal, fail, "unresolved"))?.error?.reason).toBe("ledger-refused");
        expect((await act(journal, complete, "price-error"))?.error).toBeNull();
      });

      test.each([
        ["price-error", resend],
        ["delivery-unconfirmed", resend],
        ["unresolved", supply],
        ["unresolved", cancel],
        ["price-error", cancel],
        ...[complete, supply, resend].map((what) => ["pending", what] as const),
        ...["sending", "completed", "failed", "skipped", "prepared", "nobody"].flatMap((id) =>
          [complete, fail, cancel, supply, resend].map((what) => [id, what] as const),
        ),
      ] as const)("but not so: %s: $act", async (id, what) => {
        const journal = await fresh();
        await inEachState(journal);
        const before = await everything(journal);
        expect(await act(journal, what, id)).toBeUndefined();
        expect(await everything(journal)).toEqual(before);
        expect(await journal.acts(id)).toEqual([]);
      });

      test("and remembers who did, in order", async () => {
        const journal = await fresh();
        await inEachState(journal);
        const redemptionId = "price-error";
        await journal.act(supply, { redemptionId, by: "ann", note: "asked them", at: t0 + 1 });
        const taken = (await claim(journal)).find((one) => one.redemptionId === redemptionId);
        if (!taken) throw new Error("nothing was taken");
        await settle(journal, taken, answers.unresolved);
        await journal.act(resend, { redemptionId, by: "bob", note: null, at: t0 + 2 });
        const [again] = await claim(journal);
        if (!again) throw new Error("nothing was taken");
        await settle(journal, again, answers.unresolved);
        await journal.act(complete, { redemptionId, by: "eve", note: "", at: t0 + 3 });
        await act(journal, fail, "unresolved");
        const id = { redemptionId };
        expect(await journal.acts(redemptionId)).toEqual([
          { ...id, act: "supply", by: "ann", note: "asked them", at: t0 + 1, amount: 6 },
          { ...id, act: "resend", by: "bob", note: null, at: t0 + 2, amount: null },
          { ...id, act: "complete", by: "eve", note: "", at: t0 + 3, amount: 2 },
        ]);
        expect(await journal.acts("nobody")).toEqual([]);
      });
    });

    describe("tells", () => {
      test("records by id, whatever is asked for", async () => {
        const journal = await fresh();
        await commit(journal, { append: [entry("a"), entry("__proto__")] });
        const records = await journal.read(["__proto__", "nobody", "a", "a", "\0", "\ud800"]);
        expect(records.map(({ redemptionId }) => redemptionId).sort()).toEqual(["__proto__", "a"]);
        expect(await journal.read([])).toEqual([]);
      });

      test("pages in the order of admission", async () => {
        const journal = await fresh();
        const ids = Array.from({ length: 7 }, (_, index) => `id-${index}`);
        for (const id of ids) await commit(journal, { append: [entry(id)] });
        const pages: string[][] = [];
        let after: number | undefined;
        do {
          const page = await journal.list({ limit: 3, after });
          pages.push(page.records.map(({ redemptionId }) => redemptionId));
          after = page.next ?? undefined;
          // What comes meanwhile comes at the end.
          if (pages.length === 1) await commit(journal, { append: [entry("id-7")] });
        } while (after !== undefined && pages.length < 9);
        expect(pages).toEqual([
          ["id-0", "id-1", "id-2"],
          ["id-3", "id-4", "id-5"],
          ["id-6", "id-7"],
        ]);
        expect((await journal.list({ limit: 8 })).next).toBeNull();
      });

      test("by state and by holder", async () => {
        const journal = await fresh();
        await inEachState(journal);
        await commit(journal, {
          append: [
            entry("b1", { holderAddress: "0xB0b" }),
            entry("b2", { holderAddress: "0xb0B", planId: "other", status: "unresolved" }),
          ],
        });
        const idsOf = async (filter: object) =>
          (await journal.list({ limit: 99, ...filter })).records.map((one) => one.redemptionId);
        expect(await idsOf({ status: "pending" })).toEqual(["pending", "b1"]);
        expect(await idsOf({ holderAddress: "0xBOB" })).toEqual([]);
        expect(await idsOf({ holderAddress: "0xB0B" })).toEqual(["b1", "b2"]);
        expect(await idsOf({ holderAddress: "0xb0b", status: "unresolved" })).toEqual(["b2"]);
        expect(await idsOf({ status: "unresolved" })).toEqual([
          "unresolved",
          "price-error",
          "delivery-unconfirmed",
          "b2",
        ]);
        for (const status of ["prepared", "sending", "completed", "failed", "skipped"] as const) {
          expect(await idsOf({ status })).toEqual([status]);
        }
        const page = await journal.list({ status: "unresolved", limit: 2 });
        const rest = await journal.list({ status: "unresolved", limit: 2, after: page.next ?? 0 });
        expect(rest.records.map((one) => one.redemptionId)).toEqual(["delivery-unconfirmed", "b2"]);
      });

      test("totals", async () => {
        const journal = await fresh();
        expect(await journal.totals()).toEqual({
          pending: 0,
          credits: 0,
          pendingBytes: 0,
          oldestPendingAt: null,
          sending: 0,
          unresolved: 0,
        });
        await inEachState(journal);
        await commit(journal, { append: [entry("a", { body: "ž😀", admittedAt: t0 - 9 })] });
        expect(await journal.totals()).toEqual({
          pending: 2,
          credits: 11,
          pendingBytes: '{"id":"pending"}'.length + 6,
          oldestPendingAt: t0 - 9,
          sending: 1,
          unresolved: 3,
        });
        expect(await journal.totals()).toEqual(await counted(journal));
      });

      test("what the holder had before", async () => {
        const journal = await fresh();
        const balances = [
          ["1059", "0xA11CE", 50],
          ["1059", "0xa11ce", null],
          ["other", "0xa11ce", 70],
          ["1059", "0xb0b", 80],
        ] as const;
        for (const [index, [planId, holderAddress, remainingBalance]] of balances.entries()) {
          const at = t0 + 10 * index;
          await commit(journal, {
            now: at,
            append: [entry(`before-${index}`, { planId, holderAddress })],
          });
          const [taken] = await claim(journal, { now: at });
          if (!taken) throw new Error("nothing was taken");
          await settle(journal, taken, { ...answers.completed, remainingBalance }, { now: at + 5 });
        }
        await commit(journal, { append: [entry("a")], now: t0 + 100 });
        const [taken] = await claim(journal, { now: t0 + 110 });
        if (!taken) throw new Error("nothing was taken");
        await settle(journal, taken, answers.completed, { now: t0 + 110 });
        // Its own balance, in the same millisecond, is not what was there before.
        const before = await journal.balanceBefore(await recordOf(journal, "a"));
        expect(before).toEqual({ amount: 50, at: t0 + 5 });
        // Nor is any that came after.
        const first = await recordOf(journal, "before-0");
        expect(await journal.balanceBefore(first)).toBeNull();
        await commit(journal, { append: [entry("never-sent")], now: t0 + 200 });
        expect(await journal.balanceBefore(await recordOf(journal, "never-sent"))).toEqual({
          amount: 97,
          at: t0 + 110,
        });
      });
    });

    describe("forgets", () => {
      test("what is over, the oldest first, and nothing else", async () => {
        const journal = await fresh();
        await inEachState(journal);
        // Completed and failed have changed at t0 + 1, like skipped.
        expect(await journal.prune(t0 + 1, 100)).toBe(0);
        await commit(journal, { append: [entry("late", { status: "skipped" })], now: t0 + 99 });
        expect(await journal.prune(t0 + 50, 2)).toBe(2);
        expect(await journal.prune(t0 + 50, 2)).toBe(1);
        expect(await journal.prune(t0 + 50, 2)).toBe(0);
        expect(await statusOf(journal, "late")).toBe("skipped");
        expect(await journal.prune(Number.MAX_SAFE_INTEGER, 100)).toBe(1);
        const ids = (await everything(journal)).map(({ redemptionId }) => redemptionId);
        expect(ids.sort()).toEqual([
          "delivery-unconfirmed",
          "pending",
          "prepared",
          "price-error",
          "sending",
          "unresolved",
        ]);
        expect(await journal.totals()).toEqual(await counted(journal));
      });

      test("nothing while it tidies up", async () => {
        const journal = await fresh();
        await inEachState(journal);
        const before = await everything(journal);
        await journal.tidy();
        expect(await everything(journal)).toEqual(before);
        expect(await claim(journal)).toHaveLength(1);
      });
    });

    describeModel(fresh);
  });

  describe(`a store of journals: ${name}`, () => {
    test("remembers when it was closed", async ({ skip }) => {
      const { journal, reopen } = await open();
      if (!reopen) return skip("It lives only as long as the journal.");
      await inEachState(journal);
      await journal.act({ act: "fail" }, { ...who, redemptionId: "price-error" });
      const before = await everything(journal);
      await journal.close("one");
      const again = await reopen();
      onTestFinished(() => again.close("two"));
      expect(await everything(again)).toEqual(before);
      expect(await again.acts("price-error")).toHaveLength(1);
      expect(await again.totals()).toEqual(await counted(again));
      expect(await claim(again, { owner: "two" })).toMatchObject([{ redemptionId: "pending" }]);
    });

    test("is shared by all that have it open", async ({ skip }) => {
      const { journal, second } = await open();
      onTestFinished(() => journal.close("one"));
      if (!second) return skip("It belongs to one journal.");
      const other = await second();
      onTestFinished(() => other.close("two"));
      await commit(journal, { append: [entry("a"), entry("b")] });
      const [mine] = await claim(journal, { claim: { limit: 1, perHolder: 9 } });
      const [theirs] = await claim(other, { owner: "two" });
      expect([mine?.redemptionId, theirs?.redemptionId].sort()).toEqual(["a", "b"]);
      expect(await other.totals()).toMatchObject({ pending: 0, sending: 2 });
      if (!mine || !theirs) throw new Error("nothing was taken");
      expect(await settle(other, mine, answers.completed, { owner: "two" })).toBe(false);
      expect(await settle(journal, mine, answers.completed)).toBe(true);
      expect(await statusOf(other, mine.redemptionId)).toBe("completed");
    });

    test("keeps an owner that closed on the list while something is left to take over", async ({
      skip,
    }) => {
      const { journal, second } = await open();
      onTestFinished(() => journal.close("one"));
      if (!second) return skip("It belongs to one journal.");
      for (const [owner, batch] of [
        ["idle", {}],
        ["sends", { append: [entry("a")], claim: all }],
        ["prepares", { append: [entry("b", { status: "prepared" })] }],
      ] as const) {
        const other = await second();
        await other.beat(owner);
        await commit(other, { ...batch, owner });
        await other.close(owner);
      }
      const left = (await journal.beat("one")).map(({ owner }) => owner);
      expect(left.sort()).toEqual(["prepares", "sends"]);
    });
  });
}

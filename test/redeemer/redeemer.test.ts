import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import type { RedeemerOptions } from "../../src/redeemer/redeemer-options.ts";
import {
  away,
  completed,
  lost,
  openWorld,
  refused,
  secret,
  submissionOf,
  troubled,
  wrongKey,
} from "./world.ts";

vi.mock("node:timers", () => import("../support/global-timers.ts"));

const minute = 60_000;
const hour = 60 * minute;

beforeEach(() => {
  vi.useFakeTimers();
});
afterAll(() => {
  vi.useRealTimers();
});

/** A world that has looked around for the first time. */
async function world(options: Partial<RedeemerOptions> = {}) {
  const opened = openWorld(options);
  await opened.pass(0);
  return opened;
}

/** The same, on a journal that can be troubled. */
async function troubledWorld(options: Partial<RedeemerOptions> = {}) {
  const trouble = troubled(openSqliteJournal(":memory:"));
  return { ...(await world({ ...options, journal: trouble.journal })), fate: trouble.set };
}

describe("sending", () => {
  test("keeps no more on the wire than its concurrency, oldest first", async () => {
    const { submit, answer, sent, onWire, pass } = await world();
    submit("a", "b", "c", "d");
    await pass(2);
    expect(sent).toEqual(["a", "b"]);
    await answer("b", completed);
    expect(sent).toEqual(["a", "b", "c"]);
    expect(onWire()).toEqual(["a", "c"]);
    await pass(minute);
    expect(onWire()).toEqual(["a", "c"]);
  });

  test("keeps no more of one holder on the wire than its cap, and serves the others meanwhile", async () => {
    const { submit, answer, sent, pass } = await world({ concurrency: 4, perHolder: 2 });
    submit("a1", "a2", "a3", "a4", "b1", "b2", "b3");
    await pass(2);
    expect(sent.toSorted()).toEqual(["a1", "a2", "b1", "b2"]);
    await answer("b1", completed);
    expect(sent.slice(4)).toEqual(["b3"]);
    await answer("b2", completed);
    await pass(minute);
    expect(sent).toHaveLength(5);
    await answer("a2", completed);
    expect(sent.slice(5)).toEqual(["a3"]);
  });

  test("serves holders in turn: a busy one does not hold up who comes after it", async () => {
    const { submit, answer, sent, pass } = await world({ concurrency: 1 });
    submit(...Array.from({ length: 50 }, (_, index) => `a${index}`));
    await pass(2);
    submit("b", "c");
    await pass(2);
    for (let count = 0; count < 3; count += 1) await answer(String(sent.at(-1)), completed);
    expect(sent.slice(0, 3).toSorted()).toEqual(["a0", "b", "c"]);
    expect(sent[3]).toBe("a1");
  });

  test("sends again, under the same id and bytes, only what was certainly not applied", async () => {
    const { submit, answer, sent, charges, changesOf, pass } = await world({ concurrency: 4 });
    submit("away", "refused", "lost", "done");
    await pass(2);
    await answer("away", away);
    await answer("refused", refused);
    await answer("lost", lost);
    await answer("done", completed);
    await pass(40);
    expect(sent).toHaveLength(4);
    await pass(10);
    expect(sent.slice(4)).toEqual(["away"]);
    await answer("away", completed);
    await pass(10 * minute);
    expect(sent).toHaveLength(5);
    expect(changesOf("away")).toEqual(["sending", "pending", "sending", "completed"]);
    expect(changesOf("refused")).toEqual(["sending", "failed"]);
    expect(changesOf("lost")).toEqual(["sending", "unresolved"]);
    const [first, second] = charges.filter(({ redemptionId }) => redemptionId === "away");
    expect(second).toEqual({
      ...first,
      attempt: 2,
      sentAt: expect.any(Number),
      waitedMs: expect.any(Number),
    });
  });

  test("is remembered before anything else is done: a crash would lose it", async () => {
    const inner = openSqliteJournal(":memory:");
    const done: string[] = [];
    const { submit, answer, pass } = await world({
      concurrency: 1,
      journal: {
        ...inner,
        commit(batch) {
          const { append, settle, claim } = batch;
          done.push(`${append.length} ${settle.length} ${claim ? "takes" : ""}`);
          return inner.commit(batch);
        },
      },
    });
    done.length = 0;
    submit("a");
    await pass(2);
    submit("b", "c");
    await answer("a", completed);
    expect(done).toEqual(["1 0 ", "0 0 takes", "2 0 ", "0 1 takes"]);
  });

  test("waits as long as the ledger asks, and a waiting charge does not hold up the others", async () => {
    const { submit, answer, sent, pass } = await world({ concurrency: 1 });
    submit("a", "b");
    await pass(2);
    await answer("a", { ...away, retryAfterMs: 5_000 });
    await answer("b", completed);
    expect(sent).toEqual(["a", "b"]);
    await pass(5_040);
    expect(sent).toEqual(["a", "b"]);
    await pass(1_000);
    expect(sent).toEqual(["a", "b", "a"]);
  });

  test("a send that throws, at once or later, may have been applied", async () => {
    for (const send of [
      () => Promise.reject(new Error("broken")),
      () => {
        throw new Error("broken");
      },
    ]) {
      const { submit, record, pass } = await world({ send });
      submit("a");
      await pass(5);
      expect(await record("a")).toMatchObject({
        status: "unresolved",
        error: { reason: "answer-lost", message: "Sending broke off: broken" },
      });
    }
  });

  test("a charge that cannot be written as bytes is unresolved, and holds up nobody", async () => {
    const { door, submit, sent, record, told, pass } = await world();
    door.submit([submissionOf("a", { amount: 13 }), submissionOf("b", { amount: null })]);
    submit("c");
    await pass(2);
    expect(sent).toEqual(["c"]);
    const error = { code: "charge-invalid", reason: "charge-invalid", message: "13 is no amount" };
    expect(await record("a")).toMatchObject({ status: "unresolved", error, proof: secret });
    expect(await record("b")).toMatchObject({ status: "unresolved", body: null });
    expect(told).toContainEqual({
      kind: "changes",
      changes: expect.arrayContaining([
        expect.objectContaining({ redemptionId: "a", change: { status: "unresolved", ...error } }),
      ]),
    });
  });
});

describe("the journal comes first", () => {
  test("nothing is acknowledged, told or sent before its commit", async () => {
    const { submit, sent, accepted, changesOf, fate, pass } = await troubledWorld();
    fate("held");
    submit("a");
    await pass(minute);
    expect([sent, accepted(), changesOf("a")]).toEqual([[], [], []]);
    fate("fine");
    await pass(2);
    expect([sent, accepted(), changesOf("a")]).toEqual([["a"], ["a"], ["sending"]]);
  });

  test("an outcome is told when it is durable", async () => {
    const { submit, answer, record, changesOf, fate, pass } = await troubledWorld();
    submit("a");
    await pass(2);
    fate("held");
    await answer("a", completed);
    await pass(minute);
    expect(changesOf("a")).toEqual(["sending"]);
    fate("fine");
    await pass(2);
    expect(changesOf("a")).toEqual(["sending", "completed"]);
    expect(await record("a")).toMatchObject({ status: "completed", redeemedAmount: 1, body: null });
  });

  test("a full disk: kept in memory, told, tried again, acknowledged and sent once", async () => {
    const { submit, answer, sent, accepted, health, fate, pass } = await troubledWorld();
    fate("refused");
    submit("a", "b");
    await pass(minute);
    expect(health()).toMatchObject({
      writable: false,
      problem: "The journal cannot be written: database or disk is full",
    });
    expect([sent, accepted()]).toEqual([[], []]);
    fate("fine");
    await pass(260);
    expect(health()).toMatchObject({ writable: true, problem: null });
    expect([sent, accepted()]).toEqual([
      ["a", "b"],
      ["a", "b"],
    ]);
    await answer("a", completed);
    await answer("b", completed);
    await pass(10 * minute);
    expect(sent).toHaveLength(2);
  });

  test("a full disk while an answer comes: it is told and recorded later, and not asked for again", async () => {
    const { submit, answer, sent, changesOf, fate, pass } = await troubledWorld();
    submit("a");
    await pass(2);
    fate("refused");
    await answer("a", completed);
    await pass(minute);
    fate("fine");
    await pass(minute);
    expect(sent).toEqual(["a"]);
    expect(changesOf("a")).toEqual(["sending", "completed"]);
  });

  test("is writable again when it is, also with nothing to write and sending paused", async () => {
    const { submit, answer, health, fate, pass } = await troubledWorld({
      circuitThreshold: 1,
      backoff: { baseMs: hour, maxMs: hour },
    });
    submit("a");
    await pass(2);
    await answer("a", away);
    fate("refused");
    submit("b");
    await pass(5);
    expect(health()).toMatchObject({ writable: false });
    fate("fine");
    await pass(260);
    expect(health()).toMatchObject({ writable: true, paused: "ledger-unreachable" });
  });

  test("what a commit took that seemed to fail goes back, and is sent once", async () => {
    const { submit, answer, sent, record, fate, pass } = await troubledWorld();
    // What is handed over is remembered first, and taken for sending by the next commit.
    fate("applied-and-refused", 1);
    submit("a");
    await pass(5);
    expect(await record("a")).toMatchObject({ status: "sending", attempt: 1 });
    expect(sent).toEqual([]);
    fate("fine");
    await pass(300);
    expect(sent).toEqual(["a"]);
    await answer("a", completed);
    expect(await record("a")).toMatchObject({ status: "completed", attempt: 2 });
  });

  test("while commits seem to fail, no more is taken than may be on the wire", async () => {
    const { submit, journal, fate, pass } = await troubledWorld({ concurrency: 2 });
    fate("applied-and-refused", 1);
    submit("a", "b", "c", "d", "e", "f");
    await pass(5_000);
    expect(await journal.totals()).toMatchObject({ pending: 4, sending: 2 });
    fate("fine");
    await pass(300);
  });

  test("an outcome whose commit seemed to fail is told by the next look", async () => {
    const { submit, answer, changesOf, fate, pass } = await troubledWorld();
    submit("a");
    await pass(2);
    fate("applied-and-refused");
    await answer("a", completed);
    fate("fine");
    await pass(1_300);
    expect(changesOf("a")).toEqual(["sending", "changed"]);
  });

  test("a look that fails is told, and made good by the next", async () => {
    const inner = openSqliteJournal(":memory:");
    let broken = true;
    const beat = async (owner: string) => {
      if (broken) throw new Error("disk I/O error");
      return inner.beat(owner);
    };
    // An owner of before, which was sending when it went.
    const before = await world({ journal: inner, owner: "before" });
    before.submit("a");
    await before.pass(2);
    const { health, record, told, pass } = await world({
      journal: { ...inner, beat },
      replaces: ["before"],
    });
    await pass(10_000);
    expect(health()).toMatchObject({ writable: false, problem: expect.stringContaining("I/O") });
    expect(await record("a")).toMatchObject({ status: "sending" });
    broken = false;
    await pass(1_000);
    expect(health()).toMatchObject({ writable: true });
    expect(told).toContainEqual({ kind: "recovered", pending: 0, unresolved: ["a"], resent: 0 });
    expect(await record("a")).toMatchObject({ status: "unresolved" });
  });

  test("a slow look is not overtaken by another", async () => {
    const inner = openSqliteJournal(":memory:");
    let looks = 0;
    const totals = () => {
      looks += 1;
      return new Promise<never>((resolve) => {
        setTimeout(() => resolve(inner.totals() as never), 30_000);
      });
    };
    const { pass } = await world({ journal: { ...inner, totals } });
    await pass(29_000);
    expect(looks).toBe(1);
    await pass(2_500);
    expect(looks).toBe(2);
    await pass(30_000);
  });

  test("old records are forgotten, however many, and the files tidied", async () => {
    const inner = openSqliteJournal(":memory:");
    let tidied = 0;
    const tidy = async () => {
      tidied += 1;
    };
    const { door, record, pass } = await world({
      journal: { ...inner, tidy },
      retentionMs: 10 * minute,
    });
    const skipped = Array.from({ length: 2_500 }, (_, index) =>
      submissionOf(`s${index}`, { status: "skipped" }),
    );
    door.submit(skipped);
    await pass(61_000);
    expect(await record("s2499")).toBeDefined();
    expect(tidied).toBe(1);
    vi.setSystemTime(Date.now() + hour);
    await pass(61_000);
    expect((await inner.list({ limit: 10 })).records).toEqual([]);
  });
});

describe("a ledger that honours the id", () => {
  const window = 10 * minute;
  const honoured = { idempotentMs: window };

  test("is asked again, with the same id and bytes, when the answer was lost", async () => {
    const { submit, answer, sent, charges, record, pass } = await world(honoured);
    submit("a");
    await pass(2);
    await answer("a", lost);
    expect(await record("a")).toMatchObject({ status: "pending" });
    await pass(100);
    await answer("a", { ...lost, reason: "unexpected-answer" });
    await pass(1_000);
    expect(sent).toEqual(["a", "a", "a"]);
    expect(new Set(charges.map(({ body }) => body)).size).toBe(1);
    await answer("a", completed);
    expect(await record("a")).toMatchObject({ status: "completed", attempt: 3 });
  });

  test("is not asked again when it says that the body is another", async () => {
    const { submit, answer, record, pass } = await world(honoured);
    submit("a");
    await pass(2);
    await answer("a", { ...lost, reason: "idempotency-mismatch" });
    await pass(minute);
    expect(await record("a")).toMatchObject({ status: "unresolved", attempt: 1 });
  });

  test("is not asked again, nor doubted, when it may have charged the buyer (A5)", async () => {
    const { submit, answer, health, record, pass } = await world({
      ...honoured,
      circuitThreshold: 1,
    });
    submit("a");
    await pass(2);
    await answer("a", { ...lost, reason: "maybe-charged" });
    expect(health()?.paused).toBeNull();
    await pass(minute);
    expect(await record("a")).toMatchObject({ status: "unresolved", attempt: 1 });
  });

  test("a lost answer after its time is unresolved", async () => {
    const { submit, answer, sent, record, pass } = await world(honoured);
    submit("a");
    await pass(2);
    await pass(window + 1);
    await answer("a", lost);
    await pass(minute);
    expect(sent).toEqual(["a"]);
    expect(await record("a")).toMatchObject({ status: "unresolved" });
  });

  test("what waited past its time is not sent: the ledger may have forgotten the id", async () => {
    const { submit, answer, sent, record, pass } = await world({
      ...honoured,
      circuitThreshold: 1,
      backoff: { baseMs: 2 * window, maxMs: 2 * window },
    });
    submit("a");
    await pass(2);
    await answer("a", lost);
    expect(await record("a")).toMatchObject({ status: "pending" });
    await pass(2 * window);
    expect(sent).toEqual(["a"]);
    expect(await record("a")).toMatchObject({
      status: "unresolved",
      error: { reason: "answer-lost", code: "WINDOW_PASSED" },
    });
  });

  test("what was certainly not applied is sent however long it waited", async () => {
    const { submit, answer, sent, record, pass } = await world(honoured);
    submit("a");
    await pass(2);
    await answer("a", { ...away, retryAfterMs: 2 * window });
    await pass(2 * window + minute);
    expect(sent).toEqual(["a", "a"]);
    await answer("a", lost);
    expect(await record("a")).toMatchObject({ status: "pending" });
  });

  test("what a person sends again is sent, whatever its time", async () => {
    const { door, submit, answer, sent, record, pass } = await world(honoured);
    submit("a");
    await pass(2);
    await pass(window + 1);
    await answer("a", lost);
    await door.ask("act", {
      redemptionId: "a",
      act: "resend",
      amount: null,
      by: "ada",
      note: null,
    });
    await pass(2);
    expect(sent).toEqual(["a", "a"]);
    await answer("a", completed);
    expect(await record("a")).toMatchObject({ status: "completed" });
  });

  test("nor where the clock was set back, so that nobody knows", async () => {
    const { submit, answer, record, pass } = await world(honoured);
    submit("a");
    await pass(2);
    vi.setSystemTime(Date.now() - 10_000);
    await answer("a", lost);
    expect(await record("a")).toMatchObject({ status: "unresolved" });
  });

  test("not after its time, although the clock was set back within it", async () => {
    const { submit, answer, sent, record, pass } = await world({
      ...honoured,
      circuitThreshold: 1,
      backoff: { baseMs: 1.6 * window, maxMs: 1.6 * window },
    });
    submit("a");
    await pass(2);
    vi.setSystemTime(Date.now() + 1);
    await answer("a", lost);
    expect(await record("a")).toMatchObject({ status: "pending" });
    await pass(minute);
    // By this clock, the time is not over when it is tried again.
    vi.setSystemTime(Date.now() - 0.5 * window);
    await pass(3 * window);
    expect(sent).toEqual(["a"]);
    expect(await record("a")).toMatchObject({
      status: "unresolved",
      error: { code: "WINDOW_PASSED" },
    });
  });

  test("a stop leaves what was on the wire to the next start", async () => {
    const journal = openSqliteJournal(":memory:");
    const close = async () => {};
    const { door, submit, pass } = await world({ ...honoured, journal: { ...journal, close } });
    submit("a");
    await pass(2);
    await door.ask("stop", {});
    expect(await journal.read(["a"])).toMatchObject([{ status: "pending", attempt: 1 }]);
  });

  test("without that, a lost answer is never asked for again", async () => {
    const { submit, answer, sent, record, pass } = await world();
    submit("a");
    await pass(2);
    await answer("a", lost);
    await pass(10 * minute);
    expect(sent).toEqual(["a"]);
    expect(await record("a")).toMatchObject({ status: "unresolved" });
  });
});

describe("the circuit", () => {
  test("opens, probes one at a time with another holder, and closes", async () => {
    const { submit, answer, sent, health, onWire, pass } = await world({
      concurrency: 2,
      circuitThreshold: 2,
    });
    submit("a1", "a2", "a3", "b1", "b2");
    await pass(2);
    expect(sent).toEqual(["a1", "b1"]);
    await answer("b1", lost);
    // Its place is not filled again: there was trouble.
    expect(onWire()).toEqual(["a1"]);
    await answer("a1", lost);
    expect(health()).toMatchObject({ paused: "answer-lost", writable: true });
    await pass(45);
    expect(sent).toHaveLength(2);
    await pass(10);
    expect(sent.slice(2)).toEqual(["b2"]);
    await pass(minute);
    expect(sent).toHaveLength(3);
    await answer("b2", lost);
    await pass(110);
    expect(sent.slice(3)).toEqual(["a2"]);
    await answer("a2", completed);
    await pass(10);
    expect(health()).toMatchObject({ paused: null });
    expect(onWire()).toEqual(["a3"]);
  });

  test("an outage costs what was on the wire and the probes; the rest is sent after it", async () => {
    let isAway = true;
    let sends = 0;
    const { door, journal, health, pass } = await world({
      concurrency: 4,
      perHolder: 4,
      circuitThreshold: 5,
      backoff: { baseMs: 1_000, maxMs: minute },
      send: async () => {
        sends += 1;
        await new Promise((resolve) => setTimeout(resolve, 100));
        return isAway ? lost : completed;
      },
    });
    door.submit(Array.from({ length: 200 }, (_, index) => submissionOf(`${index % 7}-${index}`)));
    await pass(10 * minute);
    const { unresolved, pending } = await journal.totals();
    expect(unresolved).toBe(sends);
    // The threshold, and the probes, which wait twice as long each time.
    expect(unresolved).toBeLessThan(5 + 11);
    expect(unresolved + pending).toBe(200);
    expect(health()?.paused).toBe("answer-lost");
    isAway = false;
    await pass(11 * minute);
    expect(await journal.totals()).toMatchObject({ pending: 0, sending: 0, unresolved });
    expect(sends).toBe(200);
  });

  test("a ledger that answers nothing at all is probed by questions", async () => {
    let isAway = true;
    let questions = 0;
    const { door, journal, pass } = await world({
      concurrency: 2,
      circuitThreshold: 2,
      backoff: { baseMs: 1_000, maxMs: minute },
      send: async () => (isAway ? lost : completed),
      askBalance: async (planId, holderAddress) => {
        questions += 1;
        expect([planId, holderAddress]).toEqual(["plan", expect.stringMatching(/^0x[ab]$/)]);
        return { told: false, answered: !isAway, message: "said the test" };
      },
    });
    door.submit(["a1", "b1", "a2", "b2", "a3"].map((id) => submissionOf(id)));
    await pass(9 * minute);
    expect(await journal.totals()).toMatchObject({ unresolved: 2, pending: 3 });
    expect(questions).toBeGreaterThan(5);
    isAway = false;
    await pass(minute);
    expect(await journal.totals()).toMatchObject({ unresolved: 2, pending: 0 });
  });

  test("a wrong key that two holders meet pauses sending and loses nothing", async () => {
    const { submit, answer, sent, health, journal, pass } = await world({ concurrency: 2 });
    submit("a", "b", "c", "d");
    await pass(2);
    await answer("a", wrongKey);
    expect(health()?.paused).toBeNull();
    const second = sent.find((id) => id !== "a") ?? "";
    await answer(second, wrongKey);
    expect(health()?.paused).toBe("configuration-fault");
    const count = sent.length;
    await pass(minute);
    expect(sent.length).toBeLessThanOrEqual(count + 1);
    expect(await journal.totals()).toMatchObject({ unresolved: 0 });
  });

  test("a clock that is set back does not keep it open", async () => {
    const { submit, answer, sent, pass } = await world({ circuitThreshold: 1, concurrency: 1 });
    submit("a", "b");
    await pass(2);
    await answer("a", lost);
    vi.setSystemTime(Date.now() - 24 * hour);
    await pass(1_000);
    expect(sent).toEqual(["a", "b"]);
  });
});

describe("what a person decides", () => {
  async function unresolved(options: Partial<RedeemerOptions> = {}) {
    const opened = await world(options);
    opened.submit("a");
    await opened.pass(2);
    await opened.answer("a", lost);
    // Until then its answer may still come.
    await opened.pass(minute);
    return opened;
  }
  const who = { redemptionId: "a", by: "ada", note: "seen" };

  test.each([
    ["complete", 3, { status: "completed", redeemedAmount: 3 }],
    ["fail", null, { status: "failed" }],
  ] as const)("%s: it is recorded, told, and forgets its proof", async (act, amount, expected) => {
    const { door, record, changesOf } = await unresolved();
    const answered = await door.ask("act", { ...who, act, amount });
    expect(answered).toMatchObject({ ...expected, body: null, proof: null });
    expect(await record("a")).toMatchObject({ ...expected, body: null, proof: null });
    expect(changesOf("a")).toEqual(["sending", "unresolved", "changed"]);
    const shown = await door.ask("show", { redemptionId: "a" });
    expect(shown).toMatchObject({ acts: [{ act, by: "ada", note: "seen", amount }] });
    expect(await door.ask("act", { ...who, act, amount })).toBeUndefined();
  });

  test("too early: an answer may still come, until the timeout and half a minute have passed", async () => {
    const { door, submit, answer, pass } = await world();
    submit("a");
    await pass(2);
    await answer("a", lost);
    const fail = { ...who, act: "fail", amount: null } as const;
    await pass(59_990);
    expect(await door.ask("act", fail)).toBe("too-early");
    await pass(20);
    expect(await door.ask("act", fail)).toMatchObject({ status: "failed" });
  });

  test("unless they insist; a late answer is then told, and stands beside the decision once", async () => {
    const inner = openSqliteJournal(":memory:");
    const close = async (owner: string) => {
      await inner.takeOver({ from: owner, now: Date.now(), resendSince: null });
    };
    const journal = { ...inner, close };
    const sleeper = await world({ journal, owner: "sleeper" });
    sleeper.submit("a");
    await sleeper.pass(2);
    const ours = await world({ journal, replaces: ["sleeper"] });
    const fail = { ...who, act: "fail", amount: null, force: true } as const;
    expect(await ours.door.ask("act", fail)).toMatchObject({ status: "failed" });
    await sleeper.answer("a", completed);
    expect(sleeper.told).toContainEqual({
      kind: "late-answer",
      redemptionId: "a",
      attempt: 1,
      answer: completed,
    });
    expect(await journal.acts("a")).toMatchObject([
      { act: "fail", by: "ada" },
      { act: "answer", by: "ledger", amount: 1, note: expect.stringContaining("completed") },
    ]);
    expect(await ours.record("a")).toMatchObject({ status: "failed" });
  });

  test("resend: the same bytes go again", async () => {
    const { door, charges, answer, record, pass } = await unresolved();
    expect(await door.ask("act", { ...who, act: "resend", amount: null })).toMatchObject({
      status: "pending",
      body: null,
    });
    await pass(2);
    expect(charges).toHaveLength(2);
    expect(charges[1]?.body).toBe(charges[0]?.body);
    await answer("a", completed);
    expect(await record("a")).toMatchObject({ status: "completed" });
  });

  test("supply: a price that could not be computed is charged", async () => {
    const { door, charges, record, pass } = await world();
    const error = { code: "price-error", reason: "price-error", message: "NaN" };
    door.submit([submissionOf("a", { status: "unresolved", amount: null, error })]);
    await pass(2);
    expect(await record("a")).toMatchObject({ status: "unresolved", proof: secret });
    expect(await door.ask("act", { ...who, act: "supply", amount: null })).toBeUndefined();
    await expect(door.ask("act", { ...who, act: "supply", amount: 13 })).rejects.toThrow("13");
    await door.ask("act", { ...who, act: "supply", amount: 5 });
    await pass(2);
    expect(charges).toMatchObject([{ redemptionId: "a", amount: 5, attempt: 1 }]);
    expect(await record("a")).toMatchObject({ status: "sending", proof: null });
  });

  test("no other can be supplied, and nothing else can be decided about", async () => {
    const { door } = await unresolved();
    expect(await door.ask("act", { ...who, act: "supply", amount: 5 })).toBeUndefined();
    const stranger = { ...who, redemptionId: "stranger" };
    expect(await door.ask("act", { ...stranger, act: "fail", amount: null })).toBeUndefined();
  });

  test("what is asked is answered without secrets", async () => {
    const { door, told } = await unresolved();
    const answers = [
      await door.ask("read", { redemptionIds: ["a", "stranger"] }),
      await door.ask("list", { limit: 10 }),
      await door.ask("show", { redemptionId: "a" }),
      await door.ask("show", { redemptionId: "stranger" }),
      await door.ask("totals", {}),
    ];
    expect(answers).toMatchObject([
      [{ redemptionId: "a" }],
      { records: [{ redemptionId: "a" }], next: null },
      { record: { redemptionId: "a" }, balanceNow: { amount: 7 }, balanceBefore: null },
      undefined,
      { unresolved: 1 },
    ]);
    expect(JSON.stringify([answers, told])).not.toContain(secret);
  });
});

describe("other processes on the journal", () => {
  /** The journal of both: it stays open when one of them stops. */
  function shared() {
    const journal = openSqliteJournal(":memory:");
    const close = async (owner: string) => {
      await journal.takeOver({ from: owner, now: Date.now(), resendSince: null });
    };
    return { ...journal, close };
  }

  test("what they send is heard of", async () => {
    const journal = shared();
    const ours = await world({ journal, concurrency: 1, perHolder: 1 });
    ours.submit("a1", "a2");
    await ours.pass(2);
    expect(ours.sent).toEqual(["a1"]);
    const theirs = await world({ journal, owner: "theirs" });
    await theirs.pass(10);
    expect(theirs.sent).toEqual(["a2"]);
    await theirs.answer("a2", completed);
    await ours.pass(1_000);
    expect(ours.changesOf("a2")).toEqual(["changed"]);
    expect(theirs.changesOf("a2")).toEqual(["sending", "completed"]);
  });

  test("what a person decides there is heard of, once", async () => {
    const journal = shared();
    const ours = await world({ journal });
    const theirs = await world({ journal, owner: "theirs" });
    ours.submit("a");
    await ours.pass(2);
    await ours.answer("a", lost);
    await ours.pass(5_000);
    expect(ours.changesOf("a")).toEqual(["sending", "unresolved"]);
    const who = { redemptionId: "a", by: "ada", note: null };
    await theirs.door.ask("act", { ...who, act: "complete", amount: 1, force: true });
    await ours.pass(5_000);
    expect(ours.changesOf("a")).toEqual(["sending", "unresolved", "changed"]);
  });

  test("one that falls silent is taken over from, and sends nothing twice when it wakes", async () => {
    const journal = shared();
    let asleep = false;
    const beat = (owner: string) =>
      asleep ? Promise.reject(new Error("asleep")) : journal.beat(owner);
    const sleeper = await world({ journal: { ...journal, beat }, owner: "sleeper" });
    sleeper.submit("a");
    await sleeper.pass(2);
    asleep = true;
    const ours = await world({ journal });
    await ours.pass(20_000);
    expect(ours.told).toContainEqual({
      kind: "recovered",
      pending: 0,
      unresolved: ["a"],
      resent: 0,
    });
    asleep = false;
    // The late answer counts.
    await sleeper.answer("a", completed);
    expect(await sleeper.record("a")).toMatchObject({ status: "completed", attempt: 1 });
    expect([...ours.sent, ...sleeper.sent]).toEqual(["a"]);
  });

  test("what was sent by one that is gone is sent again, within the time, where the id is honoured", async () => {
    const journal = shared();
    const before = await world({ journal, owner: "before" });
    before.submit("a");
    await before.pass(2);
    const ours = await world({ journal, replaces: ["before"], idempotentMs: hour });
    await ours.pass(2);
    expect(ours.told).toContainEqual({ kind: "recovered", pending: 1, unresolved: [], resent: 1 });
    expect(ours.charges).toMatchObject([{ redemptionId: "a", attempt: 2 }]);
    expect(ours.charges[0]?.body).toBe(before.charges[0]?.body);
  });
});

describe("stop", () => {
  function lasting() {
    const journal = openSqliteJournal(":memory:");
    let closedBy: string | undefined;
    const close = async (owner: string) => {
      closedBy = owner;
    };
    return { journal: { ...journal, close }, closedBy: () => closedBy };
  }

  test("gives up what is on the wire, records what came of it, and leaves the rest", async () => {
    const { journal, closedBy } = lasting();
    let ended = 0;
    const end = async () => {
      ended += 1;
    };
    const { door, submit, answer, changesOf, pass } = await world({ journal, end });
    submit("a", "b", "c", "d");
    await pass(2);
    await answer("a", away);
    submit("e");
    expect(await door.ask("stop", {})).toBeUndefined();
    expect(await door.ask("stop", {})).toBeUndefined();
    const ids = ["a", "b", "c", "d", "e"];
    const records = new Map((await journal.read(ids)).map((one) => [one.redemptionId, one.status]));
    expect(ids.map((id) => records.get(id))).toEqual([
      "pending",
      "unresolved",
      "pending",
      "pending",
      "pending",
    ]);
    expect(changesOf("b")).toEqual(["sending", "unresolved"]);
    expect([ended, closedBy()]).toEqual([1, "ours"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("what comes after it is not acknowledged, and starts nothing", async () => {
    const { journal } = lasting();
    const { door, submit, accepted, drainNow, pass } = await world({ journal });
    await door.ask("stop", {});
    submit("a");
    drainNow();
    await pass(minute);
    expect(accepted()).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("ends although commits fail, and leaves to others what it was sending", async () => {
    const { journal, closedBy } = lasting();
    const trouble = troubled(journal);
    const { door, submit, accepted, pass } = await world({ journal: trouble.journal });
    submit("a");
    await pass(2);
    trouble.set("refused");
    submit("b");
    const stopped = door.ask("stop", {});
    await pass(1_000);
    expect(await stopped).toBeUndefined();
    expect(closedBy()).toBe("ours");
    expect(accepted()).toEqual(["a"]);
    expect(await journal.read(["a", "b"])).toMatchObject([
      { redemptionId: "a", status: "sending" },
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("ends although nothing that it must close can be closed", async () => {
    const { journal } = lasting();
    const broken = async () => {
      throw new Error("broken");
    };
    const { door } = await world({ journal: { ...journal, close: broken }, end: broken });
    expect(await door.ask("stop", {})).toBeUndefined();
  });

  test("what a commit takes that was under way is not sent", async () => {
    const { journal } = lasting();
    const trouble = troubled(journal);
    const { door, submit, sent, pass } = await world({ journal: trouble.journal });
    trouble.set("held");
    submit("a");
    await pass(2);
    const stopped = door.ask("stop", {});
    trouble.set("fine");
    await stopped;
    expect(sent).toEqual([]);
    expect(await journal.read(["a"])).toMatchObject([{ status: "pending" }]);
  });
});

describe("a process's exit", () => {
  test("what was handed over is durable before the call returns", async () => {
    const { door, drainNow, journal } = await world();
    const ids = Array.from({ length: 600 }, (_, index) => `${index}`);
    door.submit(ids.map((id) => submissionOf(id)));
    drainNow();
    // No timer runs any more.
    expect(await journal.read(ids)).toHaveLength(600);
  });

  test("and so is what attempts came to", async () => {
    const { submit, drainNow, record, sent, pass, door } = await world({
      send: async () => completed,
    });
    submit("a");
    // The answer comes in the same turn in which it was sent; its commit is 2 ms away.
    await pass(2);
    drainNow();
    expect(await record("a")).toMatchObject({ status: "completed" });
    expect(sent).toEqual([]);
    await door.ask("totals", {});
  });

  test("also where a listener ends the process", async () => {
    let drain = () => {};
    const journal = openSqliteJournal(":memory:");
    const opened = await world({
      journal,
      tell: ({ kind }) => {
        if (kind === "accepted") drain();
      },
    });
    drain = opened.drainNow;
    const ids = Array.from({ length: 600 }, (_, index) => `${index}`);
    opened.door.submit(ids.map((id) => submissionOf(id)));
    await opened.pass(0);
    expect(await journal.read(ids)).toHaveLength(600);
  });
});

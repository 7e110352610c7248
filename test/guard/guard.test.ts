import { describe, expect, test } from "vitest";
import { createWaits } from "../../src/clock.ts";
import type { Hold } from "../../src/guard/hold.ts";
import {
  away,
  codeOf,
  isHold,
  mute,
  nothingKnown,
  notRefused,
  openGuard,
  payer,
  turn,
} from "./world.ts";

const told = (amount: number | string) => ({ balance: { told: true, amount } as const });
const ann = payer("ann");

describe("a balance that the ledger tells", () => {
  test("bounds what is on hold, and is asked for once by all who come meanwhile", async () => {
    const { guard, asked } = openGuard();
    const waiting = Array.from({ length: 100 }, () => guard.admit(ann, 1));
    await turn();
    expect(asked).toHaveLength(1);
    await asked[0]?.answer({ ...told(5), account: nothingKnown });
    const codes = (await Promise.all(waiting)).map(codeOf);
    expect(codes.filter((code) => code === "pass")).toHaveLength(5);
    expect(codes.filter((code) => code === "insufficient-credits")).toHaveLength(95);
    expect(asked).toHaveLength(1);
  });

  test("is remembered: who has enough is let through at once", async () => {
    const { guard, asked, admit, pass } = openGuard();
    await admit(ann, 1, told(50));
    pass(30_000);
    const hold = guard.admit(ann, 49);
    expect(hold).not.toBeInstanceOf(Promise);
    expect(codeOf(hold as Hold)).toBe("pass");
    expect(asked).toHaveLength(1);
  });

  test("is asked for again when it is old", async () => {
    const { guard, asked, admit, pass } = openGuard();
    await admit(ann, 1, told(50));
    pass(30_001);
    expect(codeOf(await admit(ann, 50, told(20)))).toBe("insufficient-credits");
    expect(asked).toHaveLength(2);
    expect(codeOf(await guard.admit(ann, 19))).toBe("pass");
  });

  test("counts where it is told in any letter case, and not for another plan", async () => {
    const { guard, admit } = openGuard();
    await admit(payer("aBc"), 1, told(5));
    expect(codeOf(await guard.admit(payer("AbC"), 4))).toBe("pass");
    const other = guard.admit({ ...payer("abc"), planId: "another" }, 1);
    expect(other).toBeInstanceOf(Promise);
  });

  test("past what a number can hold is as much as anyone can ask for", async () => {
    const { admit } = openGuard();
    expect(codeOf(await admit(ann, 2 ** 50, told("9".repeat(40))))).toBe("pass");
  });

  test("is told to who is refused, and a refusal is remembered for a while", async () => {
    const { asked, admit, pass } = openGuard();
    expect(await admit(ann, 6, told(5))).toEqual({ code: "insufficient-credits", balance: 5 });
    expect(await admit(ann, 6)).toEqual({ code: "insufficient-credits", balance: 5 });
    expect(asked).toHaveLength(1);
    expect(codeOf(await admit(ann, 5))).toBe("pass");
    pass(5_000);
    expect(codeOf(await admit(ann, 6, told(20)))).toBe("pass");
    expect(asked).toHaveLength(2);
  });

  test("with a time to live of nothing is asked for each time, and counts for whoever asked", async () => {
    const { asked, admit, pass } = openGuard({ balanceTtlMs: 0, refusalTtlMs: 0 });
    for (const index of [1, 2, 3]) {
      pass(1);
      expect(codeOf(await admit(ann, 1, told(9)))).toBe("pass");
      expect(asked).toHaveLength(index);
    }
  });
});

describe("a hold", () => {
  test("is given back once", async () => {
    const { admit } = openGuard();
    const hold = (await admit(ann, 5, told(5))) as Hold;
    expect(codeOf(await admit(ann, 1))).toBe("insufficient-credits");
    hold.end();
    hold.end();
    expect(codeOf(await admit(ann, 5))).toBe("pass");
    expect(codeOf(await admit(ann, 1))).toBe("insufficient-credits");
  });

  test("becomes the charge, until the charge is settled and a later balance shows it", async () => {
    const { admit, charge } = openGuard();
    const hold = (await admit(ann, 5, told(10))) as Hold;
    const one = charge("ann", 4);
    one.handedOver();
    hold.end();
    expect(codeOf(await admit(ann, 7))).toBe("insufficient-credits");
    expect(codeOf(await admit(ann, 6))).toBe("pass");
    one.accepted();
    one.sending();
    expect(codeOf(await admit(ann, 1))).toBe("insufficient-credits");
    // The balance that its answer tells shows it, and not what is on hold.
    one.completed(6);
    expect(codeOf(await admit(ann, 1))).toBe("insufficient-credits");
  });

  test("changes with the route's own price, and a refusal leaves it as it is", async () => {
    const { guard, admit, asked } = openGuard();
    const hold = (await admit(ann, 5, told(10))) as Hold;
    expect(await hold.change(9)).toBeUndefined();
    expect(codeOf(await admit(ann, 2))).toBe("insufficient-credits");
    expect(await hold.change(11)).toMatchObject({ code: "insufficient-credits" });
    expect(codeOf(await admit(ann, 2))).toBe("insufficient-credits");
    expect(await hold.change(1)).toBeUndefined();
    expect(codeOf(await admit(ann, 9))).toBe("pass");
    hold.end();
    expect(await hold.change(5)).toBeUndefined();
    expect(codeOf(await admit(ann, 2))).toBe("insufficient-credits");
    expect(asked).toHaveLength(1);
    expect(guard.exposure()).toBe(0);
  });

  test("of nothing passes, and grows only by what is allowed", async () => {
    const { guard, asked } = openGuard();
    const hold = guard.admit(ann, 0) as Hold;
    expect(isHold(hold)).toBe(true);
    const changed = hold.change(6);
    await turn();
    await asked[0]?.answer({ ...told(5), account: nothingKnown });
    expect(await changed).toMatchObject({ code: "insufficient-credits" });
    expect(await hold.change(5)).toBeUndefined();
  });
});

describe("an answer that comes late makes nobody richer", () => {
  test("a charge that settles while the question is under way counts", async () => {
    const { guard, asked, charge, admit, pass } = openGuard();
    const hold = (await admit(ann, 4, told(10))) as Hold;
    const one = charge("ann", 4);
    one.underWay();
    hold.end();
    pass(30_001);
    const waiting = guard.admit(ann, 7);
    await turn();
    one.completed(null);
    // Asked before the charge was settled, the ledger may not have burned it yet.
    await asked[1]?.answer({ ...told(10), account: nothingKnown });
    expect(codeOf(await waiting)).toBe("insufficient-credits");
    pass(5_001);
    expect(codeOf(await admit(ann, 7, told(6)))).toBe("insufficient-credits");
    expect(codeOf(await admit(ann, 6))).toBe("pass");
  });

  test("the answers of two charges that overtake each other", async () => {
    const { admit, charge } = openGuard();
    const hold = (await admit(ann, 8, told(10))) as Hold;
    const [first, second] = [charge("ann", 4), charge("ann", 4)];
    first.underWay();
    second.underWay();
    hold.end();
    second.completed(2);
    first.completed(6);
    expect(codeOf(await admit(ann, 3))).toBe("insufficient-credits");
  });

  test("a question that was asked before a charge's own answer came", async () => {
    const { guard, asked, charge, admit, pass } = openGuard();
    const hold = (await admit(ann, 4, told(10))) as Hold;
    const one = charge("ann", 4);
    one.underWay();
    hold.end();
    pass(30_001);
    const waiting = guard.admit(ann, 7);
    await turn();
    one.completed(6);
    await asked[1]?.answer({ ...told(10), account: nothingKnown });
    expect(codeOf(await waiting)).toBe("insufficient-credits");
  });

  test("a charge in doubt counts until a balance shows whether it was applied", async () => {
    const { admit, charge, pass } = openGuard();
    const hold = (await admit(ann, 4, told(10))) as Hold;
    const one = charge("ann", 4);
    one.underWay();
    hold.end();
    one.unresolved();
    expect(codeOf(await admit(ann, 7))).toBe("insufficient-credits");
    pass(5_001);
    const account = { ...nothingKnown, doubtful: 4 };
    expect(codeOf(await admit(ann, 10, { ...told(10), account }))).toBe("pass");
  });

  test("a charge in doubt that turns out to be applied is not spent twice", async () => {
    const { admit, charge } = openGuard();
    ((await admit(ann, 4, told(10))) as Hold).end();
    const one = charge("ann", 4);
    one.underWay();
    one.unresolved();
    one.settle(
      { status: "completed", remainingBalance: null, proof: null },
      { unsettled: 0, doubtful: 4 },
    );
    expect(codeOf(await admit(ann, 6))).toBe("pass");
    expect(codeOf(await admit(ann, 1))).toBe("insufficient-credits");
  });

  test("many settled charges without a balance are kept together", async () => {
    const { admit, charge } = openGuard();
    ((await admit(ann, 1, told(1_000))) as Hold).end();
    for (let index = 0; index < 500; index += 1) {
      const one = charge("ann", 1);
      one.underWay();
      one.completed(null);
    }
    expect(codeOf(await admit(ann, 501))).toBe("insufficient-credits");
    expect(codeOf(await admit(ann, 500))).toBe("pass");
  });
});

describe("a ledger that does not tell", () => {
  test("leaves everyone a line of credit for what is not settled", async () => {
    const { admit, charge } = openGuard({ creditLine: 10 });
    const hold = (await admit(ann, 6)) as Hold;
    expect(codeOf(await admit(ann, 5))).toBe("exposure-reached");
    const one = charge("ann", 6);
    one.handedOver();
    hold.end();
    one.accepted();
    expect(codeOf(await admit(ann, 5))).toBe("exposure-reached");
    expect(codeOf(await admit(ann, 4))).toBe("pass");
    one.sending();
    one.putBack();
    expect(codeOf(await admit(ann, 1))).toBe("exposure-reached");
  });

  test("and all together a limit, which comes first", async () => {
    const { guard, admit, exposureReached } = openGuard({ creditLine: 10, maxExposure: 25 });
    for (const name of ["a", "b"]) expect(codeOf(await admit(payer(name), 10))).toBe("pass");
    expect(guard.exposure()).toBe(20);
    expect(codeOf(await admit(payer("c"), 6))).toBe("exposure-reached");
    expect(exposureReached()).toBe(1);
    expect(codeOf(await admit(payer("c"), 5))).toBe("pass");
    expect(codeOf(await admit(payer("d"), 1))).toBe("exposure-reached");
  });

  test("what the journal holds of others counts for all, once", async () => {
    const { guard, admit, holdsInJournal } = openGuard({ maxExposure: 100 });
    holdsInJournal(80);
    expect(guard.exposure()).toBe(80);
    const account = { ...nothingKnown, unsettled: 30 };
    expect(codeOf(await admit(ann, 20, { balance: away, account }))).toBe("pass");
    expect(guard.exposure()).toBe(100);
    expect(codeOf(await admit(payer("bob"), 1))).toBe("exposure-reached");
  });

  test("who is known again is exposure no more", async () => {
    const { guard, admit, pass } = openGuard();
    await admit(ann, 10);
    expect(guard.exposure()).toBe(10);
    pass(5_001);
    await admit(ann, 10, told(500));
    expect(guard.exposure()).toBe(0);
  });

  test("a charge in doubt counts against the line until someone decides", async () => {
    const { guard, admit, charge } = openGuard({ creditLine: 10, balance: "never" });
    const hold = (await admit(ann, 8)) as Hold;
    const one = charge("ann", 8);
    one.underWay();
    hold.end();
    one.unresolved();
    expect(codeOf(await admit(ann, 3))).toBe("exposure-reached");
    expect(guard.exposure()).toBe(8);
    one.settle(
      { status: "completed", remainingBalance: null, proof: null },
      { unsettled: 0, doubtful: 8 },
    );
    expect(guard.exposure()).toBe(0);
    expect(codeOf(await admit(ann, 10))).toBe("pass");
  });

  test("is not asked again by everyone while it is away", async () => {
    const { asked, admit, pass } = openGuard();
    await admit(ann, 1);
    await admit(payer("bob"), 1);
    await admit(ann, 1);
    // Of bob the journal had to be asked.
    expect(asked.map(({ askLedger }) => askLedger)).toEqual([true, false]);
    pass(5_001);
    await admit(ann, 1);
    expect(asked.map(({ askLedger }) => askLedger)).toEqual([true, false, true]);
  });

  test("for the time being, is not asked again before the balance would be", async () => {
    const { asked, admit, pass } = openGuard();
    await admit(ann, 1, { balance: mute });
    pass(29_999);
    await admit(ann, 1);
    expect(asked).toHaveLength(1);
    pass(2);
    await admit(ann, 1, { balance: mute });
    expect(asked).toHaveLength(2);
  });

  test("what it told last is better than nothing while it is away", async () => {
    const { admit, pass } = openGuard();
    ((await admit(ann, 1, told(5))) as Hold).end();
    pass(30_001);
    expect(await admit(ann, 6)).toMatchObject({ code: "insufficient-credits" });
    expect(codeOf(await admit(ann, 5))).toBe("pass");
  });

  test("or whoever must be asked for is refused, where the operator says so", async () => {
    const { admit, pass } = openGuard({ onLedgerDown: "refuse" });
    expect(codeOf(await admit(ann, 1))).toBe("ledger-away");
    pass(5_001);
    expect(codeOf(await admit(ann, 1, told(3)))).toBe("pass");
    // Known well enough.
    expect(codeOf(await admit(ann, 1))).toBe("pass");
    expect(codeOf(await admit(payer("bob"), 1, { balance: mute }))).toBe("pass");
  });

  test("is never asked where the operator says so; the journal is, once", async () => {
    const { asked, admit, pass } = openGuard({ balance: "never", creditLine: 5 });
    expect(codeOf(await admit(ann, 5, { balance: null }))).toBe("pass");
    pass(100_000);
    expect(codeOf(await admit(ann, 1))).toBe("exposure-reached");
    expect(asked.map(({ askLedger }) => askLedger)).toEqual([false]);
  });

  test("a balance that a charge's answer told does not keep who bought more out for ever", async () => {
    const { admit, charge, pass } = openGuard({ balance: "never" });
    const hold = (await admit(ann, 5, { balance: null })) as Hold;
    const one = charge("ann", 5);
    one.underWay();
    hold.end();
    one.completed(0);
    expect(codeOf(await admit(ann, 5))).toBe("insufficient-credits");
    pass(30_001);
    expect(codeOf(await admit(ann, 5))).toBe("pass");
  });
});

describe("after a refusal by the ledger", () => {
  test("too few credits: refused until a balance that suffices is seen", async () => {
    const { admit, charge, asked, pass } = openGuard();
    ((await admit(ann, 5, told(10))) as Hold).end();
    const one = charge("ann", 5);
    one.underWay();
    one.failed("insufficient-credits");
    expect(codeOf(await admit(ann, 5, told(4)))).toBe("insufficient-credits");
    expect(codeOf(await admit(ann, 5))).toBe("insufficient-credits");
    expect(asked).toHaveLength(2);
    pass(5_001);
    expect(codeOf(await admit(ann, 5, told(5)))).toBe("pass");
  });

  test("a balance that was asked for before it does not suffice", async () => {
    const { guard, admit, charge, asked, pass } = openGuard();
    ((await admit(ann, 5, told(10))) as Hold).end();
    const one = charge("ann", 5);
    one.underWay();
    pass(30_001);
    const waiting = guard.admit(ann, 5);
    await turn();
    one.failed("insufficient-credits");
    await asked[1]?.answer({ ...told(10), account: nothingKnown });
    expect(codeOf(await waiting)).toBe("insufficient-credits");
  });

  test("too few credits, and the ledger is away: no line of credit for a while", async () => {
    const { admit, charge, pass } = openGuard();
    ((await admit(ann, 5)) as Hold).end();
    const one = charge("ann", 5);
    one.underWay();
    one.failed("insufficient-credits");
    expect(codeOf(await admit(ann, 5))).toBe("insufficient-credits");
    pass(600_001);
    expect(codeOf(await admit(ann, 5))).toBe("pass");
  });

  test.each(["proof-refused", "ledger-refused"])(
    "%s: blocked for a while, but for proofs that have paid",
    async (reason) => {
      const { admit, charge, pass } = openGuard();
      ((await admit(ann, 5, told(100))) as Hold).end();
      const good = charge("ann", 5);
      good.underWay();
      good.completed(95, "a good proof");
      const bad = charge("ann", 5);
      bad.underWay();
      bad.failed(reason);
      expect(codeOf(await admit(ann, 1))).toBe("holder-blocked");
      expect(codeOf(await admit(payer("ann", "a good proof"), 1))).toBe("pass");
      pass(600_001);
      expect(codeOf(await admit(ann, 1, told(95)))).toBe("pass");
    },
  );

  test("a person's decision blocks nobody", async () => {
    const { admit, charge } = openGuard();
    ((await admit(ann, 5, told(100))) as Hold).end();
    const one = charge("ann", 5);
    one.underWay();
    one.unresolved();
    one.settle(
      { status: "failed", reason: "ledger-refused", byPerson: true, proof: null },
      { unsettled: 0, doubtful: 5 },
    );
    expect(codeOf(await admit(ann, 1))).toBe("pass");
  });

  test.each([
    ["for another reason", "otherwise", 10_000, "holder-blocked"],
    ["for another reason", "otherwise", 600_001, "pass"],
    ["for want of credits", "credits", 10_000, "insufficient-credits"],
    ["for want of credits", "credits", 600_001, "pass"],
  ])("a restart forgives nobody: refused %s (%s), %d ms ago: %s", async (_name, why, ago, code) => {
    const { admit, wallClock } = openGuard();
    const refused = { ...notRefused, [why]: wallClock() - ago };
    const account = { ...nothingKnown, refused };
    expect(codeOf(await admit(ann, 1, { balance: away, account }))).toBe(code);
  });

  test("a restart forgives nobody: what is not settled, and what is in doubt", async () => {
    const { admit } = openGuard({ creditLine: 10 });
    const account = { ...nothingKnown, unsettled: 5, doubtful: 4 };
    expect(codeOf(await admit(ann, 2, { balance: away, account }))).toBe("exposure-reached");
    expect(codeOf(await admit(ann, 1))).toBe("pass");
  });

  test("but a balance that the ledger tells now is its word", async () => {
    const { admit, wallClock } = openGuard();
    const refused = { ...notRefused, credits: wallClock() - 1 };
    const account = { ...nothingKnown, refused };
    expect(codeOf(await admit(ann, 5, { ...told(5), account }))).toBe("pass");
  });
});

describe("questions", () => {
  test("only so many at once; the others wait for their turn", async () => {
    const { guard, asked } = openGuard({ maxQuestions: 2 });
    const waiting = ["a", "b", "c", "d"].map((name) => guard.admit(payer(name), 1));
    await turn();
    expect(asked.map(({ holderAddress }) => holderAddress)).toEqual(["0xa", "0xb"]);
    await asked[1]?.answer({ ...told(1), account: nothingKnown });
    expect(asked.map(({ holderAddress }) => holderAddress)).toEqual(["0xa", "0xb", "0xc"]);
    await asked[0]?.answer({ ...told(1), account: nothingKnown });
    await asked[2]?.answer({ ...told(0), account: nothingKnown });
    await asked[3]?.answer({ ...told(1), account: nothingKnown });
    expect((await Promise.all(waiting)).map(codeOf)).toEqual([
      "pass",
      "pass",
      "insufficient-credits",
      "pass",
    ]);
  });

  test("one that nobody answers ends after five seconds, and so does a wait for a turn", async () => {
    const { guard, asked, pass } = openGuard({ maxQuestions: 1 });
    const waiting = ["a", "b"].map((name) => guard.admit(payer(name), 1));
    await turn();
    pass(5_000);
    // That the ledger does not tell, and that it was not asked, are two things.
    expect((await Promise.all(waiting)).map(codeOf)).toEqual(["pass", "not-asked-in-time"]);
    // The turn comes too late for the second, and is not used.
    await asked[0]?.answer({ ...told(0), account: nothingKnown });
    expect(asked).toHaveLength(1);
    expect(guard.exposure()).toBe(1);
  });

  test("who is known goes before strangers, and keeps a place of their own", async () => {
    const { guard, asked, admit, pass } = openGuard({ maxQuestions: 4 });
    await admit(ann, 1, told(5));
    pass(30_001);
    const before = asked.length;
    for (let index = 0; index < 10; index += 1) void guard.admit(payer(`stranger ${index}`), 1);
    await turn();
    expect(asked.slice(before)).toHaveLength(3);
    const waiting = guard.admit(ann, 1);
    await turn();
    const theirs = asked.slice(before).map(({ holderAddress }) => holderAddress);
    expect(theirs).toEqual(["0xstranger 0", "0xstranger 1", "0xstranger 2", "0xann"]);
    await asked.at(-1)?.answer({ ...told(4), account: nothingKnown });
    expect(codeOf(await waiting)).toBe("pass");
    // Her place stays free.
    expect(asked.slice(before)).toHaveLength(4);
  });

  test("who is known and was not asked for in time passes on what was told last", async () => {
    const { guard, asked, admit, pass } = openGuard({ maxQuestions: 1, onLedgerDown: "refuse" });
    await admit(ann, 1, told(5));
    pass(30_001);
    const before = asked.length;
    const strangers = ["a", "b"].map((name) => guard.admit(payer(name), 1));
    await turn();
    const hers = [guard.admit(ann, 4), guard.admit(ann, 1)];
    await turn();
    pass(5_000);
    // The first stranger's question was asked, and nobody answered it.
    expect((await Promise.all(strangers)).map(codeOf)).toEqual([
      "ledger-away",
      "not-asked-in-time",
    ]);
    expect((await Promise.all(hers)).map(codeOf)).toEqual(["pass", "insufficient-credits"]);
    expect(guard.exposure()).toBe(0);
    expect(asked.slice(before)).toHaveLength(1);
  });

  test("strangers do not make us forget who is known", async () => {
    const { guard, asked, admit, pass } = openGuard();
    ((await admit(ann, 1, told(5))) as Hold).end();
    for (let index = 0; index < 60_000; index += 1) {
      (guard.admit(payer(`free ${index}`), 0) as Hold).end();
    }
    const before = asked.length;
    expect(codeOf(await admit(ann, 5))).toBe("pass");
    expect(asked).toHaveLength(before);
    pass(1);
  });

  test("each request waits for as long as it may, and they need not begin together", async () => {
    const { guard, asked, clock, pass } = openGuard();
    const [short, long] = [createWaits(clock, 1_000), createWaits(clock, 4_000)];
    const first = guard.admit(ann, 1, short);
    const second = guard.admit(ann, 1, long);
    await turn();
    pass(1_000);
    // A second is too little to say that the ledger does not tell.
    expect(codeOf(await first)).toBe("not-asked-in-time");
    expect(short.left()).toBe(0);
    expect(guard.exposure()).toBe(0);
    await asked[0]?.answer({ ...told(0), account: nothingKnown });
    expect(codeOf(await second)).toBe("insufficient-credits");
    expect(long.left()).toBe(3_000);
  });

  test("one that fails counts as not answered", async () => {
    const { guard, asked } = openGuard({ onLedgerDown: "refuse" });
    const waiting = guard.admit(ann, 1);
    await turn();
    asked[0]?.fail();
    expect(codeOf(await waiting)).toBe("ledger-away");
  });
});

test("what is remembered is bounded; what is owed is never forgotten", async () => {
  const { guard, admit, asked } = openGuard({ maxExposure: 10 ** 9 });
  await admit(payer("owes"), 7);
  const before = asked.length;
  for (let index = 0; index < 60_000; index += 1) {
    (guard.admit(payer(`free ${index}`), 0) as Hold).end();
  }
  expect(guard.exposure()).toBe(7);
  expect(codeOf(await admit(payer("owes"), 94))).toBe("exposure-reached");
  expect(asked).toHaveLength(before);
});

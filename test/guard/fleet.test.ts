/** Guards of several processes on one journal, in front of one ledger. */

import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { late } from "../../src/clock.ts";
import type { GuardOptions } from "../../src/guard/guard.ts";
import type { Hold, Turned } from "../../src/guard/hold.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { type ChargeEvent, holderKeyOf } from "../../src/redemption.ts";
import { answers, claim, commit, entry, settlement } from "../journal/records.ts";
import { away, codeOf, isHold, nothingKnown, openGuard, payer, turn } from "./world.ts";

const names = ["ann", "bob"];
const processes = 3;

interface UnderWay {
  readonly redemptionId: string;
  readonly process: number;
  readonly name: string;
  readonly hold: Hold;
}

/** Whole enough: what `redemptions.ts` and the redeemer do between guard and journal. */
function openFleet(options: Partial<GuardOptions> = {}) {
  const journal = openSqliteJournal(":memory:");
  onTestFinished(() => journal.close("one"));
  const ledger = new Map<string, number>();
  const key = (name: string) => holderKeyOf("plan", `0x${name}`);
  let ids = 0;
  let refusals = 0;
  let holdsAskedFor = 0;
  let isAway = false;
  const guards = Array.from({ length: processes }, (_, process) =>
    openGuard(options, async (asked) => {
      holdsAskedFor += 1;
      const [answer] = await journal.hold(`${process}`, [asked]);
      if (!answer) throw new Error("no answer");
      return answer;
    }),
  );
  const everyGuard = (event: ChargeEvent) => {
    for (const { guard } of guards) guard.learn(event);
  };
  const guardOf = (process: number) => {
    const found = guards[process % processes];
    if (!found) throw new Error("no such process");
    return found;
  };

  /** Answers what a guard asks, as the redeemer would. */
  async function answerAll({ asked }: ReturnType<typeof guardOf>) {
    for (const { holderAddress, answer } of asked.splice(0)) {
      const { spent } = await journal.account("plan", holderAddress);
      const amount = ledger.get(holderKeyOf("plan", holderAddress)) ?? 0;
      const account = await journal.account("plan", holderAddress);
      const balance = isAway ? away : ({ told: true, amount } as const);
      await answer({ balance, spentBefore: spent, account });
    }
  }

  async function arrive(process: number, name: string, credits: number, proof = "proof") {
    const world = guardOf(process);
    let settled = false;
    const passing = pass().finally(() => {
      settled = true;
    });
    for (let turns = 0; !settled && turns < 20; turns += 1) {
      await turn();
      await answerAll(world);
    }
    return passing;

    async function pass(): Promise<UnderWay | Turned> {
      const admitted = await world.guard.admit(payer(name, proof), credits);
      if (!isHold(admitted)) return admitted;
      ids += 1;
      const redemptionId = `id ${ids}`;
      const turned = await admitted.share(redemptionId);
      if (turned === late) throw new Error("the journal did not answer");
      if (turned) {
        admitted.end();
        return turned;
      }
      return { redemptionId, process, name, hold: admitted };
    }
  }

  return {
    journal,
    guards,
    arrive,
    refusals: () => refusals,
    holdsAskedFor: () => holdsAskedFor,
    answerAll: (process: number) => answerAll(guardOf(process)),
    goesAway: (is: boolean) => {
      isAway = is;
    },
    balance: (name: string) => ledger.get(key(name)) ?? 0,
    mint: (name: string, amount: number) => {
      ledger.set(key(name), (ledger.get(key(name)) ?? 0) + amount);
    },
    pass: (ms: number) => {
      for (const one of guards) one.pass(ms);
    },

    async finish({ redemptionId, process, name, hold }: UnderWay, amount: number) {
      const { guard } = guardOf(process);
      const more = { planId: "plan", holderAddress: `0x${name}` };
      const charge = { redemptionId, holderKey: key(name), amount };
      const owner = `${process}`;
      if (amount === 0) {
        await commit(journal, {
          owner,
          append: [entry(redemptionId, { ...more, status: "skipped" })],
        });
        return hold.end();
      }
      guard.learn({ ...charge, kind: "handed-over" });
      hold.end();
      await commit(journal, { owner, append: [entry(redemptionId, { ...more, amount })] });
      guard.learn({ ...charge, kind: "accepted" });
    },

    /** Any process sends what waits; what the ledger does not pay for it refuses. */
    async send(process: number) {
      const owner = `${process}`;
      const claimed = await claim(journal, { owner, claim: { limit: 2, perHolder: 2 } });
      for (const attempt of claimed) {
        const has = ledger.get(attempt.holderKey) ?? 0;
        const isPaid = has >= attempt.amount;
        if (isPaid) ledger.set(attempt.holderKey, has - attempt.amount);
        else refusals += 1;
        const reason = "insufficient-credits" as const;
        const answer = isPaid ? answers.completed : { ...answers.failed, reason };
        await commit(journal, { owner, settle: [settlement(attempt, answer)] });
        const { redemptionId, holderKey, amount } = attempt;
        everyGuard({
          redemptionId,
          holderKey,
          amount,
          kind: "settled",
          was: { unsettled: amount, doubtful: 0 },
          outcome: isPaid
            ? { status: "completed", remainingBalance: null, proof: null }
            : { status: "failed", reason, byPerson: false, proof: null },
        });
      }
      return claimed.length;
    },
  };
}

const passed = (one: UnderWay | Turned): one is UnderWay => "hold" in one;
const wordOf = (one: UnderWay | Turned) => (passed(one) ? "pass" : codeOf(one));

describe("the guards of a fleet", () => {
  test("let through together what one would", async () => {
    const fleet = openFleet();
    fleet.mint("ann", 5);
    const all = await Promise.all(
      Array.from({ length: 30 }, (_, index) => fleet.arrive(index, "ann", 1)),
    );
    expect(all.filter(passed)).toHaveLength(5);
    const turned = all.find((one) => !passed(one));
    expect(turned).toEqual({ code: "insufficient-credits", balance: 0 });
  });

  test("hear soon of what has ended elsewhere", async () => {
    const fleet = openFleet();
    fleet.mint("ann", 3);
    const one = await fleet.arrive(0, "ann", 3);
    expect(wordOf(await fleet.arrive(1, "ann", 1))).toBe("insufficient-credits");
    if (!passed(one)) throw new Error("it did not pass");
    await fleet.finish(one, 0);
    fleet.pass(300);
    expect(wordOf(await fleet.arrive(1, "ann", 3))).toBe("pass");
  });

  test("hear of a refusal that another met, and ask the ledger anew", async () => {
    const fleet = openFleet();
    fleet.mint("ann", 4);
    const [one, two] = [await fleet.arrive(0, "ann", 2), await fleet.arrive(1, "ann", 1)];
    if (!passed(one) || !passed(two)) throw new Error("not both passed");
    // Spent elsewhere.
    fleet.mint("ann", -4);
    await fleet.finish(one, 2);
    await fleet.send(2);
    expect(fleet.refusals()).toBe(1);
    expect(wordOf(await fleet.arrive(1, "ann", 1))).toBe("insufficient-credits");
    fleet.mint("ann", 9);
    fleet.pass(5_001);
    expect(wordOf(await fleet.arrive(1, "ann", 1))).toBe("pass");
  });

  test("give credit together up to what one may, while the ledger is away", async () => {
    const fleet = openFleet({ creditLine: 4, maxExposure: 7 });
    fleet.goesAway(true);
    const all = await Promise.all(
      Array.from({ length: 24 }, (_, index) => fleet.arrive(index, `holder ${index % 4}`, 1)),
    );
    expect(all.filter(passed)).toHaveLength(7);
    for (const one of all.filter(passed)) await fleet.finish(one, 1);
    fleet.pass(2_000);
    expect(wordOf(await fleet.arrive(0, "someone", 1))).toBe("exposure-reached");
    // They had nothing: what was refused stays lost for a while.
    while ((await fleet.send(0)) > 0);
    expect(fleet.refusals()).toBe(7);
    fleet.pass(2_000);
    expect(wordOf(await fleet.arrive(1, "someone", 1))).toBe("exposure-reached");
  });

  test("forget what others owed when it was heard long ago", async () => {
    const fleet = openFleet({ creditLine: 4, maxExposure: 8 });
    fleet.goesAway(true);
    const [first] = fleet.guards;
    const theirs = ["a", "b"].map((name) => fleet.arrive(1, name, 3));
    const held = (await Promise.all(theirs)).filter(passed);
    expect(held).toHaveLength(2);
    // What they have on hold is heard of with a hold of our own for them.
    for (const name of ["a", "b"]) {
      const ours = await fleet.arrive(0, name, 1);
      if (passed(ours)) await fleet.finish(ours, 0);
    }
    expect(first?.guard.exposure()).toBe(6);
    for (const one of held) await fleet.finish(one, 0);
    expect(wordOf(await fleet.arrive(0, "someone", 4))).toBe("exposure-reached");
    fleet.pass(2_000);
    expect(wordOf(await fleet.arrive(0, "someone", 4))).toBe("pass");
    fleet.pass(60_000);
    expect(first?.guard.exposure()).toBe(4);
  });

  test("forget holders of whom others owed something when it was heard long ago", async () => {
    const account = { ...nothingKnown, unsettled: 3 };
    const world = openGuard({}, async () => ({ isHeld: true, account, elsewhere: 2, exposure: 5 }));
    const hold = await world.admit(payer("ann"), 1, { balance: away, account });
    if (!isHold(hold)) throw new Error("it did not pass");
    await hold.share("id");
    hold.end();
    expect(world.guard.exposure()).toBe(5);
    world.pass(60_000);
    expect(world.guard.exposure()).toBe(0);
    for (let index = 0; index < 60_000; index += 1) {
      const free = world.guard.admit(payer(`free ${index}`), 0);
      if (isHold(free as Hold)) (free as Hold).end();
    }
    const before = world.asked.length;
    void world.guard.admit(payer("ann"), 1);
    await turn();
    expect(world.asked).toHaveLength(before + 1);
  });

  test("ask the journal once for who cannot pay, and not again in the next moment", async () => {
    const fleet = openFleet();
    fleet.mint("ann", 3);
    await fleet.arrive(0, "ann", 3);
    await fleet.arrive(1, "ann", 1);
    const before = fleet.holdsAskedFor();
    expect(wordOf(await fleet.arrive(1, "ann", 1))).toBe("insufficient-credits");
    fleet.pass(251);
    expect(wordOf(await fleet.arrive(1, "ann", 1))).toBe("insufficient-credits");
    expect(fleet.holdsAskedFor()).toBe(before + 1);
  });

  test("do not count a charge twice that settles while the ledger is asked", async () => {
    const fleet = openFleet();
    fleet.mint("ann", 10);
    const one = await fleet.arrive(0, "ann", 4);
    if (!passed(one)) throw new Error("it did not pass");
    await fleet.finish(one, 4);
    const [world] = fleet.guards.slice(1);
    if (!world) throw new Error("there is one process only");
    const admitting = Promise.resolve(world.guard.admit(payer("ann"), 7));
    await turn();
    const [question] = world.asked.splice(0);
    const account = () => fleet.journal.account("plan", "0xann");
    const { spent: spentBefore } = await account();
    const balance = { told: true, amount: fleet.balance("ann") } as const;
    await fleet.send(2);
    await question?.answer({ balance, spentBefore, account: await account() });
    // What the ledger told was true before the charge.
    const admitted = await admitting;
    const turned = isHold(admitted) ? await admitted.share("another id") : admitted;
    expect(turned).toEqual({ code: "insufficient-credits", balance: 0 });
  });

  test("go by what the ledger was asked, not by the answers to charges", async () => {
    const fleet = openFleet();
    fleet.mint("ann", 10);
    const [one, two] = [await fleet.arrive(0, "ann", 1), await fleet.arrive(1, "ann", 3)];
    if (!passed(one) || !passed(two)) throw new Error("not both passed");
    await fleet.finish(one, 1);
    await fleet.finish(two, 3);
    const sent = { redemptionId: one.redemptionId, holderKey: "plan 0xann", amount: 1 };
    const { guard } = fleet.guards[0] ?? {};
    guard?.learn({ ...sent, kind: "sending" });
    // This process has not heard of the other's charge, which the ledger has taken off, too.
    for (const attempt of await claim(fleet.journal)) {
      await commit(fleet.journal, { settle: [settlement(attempt, answers.completed)] });
    }
    const was = { unsettled: 1, doubtful: 0 };
    const outcome = { status: "completed", remainingBalance: 6, proof: null } as const;
    guard?.learn({ ...sent, kind: "settled", was, outcome });
    fleet.pass(251);
    expect(wordOf(await fleet.arrive(0, "ann", 6))).toBe("pass");
  });

  test("ask the ledger anew where what was spent is forgotten", async () => {
    const answer = {
      isHeld: true,
      account: { ...nothingKnown, spent: 0 },
      elsewhere: 0,
      exposure: null,
    };
    const world = openGuard({}, async () => answer);
    const known = { balance: { told: true, amount: 10 }, spentBefore: 50 } as const;
    const account = { ...nothingKnown, spent: 50 };
    const hold = await world.admit(payer("ann"), 1, { ...known, account });
    if (!isHold(hold)) throw new Error("it did not pass");
    await hold.share("id");
    void world.guard.admit(payer("ann"), 1);
    await turn();
    expect(world.asked).toHaveLength(2);
  });

  test("change a hold for all of them", async () => {
    const fleet = openFleet();
    fleet.mint("ann", 6);
    const one = await fleet.arrive(0, "ann", 2);
    if (!passed(one)) throw new Error("it did not pass");
    expect(await one.hold.change(5)).toBeUndefined();
    expect(wordOf(await fleet.arrive(1, "ann", 2))).toBe("insufficient-credits");
    expect(wordOf(await fleet.arrive(2, "ann", 1))).toBe("pass");
    expect(await one.hold.change(6)).toMatchObject({ code: "insufficient-credits" });
    expect(one.hold.credits()).toBe(5);
  });

  test("share what a request without a price becomes at its route", async () => {
    const fleet = openFleet();
    fleet.mint("ann", 4);
    const free = await fleet.arrive(0, "ann", 0);
    if (!passed(free)) throw new Error("it did not pass");
    const changing = free.hold.change(4);
    await turn();
    await fleet.answerAll(0);
    expect(await changing).toBeUndefined();
    expect(wordOf(await fleet.arrive(1, "ann", 1))).toBe("insufficient-credits");
  });
});

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("arrive" as const),
      process: fc.nat(processes - 1),
      name: fc.constantFrom(...names),
      credits: fc.integer({ min: 1, max: 6 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("finish" as const),
      which: fc.nat(6),
      costs: fc.constantFrom("all", "all", "less", "nothing"),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("send" as const), process: fc.nat(2) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("buy" as const), name: fc.constantFrom(...names) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(100, 6_000, 31_000),
    }),
  },
);

test("whoever is let through by any of them can pay, and whoever can pay is let through", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const fleet = openFleet();
      for (const name of names) fleet.mint(name, 10);
      const underWay: UnderWay[] = [];
      for (const one of steps) {
        if (one.do === "arrive") {
          const admitted = await fleet.arrive(one.process, one.name, one.credits);
          if (passed(admitted)) underWay.push(admitted);
        } else if (one.do === "finish") {
          const [ended] = underWay.splice(one.which, 1);
          const held = ended?.hold.credits() ?? 0;
          const amount = { all: held, less: Math.floor(held / 2), nothing: 0 }[one.costs];
          if (ended) await fleet.finish(ended, amount ?? 0);
        } else if (one.do === "send") await fleet.send(one.process);
        else if (one.do === "buy") fleet.mint(one.name, 5);
        else fleet.pass(one.ms);
        expect(fleet.refusals()).toBe(0);
      }
      for (const one of underWay) await fleet.finish(one, one.hold.credits());
      while ((await fleet.send(0)) > 0);
      expect(fleet.refusals()).toBe(0);
      fleet.pass(6_000);
      for (const name of names) {
        for (let process = 0; process < processes; process += 1) {
          const has = fleet.balance(name);
          if (has === 0) continue;
          const last = await fleet.arrive(process, name, has);
          expect(wordOf(last)).toBe("pass");
          if (passed(last)) await fleet.finish(last, 0);
        }
      }
    }),
    { numRuns: 60 },
  );
});

/**
 * A guard in front of a ledger that always tells, through random histories in which answers overtake
 * each other: whoever was let through can pay.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import type { Known } from "../../src/guard/guard.ts";
import type { Hold, Turned } from "../../src/guard/hold.ts";
import { isHold, nothingKnown, openGuard, payer, turn } from "./world.ts";

const names = ["ann", "bob"];
const name = fc.constantFrom(...names);
const which = fc.nat({ max: 5 });
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("arrive" as const), name, credits: fc.nat({ max: 6 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("finish" as const),
      which,
      costs: fc.constantFrom("all", "all", "less", "nothing"),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("accept" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("send" as const), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("apply" as const), which }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("hear" as const),
      which,
      what: fc.constantFrom("balance", "balance", "nothing", "lost"),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("readBalance" as const), which }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("answer" as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("buy" as const), name }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("wait" as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

interface Charge {
  readonly name: string;
  readonly amount: number;
  readonly told: ReturnType<ReturnType<typeof openGuard>["charge"]>;
  state: "handed over" | "pending" | "sending" | "applied" | "over";
  remaining: number;
}

function createModel() {
  const world = openGuard({ balanceTtlMs: 10, refusalTtlMs: 5 });
  const has = new Map(names.map((each) => [each, 10]));
  const holds: { name: string; credits: number; hold: Hold }[] = [];
  const charges: Charge[] = [];
  /** What the ledger read for each question, by its place. */
  const read = new Map<number, number>();
  const answered = new Set<number>();
  const nameOf = (address: string) => address.slice(2);
  const pick = <Value>(list: readonly Value[], at: number) => list[at % Math.max(1, list.length)];
  const inState = (state: Charge["state"]) => charges.filter((one) => one.state === state);
  const openQuestions = () => [...world.asked.keys()].filter((at) => !answered.has(at));

  const admitted = (each: string, credits: number) => (result: Hold | Turned) => {
    if (isHold(result)) holds.push({ name: each, credits, hold: result });
  };

  function account(each: string): Known["account"] {
    const theirs = charges.filter((charge) => charge.name === each);
    const unsettled = theirs
      .filter(({ state }) => state === "pending" || state === "sending" || state === "applied")
      .reduce((sum, { amount }) => sum + amount, 0);
    return { ...nothingKnown, unsettled };
  }

  async function take(one: Step) {
    switch (one.do) {
      case "arrive": {
        const result = world.guard.admit(payer(one.name), one.credits);
        const done = admitted(one.name, one.credits);
        if (result instanceof Promise) void result.then(done);
        else done(result);
        break;
      }
      case "finish": {
        const held = pick(holds, one.which);
        if (!held) break;
        holds.splice(holds.indexOf(held), 1);
        const amount = one.costs === "all" ? held.credits : Math.floor(held.credits / 2);
        if (one.costs !== "nothing" && amount > 0) {
          const told = world.charge(held.name, amount);
          charges.push({ name: held.name, amount, told, state: "handed over", remaining: 0 });
          told.handedOver();
        }
        held.hold.end();
        break;
      }
      case "accept":
        for (const charge of inState("handed over")) {
          charge.state = "pending";
          charge.told.accepted();
        }
        break;
      case "send": {
        const charge = pick(inState("pending"), one.which);
        if (!charge) break;
        charge.state = "sending";
        charge.told.sending();
        break;
      }
      case "apply": {
        const charge = pick(inState("sending"), one.which);
        if (!charge) break;
        charge.remaining = (has.get(charge.name) ?? 0) - charge.amount;
        // The whole point: a ledger would refuse it.
        expect(charge.remaining).toBeGreaterThanOrEqual(0);
        has.set(charge.name, charge.remaining);
        charge.state = "applied";
        break;
      }
      case "hear": {
        const charge = pick(inState("applied"), one.which);
        if (!charge) break;
        charge.state = "over";
        if (one.what === "lost") charge.told.unresolved();
        else charge.told.completed(one.what === "balance" ? charge.remaining : null);
        break;
      }
      case "readBalance": {
        const at = pick(openQuestions(), one.which);
        const question = at === undefined ? undefined : world.asked[at];
        if (question) read.set(at as number, has.get(nameOf(question.holderAddress)) ?? 0);
        break;
      }
      case "answer": {
        const at = pick(openQuestions(), one.which);
        const question = at === undefined ? undefined : world.asked[at];
        if (!question) break;
        const each = nameOf(question.holderAddress);
        const amount = read.get(at as number) ?? has.get(each) ?? 0;
        answered.add(at as number);
        await question.answer({ balance: { told: true, amount }, account: account(each) });
        break;
      }
      case "buy":
        has.set(one.name, (has.get(one.name) ?? 0) + 3);
        break;
      case "wait":
        world.pass(7);
    }
    await turn();
  }

  /** With nothing under way any more, the next question gives everyone what they have. */
  async function end() {
    for (const { hold } of holds) hold.end();
    for (const charge of charges) {
      if (charge.state === "handed over") charge.told.accepted();
      if (charge.state === "handed over" || charge.state === "pending") charge.told.sending();
      if (charge.state !== "applied" && charge.state !== "over") {
        has.set(charge.name, (has.get(charge.name) ?? 0) - charge.amount);
      }
      if (charge.state !== "over") charge.told.completed(null);
      charge.state = "over";
    }
    for (const at of openQuestions()) {
      const question = world.asked[at];
      const amount = has.get(nameOf(question?.holderAddress ?? "")) ?? 0;
      await question?.answer({
        balance: { told: true, amount },
        account: nothingKnown,
      });
      await turn();
    }
    for (const { hold } of holds) hold.end();
    world.pass(1_000);
    for (const each of names) {
      const left = has.get(each) ?? 0;
      expect(left).toBeGreaterThanOrEqual(0);
      if (left === 0) continue;
      const known = { balance: { told: true, amount: left } as const };
      expect(isHold(await world.admit(payer(each), left, known))).toBe(true);
    }
    expect(world.guard.exposure()).toBe(0);
  }

  return { take, end };
}

test("whoever is let through can pay, and nothing stays on hold", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 40, maxLength: 200, size: "max" }),
      async (steps) => {
        const model = createModel();
        for (const one of steps) await model.take(one);
        await model.end();
      },
    ),
    { numRuns: 400 },
  );
});

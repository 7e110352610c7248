/** Many holders that are made up, each of whom might have a line of credit of their own. */

import { type Call, holderOf } from "../crowd.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

const price = 1;
const creditLine = 10;
const guardOf = (strangers: number) => ({ creditLine, maxExposure: Math.floor(strangers / 10) });

export async function runStrangers({ strangers, slowMs }: Scale): Promise<Row[]> {
  const calls = Array.from({ length: strangers }, (_, number) => ({
    holder: holderOf(number + 1),
    proof: "0xaa",
  }));
  return [
    await whileUp(calls),
    await withOldBalances(calls),
    await whileSlow(calls, slowMs),
    await whileDown(calls),
    await unasked(calls),
  ];
}

function whileUp(calls: readonly Call[]): Promise<Row> {
  return inWorld({ price, guard: guardOf(calls.length) }, async (world) => {
    // The ledger knows the plan, and somebody else on it.
    world.mint(holderOf(0), 1);
    const seen = await world.flood(calls);
    return world.row(`${calls.length} made-up holders, the ledger is up`, seen, (taken) => [
      most("answers", taken.answers, "0", 0),
    ]);
  });
}

/** Whoever has too little is not asked for again at once, though the balance is old at once. */
function withOldBalances(calls: readonly Call[]): Promise<Row> {
  const guard = { ...guardOf(calls.length), balanceTtlMs: 0 };
  return inWorld({ price, guard }, async (world) => {
    const seen = await world.flood([...calls, ...calls]);
    return world.row(`${calls.length} made-up holders twice, balanceTtlMs 0`, seen, (taken) => [
      most("answers", taken.answers, "0", 0),
    ]);
  });
}

/** Whose turn does not come in five seconds has a line of credit: the ledger might as well be away. */
function whileSlow(calls: readonly Call[], slowMs: number): Promise<Row> {
  const guard = guardOf(calls.length);
  const slow = { "delay-before-applying": { rate: 1, ms: slowMs, on: "balance" } } as const;
  return inWorld({ price, guard, ledger: { faults: slow } }, async (world) => {
    const seen = await world.atOnce(calls);
    const name = `${calls.length} made-up holders at once, each question takes ${slowMs} ms`;
    return world.row(name, seen, (taken) => [
      most("worth", taken.worth, "maxExposure", guard.maxExposure),
    ]);
  });
}

function whileDown(calls: readonly Call[]): Promise<Row> {
  const guard = guardOf(calls.length);
  return inWorld({ price, guard }, async (world) => {
    await world.ledger.goAway();
    const seen = await world.flood([...calls, ...calls]);
    await world.ledger.comeBack();
    return world.row(`${calls.length} made-up holders, the ledger is down`, seen, (taken) => [
      most("worth", taken.worth, "maxExposure", guard.maxExposure),
    ]);
  });
}

/** What the ledger has refused is owed no more, and counts for `blockForMs` all the same. */
function unasked(calls: readonly Call[]): Promise<Row> {
  const guard = { ...guardOf(calls.length), balance: "never" as const };
  return inWorld({ price, guard }, async (world) => {
    const seen = await world.flood([...calls, ...calls]);
    await world.settle();
    seen.push(...(await world.flood(calls)));
    const name = `${calls.length} made-up holders, balance "never"`;
    return world.row(name, seen, (taken) => [
      most("owed at once", world.mostOwed(), "maxExposure", guard.maxExposure),
      most("loss in blockForMs", taken.loss, "maxExposure", guard.maxExposure),
    ]);
  });
}

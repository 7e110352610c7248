/** Requests that name random holders, so that a buyer whose balance must be asked for again finds no place. */

import { type Call, holderOf, type Seen } from "../crowd.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

const perSecond = 300;
/** A question takes so long that not even a third of the strangers can be asked for. */
const questionMs = 100;
/** What was told of the buyer is old at once: as after `balanceTtlMs` without a call. */
const guard = { balanceTtlMs: 0, maxQuestions: 8 };

export async function runCrowdedOut({ strangers }: Scale): Promise<Row[]> {
  const buyer: Call = { holder: holderOf(1), proof: "0xaa" };
  const flood = Array.from({ length: strangers }, (_, number) => ({
    holder: holderOf(number + 2),
    proof: "0xaa",
  }));
  const slow = { "delay-before-applying": { rate: 1, ms: questionMs, on: "balance" } } as const;
  return [
    await inWorld({ price: 1, guard, ledger: { faults: slow } }, async (world) => {
      world.mint(buyer.holder, strangers);
      const calm = await world.inTurn([buyer]);
      let isOver = false;
      const flooding = world.spread(flood, perSecond).finally(() => {
        isOver = true;
      });
      const met: Seen[] = [];
      while (!isOver) met.push(...(await world.inTurn([buyer])));
      const seen = await flooding;
      const refused = met.filter(({ status }) => status !== 200).length;
      const name = `a buyer beside ${perSecond} made-up holders a second, each question ${questionMs} ms`;
      return world.row(name, [...seen, ...met, ...calm], (taken) => [
        most("honest calls refused", refused, "0", 0),
        most("answers to strangers", taken.answers - met.length - calm.length, "0", 0),
        most("loss", taken.loss, "0", 0),
      ]);
    }),
  ];
}

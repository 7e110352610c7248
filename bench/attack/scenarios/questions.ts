/** Requests that nobody pays for, sent so that the ledger is asked for balances. */

import { holderOf } from "../crowd.ts";
import { inFrontOf } from "../front.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

export async function runQuestions({ refusals }: Scale): Promise<Row[]> {
  const guard = { refusalTtlMs: 500, maxQuestions: 8 };
  const holders = Math.floor(refusals / 4) + 1;
  // Every second call is the broke holder's, the others are made-up ones' in turn.
  const calls = Array.from({ length: 2 * refusals }, (_, number) => ({
    holder: holderOf(number % 2 === 0 ? 0 : 1 + (((number - 1) / 2) % (holders - 1))),
    proof: "0xaa",
  }));
  return [
    await inFrontOf(async (front) =>
      inWorld({ price: 1, guard, between: front.to }, async (world) => {
        world.mint(holderOf(0), 1);
        await world.inTurn([{ holder: holderOf(0), proof: "0xaa" }]);
        const before = front.questions();
        const began = performance.now();
        const seen = await world.flood(calls);
        const windows = 1 + Math.floor((performance.now() - began) / guard.refusalTtlMs);
        const questions = front.questions() - before;
        const name = `${calls.length} calls of ${holders} holders without credits`;
        return world.row(name, seen, (taken) => [
          most("answers", taken.answers, "0", 0),
          most(
            "questions",
            questions,
            "holders × times that refusalTtlMs began",
            holders * windows,
          ),
          most("questions at once", front.mostAtOnce(), "maxQuestions", guard.maxQuestions),
        ]);
      }),
    ),
  ];
}

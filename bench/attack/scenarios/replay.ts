/** One proof many times, where a proof pays once. The balance would pay for all. */

import { holderOf } from "../crowd.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

const price = 1;
const holder = holderOf(1);

export async function runReplay({ calls }: Scale): Promise<Row[]> {
  const numbers = [...Array(calls).keys()];
  const same = numbers.map(() => "0xab");
  const hexadecimal = numbers.map((number) => `0x${inCase("abcdefab", number)}`);
  const json = numbers.map((number) => `{"signature":${" ".repeat(number)}"0xab"}`);
  return [
    await run(`one proof ${calls} times at once`, same, "atOnce"),
    await run(`one proof ${calls} times in turn`, same, "inTurn"),
    await run(`one proof in ${calls} spellings, at once`, hexadecimal, "atOnce"),
    await run(`one proof as JSON in ${calls} spellings, in turn`, json, "inTurn"),
  ];
}

function run(name: string, proofs: readonly string[], how: "atOnce" | "inTurn"): Promise<Row> {
  return inWorld({ price, guard: { proofs: "single-use" } }, async (world) => {
    world.mint(holder, proofs.length * price);
    const seen = await world[how](proofs.map((proof) => ({ holder, proof })));
    return world.row(name, seen, (taken) => [
      most("answers", taken.answers, "1 for each proof", 1),
      most("loss", taken.loss, "0", 0),
    ]);
  });
}

/** Letters in upper case where the number has a bit. */
function inCase(letters: string, number: number): string {
  return [...letters]
    .map((letter, place) => (number & (1 << place) ? letter.toUpperCase() : letter))
    .join("");
}

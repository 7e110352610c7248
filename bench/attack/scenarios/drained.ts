/** A balance that another seller burns after the meter saw it. */

import { holderOf, times } from "../crowd.ts";
import { redeemElsewhere } from "../elsewhere.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

export async function runDrained({ calls }: Scale): Promise<Row[]> {
  const price = 1;
  const call = { holder: holderOf(1), proof: "0xaa" };
  const balance = Math.floor(calls / 2);
  const row = await inWorld({ price }, async (world) => {
    world.mint(call.holder, balance + price);
    await world.inTurn([call]);
    await redeemElsewhere(world.ledger, call.holder, balance);
    const seen = await world.atOnce(times(calls, call));
    await world.settle();
    const after = await world.atOnce(times(calls, call));
    after.push(...(await world.inTurn(times(5, call))));
    const name = `a balance of ${balance} that was spent elsewhere, ${calls} calls at once`;
    return world.row(name, [...seen, ...after], (taken) => [
      most("worth", taken.worth, "balance that was told last", balance),
      most("loss", taken.loss, "balance that was told last", balance),
    ]);
  });
  return [row];
}

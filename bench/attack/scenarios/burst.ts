/** More calls at once than the holder can pay for. */

import { holderOf, times } from "../crowd.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

const holder = holderOf(1);
const proof = "0xaa";

export async function runBurst({ calls }: Scale): Promise<Row[]> {
  const balance = 5;
  const creditLine = 10;
  const price = 1;
  const up = await inWorld({ price, guard: { creditLine } }, async (world) => {
    world.mint(holder, balance);
    const seen = await world.atOnce(times(calls, { holder, proof }));
    return world.row(`${calls} calls at once, the ledger is up`, seen, (taken) => [
      most("worth", taken.worth, "balance", balance),
      most("loss", taken.loss, "0", 0),
    ]);
  });
  const down = await inWorld({ price, guard: { creditLine } }, async (world) => {
    world.mint(holder, balance);
    await world.ledger.goAway();
    const seen = await world.atOnce(times(calls, { holder, proof }));
    await world.ledger.comeBack();
    return world.row(`${calls} calls at once, the ledger is down`, seen, (taken) => [
      most("worth", taken.worth, "creditLine", creditLine),
      most("loss", taken.loss, "creditLine", creditLine),
    ]);
  });
  return [up, down];
}

/** A hold must be the most that a request can cost. Where it is less, so much more is had. */
export async function runLowHold({ calls }: Scale): Promise<Row[]> {
  const balance = 5;
  const hold = 1;
  const price = 3;
  const admitted = Math.floor(balance / hold);
  const paid = Math.floor(balance / price) * price;
  const setting = { price, route: { hold, price: () => price } };
  const atOnce = await inWorld(setting, async (world) => {
    world.mint(holder, balance);
    const seen = await world.atOnce(times(calls, { holder, proof }));
    return world.row(`${calls} calls at once, hold ${hold}, price ${price}`, seen, (taken) => [
      most("worth", taken.worth, "floor(balance / hold) × price", admitted * price),
      most(
        "more than the balance",
        taken.worth - balance,
        "floor(balance / hold) × (price - hold)",
        admitted * (price - hold),
      ),
      most(
        "loss",
        taken.loss,
        "(floor(balance / hold) - floor(balance / price)) × price",
        admitted * price - paid,
      ),
    ]);
  });
  const inTurn = await inWorld(setting, async (world) => {
    world.mint(holder, balance);
    const seen = await world.inTurn(times(calls, { holder, proof }));
    return world.row(`${calls} calls in turn, hold ${hold}, price ${price}`, seen, (taken) => [
      most("loss", taken.loss, "floor(balance / hold) × price", admitted * price),
    ]);
  });
  return [atOnce, inTurn];
}

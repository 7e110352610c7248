/** Many holders whose balances were told once, are old now, and were spent elsewhere. */

import { setTimeout as sleep } from "node:timers/promises";
import { holderOf } from "../crowd.ts";
import { redeemElsewhere } from "../elsewhere.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

const price = 1;
const proof = "0xaa";
const minted = 10;

export async function runAcquaintances({ strangers }: Scale): Promise<Row[]> {
  const count = Math.ceil(strangers / 4);
  const balanceTtlMs = 50;
  const guard = { creditLine: 10, maxExposure: Math.floor(count / 5), balanceTtlMs };
  const holders = Array.from({ length: count }, (_, number) => holderOf(number + 1));
  const row = await inWorld({ price, guard }, async (world) => {
    for (const holder of holders) world.mint(holder, minted);
    await world.flood(holders.map((holder) => ({ holder, proof })));
    await world.settle();
    for (const holder of holders) await redeemElsewhere(world.ledger, holder, minted - price);
    await sleep(balanceTtlMs + 1);
    await world.ledger.goAway();
    // The first finds out that the ledger is away; the others are not asked for.
    const [first = "", ...others] = holders;
    const seen = await world.atOnce([{ holder: first, proof }]);
    for (let round = 0; round < minted; round += 1) {
      seen.push(...(await world.flood(others.map((holder) => ({ holder, proof })))));
    }
    // Nobody told of these: what the others have had leaves them their own bound.
    const strangers = holders.map((_, number) => holderOf(count + number + 1));
    const theirs = await world.flood(strangers.map((holder) => ({ holder, proof })));
    await world.ledger.comeBack();
    const name = `${count} holders drained elsewhere, balances old, the ledger is down`;
    const answered = theirs.filter(({ status }) => status === 200).length;
    const told = count * (minted - price);
    return world.row(name, [...seen, ...theirs], (taken) => [
      most("worth", taken.worth - answered * price, "balances that were told last", told),
      most("worth to strangers", answered * price, "maxExposure", guard.maxExposure),
    ]);
  });
  return [row];
}

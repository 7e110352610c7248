/** Proofs that the ledger refuses, for the address of a holder who has credits. */

import { type Call, holderOf, type Seen, times } from "../crowd.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

const price = 1;
const holder = holderOf(1);
const honest: Call = { holder, proof: "0xaa" };
const forged: Call = { holder, proof: "0xbad" };
const isGood = ({ proof }: { proof: string }) => proof === honest.proof;

export async function runForgery({ calls }: Scale): Promise<Row[]> {
  const balance = Math.floor(calls / 2);
  return [
    await unverified(calls, balance),
    await verified(calls, balance),
    await takenOnce(calls, balance),
    await manyTakenOnce(calls, balance),
  ];
}

/** Whoever has paid with a proof is not kept out by somebody else's false one. */
function unverified(calls: number, balance: number): Promise<Row> {
  return inWorld({ price, ledger: { acceptProof: isGood } }, async (world) => {
    const attack = times(calls, forged);
    world.mint(holder, balance + 3);
    const calm = await world.inTurn(times(3, honest));
    const seen = await world.atOnce(attack);
    await world.settle();
    const after = await world.atOnce(attack);
    calm.push(...(await world.inTurn([honest])));
    after.push(...(await world.inTurn(attack)), ...(await world.atOnce(attack)));
    calm.push(...(await world.inTurn([honest])));
    return world.row("a false proof", [...seen, ...after], (taken) => [
      most("answers", taken.answers, "floor(balance / price)", Math.floor(balance / price)),
      most("answers after the first refusal", answersIn(after), "0", 0),
      most("honest calls refused", calm.length - answersIn(calm), "0", 0),
    ]);
  });
}

function verified(calls: number, balance: number): Promise<Row> {
  const setting = { price, ledger: { acceptProof: isGood }, guard: { verifyProof: isGood } };
  return inWorld(setting, async (world) => {
    world.mint(holder, balance);
    const seen = await world.atOnce(times(calls, forged));
    const calm = await world.inTurn([honest]);
    return world.row("a false proof, and verifyProof", seen, (taken) => [
      most("answers", taken.answers, "0", 0),
      most("honest calls refused", calm.length - answersIn(calm), "0", 0),
    ]);
  });
}

function takenOnce(calls: number, balance: number): Promise<Row> {
  return inWorld({ price, ledger: { acceptProof: once() } }, async (world) => {
    world.mint(holder, balance);
    const seen = await world.inTurn(times(calls, honest));
    const name = `a proof that the ledger takes once, ${calls} times in turn`;
    return world.row(name, seen, (taken) => [most("loss", taken.loss, "price", price)]);
  });
}

/** Proofs that have paid pass while the holder is blocked: until the first of them is refused. */
function manyTakenOnce(calls: number, balance: number): Promise<Row> {
  return inWorld({ price, ledger: { acceptProof: once() } }, async (world) => {
    const proofs = ["0x1", "0x2", "0x3", "0x4"];
    world.mint(holder, balance + proofs.length * price);
    const seen = await world.inTurn(proofs.map((proof) => ({ holder, proof })));
    for (const proof of [forged.proof, ...proofs]) {
      seen.push(...(await world.atOnce(times(calls, { holder, proof }))));
      await world.settle();
    }
    return world.row("a false proof, then four that the ledger takes once", seen, (taken) => [
      most(
        "loss",
        taken.loss,
        "2 × floor(balance / price) × price",
        2 * Math.floor(balance / price) * price,
      ),
    ]);
  });
}

/** Takes each proof but the forged one, and none twice. */
function once() {
  const taken = new Set([forged.proof]);
  return ({ proof }: { proof: string }) => {
    const isNew = !taken.has(proof);
    taken.add(proof);
    return isNew;
  };
}

function answersIn(seen: readonly Seen[]): number {
  return seen.filter(({ status }) => status === 200).length;
}

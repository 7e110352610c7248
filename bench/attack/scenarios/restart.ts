/** A process that is killed in the middle of an attack, and started again on its journal. */

import { holderOf, plan, times } from "../crowd.ts";
import { twoLives } from "../lives.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";

const price = 1;
const concurrency = 2;
const proof = "0xaa";
const holder = holderOf(0);
const creditLine = 10;
/** Answers in the first life: less than the line. */
const first = 6;

/** Side by side: most of the time goes by while processes start. */
export function runRestart(scale: Scale): Promise<Row[]> {
  return Promise.all([runDown(scale), runMany(scale), runHanging(scale), runRefused(scale)]);
}

function runDown({ calls }: Scale): Promise<Row> {
  const guard = { creditLine };
  return twoLives({ price, concurrency, guard }, async (lives) => {
    await lives.ledger.goAway();
    await lives.start();
    await lives.send(times(first, { holder, proof }));
    await lives.killWith(times(calls, { holder, proof, path: "/hang" }));
    await lives.start();
    await lives.send(times(calls, { holder, proof }));
    return lives.row("killed and started again, the ledger is down", (worth) => [
      most("worth in both lives", worth, "creditLine", creditLine),
    ]);
  });
}

function runMany({ strangers }: Scale): Promise<Row> {
  const maxExposure = 15;
  const calls = strangersOf(strangers);
  return twoLives({ price, concurrency, guard: { creditLine, maxExposure } }, async (lives) => {
    await lives.ledger.goAway();
    await lives.start();
    await lives.send(calls.slice(0, first));
    await lives.killWith(calls.map((call) => ({ ...call, path: "/hang" })));
    await lives.start();
    await lives.send(calls.toReversed());
    return lives.row(`killed, the ledger is down, ${strangers} made-up holders`, (worth) => [
      // What is on the wire at a kill becomes unresolved: a person's, and no exposure any more.
      most(
        "worth in both lives",
        worth,
        "maxExposure + concurrency × price",
        maxExposure + concurrency * price,
      ),
    ]);
  });
}

/** More holders than can be asked for at once, and the one who owes comes last. */
function runHanging({ calls }: Scale): Promise<Row> {
  const others = strangersOf(50);
  const guard = { creditLine, maxExposure: 10_000 };
  return twoLives({ price, concurrency, guard }, async (lives) => {
    await lives.ledger.goAway();
    await lives.start();
    await lives.send(times(calls, { holder, proof }));
    await lives.killWith([]);
    await lives.ledger.comeBack();
    lives.ledger.setFaults({ "hang-before-applying": { rate: 1, on: "any" } });
    await lives.start();
    await lives.send([...others, ...times(calls, { holder, proof })]);
    const name = `killed, the ledger hangs, ${others.length} others are asked for first`;
    return lives.row(name, (worth) => [
      most(
        "worth in both lives",
        worth,
        `creditLine + ${others.length} × price`,
        creditLine + others.length * price,
      ),
    ]);
  });
}

function runRefused({ calls }: Scale): Promise<Row> {
  const balance = Math.floor(calls / 2);
  const ledger = { acceptProof: () => false };
  return twoLives({ price, concurrency, guard: {}, ledger }, async (lives) => {
    lives.ledger.mint({ planId: plan, holderAddress: holder, amount: balance });
    await lives.start();
    await lives.send(times(calls, { holder, proof }));
    await lives.untilJournaled(({ failed = 0, pending = 0, sending = 0 }) => {
      return failed > 0 && pending + sending === 0;
    });
    await lives.killWith(times(calls, { holder, proof, path: "/hang" }));
    await lives.start();
    const second = await lives.send(times(calls, { holder, proof }));
    const answers = second.filter(({ status }) => status === 200).length;
    return lives.row("killed and started again, the proof is false", (worth) => [
      most("worth in both lives", worth, "balance", balance),
      most("answers in the second", answers, "0", 0),
    ]);
  });
}

function strangersOf(count: number) {
  return Array.from({ length: count }, (_, number) => ({ holder: holderOf(number + 1), proof }));
}

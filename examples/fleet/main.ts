/**
 * `npm run example:fleet`: four processes on one journal in PostgreSQL, behind a small balancer. They
 * share the holds of a holder who has too few credits; then one of them is killed under load, the others
 * take over what it left, and all sums are compared. No account, no key and no network are needed.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { createLedger, type Ledger } from "express-credit-meter/ledger";
import { readCommand, runMain } from "../../bench/command.ts";
import { startBalancer } from "./balancer.ts";
import { type Buyer, buy, startLoad } from "./buyers.ts";
import { type Database, openDatabase } from "./database.ts";
import { type Member, startMember } from "./member.ts";
import { type Sums, sumUp } from "./sums.ts";

const usage = `Usage: npm run example:fleet -- [options]

  --seconds N         of load; the kill comes half-way. At least 2 (8)
  --buyers N          (16)
`;
const values = readCommand(usage, {
  seconds: { type: "string", default: "8" },
  buyers: { type: "string", default: "16" },
});
const seconds = Number(values.seconds);

const plan = "105906633592154016712415751065229075315413571";
const holderOf = (index: number) => `0x${index.toString(16).padStart(40, "0")}`;
const poor: Buyer = { plan, holder: holderOf(0) };
const buyers: Buyer[] = Array.from({ length: Number(values.buyers) }, (_, index) => ({
  plan,
  holder: holderOf(index + 1),
}));
const number = (value: number) => value.toLocaleString("en-US");

async function startFleet(ledger: Ledger, { url: postgres, schema }: Database): Promise<Member[]> {
  return Promise.all(
    [1, 2, 3, 4].map((place) =>
      startMember(
        {
          place,
          plan,
          ledger: { baseUrl: ledger.baseUrl, key: ledger.key },
          journal: { postgres, schema },
        },
        (line) => console.log(`   process ${place} says: ${line}`),
      ),
    ),
  );
}

async function shareHolds(url: string) {
  console.log("\n1. A holder with 5 credits sends 100 requests at once, over all four processes.");
  const answers = await Promise.all(Array.from({ length: 100 }, () => buy(url, poor)));
  const of = (wanted: number) => answers.filter(({ status }) => status === wanted).length;
  console.log(`   answered: ${of(200)} × 200, ${of(402)} × 402`);
  return {
    received: answers.filter(({ status }) => status === 200),
    isRight: of(200) === 5 && of(402) === 95,
  };
}

/** @returns what was received, and when one of them was killed */
async function killOneUnderLoad(url: string, victim: Member) {
  console.log(
    `\n2. ${buyers.length} buyers send requests for ${seconds} s; half-way, process ${victim.place} is killed (SIGKILL).`,
  );
  let isTime = false;
  let killed: { at: number; dead: Promise<void> } | undefined;
  // The moment at which it has answered: its newest charges may not be in the journal yet.
  const load = startLoad(url, buyers, ({ place }) => {
    if (!isTime || killed || place !== victim.place) return;
    killed = { dead: victim.kill(), at: performance.now() };
    console.log(`   process ${place} (pid ${victim.pid}) is killed; nobody is told`);
  });
  for (let second = 1; second <= seconds; second += 1) {
    await sleep(1_000);
    if (second % 2 === 0) console.log(`   ${second} s: ${number(load.received.length)} answers`);
    isTime ||= second >= seconds / 2;
  }
  await load.stop();
  if (!killed) throw new Error(`Process ${victim.place} has answered nothing.`);
  await killed.dead;
  return { received: load.received, killed: { place: victim.place, at: killed.at } };
}

/** Waits until no charge is under way; what was on the wire of the dead is taken over meanwhile. */
async function settledRecords(member: Member) {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const records = await member.records();
    const waiting = records.filter(({ status }) => status === "pending" || status === "sending");
    if (waiting.length === 0) return records;
    if (performance.now() > deadline) throw new Error(`${waiting.length} charges do not settle.`);
    await sleep(250);
  }
}

function report(sums: Sums, before: number, after: number) {
  const { delivered, cutOff, turnedAway, completed, unresolved, lost } = sums;
  const byStatus = Object.entries(sums.records).map(([word, count]) => `${number(count)} ${word}`);
  console.log(`
3. The sums
   answered with 200      ${number(delivered)}, and ${cutOff} cut off by the kill${turnedAway > 0 ? `, ${turnedAway} turned away with 503` : ""}
   in the journal         ${byStatus.join(", ")}
   burned at the ledger   ${number(sums.credits)} credits in ${number(sums.burns)} charges, ${sums.burnedTwice} of them twice
   balances               ${number(before)} before, ${number(after)} after
   unresolved             ${sums.records.unresolved ?? 0}, on the wire at the kill: a person decides (the ledger has burned ${sums.unresolvedBurned})
   without a record       ${lost.length}${lost.length > 0 ? ", which the kill caught before their commit:" : ""}`);
  for (const { redemptionId, ageMs } of lost) {
    // What it had written before its end is delivered all the same.
    const when = ageMs < 0 ? "after" : "before";
    console.log(`     ${redemptionId}, received ${Math.abs(ageMs).toFixed(1)} ms ${when} the kill`);
  }
  if (sums.wrong.length > 0)
    return console.log(`\nThe sums do not agree: ${sums.wrong.join("; ")}.`);
  console.log(
    `\nThe sums agree: ${number(delivered)} delivered = ${number(completed)} completed + ${unresolved} unresolved + ${lost.length} without a record.`,
  );
}

async function main() {
  console.log("Starting PostgreSQL, a ledger and four processes …");
  const database = await openDatabase();
  // Time on the wire, so that the kill finds charges there.
  const faults = { "delay-before-applying": { rate: 1, ms: [100, 300] as [number, number] } };
  const ledger = await createLedger({ faults });
  ledger.mint({ planId: plan, holderAddress: poor.holder, amount: 5 });
  for (const { holder } of buyers) {
    ledger.mint({ planId: plan, holderAddress: holder, amount: 100_000 });
  }
  const balances = () =>
    [poor, ...buyers].reduce((sum, { holder }) => sum + ledger.balance(plan, holder), 0);
  const before = balances();

  const members = await startFleet(ledger, database);
  const balancer = await startBalancer(members.map(({ port }) => port));
  const where = database.isGiven
    ? "that DATABASE_URL names"
    : "from packages, in a temporary folder";
  console.log(`PostgreSQL: the one ${where}`);
  console.log(`Processes:  ${members.map(({ pid }) => pid).join(", ")}, behind ${balancer.url}`);
  try {
    const holds = await shareHolds(balancer.url);
    const [, victim, survivor] = members as [Member, Member, Member, Member];
    const load = await killOneUnderLoad(balancer.url, victim);
    const records = await settledRecords(survivor);
    const after = balances();
    const sums = sumUp({
      received: [...holds.received, ...load.received],
      records,
      burns: ledger
        .burns()
        .map(({ idempotencyKey, amount }) => ({ redemptionId: idempotencyKey, amount })),
      before,
      after,
      killed: load.killed,
    });
    report(sums, before, after);
    if (!holds.isRight)
      console.log("The holds were not shared: 5 × 200 and 95 × 402 were expected.");
    process.exitCode = holds.isRight && sums.wrong.length === 0 ? 0 : 1;
  } finally {
    balancer.close();
    await Promise.all(members.map((member) => member.close()));
    await ledger.close();
    await database.stop();
  }
}

runMain(main);

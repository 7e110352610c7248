/**
 * A fleet on one journal in PostgreSQL: its servers are killed, stopped and continued, PostgreSQL
 * crashes under their commits and cuts their connections.
 */

import { existsSync } from "node:fs";
import { type Suffered, sufferFaults, type Times } from "../fleet-faults.ts";
import { conductOf, faultsOf } from "../ledger.ts";
import type { Stop } from "../stops.ts";
import { judge, least, none, type Rule, round, skipped, type Verdict } from "../verdict.ts";
import { openWorld, type Settled, type World, type WorldOptions } from "../world.ts";

export interface FleetOptions extends WorldOptions {
  readonly times: Times;
}

const name = "fleet on PostgreSQL";
const settleMs = 180_000;

/** Charges are longer on the wire than elsewhere, so that a stop finds some there. */
const slow = {
  "delay-before-applying": { rate: 0.9, ms: [10, 120] },
  "delay-after-applying": { rate: 0.5, ms: [5, 60] },
} as const;

/** So many faults, split among the kinds. */
export function timesOf(faults: number): Times {
  const stops = Math.ceil(faults * 0.3);
  const crashes = Math.ceil(faults * 0.15);
  const cuts = Math.ceil(faults * 0.2);
  return { stops, crashes, cuts, kills: Math.max(1, faults - stops - crashes - cuts) };
}

export async function runFleet(options: FleetOptions): Promise<Verdict> {
  if (!existsSync("/proc/self/task")) {
    return skipped(name, "whether a process stands still is read from /proc, which Linux has");
  }
  const world = await openWorld({ ...options, faults: { ...faultsOf(options.ledger), ...slow } });
  const { postgres } = world;
  if (!postgres) throw new Error("A fleet has its journal in PostgreSQL.");
  // Where the server is not ours, nothing may befall all of it.
  const times = { ...options.times, ...(!postgres.server.restart && { crashes: 0 }) };
  try {
    world.faults(true);
    const servers = Array.from({ length: options.processes }, (_, place) => world.start(place));
    await Promise.all(servers.map(({ ready }) => ready));
    world.load(true);
    await world.served(100);
    const suffered = await sufferFaults(world, postgres, servers, times);
    options.report("no more faults; waiting until nothing is left to send");
    await Promise.all(servers.map(({ ready }) => ready));
    await world.served(50);
    const settled = await world.settle(settleMs);
    const late = await completedLate(world, suffered);
    return judge(name, settled, world, {
      stops: suffered.stops.length,
      rules: rulesOf(world, suffered, times, settled),
      figures: figuresOf(world, suffered, late),
    });
  } finally {
    await world.close();
  }
}

/** What the run must have done to prove anything. */
function rulesOf({ deaths }: World, suffered: Suffered, times: Times, settled: Settled): Rule[] {
  const { stops, crashes, cuts } = suffered;
  const most = (times: number) => Math.floor(times * 0.75);
  const half = (times: number) => Math.floor(times / 2);
  return [
    least("stops between sending and the answer", landed(stops).length, most(times.stops)),
    least("stops that outlasted the takeover", outlasted(stops).length, Math.ceil(times.stops / 4)),
    least("stops in mid-transaction", inMidst(stops).length, Math.ceil(times.stops / 8)),
    none("a server that stands still is taken over from", missed(stops)),
    least("kills that found charges on the wire", foundBy(deaths).length, half(times.kills)),
    least("crashes of PostgreSQL under a commit", underCommit(crashes).length, half(times.crashes)),
    least("cuts in a transaction", inTransaction(cuts).length, half(times.cuts)),
    least("responses", settled.comparison.delivered, 10 * (stops.length + deaths.length)),
  ];
}

function figuresOf(world: World, { stops, crashes, cuts }: Suffered, late: number) {
  const { options, deaths } = world;
  const stood = stops.map(({ stoodMs }) => round(stoodMs / 1_000));
  const connections = cuts.reduce((sum, cut) => sum + cut.connections, 0);
  return {
    ledger: conductOf(options.ledger, options.protocol),
    durability: options.durability,
    processes: options.processes,
    faults: deaths.length + stops.length + crashes.length + cuts.length,
    "kills, found charges on the wire": `${deaths.length}, ${foundBy(deaths).length}`,
    "stops, between sending and the answer": `${stops.length}, ${landed(stops).length}`,
    "… of which burned only after the stop": burnedLater(world, stops).length,
    "… in mid-transaction": inMidst(stops).length,
    "… stood still, s": `${Math.min(...stood)} to ${Math.max(...stood)}`,
    "… taken over from before they went on": outlasted(stops).length,
    "… completed by a late answer": late,
    "crashes of PostgreSQL, under a commit": `${crashes.length}, ${underCommit(crashes).length}`,
    "cuts, in a transaction": `${cuts.length}, ${inTransaction(cuts).length}`,
    "connections cut": connections,
  };
}

const foundBy = (deaths: World["deaths"]) => deaths.filter(({ own }) => own.length > 0);
const landed = (stops: Suffered["stops"]) => stops.filter(({ sending }) => sending.length > 0);
const inMidst = (stops: Suffered["stops"]) => stops.filter((stop) => stop.inTransaction);
const outlasted = (stops: Suffered["stops"]) => stops.filter(({ takenOver }) => takenOver);
const underCommit = (crashes: Suffered["crashes"]) =>
  crashes.filter(({ committing }) => committing > 0);
const inTransaction = (cuts: Suffered["cuts"]) => cuts.filter(({ open }) => open > 0);

/** Stops that were to last until a peer had taken over, and none had in more than twice the time. */
function missed(stops: Suffered["stops"]): string[] {
  return stops
    .filter(({ stay, takenOver }) => "pastTakeoverMs" in stay && !takenOver)
    .map(({ stoodMs }) => `not within ${round(stoodMs / 1_000)} s`);
}

/** Stops of which a charge was certainly not applied yet when they had begun. */
function burnedLater({ ledger }: World, stops: Suffered["stops"]): Stop[] {
  const at = new Map(ledger.burns().map(({ redemptionId }, index) => [redemptionId, index]));
  return stops.filter(({ sending, burnsBefore }) =>
    sending.some((id) => (at.get(id) ?? -1) >= burnsBefore),
  );
}

/** Charges that were another's to list already, and whose answer came after all. */
async function completedLate({ journal }: World, { stops }: Suffered): Promise<number> {
  const records = await journal.records();
  const completed = new Set(
    records.flatMap(({ status, redemptionId }) => (status === "completed" ? redemptionId : [])),
  );
  return outlasted(stops)
    .flatMap(({ sending }) => sending)
    .filter((id) => completed.has(id)).length;
}

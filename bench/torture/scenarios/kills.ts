/** Servers are killed at random moments and started again, with every fault mixed in. */

import { setTimeout as sleep } from "node:timers/promises";
import { monotonicMs } from "../clock.ts";
import { conductOf } from "../ledger.ts";
import { createRandom } from "../random.ts";
import { judge, least, most, type Rule, round, type Verdict, words } from "../verdict.ts";
import { openWorld, type Server, type World, type WorldOptions } from "../world.ts";

export interface KillsOptions extends WorldOptions {
  readonly kills: number;
}

/** Responses that a server gives before it is killed, drawn from a range. */
const lifeSpan = [5, 300] as const;
/** One in so many lives long enough for its code to be warm: what is lost then is the steady state. */
const longOneIn = 6;
const longSpan = [700, 1_400] as const;
/** One server in so many is killed while it still starts and recovers, after so many milliseconds. */
const earlyOneIn = 8;
const earlyMs = [20, 450] as const;
/** One life in so many meets an outage, and one in so many a proxy that answers 502 for all. */
const outageOneIn = 4;
const gatewayOneIn = 6;
const troubleMs = [30, 250] as const;
/** What the short lives leave behind is sent by the last one: a kill leaves some 150 charges. */
const settleMs = 120_000;
const settleMsPerKill = 2_000;

export async function runKills(options: KillsOptions): Promise<Verdict> {
  const world = await openWorld(options);
  const random = createRandom(options.seed + 1);
  const between = ([from, to]: readonly [number, number]) => from + random() * (to - from);
  try {
    world.faults(true);
    const servers: Server[] = [];
    for (let place = 0; place < options.processes; place += 1) servers.push(world.start(place));
    await Promise.all(servers.map(({ ready }) => ready));
    world.load(true);
    let upMs = 0;
    let spoken = monotonicMs();
    for (let kill = 0; kill < options.kills; kill += 1) {
      const place = Math.floor(random() * options.processes);
      const server = servers[place] as Server;
      const early = random() * earlyOneIn < 1;
      if (!early) await server.ready;
      const began = monotonicMs();
      if (!early && random() * outageOneIn < 1) await outage(world, between(troubleMs));
      if (!early && random() * gatewayOneIn < 1) await badGateway(world, between(troubleMs));
      const long = random() * longOneIn < 1;
      if (early) await sleep(between(earlyMs));
      else await world.served(between(long ? longSpan : lifeSpan));
      // Responses come in groups; a kill does not wait for the end of one.
      await sleep(random() * 30);
      await world.end(server, "kill");
      upMs += early ? 0 : monotonicMs() - began;
      servers[place] = world.start(place);
      if (monotonicMs() - spoken > 3_000) {
        spoken = monotonicMs();
        const at = words(world.deaths.at(-1)?.states ?? {});
        options.report(`${kill + 1} of ${options.kills} kills, ${world.whole()} responses; ${at}`);
      }
    }
    options.report("no more kills; waiting until nothing is left to send");
    await Promise.all(servers.map(({ ready }) => ready));
    await world.served(50);
    const settled = await world.settle(settleMs + options.kills * settleMsPerKill);
    const found = world.deaths.filter(({ sending }) => sending.length > 0).length;
    const { requests } = settled.comparison;
    return judge("kills", settled, world, {
      rules: [
        least("kills that found records on the wire, %", round((100 * found) / options.kills), 10),
        least("responses", settled.comparison.delivered, options.kills),
        ...idRules(world, settled.comparison.burned),
      ],
      figures: {
        ledger: conductOf(options.ledger, options.protocol),
        durability: options.durability,
        processes: options.processes,
        kills: options.kills,
        "kills that found records sending": found,
        "states at the kills, mean": words(meanStates(world)),
        "requests/s while up": Math.round((requests * 1_000) / Math.max(1, upMs)),
        ...(options.protocol === "x402" && {
          "settlements that reached the ledger": world.ledger.settlements().came,
        }),
      },
    });
  } finally {
    await world.close();
  }
}

/** That an x402 run was about what it says: each burn under an id that verify gave, or none. */
function idRules({ options, ledger }: World, burned: number): Rule[] {
  if (options.protocol === "plans") return [];
  const rule = "burns under an id that verify gave";
  const { underGivenIds } = ledger.settlements();
  return [
    options.ledger === "honour" ? least(rule, underGivenIds, burned) : most(rule, underGivenIds, 0),
  ];
}

async function outage({ ledger }: World, ms: number) {
  await ledger.ledger.goAway();
  await sleep(ms);
  await ledger.ledger.comeBack();
}

async function badGateway(world: World, ms: number) {
  world.ledger.ledger.setFaults({ "error-before-applying": { rate: 1, status: 502 } });
  await sleep(ms);
  world.faults(true);
}

function meanStates({ deaths }: World): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { states } of deaths) {
    for (const word of ["prepared", "pending", "sending"]) {
      sums[word] = (sums[word] ?? 0) + (states[word] ?? 0) / deaths.length;
    }
  }
  return Object.fromEntries(Object.entries(sums).map(([word, mean]) => [word, round(mean)]));
}

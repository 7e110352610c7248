/** What befalls a fleet and its PostgreSQL; stops go on beside all else. */

import { setTimeout as sleep } from "node:timers/promises";
import { monotonicMs, until } from "./clock.ts";
import type { InPostgres } from "./journal-place.ts";
import { createPlaces } from "./places.ts";
import { crashPostgres, cutConnections, type Struck } from "./postgres-faults.ts";
import { createRandom } from "./random.ts";
import { type Stay, type Stop, stopAndContinue } from "./stops.ts";
import type { Server, World } from "./world.ts";

/** How often what happens. */
export interface Times {
  readonly kills: number;
  readonly stops: number;
  readonly crashes: number;
  readonly cuts: number;
}

/** What happened. The kills are among the deaths of the world. */
export interface Suffered {
  readonly stops: readonly Stop[];
  readonly crashes: readonly Struck[];
  readonly cuts: readonly Struck[];
}

type Range = readonly [from: number, to: number];
/** Responses of the fleet before a server is killed, and milliseconds between two faults. */
const lifeSpan: Range = [5, 150];
const pauseMs: Range = [0, 600];
/** Milliseconds that a kill waits for something on the wire. */
const takeMs = 500;
/** Stops: shorter than its peers need to find out, about as long, and longer. */
const briefMs: Range = [100, 3_000];
const closeMs: Range = [14_500, 17_500];
const pastTakeoverMs: Range = [0, 1_000];
/**
 * Milliseconds after which a server that reaches PostgreSQL again has repeated the commit that failed.
 * Killed before, it would lose what is as old as the fault.
 */
const repeatMs = 500;
const reachMs = 10_000;

export async function sufferFaults(
  world: World,
  postgres: InPostgres,
  /** Changes in place: a killed one is replaced. */
  servers: Server[],
  times: Times,
): Promise<Suffered> {
  const { options, journal } = world;
  const random = createRandom(options.seed + 1);
  const between = ([from, to]: Range) => from + random() * (to - from);
  const places = createPlaces(servers, random);
  const stops: Stop[] = [];
  const crashes: Struck[] = [];
  const cuts: Struck[] = [];
  const faults = times.kills + times.stops + times.crashes + times.cuts;
  let spoken = monotonicMs();

  function progress() {
    if (monotonicMs() - spoken < 5_000) return;
    spoken = monotonicMs();
    const { length: kills } = world.deaths;
    const so = `${kills} kills, ${stops.length} stops, ${crashes.length} crashes, ${cuts.length} cuts`;
    options.report(`${so} of ${faults} faults; ${world.whole()} responses`);
  }

  /** Its heart goes on beating: it reaches PostgreSQL. */
  async function isBack(server: Server) {
    const before = await journal.beatOf(server.pid);
    const beats = async () => {
      const beat = await journal.beatOf(server.pid);
      return beat !== undefined && beat !== before;
    };
    await until(beats, 50, reachMs);
    await sleep(repeatMs);
  }

  async function kill() {
    const place = await places.take();
    const { pid, ready } = place.server;
    await ready;
    await world.served(between(lifeSpan));
    // Who has just started may have taken nothing yet.
    await until(async () => (await journal.sendingOf(pid)).length > 0, 20, takeMs);
    // Responses come in groups; a kill does not wait for the end of one.
    await sleep(between([0, 30]));
    await world.end(place.server, "kill");
    place.replace(world.start(place.number));
    place.giveBack();
  }

  async function crash() {
    crashes.push(await crashPostgres(postgres));
    await Promise.all(places.free().map(isBack));
  }

  async function cut() {
    cuts.push(await cutConnections(postgres, random));
  }

  async function stop(stay: Stay) {
    const place = await places.take();
    // Only who lives for a while sees that another is silent.
    const witness = "forMs" in stay && stay.forMs < closeMs[0] ? undefined : places.spare();
    await place.server.ready;
    stops.push(await stopAndContinue(world, postgres, place.server, stay));
    await isBack(place.server);
    witness?.giveBack();
    place.giveBack();
  }

  const stays = Array.from({ length: times.stops }, (_, index): Stay => {
    if (index % 4 === 0) return { pastTakeoverMs: between(pastTakeoverMs) };
    return { forMs: between(index % 4 === 2 ? closeMs : briefMs) };
  });
  async function stopOneAfterTheOther() {
    for (let stay = stays.shift(); stay; stay = stays.shift()) {
      await stop(stay);
      await sleep(between(pauseMs));
      progress();
    }
  }

  async function allElse() {
    const strikes = shuffled(
      [
        ...Array(times.kills).fill(kill),
        ...Array(times.crashes).fill(crash),
        ...Array(times.cuts).fill(cut),
      ],
      random,
    );
    for (const strike of strikes) {
      await strike();
      await sleep(between(pauseMs));
      progress();
    }
  }

  // Of four servers two stand still at once, and one sees it, while the fourth is killed.
  const lanes = Math.max(1, Math.floor(options.processes / 2));
  await Promise.all([allElse(), ...Array.from({ length: lanes }, stopOneAfterTheOther)]);
  return { stops, crashes, cuts };
}

function shuffled<Item>(items: Item[], random: () => number): Item[] {
  return items
    .map((item) => ({ item, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

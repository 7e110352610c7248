/** The places of a fleet's servers: two faults never strike the same one at once. */

import { setTimeout as sleep } from "node:timers/promises";
import type { Server } from "./world.ts";

export interface Places {
  /** Waits for a place that nothing befalls now, and keeps others away from it. */
  take(): Promise<Place>;
  /** Leaves one place alone; the same for all who ask, until all have given it back. */
  spare(): Spared;
  /** The servers that nothing befalls now. */
  free(): Server[];
}

export interface Spared {
  giveBack(): void;
}

export interface Place extends Spared {
  readonly number: number;
  readonly server: Server;
  /** Another server stands there now. */
  replace(server: Server): void;
}

/** @param servers by their places; changes in place */
export function createPlaces(servers: Server[], random: () => number): Places {
  const taken = new Set<number>();
  let spared: number | undefined;
  let sparedFor = 0;

  function draw(): number | undefined {
    const free = [...servers.keys()].filter((place) => !taken.has(place) && place !== spared);
    return free[Math.floor(random() * free.length)];
  }

  return {
    free: () => servers.filter((_, place) => !taken.has(place)),

    spare() {
      sparedFor += 1;
      spared ??= draw();
      return {
        giveBack() {
          sparedFor -= 1;
          if (sparedFor === 0) spared = undefined;
        },
      };
    },

    async take() {
      let number = draw();
      for (; number === undefined; number = draw()) await sleep(10);
      const mine = number;
      taken.add(mine);
      return {
        number: mine,
        get server() {
          return servers[mine] as Server;
        },
        replace(server) {
          servers[mine] = server;
        },
        giveBack() {
          taken.delete(mine);
        },
      };
    },
  };
}

/** `process.exit()` and uncaught exceptions in mid-load: what was finished must not be lost. */

import { judge, type Verdict } from "../verdict.ts";
import { openWorld, type WorldOptions } from "../world.ts";

export interface CrashesOptions extends WorldOptions {
  /** How often of each kind. */
  readonly times: number;
}

export async function runCrashes(options: CrashesOptions): Promise<Verdict> {
  const world = await openWorld(options);
  try {
    world.faults(true);
    let server = world.start(0);
    await server.ready;
    world.load(true);
    for (let time = 0; time < options.times; time += 1) {
      for (const how of ["exit", "exception"] as const) {
        // The second is ended while it has just begun.
        await world.served(time === 1 ? 3 : 250);
        await world.end(server, how);
        options.report(`ended by ${how}, ${world.whole()} responses`);
        server = world.start(0);
        await server.ready;
      }
    }
    await world.served(50);
    return judge("process.exit and exceptions", await world.settle(60_000), world, {
      figures: { "exits and exceptions": world.deaths.length },
    });
  } finally {
    await world.close();
  }
}

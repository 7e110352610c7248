/** The clock on the wall jumps both ways, while servers run and between two lives of one. */

import { judge, most, type Verdict } from "../verdict.ts";
import { openWorld, type WorldOptions } from "../world.ts";

const hourMs = 3_600_000;
/** Responses between two jumps. */
const perStep = 150;
/** What waits for a retry when the clock jumps must not wait for an hour. */
const settleMs = 30_000;

export async function runClock(options: WorldOptions): Promise<Verdict> {
  const world = await openWorld({ ...options, settableClock: true });
  try {
    world.faults(true);
    let server = world.start(0);
    await server.ready;
    world.load(true);
    await world.served(2 * perStep);
    for (const hours of [1, -1, 0]) {
      server.send({ kind: "shift-clock", ms: hours * hourMs });
      await world.served(perStep);
      options.report(`the clock was set to ${hours} h, ${world.whole()} responses`);
    }
    for (const hours of [1, -1]) {
      await world.end(server, "kill");
      server = world.start(0, hours * hourMs);
      await server.ready;
      await world.served(perStep);
      options.report(`started again at ${hours} h, ${world.whole()} responses`);
    }
    const settled = await world.settle(settleMs);
    return judge("clock jumps by an hour", settled, world, {
      rules: [most("ms until all was sent", Math.round(settled.settledAfterMs), settleMs)],
      figures: { jumps: 5 },
    });
  } finally {
    await world.close();
  }
}

/** The meter's worker thread ends under load: nothing may be lost, nothing be sent twice. */

import { judge, least, type Verdict } from "../verdict.ts";
import { openWorld, type WorldOptions } from "../world.ts";

export interface WorkerOptions extends WorldOptions {
  readonly times: number;
}

export async function runWorker(options: WorkerOptions): Promise<Verdict> {
  const world = await openWorld(options);
  try {
    world.faults(true);
    const server = world.start(0);
    await server.ready;
    world.load(true);
    for (let time = 0; time < options.times; time += 1) {
      await world.served(250);
      await world.end(server, "worker");
      options.report(`worker ended ${time + 1} times, ${world.whole()} responses`);
    }
    await world.served(250);
    const settled = await world.settle(60_000);
    const found = world.deaths.filter(({ sending }) => sending.length > 0).length;
    return judge("worker thread ended", settled, world, {
      rules: [least("ends that found records on the wire", found, 1)],
      figures: { "worker ended": options.times, "… with records sending": found },
    });
  } finally {
    await world.close();
  }
}

/** The worker thread of express-credit-meter: the engine behind the door's messages. */

import { parentPort, workerData } from "node:worker_threads";
import { createEngine } from "./engine.ts";
import { serveDoor, type WorkerData } from "./redeemer/thread-messages.ts";

if (parentPort) {
  const { settings, identity, accepted } = workerData as WorkerData;
  serveDoor(parentPort, accepted, (tell) => createEngine(settings as never, identity, tell));
}

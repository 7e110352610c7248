/** How much memory is in use when nothing can be freed any more. */

import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const million = 1_000_000;

export interface Memory {
  /** Megabytes of JavaScript objects. */
  readonly heap: number;
  /** Megabytes of the whole process, with what SQLite keeps. */
  readonly resident: number;
}

/** Collects garbage first, as with `--expose-gc`, which few runners of this would think of. */
export async function measureMemory(): Promise<Memory> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  // Twice, with time in between for what finalizers let go of.
  for (let times = 0; times < 2; times += 1) {
    await sleep(50);
    collect();
  }
  const { heapUsed, rss } = process.memoryUsage();
  return { heap: heapUsed / million, resident: rss / million };
}

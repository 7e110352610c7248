import { setTimeout as sleep } from "node:timers/promises";

/**
 * Milliseconds of the machine's monotonic clock: the same in all of its processes, so that what a
 * client received can be compared with when a server was killed.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Gives up after the time. */
export async function until(
  isSo: () => Promise<boolean>,
  everyMs: number,
  withinMs: number,
): Promise<void> {
  const giveUpAt = monotonicMs() + withinMs;
  while (!(await isSo()) && monotonicMs() < giveUpAt) await sleep(everyMs);
}

/**
 * A clock on the wall that jumps, in the thread that serves and in the meter's worker: loaded with
 * `--import`, which a worker inherits, before anything reads the time.
 */

import { getEnvironmentData, isMainThread, setEnvironmentData } from "node:worker_threads";

const key = "torture-clock";
if (isMainThread) setEnvironmentData(key, new Float64Array(new SharedArrayBuffer(8)));
const offset = getEnvironmentData(key) as unknown as Float64Array;
if (isMainThread) shiftClock(Number(process.env.TORTURE_CLOCK_MS ?? 0));

const real = Date.now;
Date.now = () => real() + (offset[0] ?? 0);

/** Sets the clock forward, or back, by so many milliseconds against the true time. */
export function shiftClock(ms: number): void {
  offset[0] = ms;
}

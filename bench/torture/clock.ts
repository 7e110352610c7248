/**
 * Milliseconds of the machine's monotonic clock: the same in all of its processes, so that what a
 * client received can be compared with when a server was killed.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

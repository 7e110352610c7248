/**
 * How long a charge that was certainly not applied waits before it is sent again: exponential with
 * full jitter, so that what failed together does not come back together
 * (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
 */

export interface Backoff {
  /** Milliseconds that the first wait is drawn below. */
  readonly baseMs: number;
  /** Milliseconds that no wait is drawn above. */
  readonly maxMs: number;
}

/** However long a ledger asks us to wait, it is asked again after this many milliseconds. */
const longestRetryAfterMs = 3_600_000;

/**
 * @param attempt how often the charge was tried, from 1
 * @param retryAfterMs what the ledger asked for; never undercut, and jittered on top
 * @param random a number from 0 to 1, 1 excluded
 */
export function waitBeforeRetry(
  backoff: Backoff,
  attempt: number,
  retryAfterMs: number | undefined,
  random: number,
): number {
  const ceiling = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(attempt - 1, 30));
  return Math.min(retryAfterMs ?? 0, longestRetryAfterMs) + Math.floor(random * ceiling);
}

/**
 * Tells which other owners of a journal are gone. An owner is gone when its process has certainly
 * ended, or when its beat has stood still for a while by our own monotonic clock: clocks of two hosts
 * are never compared, and a clock that jumps kills nobody.
 */

import type { OwnerSeen } from "../journal/journal.ts";

/** Milliseconds without a beat after which an owner counts as gone. It beats every second. */
const silenceMs = 15_000;

/**
 * One look at the owners that the journal lists, about once a second. Whoever is gone is named at each
 * look until the journal lists it no more.
 *
 * @param elapsed milliseconds of a clock that only goes forward
 * @param replaced owners of this process that are known to be gone
 */
export function createWatch(
  elapsed: () => number,
  replaced: readonly string[],
): (others: readonly OwnerSeen[]) => string[] {
  let seen = new Map<string, { beat: number; since: number }>();
  let lastLook = elapsed();

  return (others) => {
    const at = elapsed();
    // Whoever was stopped itself (SIGSTOP, a laptop's lid) has seen nobody's silence.
    const slept = at - lastLook > silenceMs / 2;
    lastLook = at;
    const before = seen;
    seen = new Map();
    return others
      .filter(({ owner, beat, gone }) => {
        const last = before.get(owner);
        const since = last === undefined || slept || last.beat !== beat ? at : last.since;
        seen.set(owner, { beat, since });
        return gone || replaced.includes(owner) || at - since > silenceMs;
      })
      .map(({ owner }) => owner);
  };
}

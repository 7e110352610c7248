/** A clock that the test moves. */

import type { Clock } from "../../src/clock.ts";

export interface ManualClock extends Clock {
  /** Goes forward; what is due by then is called. */
  pass(ms: number): void;
}

export function manualClock(start = 1_000): ManualClock {
  let now = start;
  const due = new Set<{ readonly at: number; readonly call: () => void }>();
  return {
    elapsed: () => now,
    after(ms, call) {
      const one = { at: now + ms, call };
      due.add(one);
      return () => {
        due.delete(one);
      };
    },
    pass(ms) {
      now += ms;
      for (const one of [...due].sort((a, b) => a.at - b.at)) {
        if (one.at > now || !due.delete(one)) continue;
        one.call();
      }
    },
  };
}

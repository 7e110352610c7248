/** Time that only goes forward, and what may wait for it. Injected where a decision depends on it. */

import { clearTimeout, setTimeout } from "node:timers";

export interface Clock {
  /** Milliseconds of a clock that nobody sets. */
  elapsed(): number;
  /** Calls after so many milliseconds; returns how to call it off. */
  after(ms: number, call: () => void): () => void;
}

export const systemClock: Clock = {
  elapsed: () => performance.now(),
  after(ms, call) {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};

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

/** What came in place of an answer that did not come in time. */
export const late = Symbol("late");
export type Late = typeof late;

/** The waits of one request: what each of them takes is taken from one number of milliseconds. */
export interface Waits {
  /** Milliseconds that are left. */
  left(): number;
  /** Waits while any are left. One after the other: what is waited for at once is waited for together. */
  within<Value>(work: Promise<Value>): Promise<Value | Late>;
}

export function createWaits(clock: Clock, ms: number): Waits {
  let left = ms;
  return {
    left: () => left,
    async within<Value>(work: Promise<Value>) {
      const began = clock.elapsed();
      let callOff = () => {};
      const end = new Promise<Late>((resolve) => {
        callOff = clock.after(left, () => resolve(late));
      });
      try {
        return await Promise.race([work, end]);
      } finally {
        callOff();
        left = Math.max(0, left - (clock.elapsed() - began));
      }
    },
  };
}

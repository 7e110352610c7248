/**
 * The clocks of this process. They are taken from Node's modules when the package is loaded, as the timers
 * are everywhere here (`node:timers`): fake clocks in a user's tests replace the global functions, and would
 * stop the meter for the rest of the process.
 */

import { hrtime } from "node:process";
import { clearTimeout, setTimeout } from "node:timers";

/** Milliseconds of a clock that nobody sets, since some moment of the past. */
export function elapsed(): number {
  const [seconds, nanoseconds] = hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}

/** Milliseconds since 1970. */
export const now: () => number = Date.now;

/** Time that only goes forward, and what may wait for it. Injected where a decision depends on it. */
export interface Clock {
  /** Milliseconds of a clock that nobody sets. */
  elapsed(): number;
  /** Calls after so many milliseconds; returns how to call it off. */
  after(ms: number, call: () => void): () => void;
}

export const systemClock: Clock = {
  elapsed,
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

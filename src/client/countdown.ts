/** A deadline that counts the time in which this process ran. */

import { clearImmediate, setImmediate } from "node:timers";
import { type Clock, systemClock } from "../clock.ts";

/** What the countdown runs on. */
export interface Timers extends Pick<Clock, "after"> {
  /** Calls back when the event loop has polled; returns how to call it off. */
  readonly afterPoll: (then: () => void) => () => void;
}

const systemTimers: Timers = {
  after: systemClock.after,
  afterPoll(then) {
    const immediate = setImmediate(then);
    return () => clearImmediate(immediate);
  },
};

/** Milliseconds between two looks at the sockets, at the most. */
const longestStepMs = 250;

/**
 * A timer that fires late says only that nobody looked: the process was stopped, its machine was moved or slept,
 * or the loop was busy, and the answer may lie in the socket. So the time is counted in steps, of which a pause
 * uses up one however long it is, and the sockets are read once more before it is over: between timers and
 * immediates the event loop polls.
 *
 * @param ms milliseconds in all
 * @returns ends it; for good, and at any time
 */
export function startCountdown(ms: number, onOver: () => void, timers = systemTimers): () => void {
  const stepMs = Math.min(longestStepMs, Math.ceil(ms / 4));
  let left = ms;
  let callOff = () => {};
  const step = () => {
    if (left <= 0) {
      callOff = timers.afterPoll(onOver);
      return;
    }
    const wait = Math.min(left, stepMs);
    left -= wait;
    callOff = timers.after(wait, step);
  };
  step();
  return () => callOff();
}

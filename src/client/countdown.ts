/** A deadline that counts the time in which this process ran. */

import { clearImmediate, clearTimeout, setImmediate, setTimeout } from "node:timers";

/** What the countdown runs on. */
export interface Timers {
  /** Calls back after so many milliseconds, or later. Returns what takes it back. */
  readonly after: (ms: number, then: () => void) => () => void;
  /** Calls back when the event loop has polled. */
  readonly afterPoll: (then: () => void) => () => void;
}

const nodeTimers: Timers = {
  after(ms, then) {
    const timer = setTimeout(then, ms);
    return () => clearTimeout(timer);
  },
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
export function startCountdown(ms: number, onOver: () => void, timers = nodeTimers): () => void {
  const stepMs = Math.min(longestStepMs, Math.ceil(ms / 4));
  let left = ms;
  let takeBack = () => {};
  const step = () => {
    if (left <= 0) {
      takeBack = timers.afterPoll(onOver);
      return;
    }
    const wait = Math.min(left, stepMs);
    left -= wait;
    takeBack = timers.after(wait, step);
  };
  step();
  return () => takeBack();
}

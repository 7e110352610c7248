import { expect, test } from "vitest";
import { startCountdown } from "../../src/client/countdown.ts";

/** Timers that fire when the test says so. */
function fakeTimers() {
  const waits: (number | "poll")[] = [];
  let next: (() => void) | undefined;
  const arm = (wait: number | "poll", then: () => void) => {
    waits.push(wait);
    next = then;
    return () => {
      next = undefined;
    };
  };
  return {
    waits,
    timers: {
      after: arm,
      afterPoll: (then: () => void) => arm("poll", then),
    },
    fire() {
      const then = next;
      next = undefined;
      then?.();
      return then !== undefined;
    },
  };
}

test.each([1, 99, 100, 999, 1_000, 30_000])(
  "%i ms are counted in steps, then polled (F3)",
  (ms) => {
    const { waits, timers, fire } = fakeTimers();
    let over = 0;
    startCountdown(
      ms,
      () => {
        over += 1;
      },
      timers,
    );
    while (fire());
    expect(over).toBe(1);
    expect(waits.pop()).toBe("poll");
    const steps = waits as number[];
    expect(steps.reduce((sum, wait) => sum + wait, 0)).toBe(ms);
    expect(Math.max(...steps)).toBeLessThanOrEqual(Math.min(250, Math.ceil(ms / 4)));
  },
);

test("one that is ended is never over, not even when its time is (F3)", () => {
  for (const steps of [0, 2, 4]) {
    const { waits, timers, fire } = fakeTimers();
    const end = startCountdown(1_000, () => expect.unreachable(), timers);
    for (let step = 0; step < steps; step += 1) fire();
    if (steps === 4) expect(waits.at(-1)).toBe("poll");
    end();
    end();
    expect(fire()).toBe(false);
  }
});

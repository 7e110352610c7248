import { expect, test, vi } from "vitest";
import { createWatch } from "../../src/redeemer/watch.ts";

vi.mock("node:timers", () => import("../support/global-timers.ts"));

/** A watch, and the beats of the others, by a clock that the test moves. */
function watch(replaced: string[] = []) {
  let time = 1_000;
  const look = createWatch(() => time, replaced);
  return {
    /** Looks once after so many milliseconds. */
    after: (ms: number, beats: Record<string, number>, ended: string[] = []) => {
      time += ms;
      return look(
        Object.entries(beats).map(([owner, beat]) => ({
          owner,
          beat,
          gone: ended.includes(owner),
        })),
      );
    },
  };
}

/** Looks every second, with the same beats. */
function seconds(
  count: number,
  beats: Record<string, number>,
  { after }: ReturnType<typeof watch>,
) {
  let gone: string[] = [];
  for (let second = 0; second < count; second += 1) gone = after(1_000, beats);
  return gone;
}

test("15 seconds of silence, as we see them, and an owner is gone", () => {
  const ours = watch();
  expect(seconds(16, { other: 7 }, ours)).toEqual([]);
  expect(ours.after(1_000, { other: 7 })).toEqual(["other"]);
});

test("it is named until the journal lists it no more, and starts anew if it comes back", () => {
  const ours = watch();
  expect(seconds(20, { other: 7 }, ours)).toEqual(["other"]);
  expect(ours.after(1_000, { other: 7 })).toEqual(["other"]);
  expect(ours.after(1_000, {})).toEqual([]);
  expect(seconds(16, { other: 7 }, ours)).toEqual([]);
});

test("a beat that moves, either way, shows life", () => {
  const ours = watch();
  expect(seconds(15, { other: 7 }, ours)).toEqual([]);
  expect(seconds(16, { other: 8 }, ours)).toEqual([]);
  expect(seconds(16, { other: 1 }, ours)).toEqual([]);
});

test("only the silent one of several is gone", () => {
  const ours = watch();
  let gone: string[] = [];
  for (let beat = 0; beat < 20; beat += 1) gone = ours.after(1_000, { silent: 1, lives: beat });
  expect(gone).toEqual(["silent"]);
});

test("a process that has certainly ended is gone at once", () => {
  expect(watch().after(0, { dead: 1, lives: 1 }, ["dead"])).toEqual(["dead"]);
});

test("whom we replace is gone at once, and at each look until it is off the list", () => {
  const ours = watch(["before", "before that"]);
  expect(ours.after(0, { before: 1, "before that": 9, other: 1 })).toEqual([
    "before",
    "before that",
  ]);
  expect(ours.after(1_000, { before: 1, other: 2 })).toEqual(["before"]);
});

test("whoever slept has heard nobody's silence", () => {
  const ours = watch();
  expect(seconds(3, { other: 7 }, ours)).toEqual([]);
  // SIGSTOP for a day; the other one lived, or slept too.
  expect(ours.after(86_400_000, { other: 7 })).toEqual([]);
  expect(seconds(15, { other: 7 }, ours)).toEqual([]);
  expect(ours.after(1_000, { other: 7 })).toEqual(["other"]);
});

test("a nap that is shorter than half of the silence changes nothing", () => {
  const ours = watch();
  expect(seconds(3, { other: 7 }, ours)).toEqual([]);
  expect(ours.after(7_000, { other: 7 })).toEqual([]);
  expect(seconds(7, { other: 7 }, ours)).toEqual(["other"]);
});

test("a clock on the wall that jumps matters nothing", () => {
  vi.useFakeTimers();
  try {
    const ours = watch();
    for (const year of [1970, 2500, 2026, 1990]) {
      vi.setSystemTime(new Date(Date.UTC(year, 0)));
      expect(ours.after(1_000, { other: 7 })).toEqual([]);
    }
  } finally {
    vi.useRealTimers();
  }
});

import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { readOptions } from "../../src/options.ts";
import { completed, lost, openWorld } from "./world.ts";

vi.mock("node:timers", () => import("../support/global-timers.ts"));

const minute = 60_000;
const hour = 60 * minute;
const x402 = {
  protocol: "x402",
  x402: { publicUrl: "https://api.example.com" },
  environment: "sandbox",
  apiKey: "nvm:key",
  plans: ["1"],
};

/** For how long a lost answer is asked for again, by these options. */
const reliedOn = (options: object) => readOptions({ ...x402, ...options }, {}).idempotentMs;

describe("the window of an id (E17)", () => {
  test("is a day where nobody has stated it, less five minutes", () => {
    expect(reliedOn({})).toBe(24 * hour - 5 * minute);
  });

  test("is shortened by five minutes where it is stated, or by half of a short one", () => {
    const stated = (windowMs: number) => reliedOn({ idempotent: { windowMs } });
    expect([stated(hour), stated(10 * minute), stated(minute), stated(1)]).toEqual([
      ...[55 * minute, 5 * minute, minute / 2, 0],
    ]);
  });
});

test("there is none where ids are not honoured, or nobody says so (E17)", () => {
  expect(reliedOn({ idempotent: false })).toBeNull();
  expect(reliedOn({ protocol: "plans", x402: undefined })).toBeNull();
});

describe("a charge whose answer is lost again and again", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterAll(() => {
    vi.useRealTimers();
  });

  test("is not written when its time is over while it connects (E17)", async () => {
    let connected = () => {};
    const connecting = new Promise<void>((resolve) => {
      connected = resolve;
    });
    let sends = 0;
    const { submit, pass, record } = openWorld({
      idempotentMs: 10_000,
      send: async (_charge, _signal, mayWrite) => {
        sends += 1;
        if (sends === 1) return lost;
        await connecting;
        return mayWrite() ? completed : lost;
      },
    });
    submit("a");
    await pass(200);
    expect(sends).toBe(2);
    await pass(11_000);
    connected();
    await pass(10);
    expect(await record("a")).toMatchObject({
      status: "unresolved",
      error: { code: "WINDOW_PASSED" },
    });
  });
});

/** What the tests of the torture run have in common. */

import { expect } from "vitest";
import type { Verdict } from "../../bench/torture/verdict.ts";
import type { WorldOptions } from "../../bench/torture/world.ts";

/** A world for a test; children and load are slow on a machine that runs other tests beside it. */
export function options(more: Partial<WorldOptions> = {}): WorldOptions {
  return {
    protocol: "plans",
    ledger: "ignore",
    durability: "response",
    rate: 300,
    processes: 1,
    seed: 20_251,
    scale: 0.2,
    oldestLostMs: 5_000,
    report: () => {},
    ...more,
  };
}

/**
 * The fewest kills that this seed makes one of each kind: a short life and a long one, a server that is
 * still starting, an outage, and a proxy that answers 502.
 */
export const allKinds = { seed: 18, kills: 5, scale: 0.1 } as const;

export const timeoutMs = 180_000;

/** Shows what was broken, and all figures with it. */
export function expectKept(verdict: Verdict): void {
  const broken = verdict.rules.filter(({ ok }) => !ok);
  expect({ broken, figures: broken.length > 0 ? verdict.figures : {} }).toEqual({
    broken: [],
    figures: {},
  });
  expect(verdict.ok).toBe(true);
}

/** The torture run of a fleet in small: `npm run torture -- --journal postgres` is the real one. */

import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { runFleet } from "../../bench/torture/scenarios/fleet.ts";
import { judge } from "../../bench/torture/verdict.ts";
import { openWorld } from "../../bench/torture/world.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";
import { expectKept, options, timeoutMs } from "./world.ts";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
}, 60_000);
afterAll(() => postgres?.stop());

test.concurrent(
  "a fleet loses and doubles nothing by kills, stops, crashes of PostgreSQL and cut connections",
  async () => {
    const times = { kills: 3, stops: 2, crashes: 2, cuts: 2 };
    const fleet = { ...options({ processes: 4, rate: 200 }), postgres };
    expectKept(await runFleet({ ...fleet, times }));
  },
  timeoutMs,
);

test.concurrent(
  "a fleet that believes ids are honoured where they are not burns twice, and is found out",
  async () => {
    const faults = { "drop-after-applying": 0.5 };
    const world = await openWorld({
      ...options(),
      postgres,
      processes: 2,
      believes: "honour",
      faults,
    });
    try {
      world.faults(true);
      await Promise.all([world.start(0).ready, world.start(1).ready]);
      world.load(true);
      await vi.waitUntil(() => world.ledger.ledger.countBurns() >= 50, { timeout: 60_000 });
      const { rules } = judge("self-check", await world.settle(60_000), world);
      const broken = rules.filter(({ ok }) => !ok).map(({ rule }) => rule);
      expect(broken).toContain("no id was burned twice");
      expect(broken).toContain("no request was burned twice");
    } finally {
      await world.close();
    }
  },
  timeoutMs,
);

/** The torture run in small: `npm run torture` is the real one. Two at once: more would only
 * wait for each other. */

import { describe, test } from "vitest";
import { runKills } from "../../bench/torture/scenarios/kills.ts";
import { expectKept, options, timeoutMs } from "./world.ts";

describe("servers are killed under load", () => {
  test.concurrent(
    "20 times, and the ledger ignores redemption ids: no double, only the newest lost",
    async () => {
      expectKept(await runKills({ ...options({ ledger: "ignore" }), kills: 20 }));
    },
    timeoutMs,
  );

  test.concurrent(
    "5 times, and the ledger honours redemption ids: no double, nothing unresolved",
    async () => {
      expectKept(await runKills({ ...options({ ledger: "honour" }), kills: 5 }));
    },
    timeoutMs,
  );
});

describe("servers are killed under load, again", () => {
  test.concurrent(
    "5 times under strict durability: no delivered response lacks a record",
    async () => {
      expectKept(await runKills({ ...options({ durability: "strict" }), kills: 5 }));
    },
    timeoutMs,
  );

  test.concurrent(
    "6 times, one of two processes on one journal: the other takes over",
    async () => {
      expectKept(await runKills({ ...options({ processes: 2 }), kills: 6 }));
    },
    timeoutMs,
  );
});

/** The torture run in small: `npm run torture` is the real one. Two at once: more would only
 * wait for each other. */

import { describe, test } from "vitest";
import { runKills } from "../../bench/torture/scenarios/kills.ts";
import { allKinds, expectKept, options, timeoutMs } from "./world.ts";

describe("servers are killed under load", () => {
  test.concurrent(
    "and the ledger ignores redemption ids: no double, only the newest lost",
    async () => {
      expectKept(await runKills({ ...options({ ledger: "ignore" }), ...allKinds }));
    },
    timeoutMs,
  );

  test.concurrent(
    "under strict durability, and the ledger honours redemption ids: no record lacks, no answer is lost for good",
    async () => {
      const strict = options({ ledger: "honour", durability: "strict" });
      expectKept(await runKills({ ...strict, ...allKinds }));
    },
    timeoutMs,
  );
});

describe("servers are killed under load, again", () => {
  test.concurrent(
    "one of two processes on one journal: the other takes over",
    async () => {
      expectKept(await runKills({ ...options({ processes: 2 }), ...allKinds }));
    },
    timeoutMs,
  );
});

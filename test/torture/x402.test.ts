/** The torture run with x402 in small: `npm run torture -- --protocol x402` is the real one. */

import { describe, test } from "vitest";
import { runKills } from "../../bench/torture/scenarios/kills.ts";
import { allKinds, expectKept, options, timeoutMs } from "./world.ts";

describe("servers that are paid with x402 are killed under load", () => {
  test.concurrent(
    "and the ledger honours the ids that it gives: no double, nothing unresolved",
    async () => {
      const x402 = options({ protocol: "x402", ledger: "honour" });
      expectKept(await runKills({ ...x402, ...allKinds }));
    },
    timeoutMs,
  );

  test.concurrent(
    "under strict durability, and the ledger gives no ids: no double, no record lacks",
    async () => {
      const x402 = options({ protocol: "x402", durability: "strict" });
      expectKept(await runKills({ ...x402, ...allKinds }));
    },
    timeoutMs,
  );
});

/** What else can happen to a server and its ledger, each in small. */

import { describe, test } from "vitest";
import { runClock } from "../../bench/torture/scenarios/clock.ts";
import { runCrashes } from "../../bench/torture/scenarios/crashes.ts";
import { runDisk } from "../../bench/torture/scenarios/disk.ts";
import { runOutage } from "../../bench/torture/scenarios/outage.ts";
import { runWorker } from "../../bench/torture/scenarios/worker.ts";
import { expectKept, options, timeoutMs } from "./world.ts";

describe("nothing is lost and nothing is doubled", () => {
  test.concurrent(
    "when the ledger goes away, or answers 502 for a while; what is unresolved is bounded",
    async () => expectKept(await runOutage({ ...options(), outageMs: 1_500 })),
    timeoutMs,
  );

  test.concurrent(
    "by process.exit and an uncaught exception",
    async () => expectKept(await runCrashes({ ...options(), times: 2 })),
    timeoutMs,
  );
});

describe("nothing is lost and nothing is doubled either", () => {
  test.concurrent(
    "when the worker thread ends",
    async () => expectKept(await runWorker({ ...options(), times: 2 })),
    timeoutMs,
  );

  test.concurrent(
    "by a clock that jumps both ways, and nothing waits for it",
    async () => expectKept(await runClock(options())),
    timeoutMs,
  );

  test.concurrent(
    "by a full disk, which refuses new requests",
    async () => expectKept(await runDisk({ ...options(), rate: 500 })),
    timeoutMs,
  );
});

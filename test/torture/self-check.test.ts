/** The run can fail: it finds what is broken on purpose. */

import { describe, expect, test, vi } from "vitest";
import { compare, type Death, type Evidence } from "../../bench/torture/compare.ts";
import type { RecordSeen } from "../../bench/torture/journal-view.ts";
import type { RequestSeen } from "../../bench/torture/messages.ts";
import { judge } from "../../bench/torture/verdict.ts";
import { openWorld } from "../../bench/torture/world.ts";
import { options, timeoutMs } from "./world.ts";

test.concurrent.each(["plans", "x402"] as const)(
  "a meter that believes ids are honoured where they are not burns twice, and is found out: %s",
  async (protocol) => {
    const faults = { "drop-after-applying": 0.5 };
    const world = await openWorld({ ...options({ protocol }), believes: "honour", faults });
    try {
      world.faults(true);
      await world.start(0).ready;
      world.load(true);
      await vi.waitUntil(() => world.ledger.ledger.countBurns() >= 50, { timeout: 60_000 });
      const verdict = judge("self-check", await world.settle(60_000), world);
      const broken = verdict.rules.filter(({ ok }) => !ok).map(({ rule }) => rule);
      expect(verdict.ok).toBe(false);
      expect(broken).toContain("no id was burned twice");
      expect(broken).toContain("no request was burned twice");
    } finally {
      await world.close();
    }
  },
  timeoutMs,
);

const request: RequestSeen = {
  number: 1,
  came: "whole",
  status: 200,
  redemptionId: "a",
  amount: 3,
  at: 100,
  answeredAt: 99,
  life: 1,
};
const record: RecordSeen = {
  redemptionId: "a",
  status: "completed",
  reason: null,
  code: null,
  amount: 3,
  attempt: 1,
};
const burn = { redemptionId: "a", request: 1, amount: 3 };
const kill: Death = {
  life: 1,
  at: 110,
  how: "kill",
  livedMs: 5_000,
  states: {},
  sending: [],
  own: [],
};

function verdictOf(evidence: Partial<Evidence>, durability: "response" | "strict" = "response") {
  const comparison = compare({
    requests: [request],
    records: [record],
    burns: [burn],
    deaths: [kill],
    ...evidence,
  });
  const quiet = {
    waiting: 0,
    unflushed: 0,
    unheard: [],
    settledAfterMs: 0,
    leftOpen: 0,
    warnings: [],
  };
  const settled = { ...quiet, comparison };
  const world = { options: options({ durability }), deaths: [kill], concurrency: 16 };
  return judge("synthetic", settled, world)
    .rules.filter(({ ok }) => !ok)
    .map(({ rule }) => rule);
}

describe("the rules", () => {
  test("find nothing where there is nothing", () => {
    expect(verdictOf({})).toEqual([]);
  });

  const other = { ...request, number: 2, redemptionId: "b" };
  test.each<[string, Partial<Evidence>, string]>([
    ["an id burned twice", { burns: [burn, burn] }, "no id was burned twice"],
    [
      "a request burned under two ids",
      { burns: [burn, { ...burn, redemptionId: "b" }] },
      "no request was burned twice",
    ],
    [
      "a burn for a request that failed",
      { requests: [{ ...request, status: 500, amount: 0 }] },
      "nothing was burned that was not delivered or about to be",
    ],
    [
      "a burn for a request that nobody sent",
      { burns: [{ ...burn, request: 7 }] },
      "nothing was burned that was not delivered or about to be",
    ],
    ["a burn without a record", { records: [] }, "every burn has a record"],
    ["a burn of another amount", { burns: [{ ...burn, amount: 4 }] }, "amounts agree"],
    [
      "a completed record without a burn",
      { burns: [] },
      "completed has one burn, failed and skipped none, unresolved at most one",
    ],
    [
      "a failed record with one",
      { records: [{ ...record, status: "failed" }] },
      "completed has one burn, failed and skipped none, unresolved at most one",
    ],
    [
      "a delivered response that was skipped",
      { records: [{ ...record, status: "skipped" }], burns: [] },
      "every delivered response is charged, refused or listed",
    ],
    [
      "a record that is unresolved by a death that did not find it on the wire",
      { records: [{ ...record, status: "unresolved", reason: "answer-lost", code: "OWNER_GONE" }] },
      "only what was on the wire at a death is unresolved by it",
    ],
    [
      "a loss without a kill",
      { requests: [request, other], deaths: [] },
      "nothing is lost but by SIGKILL",
    ],
    [
      "a loss that newer ones overtook",
      {
        requests: [
          { ...request, answeredAt: 99 },
          { ...other, answeredAt: 20 },
        ],
      },
      "only the newest are lost",
    ],
    [
      "an old loss",
      { requests: [request, { ...other, answeredAt: -20_000 }] },
      "age in ms of the oldest lost record at its kill",
    ],
  ])("find %s", (_name, evidence, rule) => {
    expect(verdictOf(evidence)).toContain(rule);
  });

  test("find a loss under strict durability", () => {
    const evidence = { requests: [request, other] };
    expect(verdictOf(evidence)).toEqual([]);
    expect(verdictOf(evidence, "strict")).toEqual(["no delivered response lacks a record"]);
  });
});

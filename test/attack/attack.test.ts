/** What a dishonest buyer gets, in small: `npm run attack` is the real run. */

import { describe, expect, test } from "vitest";
import { isKept, most, type Row, rowOf } from "../../bench/attack/row.ts";
import { smallScale } from "../../bench/attack/scale.ts";
import { scenarios } from "../../bench/attack/scenarios.ts";
import { tableOf } from "../../bench/attack/table.ts";

describe("every bound is kept", () => {
  test.concurrent.each(Object.entries(scenarios))(
    "%s",
    async (_name, run) => {
      const rows = await run(smallScale);
      const broken = rows.filter((row) => !isKept(row));
      expect(tableOf(broken)).toBe(tableOf([]));
      expect(rows.length).toBeGreaterThan(0);
    },
    60_000,
  );
});

describe("the attack is one:", () => {
  const reached: [string, number[]][] = [
    // Up: the balance. Down: the line of credit.
    ["burst", [5, 10]],
    // With all at once five are admitted; in turn the second charge is the last.
    ["low-hold", [5, 2]],
    ["replay", [1, 1, 1, 1]],
    ["drained", [smallScale.calls / 2]],
  ];
  test.concurrent.each(reached)("%s gets all that it can", async (name, answers) => {
    const rows = (await scenarios[name]?.(smallScale)) ?? [];
    expect(rows.map((row) => row.answers)).toEqual(answers);
  });
});

describe("a row is not kept", () => {
  const answer = { number: 1, status: 200, redemptionId: "a" };
  const burn = {
    burnId: 1,
    planId: "plan",
    holderAddress: "0x1",
    amount: 3,
    idempotencyKey: "a",
    agentRequestId: null,
    correlationId: null,
    at: "2026-01-01T00:00:00.000Z",
  };
  const row = (more: object = {}): Row =>
    rowOf(
      "synthetic",
      { seen: [answer], ran: new Set([1]), burns: [burn], price: 3, ...more },
      ({ loss }) => [most("loss", loss, "0", 0)],
    );

  test("unless something is wrong", () => {
    expect(row()).toMatchObject({ answers: 1, worth: 3, burned: 3, loss: 0 });
    expect(isKept(row())).toBe(true);
  });

  test.each<[string, object]>([
    ["where a bound is exceeded", { burns: [] }],
    ["where somebody else's burn is all there is", { burns: [{ ...burn, idempotencyKey: null }] }],
    [
      "where the handler of a refused request ran",
      { seen: [answer, { number: 2, status: 402 }], ran: new Set([1, 2]) },
    ],
    ["where an answer came from no handler", { ran: new Set() }],
  ])("%s", (_name, more) => {
    expect(isKept(row(more))).toBe(false);
    expect(tableOf([row(more)])).toContain("NO");
  });
});

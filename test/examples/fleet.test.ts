import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import type { Received } from "../../examples/fleet/buyers.ts";
import { type Seen, sumUp } from "../../examples/fleet/sums.ts";

const root = path.resolve(import.meta.dirname, "../..");

test("four processes share holds, one is killed under load, and the sums agree", async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      ...["--import", import.meta.resolve("tsx"), path.join(root, "examples/fleet/main.ts")],
      ...["--seconds", "2", "--buyers", "8"],
    ],
    {
      timeout: 50_000,
      env: {
        ...process.env,
        // The built package, as a user has it.
        TSX_TSCONFIG_PATH: path.join(root, "tsconfig.build.json"),
        DATABASE_URL: process.env.TEST_DATABASE_URL ?? "",
      },
    },
  );
  expect(stdout).toContain("answered: 5 × 200, 95 × 402\n");
  expect(stdout).toMatch(/process 2 \(pid \d+\) is killed/);
  expect(stdout).toMatch(/burned at the ledger .*, 0 of them twice\n/);
  const sums =
    /The sums agree: (\d+) delivered = (\d+) completed \+ (\d+) unresolved \+ (\d+) without/;
  const [, delivered = 0, ...parts] = sums.exec(stdout) ?? [];
  expect(Number(delivered)).toBeGreaterThan(5);
  expect(parts.reduce((sum, part) => sum + Number(part), 0)).toBe(Number(delivered));
}, 60_000);

/** Two that were delivered and charged, one of them by the process that is killed at 1,000 ms. */
const at = (id: string, place: number, ms: number): Received => ({
  status: 200,
  redemptionId: id,
  place,
  at: ms,
});
const right: Seen = {
  received: [at("a", 1, 500), at("b", 2, 600)],
  records: [
    { redemptionId: "a", status: "completed" },
    { redemptionId: "b", status: "unresolved" },
  ],
  burns: [
    { redemptionId: "a", amount: 1 },
    { redemptionId: "b", amount: 1 },
  ],
  before: 10,
  after: 8,
  killed: { place: 2, at: 1_000 },
};

test("sums that agree are told as such", () => {
  const newest = at("c", 2, 999);
  const cut: Received = { status: 502, redemptionId: null, place: 0, at: 1_001 };
  const sums = sumUp({ ...right, received: [...right.received, newest, cut] });
  expect(sums.wrong).toEqual([]);
  expect(sums).toMatchObject({ delivered: 3, completed: 1, unresolved: 1, cutOff: 1 });
  expect(sums.lost).toEqual([{ redemptionId: "c", ageMs: 1 }]);
});

const [a, b] = right.received as [Received, Received];
test.each<[string, Partial<Seen>]>([
  ["a record that another process lost", { received: [a, b, at("c", 1, 999)] }],
  ["a record that was lost long before the kill", { received: [a, b, at("c", 2, -1)] }],
  ["a charge that waits", { records: [{ redemptionId: "a", status: "pending" }] }],
  ["a burn twice", { burns: [...right.burns, { redemptionId: "a", amount: 1 }], after: 7 }],
  ["a burn of nobody's", { burns: [...right.burns, { redemptionId: "x", amount: 1 }], after: 7 }],
  ["a completed one without a burn", { burns: [{ redemptionId: "b", amount: 1 }], after: 9 }],
  ["balances that do not fit", { after: 9 }],
  ["a record without an answer", { received: [a] }],
  ["an answer with another status", { received: [a, b, { ...a, status: 500 }] }],
  ["an id twice", { received: [a, b, b] }],
])("sums with %s do not agree", (_name, seen) => {
  expect(sumUp({ ...right, ...seen }).wrong).not.toEqual([]);
});

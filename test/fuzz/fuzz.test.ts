/** `npm run fuzz` in small. */

import { expect, test } from "vitest";
import { createRequests } from "../../bench/fuzz/requests.ts";
import { burnsAgree, runFuzz } from "../../bench/fuzz/run.ts";

const seed = 20_261_122;
const requests = 10_000;

test("the same seed draws the same requests", () => {
  const [one, other] = [createRequests(seed), createRequests(seed)];
  for (let drawn = 0; drawn < 500; drawn += 1) expect(one()).toEqual(other());
});

test("hostile requests are refused or paid for: no 500, no fault, no growth", {
  timeout: 120_000,
}, async () => {
  const result = await runFuzz({ requests, seed });
  const { faults, paid, memory } = result;
  const said = `with seed ${seed}`;
  expect(faults, said).toEqual([]);
  expect(result.requests).toBe(requests);
  // Most of them are hostile, and what is not must have passed.
  expect(paid, said).toBeGreaterThan(requests / 10);
  expect(burnsAgree(result), `${said}: ${JSON.stringify(result)}`).toBe(true);
  expect(memory[1].heap - memory[0].heap, said).toBeLessThan(20);
});

import { afterEach, expect, test, vi } from "vitest";
import { meteredApi, payment } from "../support/api.ts";

afterEach(() => {
  vi.useRealTimers();
});

const priced = { routes: { "GET /paid": 2 } };

test.each([
  ["in a worker", false],
  ["in this thread", true],
])("Vitest's fake clocks, as they are by default, stop nothing: %s", async (_where, inline) => {
  const { ledger, meter, url } = await meteredApi({ ...priced, inline }, (app, mounted) => {
    app.use(mounted);
    app.get("/paid", (_req, res) => res.json({}));
  });
  vi.useFakeTimers();
  for (let count = 0; count < 3; count += 1) {
    expect((await fetch(`${url}/paid`, { headers: payment })).status).toBe(200);
  }
  vi.useRealTimers();
  expect((await fetch(`${url}/paid`, { headers: payment })).status).toBe(200);
  await meter.flush();
  expect(ledger.burns().map(({ amount }) => amount)).toEqual([2, 2, 2, 2]);
});

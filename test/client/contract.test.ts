import { text } from "node:stream/consumers";
import express from "express";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { creditMeter } from "../../src/index.ts";
import { judgeRequest } from "../contract/contract.ts";
import { keepLines, meterOptions } from "../support/api.ts";
import { listen } from "../support/server.ts";

const visible = fc.string({
  unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
  minLength: 1,
});
const anyPayment = fc.record({
  planId: visible,
  holderAddress: fc.stringMatching(/^0x[0-9a-fA-F]{40}$/),
  proof: fc.oneof(
    fc.json().filter((json) => json.trim() !== ""),
    visible.filter((proof) => !/^[{[]/.test(proof)),
  ),
});

test("whatever payment is admitted and whatever it costs, the request keeps the contract", async () => {
  const requests: { headers: Record<string, string | string[] | undefined>; body: string }[] = [];
  const { url } = await listen(async (req, res) => {
    requests.push({ headers: req.headers, body: await text(req) });
    res.end("{}");
  });
  let price = 0;
  let payment: unknown;
  const meter = creditMeter({
    ...meterOptions({ baseUrl: url }),
    plans: "any",
    guard: { balance: "never" },
    payment: () => payment as never,
    routes: { "GET /": { hold: 1, price: () => price } },
    logger: keepLines().logger,
  });
  onTestFinished(async () => {
    await meter.close();
  });
  const app = express();
  app.use(meter);
  app.get("/", (_req, res) => void res.end());
  const api = await listen(app);

  await fc.assert(
    fc.asyncProperty(
      anyPayment,
      fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      async (paid, amount) => {
        payment = paid;
        price = amount;
        const response = await fetch(api.url);
        await meter.flush();
        expect(response.status).toBe(200);
        const sent = requests.pop();
        expect(requests).toEqual([]);
        expect(JSON.parse(sent?.body ?? "")).toEqual({ ...paid, amount });
        expect(sent?.headers["idempotency-key"]).toBe(response.headers.get("redemption-id"));
        judgeRequest("redeem", { headers: sent?.headers ?? {}, body: sent?.body });
      },
    ),
    { numRuns: 100 },
  );
});

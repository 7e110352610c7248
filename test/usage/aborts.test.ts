/** A usage of 0 that is told of an answer which its client cut off is no figure (E8). */

import type { Response } from "express";
import { expect, test } from "vitest";
import { tokens, usage } from "../../src/usage/index.ts";
import { meteredApi, payment } from "../support/api.ts";
import { connect } from "../support/server.ts";

/** An API whose handler writes the events, and reports a usage of 0 when its client has gone. */
async function aborted(
  events: readonly string[],
  rates: Partial<Parameters<typeof tokens>[0]> = {},
  report: (res: Response) => void = (res) => usage.report(res, { inputTokens: 0, outputTokens: 0 }),
) {
  const price = tokens({ input: 1, output: 1, per: 1, ...rates });
  const routes = { "GET /": { hold: 50, price } };
  const api = await meteredApi({ routes, abortGraceMs: 600_000 }, (app, meter) => {
    app.use(meter);
    app.get("/", (_req, res) => {
      res.once("close", () => {
        // As the model's SDK tells it when it was aborted.
        report(res);
        res.end();
      });
      res.type("text/event-stream");
      for (const event of events) res.write(`data: ${event}\n\n`);
    });
  });
  const client = await connect(api.port, payment);
  client.send("GET /");
  await client.received(events.at(-1) ?? "");
  client.socket.destroy();
  await api.meter.flush();
  return api;
}

const chunk = JSON.stringify({ object: "chat.completion.chunk", choices: [{ delta: {} }] });
const told = JSON.stringify({
  object: "chat.completion.chunk",
  choices: [],
  usage: { prompt_tokens: 9, completion_tokens: 4, total_tokens: 13 },
});
const toldNothing = told.replaceAll("9", "0").replaceAll("4", "0").replaceAll("13", "0");

test("reported: nobody knows what was used", async () => {
  const { settled } = await aborted([chunk]);
  expect(settled).toMatchObject([{ status: "unresolved", error: { reason: "price-error" } }]);
});

test("read from the answer: the same", async () => {
  const { settled } = await aborted([toldNothing], {}, () => {});
  expect(settled).toMatchObject([{ status: "unresolved", error: { reason: "price-error" } }]);
});

test("reported, where the answer itself told more: that counts", async () => {
  const { settled } = await aborted([chunk, told]);
  expect(settled).toMatchObject([{ status: "completed", redemption: { requestedAmount: 13 } }]);
});

test("reported, where the rates say what costs an answer that tells nothing", async () => {
  const { settled } = await aborted([chunk], { missing: 7 });
  expect(settled).toMatchObject([{ status: "completed", redemption: { requestedAmount: 7 } }]);
});

test("a 0 of an answer that was delivered whole is 0", async () => {
  const routes = { "GET /": { hold: 50, price: tokens({ input: 1, output: 1 }) } };
  const api = await meteredApi({ routes }, (app, meter) => {
    app.use(meter);
    app.get("/", (_req, res) => {
      usage.report(res, { inputTokens: 0, outputTokens: 0 });
      res.json({});
    });
  });
  await fetch(api.url, { headers: payment });
  await api.meter.flush();
  expect(api.settled).toMatchObject([{ status: "skipped", error: { reason: "price-zero" } }]);
});

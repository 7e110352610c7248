/** The official clients of buyers, with the retries that they make by themselves. */

import Anthropic from "@anthropic-ai/sdk";
import express from "express";
import OpenAI from "openai";
import { expect, test } from "vitest";
import { meteredApi, payment } from "../support/api.ts";
import { expectNothingLeft } from "./harness.ts";

const completion = {
  id: "c1",
  object: "chat.completion",
  created: 1,
  model: "m",
  choices: [{ index: 0, message: { role: "assistant", content: "Hello" }, finish_reason: "stop" }],
  usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
};

const message = {
  id: "m1",
  type: "message",
  role: "assistant",
  model: "m",
  content: [{ type: "text", text: "Hello" }],
  stop_reason: "end_turn",
  stop_sequence: null,
  usage: { input_tokens: 1, output_tokens: 2 },
};

/** An API in the shape of both, whose first answer of each kind fails. */
function flaky(answers: readonly number[], body: object) {
  let count = 0;
  const seen: number[] = [];
  const handler: express.RequestHandler = (_req, res) => {
    const status = answers[count] ?? 200;
    count += 1;
    seen.push(status);
    if (status === 0) return void res.socket?.destroy();
    res.status(status).json(status === 200 ? body : { error: { message: "again" } });
  };
  return { handler, seen };
}

/** A wait between attempts would only cost time. */
const quick = { "retry-after-ms": "1" };
const quickly: express.RequestHandler = (_req, res, next) => {
  res.set(quick);
  next();
};

test.each([
  ["a failure of the server", 500],
  ["a limit", 429],
  ["a connection that breaks before the answer", 0],
])("openai repeats after %s: one charge", async (_what, status) => {
  const { handler, seen } = flaky([status], completion);
  const { meter, ledger, url } = await meteredApi(
    { routes: { "POST /v1/chat/completions": 2 } },
    (app, mounted) => {
      app.use(quickly, mounted, express.json());
      app.post("/v1/chat/completions", handler);
    },
  );
  const client = new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: "unused",
    maxRetries: 2,
    defaultHeaders: payment,
  });
  const answer = await client.chat.completions.create({ model: "m", messages: [] });
  expect(answer.choices[0]?.message.content).toBe("Hello");
  expect(seen).toEqual([status, 200]);
  await meter.flush();
  expect(ledger.burns().map(({ amount }) => amount)).toEqual([2]);
  expectNothingLeft(meter);
});

test("@anthropic-ai/sdk repeats when the service is overloaded: one charge", async () => {
  const { handler, seen } = flaky([529], message);
  const { meter, ledger, url } = await meteredApi(
    { routes: { "POST /v1/messages": 2 } },
    (app, mounted) => {
      app.use(quickly, mounted, express.json());
      app.post("/v1/messages", handler);
    },
  );
  const client = new Anthropic({ baseURL: url, apiKey: "unused", defaultHeaders: payment });
  const answer = await client.messages.create({ model: "m", max_tokens: 10, messages: [] });
  expect(answer.content[0]).toMatchObject({ text: "Hello" });
  expect(seen).toEqual([529, 200]);
  await meter.flush();
  expect(ledger.burns().map(({ amount }) => amount)).toEqual([2]);
  expectNothingLeft(meter);
});

test("a refusal is not repeated, and both clients show its sentence", async () => {
  const { meter, url } = await meteredApi(
    { routes: { "POST /v1/chat/completions": 2, "POST /v1/messages": 2 } },
    (app, mounted) => {
      app.use(mounted);
    },
  );
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused" });
  await expect(openai.chat.completions.create({ model: "m", messages: [] })).rejects.toThrow(
    /402 This request must be paid/,
  );
  const anthropic = new Anthropic({ baseURL: url, apiKey: "unused" });
  await expect(
    anthropic.messages.create({ model: "m", max_tokens: 10, messages: [] }),
  ).rejects.toThrow(/402 .*This request must be paid/);
  expectNothingLeft(meter);
});

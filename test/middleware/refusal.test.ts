/** What buyers' own clients make of a refusal. */

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import request from "supertest";
import { expect, test } from "vitest";
import type { CreditMeterOptions } from "../../src/index.ts";
import { meteredApi, payment } from "../support/api.ts";

const routes = { "POST /v1/chat/completions": 2, "POST /v1/messages": 2 };

function api(options: Partial<CreditMeterOptions> = {}, credits = 100) {
  return meteredApi({ routes, ...options }, (app, meter) => void app.use(meter), { credits });
}

async function failureOf(work: Promise<unknown>): Promise<Error & { status?: number }> {
  try {
    await work;
  } catch (error) {
    return error as Error;
  }
  throw new Error("It was answered.");
}

function askOpenAI(url: string, headers: Record<string, string>) {
  const client = new OpenAI({
    ...{ apiKey: "sk-buyer", baseURL: `${url}/v1`, defaultHeaders: headers, maxRetries: 0 },
  });
  return failureOf(client.chat.completions.create({ model: "gpt-5", messages: [] }));
}

test("OpenAI's client shows why a request was refused", async () => {
  const { url } = await api({}, 1);
  expect(await askOpenAI(url, {})).toMatchObject({
    status: 402,
    message: expect.stringMatching(/^402 This request must be paid with credits\. Add /),
    code: "payment-required",
  });
  expect(await askOpenAI(url, payment)).toMatchObject({
    status: 402,
    message: expect.stringMatching(/^402 The holder has too few credits free/),
    code: "insufficient-credits",
  });
});

test("Anthropic's client shows it, too", async () => {
  const { url } = await api();
  const client = new Anthropic({ apiKey: "sk-buyer", baseURL: url, maxRetries: 0 });
  const failure = await failureOf(
    client.messages.create({ model: "claude-5", max_tokens: 1, messages: [] }),
  );
  expect(failure).toMatchObject({ status: 402 });
  expect(failure.message).toContain("This request must be paid with credits.");
  expect(failure.message).toContain('"error":{');
});

test("the same sentence stands in both formats", async () => {
  const { url } = await api();
  const { body } = await request(url).post("/v1/messages");
  expect(body.error).toEqual({
    message: body.detail,
    type: body.type,
    code: body.code,
    param: null,
  });
});

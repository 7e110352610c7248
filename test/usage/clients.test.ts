/** The vendors' own clients talk to an API behind the meter, and it charges what its table of rates says. */

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { tokens } from "../../src/usage/index.ts";
import { payment } from "../support/api.ts";
import { type CannedApi, cannedApi, type Script } from "./server.ts";

/** Credits for 1,000 tokens. */
const price = tokens({
  input: 2.5,
  output: 10,
  cachedInput: "1.25",
  models: {
    "gpt-*-mini*": { input: 0.25, output: 2, cachedInput: 0.025 },
    "claude-*": { input: 3, output: 15, cachedInput: 0.3 },
  },
});

/** What a client makes of an answer. */
interface Answer {
  readonly text: string;
  readonly tool?: { readonly name: string; readonly input: unknown } | undefined;
  /** Tokens of the output, as it tells its user. */
  readonly output: number | undefined;
}

interface Client {
  whole(url: string): Promise<Answer>;
  streamed(url: string): Promise<Answer>;
  /** Reads so many pieces of a stream, aborts, and resolves with what came. */
  abandoned(url: string, pieces: number): Promise<string>;
}

const question = "What is a credit?";

function openai(url: string) {
  return new OpenAI({
    apiKey: "sk-buyer",
    baseURL: `${url}/v1`,
    defaultHeaders: payment,
    maxRetries: 0,
  });
}

function chatAnswer({ choices, usage }: OpenAI.ChatCompletion): Answer {
  const { content, tool_calls: calls } = choices[0]?.message ?? {};
  const call = calls?.[0]?.type === "function" ? calls[0].function : undefined;
  return {
    text: content ?? "",
    tool: call && { name: call.name, input: JSON.parse(call.arguments) },
    output: usage?.completion_tokens,
  };
}

const chat: Client = {
  async whole(url) {
    const request = { model: "gpt-5", messages: [{ role: "user" as const, content: question }] };
    return chatAnswer(await openai(url).chat.completions.create(request));
  },

  async streamed(url) {
    const stream = openai(url).chat.completions.stream({
      model: "gpt-5",
      messages: [{ role: "user", content: question }],
      stream_options: { include_usage: true },
    });
    return chatAnswer(await stream.finalChatCompletion());
  },

  async abandoned(url, pieces) {
    const stream = await openai(url).chat.completions.create({
      model: "gpt-5",
      messages: [{ role: "user", content: question }],
      stream: true,
      stream_options: { include_usage: true },
    });
    const came: string[] = [];
    for await (const { choices } of stream) {
      const text = choices[0]?.delta.content;
      if (text) came.push(text);
      if (came.length === pieces) stream.controller.abort();
    }
    return came.join("");
  },
};

function responsesAnswer({ output_text, output, usage }: OpenAI.Responses.Response): Answer {
  const call = output.find((item) => item.type === "function_call");
  return {
    text: output_text,
    tool: call && { name: call.name, input: JSON.parse(call.arguments) },
    output: usage?.output_tokens,
  };
}

const responses: Client = {
  async whole(url) {
    return responsesAnswer(
      await openai(url).responses.create({ model: "gpt-5-mini", input: question }),
    );
  },

  async streamed(url) {
    const stream = openai(url).responses.stream({ model: "gpt-5-mini", input: question });
    return responsesAnswer(await stream.finalResponse());
  },

  async abandoned(url, pieces) {
    const request = { model: "gpt-5-mini", input: question, stream: true } as const;
    const stream = await openai(url).responses.create(request);
    const came: string[] = [];
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") came.push(event.delta);
      if (came.length === pieces) stream.controller.abort();
    }
    return came.join("");
  },
};

function anthropic(url: string) {
  return new Anthropic({
    apiKey: "sk-buyer",
    baseURL: url,
    defaultHeaders: payment,
    maxRetries: 0,
  });
}

const asked: Anthropic.MessageCreateParamsNonStreaming = {
  model: "claude-sonnet-5-5",
  max_tokens: 1_000,
  messages: [{ role: "user", content: question }],
};

function messagesAnswer({ content, usage }: Anthropic.Message): Answer {
  const call = content.find((block) => block.type === "tool_use");
  return {
    text: content.map((block) => (block.type === "text" ? block.text : "")).join(""),
    tool: call && { name: call.name, input: call.input },
    output: usage.output_tokens,
  };
}

const messages: Client = {
  async whole(url) {
    return messagesAnswer(await anthropic(url).messages.create(asked));
  },

  async streamed(url) {
    return messagesAnswer(await anthropic(url).messages.stream(asked).finalMessage());
  },

  async abandoned(url, pieces) {
    const stream = await anthropic(url).messages.create({ ...asked, stream: true });
    const came: string[] = [];
    for await (const event of stream) {
      if (event.type === "content_block_delta" && event.delta.type === "text_delta") {
        came.push(event.delta.text);
      }
      if (came.length === pieces) stream.controller.abort();
    }
    return came.join("");
  },
};

/** How the model calls itself, what its answer used, and the credits by hand. */
const cases: Record<
  string,
  { client: Client; script: Omit<Script, "pieces" | "tool">; credits: number; stopped: number }
> = {
  "openai: chat completions": {
    client: chat,
    script: { model: "gpt-5-2025-08-07", input: 12_000, cached: 10_240, output: 3_001 },
    // 1.76 × 2.5 + 10.24 × 1.25 + 3.001 × 10 = 4.4 + 12.8 + 30.01 = 47.21
    credits: 48,
    // 4.4 + 12.8 + 0.08 × 10 = 18, and not 19
    stopped: 18,
  },
  "openai: responses": {
    client: responses,
    script: { model: "gpt-5-mini-2025-08-07", input: 8_000, cached: 0, output: 4_000 },
    // 8 × 0.25 + 4 × 2 = 10, and not 11
    credits: 10,
    // 2 + 0.08 × 2 = 2.16
    stopped: 3,
  },
  "anthropic: messages": {
    client: messages,
    script: {
      model: "claude-sonnet-5-5",
      input: 21_000,
      cached: 16_000,
      written: 4_000,
      output: 2_000,
    },
    // 1 + 4 written: 5 × 3 + 16 × 0.3 + 2 × 15 = 15 + 4.8 + 30 = 49.8
    credits: 50,
    // 15 + 4.8 + 0.08 × 15 = 21, and not 22
    stopped: 21,
  },
};

const pieces = [
  "Ein Credit ",
  "ist ein ",
  "Stück ",
  "deines Plans: ",
  '"usage":{"input_tokens":9}.',
];
const tool = {
  name: "buy_credits",
  pieces: ['{"plan":', '"grüß",', '"usage":{"output_tokens":7}}'],
};
const input = { plan: "grüß", usage: { output_tokens: 7 } };

describe.each(Object.entries(cases))("%s", (_name, { client, script, credits, stopped }) => {
  const used = {
    inputTokens: script.input,
    cachedInputTokens: script.cached,
    outputTokens: script.output,
    model: script.model,
  };

  /** What the ledger burned, and what the handler and the event tell of it. */
  async function expectCharged(api: CannedApi, amount: number, usage: object) {
    // The request was admitted before its client had anything of the answer.
    await api.admitted[0]?.settled;
    await api.meter.flush();
    expect(api.ledger.burns().map((burn) => burn.amount)).toEqual([amount]);
    const told = { status: "completed", usage, redemption: { requestedAmount: amount } };
    expect(api.admitted).toMatchObject([told]);
    expect(api.settled).toMatchObject([told]);
    expect(api.settled[0]?.usage).toEqual(usage);
  }

  test.each(["whole", "streamed"] as const)("%s", async (way) => {
    const api = await cannedApi(price, { ...script, pieces });
    const answer = await client[way](api.url);
    expect(answer).toEqual({ text: pieces.join(""), output: script.output });
    await expectCharged(api, credits, used);
  });

  test.each(["whole", "streamed"] as const)("%s, with a call of a tool", async (way) => {
    const api = await cannedApi(price, { ...script, pieces, tool });
    const answer = await client[way](api.url);
    const expected = { name: tool.name, input };
    expect(answer).toEqual({ text: pieces.join(""), tool: expected, output: script.output });
    await expectCharged(api, credits, used);
  });

  test("aborted in mid-stream: what was produced until then is charged", async () => {
    const halt = { after: 3, output: 80 };
    const api = await cannedApi(price, { ...script, pieces, halt });
    expect(await client.abandoned(api.url, 3)).toBe("Ein Credit ist ein Stück ");
    await expectCharged(api, stopped, { ...used, outputTokens: 80 });
  });
});

/**
 * Answers of models in the shapes that their vendors document (OpenAI API reference: "Create chat
 * completion", "Create a model response"; Anthropic API reference: "Messages", "Streaming messages";
 * Gemini API reference: "generateContent", "streamGenerateContent"), written for these tests.
 */

import type { Usage } from "../../src/redemption.ts";

export interface Body {
  readonly name: string;
  readonly type: string;
  readonly body: string;
  /** Undefined: it tells none. */
  readonly usage: Usage | undefined;
}

const text = 'Ein Grüß "Gott" \\ {"usage":{"prompt_tokens":1,"completion_tokens":1}} 😀 日本語';

/** Server-sent events, each with data and, if it has a name, that. */
export function events(list: readonly (readonly [name: string | undefined, data: unknown])[]) {
  return list
    .map(([name, data]) => {
      const line = `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
      return name === undefined ? line : `event: ${name}\n${line}`;
    })
    .join("");
}

const chunk = (more: object) => ({
  id: "chatcmpl-1",
  object: "chat.completion.chunk",
  created: 1_767_225_600,
  model: "gpt-5.1",
  ...more,
});
const delta = (content: string) => [{ index: 0, delta: { content }, finish_reason: null }];

const response = (more: object) => ({
  id: "resp_1",
  object: "response",
  status: "completed",
  model: "gpt-5.1-mini",
  output: [{ type: "message", content: [{ type: "output_text", text }] }],
  ...more,
});
const responseUsage = {
  input_tokens: 328,
  input_tokens_details: { cached_tokens: 128 },
  output_tokens: 52,
  output_tokens_details: { reasoning_tokens: 40 },
  total_tokens: 380,
};

const message = (usage: object) => ({
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-sonnet-5",
  content: [{ type: "text", text }],
  stop_reason: "end_turn",
  usage,
});

const candidate = (words: string) => [
  { content: { role: "model", parts: [{ text: words }] }, index: 0 },
];

const json = "application/json; charset=utf-8";
const stream = "text/event-stream";

export const bodies: readonly Body[] = [
  {
    name: "OpenAI chat completion; reasoning is part of the output, the cache of the input",
    type: json,
    body: JSON.stringify({
      id: "chatcmpl-1",
      object: "chat.completion",
      model: "gpt-5.1",
      choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
      usage: {
        prompt_tokens: 1_117,
        completion_tokens: 46,
        total_tokens: 1_163,
        prompt_tokens_details: { cached_tokens: 1_024, audio_tokens: 0 },
        completion_tokens_details: { reasoning_tokens: 30, accepted_prediction_tokens: 0 },
      },
      service_tier: "default",
    }),
    usage: {
      inputTokens: 1_117,
      outputTokens: 46,
      cachedInputTokens: 1_024,
      model: "gpt-5.1",
    },
  },
  {
    name: "OpenAI embeddings: the prompt is all there is",
    type: "application/json",
    body: JSON.stringify({
      object: "list",
      data: [{ object: "embedding", index: 0, embedding: [0.1, -0.2] }],
      model: "text-embedding-3-small",
      usage: { prompt_tokens: 8, total_tokens: 8 },
    }),
    usage: { inputTokens: 8, outputTokens: 0, model: "text-embedding-3-small" },
  },
  {
    name: "DeepSeek, whose cache hits have a name of their own",
    type: "application/json",
    body: JSON.stringify({
      model: "deepseek-chat",
      choices: [],
      usage: {
        prompt_tokens: 100,
        completion_tokens: 20,
        total_tokens: 120,
        prompt_cache_hit_tokens: 64,
        prompt_cache_miss_tokens: 36,
      },
    }),
    usage: { inputTokens: 100, cachedInputTokens: 64, outputTokens: 20, model: "deepseek-chat" },
  },
  {
    name: "a total that is less than its parts",
    type: "application/json",
    body: JSON.stringify({ usage: { prompt_tokens: 8, total_tokens: 7 } }),
    usage: undefined,
  },
  {
    name: "OpenAI chat completion with usage in front of everything, and spaces",
    type: json,
    body: `\n{ "usage" : { "prompt_tokens" : 9 ,\n "completion_tokens" : 0 } , "model" : "m" , "choices" : [ ] }`,
    usage: { inputTokens: 9, outputTokens: 0, model: "m" },
  },
  {
    name: "OpenAI chat completion that tells no usage",
    type: json,
    body: JSON.stringify({ object: "chat.completion", model: "gpt-5.1", choices: [], usage: null }),
    usage: undefined,
  },
  {
    name: "OpenAI chat completion in events, with usage asked for",
    type: stream,
    body: events([
      [undefined, chunk({ choices: delta("Hello"), usage: null })],
      [undefined, chunk({ choices: delta(text), usage: null })],
      [
        undefined,
        chunk({
          choices: [],
          usage: { prompt_tokens: 20, completion_tokens: 7, total_tokens: 27 },
        }),
      ],
      [undefined, "[DONE]"],
    ]),
    usage: { inputTokens: 20, outputTokens: 7, model: "gpt-5.1" },
  },
  {
    name: "OpenAI chat completion in events, without",
    type: stream,
    body: events([
      [undefined, chunk({ choices: delta("Hello") })],
      [undefined, "[DONE]"],
    ]),
    usage: undefined,
  },
  {
    name: "OpenAI response",
    type: json,
    body: JSON.stringify(response({ usage: responseUsage })),
    usage: {
      inputTokens: 328,
      outputTokens: 52,
      cachedInputTokens: 128,
      model: "gpt-5.1-mini",
    },
  },
  {
    name: "OpenAI response in events",
    type: stream,
    body: events([
      ["response.created", { type: "response.created", response: response({ usage: null }) }],
      ["response.output_text.delta", { type: "response.output_text.delta", delta: text }],
      [
        "response.completed",
        { type: "response.completed", response: response({ usage: responseUsage }) },
      ],
    ]),
    usage: {
      inputTokens: 328,
      outputTokens: 52,
      cachedInputTokens: 128,
      model: "gpt-5.1-mini",
    },
  },
  {
    name: "Anthropic message; what is read from and written to the cache comes on top",
    type: json,
    body: JSON.stringify(
      message({
        input_tokens: 12,
        cache_creation_input_tokens: 300,
        cache_read_input_tokens: 1_000,
        output_tokens: 55,
        service_tier: "standard",
      }),
    ),
    usage: {
      inputTokens: 1_312,
      outputTokens: 55,
      cachedInputTokens: 1_000,
      model: "claude-sonnet-5",
    },
  },
  {
    name: "Anthropic message in events: input in the first, output in the last",
    type: stream,
    body: events([
      [
        "message_start",
        {
          type: "message_start",
          message: {
            ...message({
              input_tokens: 25,
              cache_creation_input_tokens: 0,
              cache_read_input_tokens: 400,
              output_tokens: 1,
            }),
            content: [],
          },
        },
      ],
      ["content_block_start", { type: "content_block_start", index: 0 }],
      ["ping", { type: "ping" }],
      ["content_block_delta", { type: "content_block_delta", delta: { type: "text_delta", text } }],
      [
        "message_delta",
        {
          type: "message_delta",
          delta: { stop_reason: "end_turn" },
          usage: { output_tokens: 15 },
        },
      ],
      ["message_stop", { type: "message_stop" }],
    ]),
    usage: {
      inputTokens: 425,
      outputTokens: 15,
      cachedInputTokens: 400,
      model: "claude-sonnet-5",
    },
  },
  {
    name: "Anthropic message in events, whose last one repeats the input with no cache counts",
    type: stream,
    body: events([
      [
        "message_start",
        {
          type: "message_start",
          message: message({
            input_tokens: 1_000,
            cache_creation_input_tokens: 4_000,
            cache_read_input_tokens: 16_000,
            output_tokens: 1,
          }),
        },
      ],
      [
        "message_delta",
        {
          type: "message_delta",
          delta: { stop_reason: "end_turn" },
          usage: {
            input_tokens: 1_000,
            cache_creation_input_tokens: null,
            cache_read_input_tokens: null,
            output_tokens: 50,
          },
        },
      ],
    ]),
    usage: {
      inputTokens: 21_000,
      outputTokens: 50,
      cachedInputTokens: 16_000,
      model: "claude-sonnet-5",
    },
  },
  {
    name: "Gemini; thoughts come on top of the candidates, the cache is part of the prompt",
    type: json,
    body: JSON.stringify({
      candidates: candidate(text),
      usageMetadata: {
        promptTokenCount: 100,
        candidatesTokenCount: 20,
        thoughtsTokenCount: 30,
        cachedContentTokenCount: 64,
        totalTokenCount: 150,
      },
      modelVersion: "gemini-3-flash",
      responseId: "r",
    }),
    usage: {
      inputTokens: 100,
      outputTokens: 50,
      cachedInputTokens: 64,
      model: "gemini-3-flash",
    },
  },
  {
    name: "Gemini in events, each with the counts so far",
    type: stream,
    body: events([
      [undefined, { candidates: candidate("a"), usageMetadata: { promptTokenCount: 8 } }],
      [
        undefined,
        {
          candidates: candidate(text),
          usageMetadata: { promptTokenCount: 8, candidatesTokenCount: 5, thoughtsTokenCount: 2 },
          modelVersion: "gemini-3-pro",
        },
      ],
    ]),
    usage: { inputTokens: 8, outputTokens: 7, model: "gemini-3-pro" },
  },
  {
    name: "Gemini's stream as one array",
    type: json,
    body: `[${JSON.stringify({ candidates: candidate("a"), usageMetadata: { promptTokenCount: 8 } })}\n,\n${JSON.stringify(
      {
        candidates: candidate(text),
        usageMetadata: { promptTokenCount: 8, candidatesTokenCount: 5 },
        modelVersion: "gemini-3-pro",
      },
    )}\n]`,
    usage: { inputTokens: 8, outputTokens: 5, model: "gemini-3-pro" },
  },
  {
    name: "a real zero",
    type: json,
    body: JSON.stringify({ usage: { prompt_tokens: 0, completion_tokens: 0 } }),
    usage: { inputTokens: 0, outputTokens: 0 },
  },
  {
    name: "counts that are none",
    type: json,
    body: JSON.stringify({ usage: { prompt_tokens: -1, completion_tokens: "7" } }),
    usage: undefined,
  },
  {
    name: "usage of something else, deeper in",
    type: json,
    body: JSON.stringify({
      data: [{ usage: { prompt_tokens: 1, completion_tokens: 1 } }],
      nested: { usage: { prompt_tokens: 1, completion_tokens: 1 } },
    }),
    usage: undefined,
  },
  { name: "no JSON", type: "text/html", body: "<p>usage</p>", usage: undefined },
];

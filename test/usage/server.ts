/**
 * A canned model behind a meter, in the formats that the vendors document: OpenAI's chat completions and
 * responses, Anthropic's messages, whole and as server-sent events.
 */

import { once } from "node:events";
import express, { type Express, type Request, type Response } from "express";
import type { CreditMeter, Redemption } from "../../src/index.ts";
import { onAbort, type TokenPrice, usage } from "../../src/usage/index.ts";
import { type MeteredApi, meteredApi } from "../support/api.ts";

/** What the model says next, and what it says of the tokens. */
export interface Script {
  /** As it calls itself: clients ask for a shorter name. */
  readonly model: string;
  readonly input: number;
  /** Of the input: read from a cache. */
  readonly cached: number;
  /** Of the input: written to a cache, which Anthropic tells on its own. */
  readonly written?: number;
  readonly output: number;
  /** The text, as it is streamed. */
  readonly pieces: readonly string[];
  /** A call of a tool behind the text; its arguments as they are streamed. */
  readonly tool?: { readonly name: string; readonly pieces: readonly string[] };
  /**
   * A stream waits after so many pieces until its client has gone, and reports that so many tokens were
   * produced.
   */
  readonly halt?: { readonly after: number; readonly output: number };
}

export interface CannedApi extends MeteredApi {
  /** What was admitted, as handlers see it. */
  readonly admitted: Redemption[];
}

export async function cannedApi(price: TokenPrice, script: Script): Promise<CannedApi> {
  const admitted: Redemption[] = [];
  const paid = { hold: 100, price };
  const formats = {
    "/v1/chat/completions": chat,
    "/v1/responses": responses,
    "/v1/messages": messages,
  };
  const routes = Object.fromEntries(Object.keys(formats).map((path) => [`POST ${path}`, paid]));
  const build = (app: Express, meter: CreditMeter) => {
    app.use(meter, express.json());
    app.use((_req, res, next) => {
      if (res.locals.redemption) admitted.push(res.locals.redemption);
      next();
    });
    for (const [path, format] of Object.entries(formats)) {
      app.post(path, answerBy(script, format));
    }
  };
  return { ...(await meteredApi({ routes }, build, { credits: 1_000 })), admitted };
}

/** One vendor's format. */
interface Format {
  whole(script: Script): object;
  /** Events as they go to the client; those of `pieces` are one for each piece of the text. */
  stream(
    script: Script,
    asked: Request["body"],
  ): { before: string; pieces: string[]; after: string };
}

function answerBy(script: Script, format: Format) {
  return async (req: Request, res: Response) => {
    if (!req.body.stream) return void res.json(format.whole(script));
    const { before, pieces, after } = format.stream(script, req.body);
    const gone = onAbort(res);
    res.type("text/event-stream");
    write(res, before);
    for (const piece of pieces.slice(0, script.halt?.after)) write(res, piece);
    if (!script.halt) {
      write(res, after);
      return void res.end();
    }
    if (!gone.aborted) await once(gone, "abort");
    const { input: inputTokens, cached: cachedInputTokens, model } = script;
    const outputTokens = script.halt.output;
    usage.report(res, { inputTokens, cachedInputTokens, outputTokens, model });
    res.end();
  };
}

/** Networks cut where they like: in the middle, and so perhaps in the middle of a character. */
function write(res: Response, text: string) {
  const bytes = Buffer.from(text);
  res.write(bytes.subarray(0, bytes.length >> 1));
  res.write(bytes.subarray(bytes.length >> 1));
}

const created = 1_767_225_600;

/** https://platform.openai.com/docs/api-reference/chat */
const chat: Format = {
  whole(script) {
    return {
      id: "chatcmpl-1",
      object: "chat.completion",
      created,
      model: script.model,
      choices: [
        {
          index: 0,
          message: {
            role: "assistant",
            content: script.pieces.join(""),
            refusal: null,
            annotations: [],
            ...(script.tool && { tool_calls: [chatCall(script.tool.name, argumentsOf(script))] }),
          },
          logprobs: null,
          finish_reason: script.tool ? "tool_calls" : "stop",
        },
      ],
      usage: chatUsage(script),
      service_tier: "default",
      system_fingerprint: null,
    };
  },

  stream(script, { stream_options }) {
    const asked = stream_options?.include_usage === true;
    const event = (choices: object[], used: object | null = null) =>
      `data: ${JSON.stringify({
        id: "chatcmpl-1",
        object: "chat.completion.chunk",
        created,
        model: script.model,
        service_tier: "default",
        system_fingerprint: null,
        choices,
        ...(asked && { usage: used }),
      })}\n\n`;
    const chunk = (delta: object, finish_reason: string | null = null) =>
      event([{ index: 0, delta, logprobs: null, finish_reason }]);
    const call = script.tool
      ? [
          chunk({ tool_calls: [{ index: 0, ...chatCall(script.tool.name, "") }] }),
          ...script.tool.pieces.map((piece) =>
            chunk({ tool_calls: [{ index: 0, function: { arguments: piece } }] }),
          ),
        ]
      : [];
    return {
      before: chunk({ role: "assistant", content: "", refusal: null }),
      pieces: script.pieces.map((content) => chunk({ content })),
      after: [
        ...call,
        chunk({}, script.tool ? "tool_calls" : "stop"),
        ...(asked ? [event([], chatUsage(script))] : []),
        "data: [DONE]\n\n",
      ].join(""),
    };
  },
};

const argumentsOf = ({ tool }: Script) => tool?.pieces.join("") ?? "";

function chatCall(name: string, args: string) {
  return { id: "call_1", type: "function", function: { name, arguments: args } };
}

function chatUsage({ input, cached, output }: Script) {
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: input + output,
    prompt_tokens_details: { cached_tokens: cached, cache_write_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

/** https://platform.openai.com/docs/api-reference/responses */
const responses: Format = {
  whole: (script) => response(script, "completed"),

  stream(script) {
    let number = 0;
    const event = (type: string, fields: object) => {
      const data = { type, sequence_number: number, ...fields };
      number += 1;
      return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
    };
    const [message, call] = outputOf(script);
    const text = { item_id: "msg_1", output_index: 0, content_index: 0 };
    const args = { item_id: "fc_1", output_index: 1 };
    const before = [
      event("response.created", { response: response(script, "in_progress") }),
      event("response.in_progress", { response: response(script, "in_progress") }),
      event("response.output_item.added", {
        output_index: 0,
        item: { ...message, status: "in_progress", content: [] },
      }),
      event("response.content_part.added", { ...text, part: { ...textPart, text: "" } }),
    ];
    const pieces = script.pieces.map((delta) =>
      event("response.output_text.delta", { ...text, delta, logprobs: [] }),
    );
    const whole = script.pieces.join("");
    const after = [
      event("response.output_text.done", { ...text, text: whole, logprobs: [] }),
      event("response.content_part.done", { ...text, part: { ...textPart, text: whole } }),
      event("response.output_item.done", { output_index: 0, item: message }),
    ];
    if (call) {
      const begun = { ...call, status: "in_progress", arguments: "" };
      after.push(
        event("response.output_item.added", { output_index: 1, item: begun }),
        ...(script.tool?.pieces ?? []).map((delta) =>
          event("response.function_call_arguments.delta", { ...args, delta }),
        ),
        event("response.function_call_arguments.done", {
          ...args,
          name: script.tool?.name,
          arguments: argumentsOf(script),
        }),
        event("response.output_item.done", { output_index: 1, item: call }),
      );
    }
    after.push(event("response.completed", { response: response(script, "completed") }));
    return { before: before.join(""), pieces, after: after.join("") };
  },
};

const textPart = { type: "output_text", annotations: [], logprobs: [] };

function outputOf(script: Script) {
  const content = [{ ...textPart, text: script.pieces.join("") }];
  const message = {
    id: "msg_1",
    type: "message",
    status: "completed",
    role: "assistant",
    content,
  };
  if (!script.tool) return [message];
  const call = {
    id: "fc_1",
    type: "function_call",
    status: "completed",
    call_id: "call_1",
    name: script.tool.name,
    arguments: argumentsOf(script),
  };
  return [message, call];
}

function response(script: Script, status: "in_progress" | "completed") {
  const { input, cached, output } = script;
  const isOver = status === "completed";
  return {
    id: "resp_1",
    object: "response",
    created_at: created,
    status,
    background: false,
    error: null,
    incomplete_details: null,
    instructions: null,
    max_output_tokens: null,
    model: script.model,
    output: isOver ? outputOf(script) : [],
    parallel_tool_calls: true,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    store: true,
    temperature: 1,
    text: { format: { type: "text" } },
    tool_choice: "auto",
    tools: [],
    top_p: 1,
    truncation: "disabled",
    usage: isOver
      ? {
          input_tokens: input,
          input_tokens_details: { cached_tokens: cached, cache_write_tokens: 0 },
          output_tokens: output,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: input + output,
        }
      : null,
    user: null,
    metadata: {},
  };
}

/** https://docs.anthropic.com/en/api/messages */
const messages: Format = {
  whole: (script) => ({
    ...message(script, script.output),
    content: [
      { type: "text", text: script.pieces.join(""), citations: null },
      ...(script.tool
        ? [{ ...toolUse(script.tool.name), input: JSON.parse(argumentsOf(script)) }]
        : []),
    ],
    stop_reason: script.tool ? "tool_use" : "end_turn",
  }),

  stream(script) {
    const event = (type: string, fields: object = {}) =>
      `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
    const call = script.tool
      ? [
          event("content_block_start", { index: 1, content_block: toolUse(script.tool.name) }),
          ...script.tool.pieces.map((partial_json) =>
            event("content_block_delta", {
              index: 1,
              delta: { type: "input_json_delta", partial_json },
            }),
          ),
          event("content_block_stop", { index: 1 }),
        ]
      : [];
    return {
      before: [
        // What it has written by then is not what it will have written in the end.
        event("message_start", { message: message(script, 1) }),
        event("content_block_start", { index: 0, content_block: { type: "text", text: "" } }),
        event("ping"),
      ].join(""),
      pieces: script.pieces.map((text) =>
        event("content_block_delta", { index: 0, delta: { type: "text_delta", text } }),
      ),
      after: [
        event("content_block_stop", { index: 0 }),
        ...call,
        event("message_delta", {
          delta: { stop_reason: script.tool ? "tool_use" : "end_turn", stop_sequence: null },
          usage: {
            ...messageUsage(script, script.output),
            output_tokens_details: null,
            server_tool_use: null,
          },
        }),
        event("message_stop"),
      ].join(""),
    };
  },
};

function toolUse(name: string) {
  return { type: "tool_use", id: "toolu_1", name, input: {} };
}

function message(script: Script, output: number) {
  const { cache_creation_input_tokens: written } = messageUsage(script, output);
  return {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: script.model,
    content: [],
    stop_reason: null as string | null,
    stop_sequence: null,
    usage: {
      ...messageUsage(script, output),
      cache_creation: { ephemeral_5m_input_tokens: written, ephemeral_1h_input_tokens: 0 },
      service_tier: "standard",
    },
  };
}

/** Its input is what neither came from the cache nor went to it. */
function messageUsage({ input, cached, written = 0 }: Script, output_tokens: number) {
  return {
    input_tokens: input - cached - written,
    cache_creation_input_tokens: written,
    cache_read_input_tokens: cached,
    output_tokens,
  };
}

/** A model that always says the same, a word a token. */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { ChatRequest, Model, Usage } from "./model.ts";

const answer =
  "A credit is a unit of a plan that you bought. This answer cost as many credits as it has tokens.";
const name = "canned";

export function cannedModel(): Model {
  const words = answer.split(/(?<= )/);
  return {
    name,

    async complete(request) {
      return {
        ...head("chat.completion"),
        choices: [
          { index: 0, message: { role: "assistant", content: answer }, finish_reason: "stop" },
        ],
        usage: usage(request, words.length),
      };
    },

    async *stream(request, signal) {
      const common = head("chat.completion.chunk");
      const event = (fields: object) => `data: ${JSON.stringify({ ...common, ...fields })}\n\n`;
      const choice = (delta: object, finish_reason: string | null = null) =>
        event({ choices: [{ index: 0, delta, finish_reason }] });
      for (const [index, content] of words.entries()) {
        if (signal.aborted) return;
        const delta = index === 0 ? { role: "assistant", content } : { content };
        yield { text: choice(delta), usage: usage(request, index + 1) };
        await sleep(30, undefined, { signal }).catch(() => {});
      }
      const used = usage(request, words.length);
      yield { text: choice({}, "stop"), usage: used };
      // As OpenAI does: usage comes in a last chunk without choices, to those who ask for it.
      const asked = request.stream_options?.include_usage === true;
      yield { text: asked ? event({ choices: [], usage: used }) : null, usage: used };
      yield { text: "data: [DONE]\n\n" };
    },

    async embed({ input }) {
      const prompt_tokens = tokens(input);
      const embedding = Array.from({ length: 8 }, (_, index) => Math.sin(prompt_tokens + index));
      return {
        object: "list",
        data: [{ object: "embedding", index: 0, embedding }],
        model: name,
        usage: { prompt_tokens, total_tokens: prompt_tokens },
      };
    },
  };
}

function head(object: string) {
  const created = Math.floor(Date.now() / 1000);
  return { id: `chatcmpl-${randomUUID()}`, object, created, model: name };
}

function usage({ messages }: ChatRequest, completion_tokens: number): Usage {
  const prompt_tokens = messages.reduce((sum, { content }) => sum + tokens(content), 0);
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

function tokens(content: unknown): number {
  const text = typeof content === "string" ? content : JSON.stringify(content ?? "");
  return text.split(/\s+/).filter((word) => word !== "").length;
}

/**
 * The shapes in which vendors tell usage, by their documents: OpenAI's chat completions and responses,
 * Anthropic's messages, Gemini's generateContent; whole, or in events of a stream. They are told apart by
 * what is in them.
 */

import type { Usage } from "../redemption.ts";
import type { Found } from "./scanner.ts";
import { countOf } from "./usage.ts";

/** Members that say something about usage. */
export const paths: ReadonlySet<string> = new Set([
  "usage",
  "model",
  // OpenAI's responses and Anthropic's messages, in events of a stream.
  "response.usage",
  "response.model",
  "message.usage",
  "message.model",
  "usageMetadata",
  "modelVersion",
]);

/** What has been told so far. */
export interface Told {
  readonly input?: number | undefined;
  readonly output?: number | undefined;
  readonly cached?: number | undefined;
  readonly model?: string | undefined;
}

/** Adds what one document tells to what those before it told: the later word counts. */
export function readDocument(told: Told, found: Found): Told {
  const usage = objectOf(
    found.get("usage") ?? found.get("response.usage") ?? found.get("message.usage"),
  );
  const gemini = objectOf(found.get("usageMetadata"));
  const model = stringOf(
    found.get("model") ??
      found.get("response.model") ??
      found.get("message.model") ??
      found.get("modelVersion"),
  );
  const counts = usage ? readUsage(told, usage) : gemini ? readGemini(gemini) : {};
  const known = Object.entries({ ...counts, model }).filter(([, value]) => value !== undefined);
  return { ...told, ...Object.fromEntries(known) };
}

type Counts = Omit<Told, "model">;

function readUsage(told: Told, usage: Record<string, unknown>): Counts {
  // OpenAI's chat completions: reasoning is part of the completion, what was cached part of the prompt.
  if ("prompt_tokens" in usage || "completion_tokens" in usage) {
    const input = countOf(usage.prompt_tokens);
    return {
      input,
      output: countOf(usage.completion_tokens) ?? restOf(usage, input),
      cached:
        countOf(memberOf(usage.prompt_tokens_details, "cached_tokens")) ??
        // DeepSeek's word for it (its API reference: "Create chat completion").
        countOf(usage.prompt_cache_hit_tokens),
    };
  }
  // Anthropic: what was read from the cache, or written to it, comes on top of the input.
  const cached = countOf(usage.cache_read_input_tokens);
  const written = countOf(usage.cache_creation_input_tokens);
  if (cached !== undefined || written !== undefined) {
    const input = countOf(usage.input_tokens);
    return {
      input: input === undefined ? undefined : input + (cached ?? 0) + (written ?? 0),
      output: countOf(usage.output_tokens),
      cached,
    };
  }
  // OpenAI's responses; or the last event of Anthropic's, which tells the output alone, or repeats the
  // input without the cache.
  const isLast = told.input !== undefined && !("input_tokens_details" in usage);
  return {
    input: isLast ? undefined : countOf(usage.input_tokens),
    output: countOf(usage.output_tokens),
    cached: countOf(memberOf(usage.input_tokens_details, "cached_tokens")),
  };
}

/** OpenAI's embeddings name the prompt and the total, which is all of it (API reference: "Create embeddings"). */
function restOf(usage: Record<string, unknown>, input: number | undefined): number | undefined {
  const total = countOf(usage.total_tokens);
  if ("completion_tokens" in usage || total === undefined || input === undefined) return undefined;
  return total < input ? undefined : total - input;
}

/** What the model thought comes on top of the candidates; what was cached is part of the prompt. */
function readGemini(usage: Record<string, unknown>): Counts {
  const candidates = countOf(usage.candidatesTokenCount);
  const thoughts = countOf(usage.thoughtsTokenCount);
  const tools = countOf(usage.toolUsePromptTokenCount) ?? 0;
  const prompt = countOf(usage.promptTokenCount);
  const wrote = candidates !== undefined || thoughts !== undefined || prompt !== undefined;
  return {
    input: prompt === undefined ? undefined : prompt + tools,
    output: wrote ? (candidates ?? 0) + (thoughts ?? 0) : undefined,
    cached: countOf(usage.cachedContentTokenCount),
  };
}

/** Undefined where one of the two counts was not told: nobody can say what it costs. */
export function usageOf({ input, output, cached, model }: Told): Usage | undefined {
  if (input === undefined || output === undefined) return undefined;
  return {
    inputTokens: input,
    outputTokens: output,
    ...(cached !== undefined && { cachedInputTokens: Math.min(cached, input) }),
    ...(model !== undefined && { model }),
  };
}

function parsed(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function objectOf(text: string | undefined): Record<string, unknown> | undefined {
  const value = parsed(text);
  return typeof value === "object" && value !== null
    ? (value as Record<string, unknown>)
    : undefined;
}

function stringOf(text: string | undefined): string | undefined {
  const value = parsed(text);
  return typeof value === "string" && value.length <= 256 ? value : undefined;
}

function memberOf(value: unknown, name: string): unknown {
  return (value as Record<string, unknown> | null | undefined)?.[name];
}

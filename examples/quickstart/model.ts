/** Where the answers come from: a canned model, or a real upstream that speaks OpenAI's API. */

import { cannedModel } from "./canned-model.ts";
import { upstreamModel } from "./upstream-model.ts";

export interface ChatRequest {
  readonly model?: string;
  readonly messages: readonly { readonly role: string; readonly content: unknown }[];
  readonly stream?: boolean;
  readonly stream_options?: { readonly include_usage?: boolean };
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export interface Model {
  readonly name: string;
  complete(request: ChatRequest, signal: AbortSignal): Promise<{ usage?: Usage }>;
  /**
   * Server-sent events as they go to the client. `text: null` is one that the client did not ask
   * for. `usage` is what was used so far, where the model tells.
   */
  stream(
    request: ChatRequest,
    signal: AbortSignal,
  ): AsyncIterable<{ text: string | null; usage?: Usage | undefined }>;
  embed(request: { input?: unknown }): Promise<object>;
}

/** What went wrong, with the status to answer. */
export class ModelError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The real upstream when `OPENAI_BASE_URL` and `OPENAI_API_KEY` are set. */
export function chooseModel(variables: NodeJS.ProcessEnv): Model {
  const { OPENAI_BASE_URL: baseUrl, OPENAI_API_KEY: apiKey } = variables;
  return baseUrl && apiKey ? upstreamModel(baseUrl, apiKey) : cannedModel();
}

/** Passes requests on to a real API in OpenAI's shape, and reads from its answers what was used. */

import { type Model, ModelError, type Usage } from "./model.ts";

export function upstreamModel(baseUrl: string, apiKey: string): Model {
  const root = baseUrl.replace(/\/+$/, "");

  async function post(path: string, body: object, signal?: AbortSignal): Promise<Response> {
    const response = await fetch(`${root}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
      body: JSON.stringify(body),
      ...(signal && { signal }),
    });
    if (response.ok) return response;
    const text = await response.text();
    // The upstream's refusal of our own key is no business of the buyer's.
    const ours = response.status === 401 || response.status === 403;
    throw new ModelError(ours ? 502 : response.status, ours ? "Upstream failed." : text);
  }

  return {
    name: `upstream at ${new URL(root).host}`,

    async complete(request, signal) {
      const response = await post("/chat/completions", { ...request, stream: false }, signal);
      return (await response.json()) as { usage?: Usage };
    },

    async *stream(request, signal) {
      const asked = request.stream_options?.include_usage === true;
      const stream_options = { ...request.stream_options, include_usage: true };
      const response = await post("/chat/completions", { ...request, stream_options }, signal);
      for await (const event of serverSentEvents(response, signal)) {
        const usage = usageOf(event);
        const onlyUsage = usage !== undefined && /"choices"\s*:\s*\[\s*\]/.test(event);
        yield { text: onlyUsage && !asked ? null : event, usage };
      }
    },

    async embed(request) {
      const response = await post("/embeddings", request);
      return (await response.json()) as object;
    },
  };
}

/** Whole events, each with the empty line that ends it. */
async function* serverSentEvents(response: Response, signal: AbortSignal): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const bytes of response.body ?? []) {
      rest += decoder.decode(bytes, { stream: true });
      const events = rest.split(/(?<=\r?\n\r?\n)/);
      rest = events.pop() ?? "";
      if (/\r?\n\r?\n$/.test(rest)) {
        events.push(rest);
        rest = "";
      }
      yield* events;
    }
    if (rest !== "") yield rest;
  } catch (error) {
    // The buyer hung up, and with them the call upstream.
    if (!signal.aborted) throw error;
  }
}

function usageOf(event: string): Usage | undefined {
  const data = /^data: (\{.*\})\s*$/m.exec(event)?.[1];
  if (data === undefined) return undefined;
  try {
    return (JSON.parse(data) as { usage?: Usage | null }).usage ?? undefined;
  } catch {
    return undefined;
  }
}

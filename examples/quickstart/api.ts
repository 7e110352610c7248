/** An AI API in OpenAI's shapes, with a meter in front of it. */

import express, { type ErrorRequestHandler, type Express, type Response } from "express";
import {
  type CreditMeter,
  type CreditMeterOptions,
  creditMeter,
  type Refuse,
} from "express-credit-meter";
import { onAbort, tokens, usage } from "express-credit-meter/usage";
import { type ChatRequest, type Model, ModelError, type Usage as ModelUsage } from "./model.ts";

export function createApi(options: {
  model: Model;
  meter: Omit<CreditMeterOptions, "routes" | "refuse">;
}): { app: Express; meter: CreditMeter } {
  const { model } = options;
  const meter = creditMeter({
    ...options.meter,
    routes: {
      // A credit a token, as the answer itself tells them.
      "POST /v1/chat/completions": {
        hold: 4_000,
        price: tokens({ input: 1, output: 1, per: 1 }),
      },
      "POST /v1/embeddings": 2,
    },
    refuse: inOpenAIsFormat,
  });

  const app = express();
  app.use(meter);
  app.use(express.json({ limit: "1mb" }));

  app.get("/v1/models", (_req, res) => {
    const created = 1_767_225_600;
    res.json({
      object: "list",
      data: [{ id: model.name, object: "model", created, owned_by: "example" }],
    });
  });

  app.post("/v1/embeddings", async (req, res, next) => {
    try {
      res.json(await model.embed(req.body));
    } catch (error) {
      next(error);
    }
  });

  app.post("/v1/chat/completions", async (req, res, next) => {
    try {
      const request = readChat(req.body);
      // When the buyer hangs up: nobody works for tokens that no one reads.
      const signal = onAbort(res);
      if (request.stream) await stream(model, request, res, signal);
      else res.json(await model.complete(request, signal));
    } catch (error) {
      next(error);
    }
  });

  app.use(errorsInOpenAIsFormat);
  return { app, meter };
}

async function stream(model: Model, request: ChatRequest, res: Response, signal: AbortSignal) {
  for await (const chunk of model.stream(request, signal)) {
    // Not every buyer asks for usage in the stream, and whoever hangs up pays for what was produced until
    // then: so it is told here, where it is known.
    if (chunk.usage) usage.report(res, countsOf(chunk.usage, model.name));
    if (chunk.text === null) continue;
    if (!res.headersSent) res.type("text/event-stream");
    if (!res.write(chunk.text) && !signal.aborted) await drained(res, signal);
    if (signal.aborted) break;
  }
  res.end();
}

function countsOf({ prompt_tokens, completion_tokens }: ModelUsage, model: string) {
  return { inputTokens: prompt_tokens, outputTokens: completion_tokens, model };
}

function drained(res: Response, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    res.once("drain", resolve);
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function readChat(body: unknown): ChatRequest {
  const request = (body ?? {}) as ChatRequest;
  if (!Array.isArray(request.messages) || request.messages.length === 0) {
    throw new ModelError(400, "Send messages: a list with at least one message.");
  }
  return request;
}

/** OpenAI's clients read `error.message` and `error.code`. */
const inOpenAIsFormat: Refuse = (problem, _req, res) => {
  const { detail, code, price, hold, plans } = problem;
  res.status(problem.status).json({
    error: { message: detail, type: "payment_error", param: null, code, price, hold, plans },
  });
};

const errorsInOpenAIsFormat: ErrorRequestHandler = (error, _req, res, next) => {
  if (res.headersSent) return next(error);
  const status = Number.isInteger(error.status) ? error.status : 500;
  const message = status < 500 || error instanceof ModelError ? error.message : "Internal error.";
  if (status >= 500) console.error(error);
  res.status(status).json({ error: { message, type: "api_error", param: null, code: null } });
};

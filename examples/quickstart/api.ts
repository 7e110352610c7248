/** An AI API in OpenAI's shapes, with a meter in front of it. */

import express, { type ErrorRequestHandler, type Express, type Response } from "express";
import {
  type CreditMeter,
  type CreditMeterOptions,
  creditMeter,
  type Refuse,
} from "express-credit-meter";
import { type ChatRequest, type Model, ModelError } from "./model.ts";

export function createApi(options: {
  model: Model;
  meter: Omit<CreditMeterOptions, "routes" | "refuse">;
}): { app: Express; meter: CreditMeter } {
  const { model } = options;
  const meter = creditMeter({
    ...options.meter,
    routes: {
      // A credit a token. The price runs when the response has ended; it reads what is known then.
      "POST /v1/chat/completions": { hold: 4_000, price: (_req, res) => totalTokens(res) },
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
      const signal = untilClosed(res);
      if (request.stream) await stream(model, request, res, signal);
      else {
        const completion = await model.complete(request, signal);
        res.locals.usage = completion.usage;
        res.json(completion);
      }
    } catch (error) {
      next(error);
    }
  });

  app.use(errorsInOpenAIsFormat);
  return { app, meter };
}

async function stream(model: Model, request: ChatRequest, res: Response, signal: AbortSignal) {
  for await (const chunk of model.stream(request, signal)) {
    // Whoever hangs up pays for what was produced until then, where the model says how much.
    res.locals.usage = chunk.usage ?? res.locals.usage;
    if (chunk.text === null) continue;
    if (!res.headersSent) res.type("text/event-stream");
    if (!res.write(chunk.text) && !signal.aborted) await drained(res, signal);
    if (signal.aborted) break;
  }
  res.end();
}

function totalTokens(res: Response): number {
  const usage: { total_tokens: number } | undefined = res.locals.usage;
  if (!usage) throw new Error("The model did not say how many tokens were used.");
  return usage.total_tokens;
}

/** Aborts when the client has gone, so that nobody works for tokens that no one reads. */
function untilClosed(res: Response): AbortSignal {
  const controller = new AbortController();
  res.once("close", () => controller.abort());
  return controller.signal;
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

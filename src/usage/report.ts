/** What a handler tells and is told about the use of a model. */

import type { ServerResponse } from "node:http";
import { CreditMeterError } from "../errors.ts";
import type { Usage } from "../redemption.ts";
import { countOf, noteUsage } from "./usage.ts";

/**
 * Tells how much was used, where the handler knows: it wins over what is read from the response. The
 * last report counts.
 *
 * @throws {CreditMeterError} `usage-invalid`: a count is no whole number from 0 upwards
 * @example
 * ```ts
 * import type { RequestHandler } from "express";
 * import { usage } from "express-credit-meter/usage";
 *
 * const draw: RequestHandler = (_req, res) => {
 *   usage.report(res, { inputTokens: 12, outputTokens: 340, model: "in-house" });
 *   res.json({ url: "…" });
 * };
 * ```
 */
export function report(res: ServerResponse, used: Usage): void {
  const { inputTokens, outputTokens, cachedInputTokens, model } = used;
  const counts = [inputTokens, outputTokens, cachedInputTokens ?? 0];
  const isSound =
    counts.every((count) => countOf(count) !== undefined) &&
    (cachedInputTokens ?? 0) <= inputTokens &&
    (model === undefined || typeof model === "string");
  if (!isSound) {
    throw new CreditMeterError(
      "usage-invalid",
      "Report whole numbers of tokens from 0 upwards: { inputTokens, outputTokens }, of the input at most cachedInputTokens, and the model as a string.",
    );
  }
  const said: Usage = {
    inputTokens,
    outputTokens,
    ...(cachedInputTokens !== undefined && { cachedInputTokens }),
    ...(model !== undefined && { model: model.slice(0, 256) }),
  };
  reported.set(res, said);
  // Also where the price is none by tokens.
  noteUsage(res, said);
}

const reported = new WeakMap<object, Usage>();

export function reportedUsage(res: ServerResponse): Usage | undefined {
  return reported.get(res);
}

const signals = new WeakMap<object, AbortSignal>();

/**
 * A signal that aborts when the client has gone before its answer was whole: give it to the upstream
 * call, so that nobody pays for tokens that no one reads.
 *
 * @example
 * ```ts
 * import type { RequestHandler } from "express";
 * import { onAbort } from "express-credit-meter/usage";
 *
 * const chat: RequestHandler = async (_req, res) => {
 *   const answer = await fetch("https://upstream.example/v1/chat", { signal: onAbort(res) });
 *   res.json(await answer.json());
 * };
 * ```
 */
export function onAbort(res: ServerResponse): AbortSignal {
  const before = signals.get(res);
  if (before) return before;
  const controller = new AbortController();
  signals.set(res, controller.signal);
  const isGone = () => !res.writableFinished;
  if (res.closed || res.destroyed) {
    if (isGone()) controller.abort();
    return controller.signal;
  }
  res.once("close", () => {
    if (isGone()) controller.abort();
  });
  // Of a response that waits behind others on its socket only the request tells.
  res.req.once("close", () => {
    if (res.req.socket.destroyed && isGone()) controller.abort();
  });
  return controller.signal;
}

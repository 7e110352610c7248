/** Answers that refuse a request before its handler runs, as RFC 9457 problem documents. */

import { STATUS_CODES } from "node:http";
import type { NextFunction, Request, Response } from "express";
import type { RefusalCode } from "../errors.ts";

/** Why a request is refused, in the members of RFC 9457 and a few of our own. */
export interface Problem {
  /** `urn:problem-type:express-credit-meter:` and the code. */
  readonly type: string;
  /** The name of the status: "Payment Required". */
  readonly title: string;
  readonly status: 400 | 402 | 403 | 404 | 409 | 501 | 503;
  /** One sentence that says what to do. */
  readonly detail: string;
  /** Stable, with a heading in `docs/errors.md`. */
  readonly code: RefusalCode;
  /** Credits that this request would cost, where that is known before it runs. */
  readonly price?: number;
  /** Credits that are set aside while this request runs, where its price is known only afterwards. */
  readonly hold?: number;
  /** Credits that the holder has free; told to nobody whose proof was not verified. */
  readonly balance?: number;
  /** The plans that this API sells; absent where any is accepted. */
  readonly plans?: readonly string[];
  /**
   * The same once more, where clients of OpenAI's API (and LangChain, and others that are built on them) look
   * for it: they show `error.message`, and call a body without it "no body".
   */
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly code: RefusalCode;
    readonly param: null;
  };
}

/**
 * Answers a refused request in the API's own format. It must answer or call `next`. Status and body
 * are its own; `Cache-Control` and `Retry-After` are already set.
 *
 * @example
 * ```ts
 * import type { Refuse } from "express-credit-meter";
 *
 * const asOpenAI: Refuse = (problem, _req, res) => {
 *   res.status(problem.status).json({
 *     error: { type: "invalid_request_error", code: problem.code, message: problem.detail },
 *   });
 * };
 * ```
 */
export type Refuse = (problem: Problem, req: Request, res: Response, next: NextFunction) => unknown;

/** What a refused buyer is told beside why. */
export type Known = Pick<Problem, "price" | "hold" | "balance" | "plans">;

const statuses: Record<RefusalCode, Problem["status"]> = {
  "payment-required": 402,
  "payment-malformed": 400,
  "plan-not-sold": 402,
  "insufficient-credits": 402,
  "holder-blocked": 402,
  "exposure-reached": 402,
  "proof-invalid": 402,
  "proof-spent": 409,
  "request-id-repeated": 409,
  "ledger-away": 503,
  "not-asked-in-time": 503,
  "route-unlisted": 403,
  "queue-full": 503,
  "journal-full": 503,
  "journal-failing": 503,
  "ledger-misconfigured": 503,
  closing: 503,
  "delivery-untold": 501,
  "receipt-not-found": 404,
};

/** Seconds after which a refused buyer may try again, for answers with status 503. */
const retryAfterSeconds = 1;

export function createProblem(code: RefusalCode, detail: string, known: Known = {}): Problem {
  const status = statuses[code];
  const type = `urn:problem-type:express-credit-meter:${code}`;
  return {
    type,
    title: STATUS_CODES[status] ?? "Refused",
    status,
    detail,
    code,
    ...known,
    error: { message: detail, type, code, param: null },
  };
}

/** Answers with the problem, by `refuse` where the API has its own format. */
export async function answer(
  problem: Problem,
  req: Request,
  res: Response,
  next: NextFunction,
  refuse: Refuse | undefined,
): Promise<void> {
  try {
    res.setHeader("Cache-Control", "no-store");
    if (problem.status === 503) res.setHeader("Retry-After", String(retryAfterSeconds));
    if (refuse) {
      await refuse(problem, req, res, next);
      return;
    }
    // Not `res.json`: the application's own JSON settings have no say in this format.
    res.statusCode = problem.status;
    res.setHeader("Content-Type", "application/problem+json");
    res.end(JSON.stringify(problem));
  } catch (error) {
    next(error);
  }
}

/** Tells whoever holds the id of a redemption what became of it. */

import express, { type Request, type Router } from "express";
import { isSettled, type Redemption } from "../redemption.ts";
import { neverCharge } from "./meter.ts";
import { answer, createProblem } from "./refusal.ts";

/** The outcome of a redemption as told to the buyer: no proof, no plan, no holder. */
export type Receipt = Pick<
  Redemption,
  | "redemptionId"
  | "status"
  | "timestamp"
  | "redemption"
  | "success"
  | "error"
  | "message"
  | "short"
  | "transaction"
>;

export interface ReceiptsOptions {
  /** The record that is kept up to date in this process, if there is one. */
  readonly live: (redemptionId: string) => Redemption | undefined;
  /** What is remembered of it. */
  readonly read: (redemptionId: string) => Promise<Receipt | undefined>;
}

/** Seconds that a request may wait for an outcome, and how many may wait at once. */
const longestWaitSeconds = 30;
const maxWaiting = 1_000;
/** Milliseconds between looks at what another process is charging. */
const lookMs = 500;

const unknownId = "There is no redemption with this id. Use the value of the header Redemption-Id.";

/** `GET /:id` and `GET /:id?wait=5`. */
export function createReceipts(options: ReceiptsOptions): Router {
  const router = express.Router();
  let waiting = 0;

  async function outcome(id: string, req: Request, waitMs: number): Promise<Receipt | undefined> {
    const deadline = performance.now() + waitMs;
    const gone = new Promise<void>((resolve) => req.once("close", resolve));
    for (;;) {
      const live = options.live(id);
      const receipt = live ?? (await options.read(id));
      const left = deadline - performance.now();
      if (!receipt || isSettled(receipt.status) || left <= 0 || req.socket.destroyed)
        return receipt;
      await Promise.race([
        gone,
        ...(live ? [live.settled] : []),
        new Promise((resolve) => setTimeout(resolve, live ? left : Math.min(left, lookMs)).unref()),
      ]);
    }
  }

  router.get("/:id", (req, res, next) => {
    neverCharge(req);
    const { id } = req.params;
    res.setHeader("Cache-Control", "no-store");
    const asked = Number(req.query.wait ?? 0);
    const seconds = Number.isFinite(asked) ? Math.min(Math.max(asked, 0), longestWaitSeconds) : 0;
    const waits = seconds > 0 && waiting < maxWaiting;
    if (waits) waiting += 1;
    outcome(String(id), req, waits ? seconds * 1_000 : 0)
      .finally(() => {
        if (waits) waiting -= 1;
      })
      .then((receipt) => {
        if (res.headersSent || res.closed) return;
        if (receipt) res.status(200).json(told(receipt));
        else void answer(createProblem("receipt-not-found", unknownId), req, res, next, undefined);
      })
      .catch(next);
  });
  return router;
}

function told(receipt: Receipt): Receipt {
  const {
    redemptionId,
    status,
    timestamp,
    redemption,
    success,
    error,
    message,
    short,
    transaction,
  } = receipt;
  return {
    redemptionId,
    status,
    timestamp,
    redemption: {
      ...redemption,
      remainingBalance: status === "completed" ? redemption.remainingBalance : null,
    },
    ...(success && { success }),
    ...(error && { error }),
    ...(short && { short }),
    ...(transaction !== undefined && { transaction }),
    message,
  };
}

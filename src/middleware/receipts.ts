/** Tells whoever holds the id of a redemption what became of it. */

import { clearTimeout, setTimeout } from "node:timers";
import express, { type Request, type Router } from "express";
import { elapsed } from "../clock.ts";
import { isSettled, type Redemption } from "../redemption.ts";
import { onSocketClose } from "./delivery.ts";
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
  /**
   * Calls back when that record is settled the next time: one that was settled before may be sent again.
   *
   * @returns takes the callback off
   */
  readonly onSettled: (redemptionId: string, callback: () => void) => () => void;
  /** What is remembered of it. */
  readonly read: (redemptionId: string) => Promise<Receipt | undefined>;
}

/** Seconds that a request may wait for an outcome, and how many may wait at once. */
const longestWaitSeconds = 30;
const maxWaiting = 1_000;
/** Milliseconds between looks at what another process may be charging: the first, and at the most. */
const firstLookMs = 250;
const lookMs = 2_000;

const unknownId = "There is no redemption with this id. Use the value of the header Redemption-Id.";

/** `GET /:id` and `GET /:id?wait=5`. */
export function createReceipts(options: ReceiptsOptions): Router {
  const router = express.Router();
  let waiting = 0;

  /**
   * What is remembered, as soon as it is settled, or when the time is up. Looks again now and then, not only
   * when it is told to: another process may settle it. Undefined also where the client has gone.
   */
  async function outcome(id: string, req: Request, waitMs: number): Promise<Receipt | undefined> {
    const deadline = elapsed() + waitMs;
    let isGone = false;
    let wake = () => {};
    const stopListening = onSocketClose(req.socket, () => {
      isGone = true;
      wake();
    });
    try {
      for (let pauseMs = firstLookMs; ; pauseMs = Math.min(2 * pauseMs, lookMs)) {
        const receipt = options.live(id) ?? (await options.read(id));
        const left = deadline - elapsed();
        if (isGone) return undefined;
        if (!receipt || isSettled(receipt.status) || left <= 0) return receipt;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(() => wake(), Math.min(left, pauseMs)).unref();
          const notListening = options.onSettled(id, () => wake());
          wake = () => {
            clearTimeout(timer);
            notListening();
            resolve();
          };
        });
      }
    } finally {
      stopListening();
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

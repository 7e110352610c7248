/**
 * Knows when to send. Takes charges in, keeps at most `concurrency` of them on the wire, sends again
 * what was certainly not applied, and tells every outcome. In memory: what is here when the process
 * dies is gone.
 */

import { setMaxListeners } from "node:events";
import type { Answer, Charge } from "../redemption.ts";
import { type Backoff, waitBeforeRetry } from "./backoff.ts";
import type { Door, Outcome } from "./door.ts";

export interface RedeemerOptions {
  /** Charges on the wire at once, at the most. */
  readonly concurrency: number;
  readonly backoff: Backoff;
  /** Sends a charge once. A rejection counts as "may have been applied". */
  readonly send: (charge: Charge, signal: AbortSignal) => Promise<Answer>;
  /** Ends whatever `send` keeps open. */
  readonly end: () => Promise<void>;
  readonly tell: (outcome: Outcome) => void;
  /** A number from 0 to 1, 1 excluded. */
  readonly random: () => number;
}

interface Job {
  readonly charge: Charge;
  attempt: number;
}

export function createRedeemer(options: RedeemerOptions): Door {
  /** Waiting to be sent, oldest first. A Set gives its oldest entry without moving the others. */
  const ready = new Set<Job>();
  const waiting = new Map<Job, NodeJS.Timeout>();
  const sending = new Map<Job, Promise<void>>();
  const stopping = new AbortController();
  // Every charge on the wire listens to it: no leak, of which Node would warn at eleven.
  setMaxListeners(0, stopping.signal);

  const tell = (job: Job, change: Outcome["change"]) =>
    options.tell({ kind: "outcome", redemptionId: job.charge.redemptionId, change });

  function pump() {
    if (stopping.signal.aborted) return;
    for (const job of ready) {
      if (sending.size >= options.concurrency) return;
      ready.delete(job);
      // A tick later, so that the job counts as on the wire before anything it causes runs.
      sending.set(job, Promise.resolve(job).then(send));
    }
  }

  async function send(job: Job) {
    job.attempt += 1;
    tell(job, { status: "sending" });
    const answer = await options.send(job.charge, stopping.signal).catch(brokenSend);
    sending.delete(job);
    tell(job, answer);
    if (answer.status === "pending") wait(job, answer.retryAfterMs);
    pump();
  }

  function wait(job: Job, retryAfterMs: number | undefined) {
    const ms = waitBeforeRetry(options.backoff, job.attempt, retryAfterMs, options.random());
    const timer = setTimeout(() => {
      waiting.delete(job);
      ready.add(job);
      pump();
    }, ms);
    waiting.set(job, timer);
  }

  return {
    submit({ charge }) {
      ready.add({ charge, attempt: 0 });
      pump();
    },

    async ask() {
      stopping.abort();
      await Promise.all(sending.values());
      for (const timer of waiting.values()) clearTimeout(timer);
      await options.end();
      return { unsent: [...ready, ...waiting.keys()].map((job) => job.charge.redemptionId) };
    },
  };
}

/** `send` answers and does not reject; if it does all the same, nothing may be assumed. */
function brokenSend(error: unknown): Answer {
  return {
    status: "unresolved",
    reason: "answer-lost",
    code: "UNKNOWN",
    message: `Sending broke off: ${error instanceof Error ? error.message : String(error)}`,
  };
}

import type { Request, Response } from "express";
import type { Accounts } from "./accounts.ts";
import { type Answer, problem } from "./answers.ts";
import type { Outcome, Task } from "./endpoints.ts";
import type { Faults } from "./fault-plan.ts";
import type { Endpoint, Fault } from "./faults.ts";
import { createIdempotency, fingerprint, type Keyed, type KeyName } from "./idempotency.ts";
import { ending, falseAnswer, type Gate, wait } from "./interference.ts";

export interface Parts {
  accounts: Accounts;
  faults: Faults;
  gate: Gate;
  /** Whether a key of idempotency counts now. */
  honours: (name: KeyName) => boolean;
  /** Told once a request; `dropped` when the connection was cut instead of an answer. */
  count: (endpoint: Endpoint | "other", status: number | "dropped") => void;
  /** Ends all waiting when the ledger closes. */
  signal: AbortSignal;
}

/** What is done between the faults before and those after. */
interface Steps {
  apply: () => Answer;
  /** Takes the key, or returns the answer that the key has already, in place of applying. */
  claim?: () => Answer | undefined;
  /** Gives a taken key back, whether it was applied or could not be. */
  release?: () => void;
}

/** What the error catalogue has for a failure of the ledger itself. */
const codeOfErrors: Partial<Record<Endpoint, string>> = {
  redeem: "BCK.PROTOCOL.0020",
  permissions: "BCK.X402.0004",
  verify: "BCK.X402.0006",
  // Not 0009: after that one the buyer may have been charged, which is another fault.
  settle: "BCK.X402.0006",
};

/** How a request is led from its arrival, through its faults, to its answer. */
export function createConduct({ accounts, faults, gate, honours, count, signal }: Parts) {
  const idempotency = createIdempotency(accounts);

  /** A task, under its key of idempotency if it has one that is honoured. */
  function carryOut(endpoint: Endpoint, task: Task, req: Request, res: Response) {
    const correlationId: string = res.locals.correlationId;
    const idempotencyKey = req.get("idempotency-key") || null;
    const { agentRequestId = null } = task;
    const origin = { idempotencyKey, agentRequestId, correlationId };
    // Of x402 nobody documents that the header means anything.
    const name: KeyName = endpoint === "settle" ? "agentRequestId" : "Idempotency-Key";
    const key = endpoint === "settle" ? agentRequestId : idempotencyKey;
    if (!key || !honours(name)) {
      const apply = () => accounts.commit(() => task.apply(origin)).answer;
      return serve(endpoint, req, res, { apply });
    }
    const keyed: Keyed = { name, key, fingerprint: fingerprint(endpoint, task.payload) };
    const apply = () =>
      accounts.commit((): Outcome => {
        const outcome = task.apply(origin);
        if (outcome.decided) idempotency.remember(keyed, outcome.answer);
        return outcome;
      }).answer;
    const claim = () => idempotency.claim(keyed, correlationId);
    return serve(endpoint, req, res, { apply, claim, release: () => idempotency.release(keyed) });
  }

  /** A request, whatever it asks, through whatever befalls it. */
  async function serve(endpoint: Endpoint, req: Request, res: Response, steps: Steps) {
    try {
      const drawn = faults.draw(endpoint);
      const early = ending(drawn, "before");
      if (early) {
        await wait(drawn, "before", gate, signal);
        return pretend(endpoint, req, res, early);
      }
      const answer = await decide(drawn, steps);
      if (drawn.length === 0) return send(endpoint, res, answer);
      await wait(drawn, "after", gate, signal);
      const late = ending(drawn, "after");
      if (late) return pretend(endpoint, req, res, late);
      if (drawn.some(({ name }) => name === "close-after-applying")) {
        res.once("finish", () => res.socket?.destroy());
      }
      send(endpoint, res, answer);
    } catch (error) {
      if (signal.aborted) return drop(endpoint, res);
      const code = codeOfErrors[endpoint] ?? "BCK.HTTP.500";
      const message = `Error in the embedded ledger: ${(error as Error).message}`;
      send(endpoint, res, problem(500, code, message, res.locals.correlationId));
    }
  }

  async function decide(drawn: readonly Fault[], steps: Steps): Promise<Answer> {
    const known = steps.claim?.();
    try {
      if (drawn.length > 0) await wait(drawn, "before", gate, signal);
      return known ?? steps.apply();
    } finally {
      if (!known) steps.release?.();
    }
  }

  function pretend(endpoint: Endpoint, req: Request, res: Response, fault: Fault) {
    const path = `${req.method} ${req.originalUrl}`;
    const answer = falseAnswer(fault, endpoint, path, res.locals.correlationId);
    if (answer) send(endpoint, res, answer);
    else drop(endpoint, res);
  }

  function drop(endpoint: Endpoint, res: Response) {
    count(endpoint, "dropped");
    res.socket?.destroy();
  }

  function send(endpoint: Endpoint | "other", res: Response, answer: Answer) {
    count(endpoint, answer.status);
    if (answer.retryAfter !== undefined) res.setHeader("Retry-After", answer.retryAfter);
    res.writeHead(answer.status, {
      "Content-Type": `${answer.contentType ?? "application/json"}; charset=utf-8`,
      "Content-Length": Buffer.byteLength(answer.body),
    });
    res.end(answer.body);
  }

  return { serve, carryOut, send };
}

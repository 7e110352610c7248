/** What is on the wire, what may go there, and what an answer means for its charge and the others. */

import { setMaxListeners } from "node:events";
import type { Claim, Claimed, Settlement } from "../journal/journal.ts";
import type { Answer } from "../redemption.ts";
import type { Attempted } from "./attempt.ts";
import { waitBeforeRetry } from "./backoff.ts";
import { afterAnswer, afterQuestion, allowance, closedCircuit } from "./circuit.ts";
import { messageOf } from "./health.ts";
import type { JournalTime } from "./journal-time.ts";
import type { Life } from "./life.ts";
import type { RedeemerOptions } from "./redeemer-options.ts";

export interface Sender {
  /** What may be taken for sending now. An open circuit is probed by this. */
  allowed(): Claim | undefined;
  has(redemptionId: string): boolean;
  /**
   * Sends what is durably taken.
   *
   * @param stretch of life in which its taking began
   */
  send(charge: Claimed, stretch: number | undefined): void;
  /** Why sending pauses, and what must be mended; null while it does not. */
  paused(): { readonly reason: string; readonly fault?: string } | null;
  /** Gives up what is on the wire, and sends nothing more. */
  abort(): void;
  /** Resolves when `settle` has heard of all that was on the wire. */
  idle(): Promise<void>;
}

export interface SenderEvents {
  settle(attempted: Attempted): void;
  /** In so many milliseconds something may be sent that must not be now. */
  wakeIn(ms: number): void;
}

/** What an attempt came to, and whether it may have been applied although it is sent again. */
type Outcome = Pick<Settlement, "answer" | "mayBeApplied">;

export function createSender(
  options: RedeemerOptions,
  life: Life,
  time: JournalTime,
  events: SenderEvents,
): Sender {
  const { backoff, concurrency, perHolder, idempotentMs, now, elapsed, random } = options;
  const onWire = new Map<string, Promise<void>>();
  let circuit = closedCircuit({
    threshold: options.circuitThreshold,
    backoff,
    costly: idempotentMs === null,
  });
  let asking = false;
  const stopping = new AbortController();
  // Every charge on the wire listens to it: no leak, of which Node would warn at eleven.
  setMaxListeners(0, stopping.signal);

  async function run(charge: Claimed, stretch: number | undefined) {
    const { redemptionId, attempt, holderKey, amount } = charge;
    const { answer, mayBeApplied } = decidedHere(charge, stretch) ?? (await ask(charge, stretch));
    const wait =
      answer.status === "pending"
        ? waitBeforeRetry(backoff, attempt, answer.retryAfterMs, random())
        : 0;
    onWire.delete(redemptionId);
    if (!mayBeApplied) time.forget(redemptionId);
    const notBefore = now() + wait;
    events.settle({
      ...{ redemptionId, attempt, holderKey, amount },
      ...{ answer, mayBeApplied, notBefore },
    });
    if (wait > 0) events.wakeIn(wait);
  }

  /** What must not be sent at all. */
  function decidedHere(charge: Claimed, stretch: number | undefined): Outcome | undefined {
    if (stopping.signal.aborted) return { answer: notSent, mayBeApplied: false };
    if (!life.lasts(stretch)) return { answer: stoodStill, mayBeApplied: false };
    if (isTooLate(charge)) return { answer: tooLate, mayBeApplied: true };
    return isExpired(charge) ? { answer: expired, mayBeApplied: false } : undefined;
  }

  /** An attempt before this one may have been applied, and the ledger may have forgotten it. */
  function isTooLate(charge: Claimed): boolean {
    const { doubtSince } = charge;
    return doubtSince !== null && !isHonoured(charge, doubtSince);
  }

  /** Its payment expired while it waited here. What is in doubt is asked about under its id all the same. */
  function isExpired(charge: Claimed): boolean {
    const { expiresAt } = charge;
    return isOurDelay(charge) && expiresAt !== null && now() >= expiresAt;
  }

  /** Never rejects. */
  async function ask(charge: Claimed, stretch: number | undefined): Promise<Outcome> {
    if (charge.doubtSince === null) time.sends(charge.redemptionId);
    let answer: Answer;
    let forbidden: Outcome | undefined;
    /** Looks again right before the first byte: to connect takes a while. */
    const mayWrite = () => {
      forbidden = decidedHere(charge, stretch);
      return forbidden === undefined;
    };
    try {
      answer = await options.send(charge, stopping.signal, mayWrite);
    } catch (error) {
      const message = `Sending broke off: ${messageOf(error)}`;
      answer = { status: "unresolved", reason: "answer-lost", code: "UNKNOWN", message };
    }
    // Nothing of it went out, and it says nothing of the ledger.
    if (forbidden) return forbidden;
    const at = elapsed();
    circuit = afterAnswer(circuit, answer, charge.holderKey, at, random());
    if (circuit.open) events.wakeIn(circuit.open.notBefore - at);
    if (answer.status === "failed" && answer.reason === "payment-expired") {
      const { message } = answer;
      answer = isOurDelay(charge)
        ? { ...expired, message }
        : { ...answer, reason: "proof-refused" };
    }
    const doubtful = refusedAfterDoubt(answer, charge);
    return doubtful
      ? { answer: doubtful, mayBeApplied: true }
      : sendAgainIfHonoured(answer, charge);
  }

  /** Whether the ledger still knows an id since then. A clock that was set back has made that unknown. */
  function isHonoured({ redemptionId, repeatable }: Claimed, since: number): boolean {
    if (!repeatable || idempotentMs === null) return false;
    const age = time.ageOf(redemptionId, since, idempotentMs);
    return age !== undefined && age <= idempotentMs;
  }

  /** Where the ledger honours the id, "may have been applied" is no reason not to ask again. */
  function sendAgainIfHonoured(answer: Answer, charge: Claimed): Outcome {
    const { doubtSince, sentAt } = charge;
    const isDoubtful =
      answer.status === "unresolved" &&
      (answer.reason === "answer-lost" || answer.reason === "unexpected-answer");
    if (!isDoubtful || !isHonoured(charge, doubtSince ?? sentAt))
      return { answer, mayBeApplied: false };
    const again: Answer = { ...answer, status: "pending", reason: "ledger-unreachable" };
    return { answer: again, mayBeApplied: true };
  }

  /** Asks the ledger something harmless: whether it is there. */
  async function askWhetherThere() {
    if (asking) return;
    asking = true;
    const [planId = "", holderAddress = ""] = circuit.open?.lastHolder.split(" ") ?? [];
    const there = await options.askBalance(planId, holderAddress).then(
      (reading) => reading.told || reading.answered,
      () => false,
    );
    asking = false;
    const at = elapsed();
    circuit = afterQuestion(circuit, there, at, random());
    if (circuit.open) events.wakeIn(Math.max(0, circuit.open.notBefore - at));
  }

  return {
    allowed() {
      if (stopping.signal.aborted || life.stretch() === undefined) return undefined;
      const { limit, avoid, ask } = allowance(circuit, concurrency, onWire.size, elapsed());
      if (ask) void askWhetherThere();
      return limit > 0 ? { limit, perHolder, avoid } : undefined;
    },
    has: (redemptionId) => onWire.has(redemptionId),
    send(charge, stretch) {
      const sent = Promise.resolve().then(() => run(charge, stretch));
      onWire.set(charge.redemptionId, sent);
    },
    paused: () => circuit.open ?? null,
    abort: () => stopping.abort(),
    async idle() {
      await Promise.all(onWire.values());
    },
  };
}

/**
 * A proof may be good for one charge, or for a time. Where an attempt before may have been applied, that it
 * is refused now does not say that it never was.
 */
function refusedAfterDoubt(answer: Answer, { doubtSince }: Claimed): Answer | undefined {
  if (doubtSince === null || answer.status !== "failed" || answer.reason !== "proof-refused") {
    return undefined;
  }
  const { code, message: said } = answer;
  const message = `An attempt before may have been applied, and the ledger takes the proof no more (${said}).`;
  return { status: "unresolved", reason: "answer-lost", code, message };
}

/** The answer for what was taken for sending, and not sent. */
export const notSent: Answer = {
  status: "pending",
  reason: "ledger-unreachable",
  code: "NOT_SENT",
  message: "it was taken for sending, and not sent",
};

/** The answer for what was taken for sending by a process that others may have taken for gone since. */
const stoodStill: Answer = {
  ...notSent,
  code: "STOOD_STILL",
  message: "this process stood still, or could not reach the journal, before it was sent",
};

/**
 * Whether a payment that has expired was good when its request came, and waited here. Else whoever brings
 * forged tokens that soon expire, or good ones that end before the answer does, would never be blocked: the
 * ledger judges those.
 */
function isOurDelay({ doubtSince, repeatable, attempt, waitedMs }: Claimed): boolean {
  // Only a ledger that has verified it gives an id under which it may be sent again.
  return doubtSince === null && repeatable && (attempt > 1 || waitedMs > promptMs);
}

/** Milliseconds within which a charge goes on the wire where nothing holds it up. */
const promptMs = 1_000;

/** The answer for what was not sent in time, and never burned anything. */
const expired: Extract<Answer, { status: "failed" }> = {
  status: "failed",
  reason: "payment-expired",
  code: "payment-expired",
  message: "The payment expired before the charge could be sent.",
};

const tooLate: Answer = {
  status: "unresolved",
  reason: "answer-lost",
  code: "WINDOW_PASSED",
  message:
    "An attempt may have been applied, and the time for which the ledger honours its id is over.",
};

/**
 * When to stop sending for a while. An outage, however long, must leave no more charges unresolved
 * than were on the wire when it began and those that probe it; and a wrong key must not burn through
 * the backlog. Pure: time and chance come with each call. The time is that of a monotonic clock: one
 * that is set back or forth on the wall must neither end a pause nor prolong it.
 */

import type { Answer } from "../redemption.ts";
import { type Backoff, waitBeforeRetry } from "./backoff.ts";

export interface CircuitOptions {
  /** So many answers in a row that are trouble open the circuit. */
  readonly threshold: number;
  /** Waits between probes. */
  readonly backoff: Backoff;
  /**
   * Whether a charge whose answer is lost stays unresolved: then a probe that fails costs a person's
   * work. The ledger is asked something harmless first, and the probes are rarer.
   */
  readonly costly: boolean;
}

export interface Circuit {
  readonly options: CircuitOptions;
  /** Troubles in a row. */
  readonly troubles: number;
  /** Who met which fault of the configuration last; the same that two holders meet opens the circuit. */
  readonly faulty: { readonly holder: string; readonly code: string } | undefined;
  /** Set while it is open: one charge at a time, not before the time, of another holder if there is. */
  readonly open?: {
    readonly reason: string;
    /** What must be mended, where it is a fault of the configuration that two holders met. */
    readonly fault?: string;
    readonly probes: number;
    readonly notBefore: number;
    readonly lastHolder: string;
    /** Set while the ledger must first answer something harmless, and how often it did not. */
    readonly questions?: number;
    /** When a charge probes all the same: not every ledger answers harmless questions. */
    readonly atLast: number;
  };
}

/** The longest wait between costly probes, in milliseconds. */
export const costlyWaitMs = 600_000;

/** What an open circuit allows; a closed one allows charges only. */
export interface Allowance {
  /** Charges that may go on the wire now, beside those that are there. */
  readonly limit: number;
  /** A holder whose not, if there is another. */
  readonly avoid?: string;
  /** The ledger is to be asked something harmless now. */
  readonly ask?: true;
}

export function closedCircuit(options: CircuitOptions): Circuit {
  return { options, troubles: 0, faulty: undefined };
}

export function allowance(
  circuit: Circuit,
  concurrency: number,
  onWire: number,
  now: number,
): Allowance {
  const { open, troubles } = circuit;
  if (open) {
    const due = onWire === 0 && now >= open.notBefore;
    if (due && open.questions !== undefined && now < open.atLast) return { limit: 0, ask: true };
    return { limit: due ? 1 : 0, avoid: open.lastHolder };
  }
  // A place where there was trouble is not filled again until the ledger has answered: an outage
  // costs what was on the wire when it began, or the threshold where that is more.
  const limit = concurrency - onWire - troubles;
  return { limit: Math.max(limit, onWire === 0 ? 1 : 0) };
}

/** What an answer changes. */
export function afterAnswer(
  circuit: Circuit,
  answer: Answer,
  holderKey: string,
  now: number,
  random: number,
): Circuit {
  const trouble = troubleOf(answer);
  // The ledger decided: it is there, and it knows us.
  if (trouble === undefined) return closedCircuit(circuit.options);
  const { options, open } = circuit;
  // It was on the wire when the circuit opened, and is no probe.
  if (open && now < open.notBefore) return circuit;
  const troubles = circuit.troubles + 1;
  const fault = trouble === "configuration-fault" && "code" in answer ? answer : undefined;
  const before = circuit.faulty;
  const isSecond =
    fault !== undefined && fault.code === before?.code && before.holder !== holderKey;
  const opens = open !== undefined || troubles >= options.threshold || isSecond;
  // What one holder alone meets may be that holder's plan.
  const isEverybodys = isSecond || open?.fault !== undefined;
  const faulty = fault ? { holder: holderKey, code: fault.code } : before;
  const next = { options, troubles, faulty };
  if (!opens) return next;
  const probes = (open?.probes ?? -1) + 1;
  const asked = answer.status === "pending" ? answer.retryAfterMs : undefined;
  const costly = options.costly && answer.status === "unresolved";
  const { baseMs, maxMs } = options.backoff;
  const backoff = { baseMs, maxMs: costly ? Math.max(maxMs, costlyWaitMs) : maxMs };
  const wait = waitBeforeRetry(backoff, probes + 1, asked, random);
  return {
    ...next,
    open: {
      reason: trouble,
      ...(fault && isEverybodys && { fault: fault.message }),
      probes,
      notBefore: now + wait,
      lastHolder: holderKey,
      ...(costly && { questions: 0 }),
      atLast: now + Math.max(wait, costlyWaitMs),
    },
  };
}

/** What the answer to a harmless question changes, or its absence. */
export function afterQuestion(
  circuit: Circuit,
  answered: boolean,
  now: number,
  random: number,
): Circuit {
  if (circuit.open?.questions === undefined) return circuit;
  const { questions, ...open } = circuit.open;
  if (answered) return { ...circuit, open };
  const wait = waitBeforeRetry(circuit.options.backoff, questions + 1, undefined, random);
  return { ...circuit, open: { ...open, questions: questions + 1, notBefore: now + wait } };
}

/** Why the ledger seems not to work; undefined where it does. */
function troubleOf(answer: Answer): string | undefined {
  switch (answer.status) {
    case "completed":
    case "failed":
      return undefined;
    case "unresolved":
      // These speak of one charge, and the ledger that says so is there.
      return answer.reason === "idempotency-mismatch" || answer.reason === "maybe-charged"
        ? undefined
        : answer.reason;
    case "pending":
      return answer.reason === "still-running" ? undefined : answer.reason;
  }
}

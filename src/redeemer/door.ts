/**
 * The door between the event loop that serves requests and whatever sends the charges. Three kinds
 * of message pass it (submit, ask, outcome), all of them plain data, so that what is behind it can
 * live in another thread.
 */

import type { Answer, Charge } from "../redemption.ts";

/** Hands a charge over for good. */
export interface Submission {
  readonly kind: "submit";
  readonly charge: Charge;
}

/**
 * Asks for something. `stop`: send nothing more, give up what is on the wire, end the sockets; the
 * reply names the charges that were never sent or must be sent again.
 */
export interface Question {
  readonly kind: "ask";
  readonly ask: "stop";
}

/** Tells what became of a charge. */
export interface Outcome {
  readonly kind: "outcome";
  readonly redemptionId: string;
  readonly change: Answer | { readonly status: "sending" };
}

export interface Door {
  submit(message: Submission): void;
  ask(message: Question): Promise<{ readonly unsent: readonly string[] }>;
}

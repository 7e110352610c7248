/** What crosses between the two threads, and the far side of it. */

import type { MessagePort } from "node:worker_threads";
import type { Door, Outcome, QuestionName, Submission } from "./door.ts";
import { messageOf } from "./health.ts";

export interface WorkerData {
  /** Given on to whatever is behind the door. */
  readonly settings: unknown;
  readonly identity: { readonly owner: string; readonly replaces: readonly string[] };
  /** Counts submissions that are durable; the other side waits for it when the process ends. */
  readonly accepted: Int32Array;
}

export type ToWorker =
  | { readonly kind: "submit"; readonly submissions: readonly Submission[] }
  | {
      readonly kind: "ask";
      readonly id: number;
      readonly name: QuestionName;
      readonly question: never;
    };

export type FromWorker =
  | { readonly kind: "outcomes"; readonly outcomes: readonly Outcome[] }
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "answer"; readonly id: number; readonly error: string };

/** Serves a door to the other thread. */
export function serveDoor(
  port: MessagePort,
  accepted: Int32Array,
  open: (tell: (outcome: Outcome) => void) => Door,
): void {
  /** All that one commit brings crosses at once: each message costs the other event loop a turn. */
  let outcomes: Outcome[] = [];
  const post = (message: FromWorker) => port.postMessage(message);
  const flush = () => {
    if (outcomes.length > 0) post({ kind: "outcomes", outcomes });
    outcomes = [];
  };
  const door = open((outcome) => {
    if (outcome.kind === "accepted") {
      Atomics.add(accepted, 0, outcome.redemptionIds.length);
      Atomics.notify(accepted, 0);
    }
    if (outcomes.length === 0) queueMicrotask(flush);
    outcomes.push(outcome);
  });
  port.on("message", (message: ToWorker) => {
    if (message.kind === "submit") return door.submit(message.submissions);
    const { id } = message;
    const answer = (value: { value: unknown } | { error: string }) => {
      // What an answer follows from is heard before it.
      flush();
      post({ kind: "answer", id, ...value });
    };
    door.ask(message.name, message.question).then(
      (value) => answer({ value }),
      (error: unknown) => answer({ error: messageOf(error) }),
    );
  });
}

/** What the processes of the run tell each other. Plain data. */

import type { CreditMeterOptions, MeterHealth } from "../../src/index.ts";
import type { Protocol } from "./ledger.ts";

/** How a server is started. */
export interface ServerSettings {
  readonly port: number;
  /** Which life of which server this is: a number that no other has. */
  readonly life: number;
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly plan: string;
  readonly protocol: Protocol;
  /** As `creditMeter` takes it. */
  readonly journal: CreditMeterOptions["journal"] & (string | object);
  readonly durability: "response" | "strict";
  /** Says to the meter that the ledger honours ids for so long; null: says nothing. */
  readonly idempotentMs: number | null;
  readonly concurrency: number;
  readonly perHolder: number;
  readonly circuit: number;
  readonly timeoutMs: number;
  readonly backoff: { readonly baseMs: number; readonly maxMs: number };
  readonly exitWaitMs: number;
}

export type ToServer =
  | { readonly kind: "health" }
  /** `meter.flush()`. */
  | { readonly kind: "flush" }
  /** `process.exit()` in the middle of whatever is under way. */
  | { readonly kind: "exit" }
  /** An exception that nobody catches. */
  | { readonly kind: "throw" }
  /** Ends the meter's worker thread. */
  | { readonly kind: "end-worker" }
  /** Sets the clock on the wall, in both threads. */
  | { readonly kind: "shift-clock"; readonly ms: number }
  /** `meter.close()`, then ends. */
  | { readonly kind: "close" };

export type FromServer =
  | { readonly kind: "ready" }
  | { readonly kind: "health"; readonly health: MeterHealth }
  | { readonly kind: "flushed" }
  | { readonly kind: "worker-ended" }
  /** What it still waited for: ids, and what it knew of them. */
  | { readonly kind: "closed"; readonly left: readonly string[] };

/** How the load client is started. */
export interface LoadSettings {
  readonly ports: readonly number[];
  /** Requests a second, all servers together. */
  readonly rate: number;
  readonly seed: number;
  readonly plan: string;
  readonly holders: readonly string[];
  /** Their access tokens, where they pay with x402. */
  readonly tokens: readonly string[] | undefined;
  /** Where it writes down what became of each request. */
  readonly file: string;
}

export type ToLoad = { readonly kind: "stop" } | { readonly kind: "pause"; readonly on: boolean };

export type FromLoad =
  | { readonly kind: "progress"; readonly whole: number }
  | { readonly kind: "done"; readonly whole: number };

/** What became of a request that was written to a socket, as its client knows it. */
export interface RequestSeen {
  /** Its number, which is also in the proof that it carries, and in its path. */
  readonly number: number;
  /**
   * `whole`: all of the response arrived. `begun`: its head did, and then the connection was cut.
   * `sent`: nothing came back.
   */
  readonly came: "whole" | "begun" | "sent";
  /** 0 where no head arrived. */
  readonly status: number;
  readonly redemptionId: string | null;
  /** What its route costs; 0 for one that fails and must not be charged. */
  readonly amount: number;
  /** Monotonic time of the last byte that arrived, or of the cut. */
  readonly at: number;
  /** Monotonic time at which the server's handler answered; 0 where that did not arrive. */
  readonly answeredAt: number;
  /** Life of the server that answered; 0 where that did not arrive. */
  readonly life: number;
}

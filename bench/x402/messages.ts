/** What the processes of this bench say to each other. */

import type { FaultDetails, FaultName } from "../../dist/ledger/index.js";

export const variants = ["bare", "meter", "x402-express"] as const;
export type Variant = (typeof variants)[number];

/** Credits of each answer. */
export const price = 2;

/** What an unpaid offer names of the plan, and what a token is asked for. */
export interface Offer {
  readonly scheme: "nvm:erc4337";
  readonly network: `eip155:${number}`;
  readonly planId: string;
}

export interface LedgerSettings {
  readonly planId: string;
  readonly holders: readonly string[];
  /** What verify and settle take, each. */
  readonly delayMs: number;
}

export type ToLedger =
  /** The next settlement fails so. */
  | { readonly kind: "fail"; readonly fault: FaultName; readonly details: FaultDetails[FaultName] }
  | { readonly kind: "count"; readonly holder: string }
  | { readonly kind: "stop" };

export type FromLedger =
  | {
      readonly kind: "open";
      readonly baseUrl: string;
      readonly apiKey: string;
      /** Of the holders, in their order. */
      readonly buyerKeys: readonly string[];
    }
  /** What was burned of the holder's. */
  | { readonly kind: "counted"; readonly burns: number };

export interface ServerSettings {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly offer: Offer;
  readonly journal: string;
  readonly stream: { readonly chunks: number; readonly everyMs: number };
}

export type ToServer = { readonly kind: "look" } | { readonly kind: "stop" };

export type FromServer =
  | { readonly kind: "listening"; readonly ports: Readonly<Record<Variant, number>> }
  | {
      readonly kind: "looked";
      /** Handlers that ran so far. */
      readonly handled: number;
      /** What became of the meter's charges since the look before. */
      readonly became: readonly string[];
    };

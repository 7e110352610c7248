/** What the processes of this bench say to each other. */

export interface ServerSettings {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly plan: string;
  readonly journal: string;
  /** Of one server-sent event. */
  readonly eventBytes: number;
}

export type ToServer = { readonly kind: "measure" } | { readonly kind: "stop" };

export type FromServer =
  | { readonly kind: "listening"; readonly port: number }
  /** Microseconds of the whole process so far, its threads included, and charges that were made. */
  | { readonly kind: "measured"; readonly cpu: number; readonly charged: number };

export interface LedgerSettings {
  readonly plan: string;
  readonly holders: readonly string[];
}

export type ToLedger = { readonly kind: "stop" };

export type FromLedger = {
  readonly kind: "open";
  readonly baseUrl: string;
  readonly apiKey: string;
};

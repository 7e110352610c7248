/** What the bench and its processes tell each other. Plain data: it crosses processes. */

export type Part = "appends" | "holds one by one" | "holds" | "holds of one holder" | "redemptions";

export interface MemberSettings {
  readonly part: Part;
  readonly url: string;
  readonly schema: string;
  /** Milliseconds of the parts that are timed. */
  readonly ms: number;
  /** Redemptions of this process. */
  readonly redemptions: number;
  /** Redemptions before those. */
  readonly warmUp: number;
  readonly concurrency: number;
  readonly ledger: { readonly baseUrl: string; readonly key: string };
}

export type ToMember = { readonly kind: "go" } | { readonly kind: "measure" | "close" };

export type FromMember =
  | { readonly kind: "ready" }
  /** Redemptions that this process has settled since the last time that it told. */
  | { readonly kind: "settled"; readonly count: number }
  /** @param count what was done since `go`, in so many milliseconds, with so much of a CPU */
  | {
      readonly kind: "measured";
      readonly count: number;
      readonly ms: number;
      readonly cpuMs: number;
    };

export interface FromLedger {
  readonly kind: "open";
  readonly baseUrl: string;
  readonly key: string;
}

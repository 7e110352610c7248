/** What the example and the processes of its fleet tell each other. Plain data: it crosses processes. */

export interface ServerSettings {
  /** 1 upwards. */
  readonly place: number;
  readonly plan: string;
  readonly ledger: { readonly baseUrl: string; readonly key: string };
  readonly journal: { readonly postgres: string; readonly schema: string };
}

export interface RecordSeen {
  readonly redemptionId: string;
  readonly status: string;
}

export type ToServer = { readonly kind: "list" } | { readonly kind: "close" };

export type FromServer =
  | { readonly kind: "ready"; readonly port: number }
  | { readonly kind: "log"; readonly line: string }
  | { readonly kind: "records"; readonly records: readonly RecordSeen[] };

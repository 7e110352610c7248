/** How much of everything an attack has. */

export interface Scale {
  /** Calls of one holder; at least 20. */
  readonly calls: number;
  /** Holders that are made up; at least 20. */
  readonly strangers: number;
  /** Requests that are to be refused. */
  readonly refusals: number;
  /** How long the ledger takes for a question, where it is slow. */
  readonly slowMs: number;
}

export const fullScale: Scale = { calls: 100, strangers: 1_000, refusals: 2_000, slowMs: 50 };
export const smallScale: Scale = { calls: 24, strangers: 60, refusals: 200, slowMs: 1 };

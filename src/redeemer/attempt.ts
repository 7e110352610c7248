import type { Settlement } from "../journal/journal.ts";

/** What an attempt came to, and of what charge. */
export interface Attempted extends Settlement {
  readonly holderKey: string;
  /** Credits. */
  readonly amount: number;
}

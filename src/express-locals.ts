import type { Redemption } from "./redemption.ts";

declare global {
  namespace Express {
    interface Locals {
      /** The charge of this request; there once the meter has admitted it. */
      redemption?: Redemption;
    }
  }
}

/** What guard and journal tell each other of holders: what they owe, and credits on hold. */

/** What the journal knows of a holder. */
export interface Account {
  /** Credits of charges that wait or are on the wire, and of holds whose price is not known yet. */
  readonly unsettled: number;
  /** Credits of charges that were sent, and may have been applied. */
  readonly doubtful: number;
  /**
   * Credits of all charges that were burned, or may have been, since some day: it only grows, until
   * nothing was added for two hours or more. Two of its values tell what was spent in between.
   */
  readonly spent: number;
  /** Credits of charges that are on the wire. */
  readonly onWire: number;
  /**
   * When the ledger refused a charge last: for want of credits, where it has not charged since; and for
   * another reason. What a person marked as failed is none.
   */
  readonly refused: { readonly credits: number | null; readonly otherwise: number | null };
}

/** Credits to set aside for a request under way, so that all processes on the journal know of them. */
export interface HoldAsked {
  readonly redemptionId: string;
  readonly planId: string;
  readonly holderAddress: string;
  /** In place of what the redemption has on hold already. */
  readonly credits: number;
  /** What they must fit into, together with all that any process has on hold for the holder. */
  readonly within:
    | {
        /** Credits that the holder has had in all: with what is spent and what is not settled. */
        readonly total: number;
      }
    | {
        /** Credits that the holder may owe, whose balance is not known. */
        readonly creditLine: number;
        /** Credits that all such may owe, with what the ledger refused within `blockForMs`. */
        readonly maxExposure: number;
        readonly blockForMs: number;
      };
  /** The refusals that were known when it was asked for: it is not held where there is another. */
  readonly refused: Account["refused"];
}

/** Whether the credits are on hold now, and what the decision came from. */
export interface HoldAnswer {
  readonly isHeld: boolean;
  readonly account: Account;
  /** Credits on hold for the holder in other processes. */
  readonly elsewhere: number;
  /** Credits that all owe who had them without the ledger's word; null where it did not matter. */
  readonly exposure: number | null;
}
